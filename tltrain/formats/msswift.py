"""ms-swift: messages with roles `tool_call` and `tool_response`, `tools` as a JSON string, and `loss` or `loss_scale`
of each message.

A reply is an assistant message with its text, if there is any, and a `tool_call` message for each call; ms-swift joins
them. `loss` (true or false) and `loss_scale` become the weight of the reply, the smallest if they differ within a
reply. OpenAI messages (`tool_calls`) can be read as well.

`loss_scale` is written to the messages of replies that have a weight, and is 0 for failed replies; a thought is written
as a `<think>` block before the text. Writing loses the separation of thought and text, call ids, feedback names, empty
text beside calls, consecutive replies (ms-swift joins them), `parallel_tool_calls` and unknown fields. ms-swift weighs
whole messages: masks of single parallel calls (MAE) and weights of key tokens (PKT) cannot be written; and a
`loss_scale` other than 0 and 1 counts only with `--is_binary_loss_scale false`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from tltrain.formats import jsonio
from tltrain.formats.fields import (
    LABELS,
    FieldError,
    each,
    id_or_none,
    json_in,
    label_of,
    list_of,
    record_of,
    rest,
    text_of,
)
from tltrain.formats.openai import message_of
from tltrain.formats.replies import call_of, thought_before, weight_to_write, with_feedback
from tltrain.formats.tools import choose_tools, tools_of
from tltrain.trajectory import Call, Message, Tool, Trajectory

_KNOWN = frozenset(("id", "messages", "tools"))
_TURN = frozenset(("role", "content", *LABELS))
_OWN_LABELS = frozenset(("loss", "loss_scale"))


def detect(record: Any) -> bool:
    """Whether messages have these roles or ms-swift's own labels, or `tools` is a string."""
    messages = record.get("messages") if type(record) is dict else None
    if type(messages) is not list or not all(type(message) is dict for message in messages):
        return False
    roles = {message.get("role") for message in messages if type(message.get("role")) is str}
    labelled = any(message.keys() & _OWN_LABELS for message in messages)
    return bool(roles & {"tool_call", "tool_response"}) or labelled or type(record.get("tools")) is str


def read(record: Any, tools: Sequence[Tool] | None, source: str) -> list[Trajectory]:
    """The sample in `record`."""
    sample = record_of(record)
    messages: list[Message] = []
    each(lambda value: _add(messages, record_of(value)), list_of(sample, "messages"), "messages")
    given = sample.get("tools")
    own = None if given is None or given == "" else tools_of(json_in(given, "tools") if type(given) is str else given)
    listed = choose_tools(own, tools, messages)
    return [Trajectory(tuple(messages), listed, id_or_none(sample, "id"), source, extra=rest(sample, _KNOWN))]


def _add(messages: list[Message], turn: dict[str, Any]) -> None:
    role = turn.get("role")
    if role == "tool_call":
        call, weight = _call(turn), label_of(turn)
        reply = messages[-1] if messages and messages[-1].role == "assistant" else None
        if reply is None:
            messages.append(Message("assistant", None, (call,), weight=weight, extra=rest(turn, _TURN)))
        else:
            known = [value for value in (reply.weight, weight) if value is not None]
            messages[-1] = replace(reply, calls=(*reply.calls, call), weight=min(known, default=None))
    elif role == "tool_response":
        messages.append(Message("tool", text_of(turn, "content"), extra=rest(turn, _TURN)))
    else:
        messages.append(message_of(turn))


def _call(turn: dict[str, Any]) -> Call:
    try:
        return call_of(json_in(text_of(turn, "content"), ""))
    except FieldError as error:
        raise error.inside("content") from None


def write(trajectory: Trajectory, failed: Collection[int] = ()) -> dict[str, Any]:
    """The sample as a record; replies in `failed` (message indices) get `loss_scale` 0. Raises FieldError."""
    turns: list[dict[str, Any]] = []
    for index, message, feedback in with_feedback(trajectory.messages):
        weight = weight_to_write(message, index in failed)
        label = {} if weight is None else {"loss_scale": weight}
        turns.extend(turn | label for turn in _turns(message))
        turns.extend({"role": "tool_response", "content": part.content or ""} for part in feedback)
    record: dict[str, Any] = {} if trajectory.id is None else {"id": trajectory.id}
    tools = [tool.to_json(with_extra=True) for tool in trajectory.tools]
    return {**record, "messages": turns, "tools": jsonio.dumps(tools)}


def _turns(message: Message) -> list[dict[str, Any]]:
    text = thought_before(message) + (message.content or "")
    role = "tool_response" if message.role == "tool" else message.role
    turns = [] if message.calls and not text else [{"role": role, "content": text}]
    for call in message.calls:
        content = jsonio.dumps({"name": call.name, "arguments": call.arguments})
        turns.append({"role": "tool_call", "content": content})
    return turns
