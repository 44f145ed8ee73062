"""LLaMA-Factory's ShareGPT format: `conversations` with turns from human, gpt, function_call and observation; `tools`
is a JSON string.

The value of a `function_call` turn is `{"name", "arguments"}`, or a list of them for parallel calls, after a `<think>`
block if there is a thought. The feedback of n > 1 parallel calls is a single observation: a JSON list of n strings.
`weight` is written as a field of the turn; LLaMA-Factory ignores it.

Writing loses the difference between null and empty content, call ids, feedback names, `parallel_tool_calls` and unknown
fields; a message with both calls and text is rejected. LLaMA-Factory itself skips samples whose human (or observation)
and gpt (or function_call) turns do not alternate.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from tltrain.errors import DataError
from tltrain.formats import conversations, jsonio
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
    text_or_none,
)
from tltrain.formats.replies import call_of, thought_before, weight_to_write, with_feedback
from tltrain.formats.tools import choose_tools, tools_of
from tltrain.trajectory import Call, Message, Tool, Trajectory

_KNOWN = frozenset(("id", "conversations", "system", "tools"))
_TURN = frozenset(("from", "value", *LABELS))
TEXT_BESIDE_CALLS = "LLaMA-Factory cannot store text beside calls"
"""Why a trajectory cannot be written."""
_THINK = re.compile(r"<think>\n?(.*?)\n?</think>\s*", re.DOTALL)


def detect(record: Any) -> bool:
    """Whether the record lists turns with a `from` field."""
    return conversations.turns_of(record) is not None


def is_certain(record: Any) -> bool:
    """Whether there are turns from `function_call` or `observation`, or a top-level `system`: no other format has
    these."""
    turns = conversations.turns_of(record)
    if turns is None:
        return False
    return bool(record.get("system")) or any(turn["from"] in ("function_call", "observation") for turn in turns)


def read(record: Any, tools: Sequence[Tool] | None, source: str) -> list[Trajectory]:
    """The conversation in `record`."""
    sample = record_of(record)
    messages: list[Message] = []
    each(lambda turn: messages.extend(_messages(record_of(turn), messages)), list_of(sample, "conversations"), _FIELD)
    system = text_or_none(sample, "system")
    if system:
        messages.insert(0, Message("system", system))
    listed = choose_tools(_listed(sample.get("tools")), tools, messages)
    return [Trajectory(tuple(messages), listed, id_or_none(sample, "id"), source, extra=rest(sample, _KNOWN))]


_FIELD = "conversations"


def _listed(value: Any) -> tuple[Tool, ...] | None:
    if value is None or value == "":
        return None
    return tools_of(json_in(value, "tools") if type(value) is str else value)


def _messages(turn: dict[str, Any], before: list[Message]) -> list[Message]:
    role, text, extra = conversations.role_of(turn), text_of(turn, "value"), rest(turn, _TURN)
    weight = label_of(turn)
    if turn["from"] == "function_call":
        match = _THINK.match(text)
        calls = _calls(text[match.end() :] if match else text)
        return [Message("assistant", None, calls, match[1] if match else None, weight=weight, extra=extra)]
    if role == "tool":
        expecting = len(before[-1].calls) if before else 0
        return [Message("tool", part, extra=extra) for part in _parts(text, expecting)]
    return [Message(role, text, weight=weight, extra=extra)]


def _calls(text: str) -> tuple[Call, ...]:
    value = json_in(text, "value")
    return each(call_of, value if type(value) is list else [value], "value")


def _parts(text: str, expecting: int) -> list[str]:
    """The feedback of each call, if the text is a JSON list with a string for each of several calls."""
    if expecting > 1 and text.startswith("["):
        try:
            values = jsonio.loads(text)
        except DataError:
            return [text]
        if 0 < len(values) <= expecting and all(type(value) is str for value in values):
            return list(values)
    return [text]


def write(trajectory: Trajectory, failed: Collection[int] = ()) -> dict[str, Any]:
    """The conversation as a record; replies in `failed` (message indices) get weight 0. Raises FieldError."""
    messages = trajectory.messages
    record: dict[str, Any] = {} if trajectory.id is None else {"id": trajectory.id}
    start = 0
    if messages and messages[0].role == "system" and messages[0].content:
        record["system"] = messages[0].content
        start = 1
    turns: list[dict[str, Any]] = []
    for index, message, feedback in with_feedback(messages, start):
        try:
            turns.append(_turn(message, weight_to_write(message, index in failed)))
        except FieldError as error:
            raise error.inside(f"messages[{index}]") from None
        if feedback:
            texts = [part.content or "" for part in feedback]
            value = jsonio.dumps(texts) if len(message.calls) > 1 else texts[0]
            turns.append({"from": "observation", "value": value})
    functions = [tool.to_json(with_extra=True)["function"] for tool in trajectory.tools]
    return {**record, "conversations": turns, "tools": jsonio.dumps(functions)}


def dataset_info(file_name: str) -> dict[str, Any]:
    """The description of a written file in LLaMA-Factory's `dataset_info.json`, without the name of the data set."""
    columns = {"messages": "conversations", "system": "system", "tools": "tools"}
    return {"file_name": file_name, "formatting": "sharegpt", "columns": columns}


def _turn(message: Message, weight: float | None) -> dict[str, Any]:
    extra = {} if weight is None else {"weight": weight}
    if message.calls and message.content:
        raise FieldError("content", TEXT_BESIDE_CALLS)
    if message.calls:
        values = [{"name": call.name, "arguments": call.arguments} for call in message.calls]
        value = thought_before(message) + jsonio.dumps(values if len(values) > 1 else values[0])
        return {"from": "function_call", "value": value, **extra}
    speaker = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}[message.role]
    return {"from": speaker, "value": thought_before(message) + (message.content or ""), **extra}
