"""OpenAI chat and fine-tuning files: `messages` and `tools`, one sample a record.

Read as well: arguments as text or object, the old `functions`, `function_call` and role `function` (they become tools,
calls without id, and feedback), `developer` messages (they become system messages), and content in text parts (joined).
Written: arguments as text, or as objects on request; `content` always, null where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tltrain.formats.fields import (
    FieldError,
    arguments_of,
    each,
    expected,
    id_or_none,
    list_of,
    record_of,
    rest,
    text_of,
    text_or_none,
)
from tltrain.formats.tools import infer_tools, tool_of, tools_of
from tltrain.trajectory import Call, Message, Role, Tool, Trajectory

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_MESSAGE = frozenset(
    ("role", "content", "tool_calls", "function_call", "reasoning_content", "tool_call_id", "name", "weight")
)
_CALL = frozenset(("id", "type", "function"))
_SAMPLE = frozenset(("id", "messages", "tools", "functions", "parallel_tool_calls"))


def detect(record: Any) -> bool:
    """`messages` with roles; or a bare list of messages."""
    messages = record.get("messages") if type(record) is dict else record
    if type(messages) is not list:
        return False
    return all(type(message) is dict and message.get("role") in _ROLES for message in messages)


def read(record: Any, tools: Sequence[Tool] | None, source: str) -> list[Trajectory]:
    """The sample in `record`. Its own tools come first, then those given, then those its calls show."""
    sample = {"messages": record} if type(record) is list else record_of(record)
    messages = each(message_of, list_of(sample, "messages"), "messages")
    parallel = sample.get("parallel_tool_calls")
    if parallel is not None and type(parallel) is not bool:
        raise expected("true or false", parallel, "parallel_tool_calls")
    return [
        Trajectory(
            messages,
            _tools(sample, tools, messages),
            id=id_or_none(sample, "id"),
            source=source,
            parallel_tool_calls=parallel,
            extra=rest(sample, _SAMPLE),
        )
    ]


def write(trajectory: Trajectory, arguments_as_text: bool = True) -> dict[str, Any]:
    """The sample as one record; every field of ours and `extra` is carried."""
    return trajectory.to_json(arguments_as_text)


def message_of(value: Any) -> Message:
    """One message of any role."""
    record = record_of(value)
    written = text_of(record, "role")
    role = _ROLES.get(written)
    if role is None:
        raise FieldError("role", f"expected system, user, assistant or tool, got {written!r}")
    content = record.get("content")
    if content is not None and type(content) is not str:
        content = _joined(content)
    calls = each(_call, record["tool_calls"], "tool_calls") if "tool_calls" in record else ()
    if record.get("function_call") is not None:
        calls = (*calls, _function_call(record["function_call"]))
    return Message(
        role,
        content,
        calls,
        thought=text_or_none(record, "reasoning_content"),
        call_id=id_or_none(record, "tool_call_id"),
        name=text_or_none(record, "name"),
        weight=weight_of(record, "weight"),
        extra={field: value for field, value in record.items() if field not in _MESSAGE},
    )


def weight_of(record: dict[str, Any], field: str) -> float | None:
    """A loss label: a number, or true or false; None where there is none."""
    value = record.get(field)
    if value is None or type(value) is int or type(value) is float:
        return value
    if type(value) is bool:
        return int(value)
    raise expected("number", value, field)


def _call(value: Any) -> Call:
    record = record_of(value)
    if record.get("type", "function") not in ("function", None):
        raise FieldError("type", f"expected function, got {record['type']!r}")
    call_id = id_or_none(record, "id")
    extra = rest(record, _CALL) if len(record) > len(_CALL) or "id" not in record else {}
    function = record.get("function")
    if type(function) is not dict:
        raise expected("object", function, "function")
    try:
        return Call(text_of(function, "name"), arguments_of(function.get("arguments")), call_id, extra)
    except FieldError as error:
        raise error.inside("function") from None


def _function_call(value: Any) -> Call:
    try:
        record = record_of(value)
        return Call(text_of(record, "name"), arguments_of(record.get("arguments")))
    except FieldError as error:
        raise error.inside("function_call") from None


def _joined(parts: Any) -> str:
    if type(parts) is not list:
        raise expected("text or list of parts", parts, "content")
    return "".join(each(_part, parts, "content"))


def _part(value: Any) -> str:
    record = record_of(value)
    if record.get("type") != "text":
        raise FieldError("type", f"expected text (only text can be read), got {record.get('type')!r}")
    return text_of(record, "text")


def _tools(sample: dict[str, Any], given: Sequence[Tool] | None, messages: tuple[Message, ...]) -> tuple[Tool, ...]:
    if sample.get("tools") is not None:
        return tools_of(sample["tools"])
    if sample.get("functions") is not None:
        return each(tool_of, sample["functions"], "functions")
    return infer_tools(messages) if given is None else tuple(given)
