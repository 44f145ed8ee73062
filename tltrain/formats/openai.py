"""OpenAI chat and fine-tuning files: each record is a sample with `messages` and `tools`.

Also accepted: arguments as a string or an object; the legacy `functions`, `function_call` and role `function` (which
become tools, calls without id, and feedback); `developer` messages (which become system messages); and content as text
parts (which are joined). Arguments are written as a string; `content` is always written, null if there is none;
inferred tools have `inferred: true`; labels are written as `weight`. A round trip does not preserve whether a known
field such as `content` or `tool_calls` was null or absent, the boundaries of text parts, or the white space in the
arguments string; a blank arguments string becomes `{}`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from tltrain.formats.fields import (
    LABELS,
    FieldError,
    arguments_of,
    each,
    expected,
    id_or_none,
    label_of,
    list_of,
    record_of,
    rest,
    text_of,
    text_or_none,
)
from tltrain.formats.tools import choose_tools, tools_of
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
    ("role", "content", "tool_calls", "function_call", "reasoning_content", "tool_call_id", "name", *LABELS)
)
_CALL = frozenset(("id", "type", "function"))
_SAMPLE = frozenset(("id", "messages", "tools", "functions", "parallel_tool_calls"))


def detect(record: Any) -> bool:
    """Whether the record has `messages` with roles, or is a bare list of messages."""
    messages = record.get("messages") if type(record) is dict else record
    if type(messages) is not list or not (messages or type(record) is dict):
        return False
    return all(type(message) is dict and "role" in message for message in messages)


def read(record: Any, tools: Sequence[Tool] | None, source: str) -> list[Trajectory]:
    """The sample in `record`, with its own tools, else `tools`, else the tools inferred from its calls."""
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


def write(trajectory: Trajectory, failed: Collection[int] = ()) -> dict[str, Any]:
    """The sample as a record, including `extra`; replies in `failed` (message indices) get weight 0."""
    record = trajectory.to_json()
    for index in failed:
        record["messages"][index]["weight"] = 0
    return record


def message_of(value: Any) -> Message:
    """A message of any role. Raises FieldError."""
    record = record_of(value)
    role_name = text_of(record, "role")
    role = _ROLES.get(role_name)
    if role is None:
        raise FieldError("role", f"expected system, user, assistant or tool, got {role_name!r}")
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
        text_or_none(record, "reasoning_content") if "reasoning_content" in record else None,
        call_id=id_or_none(record, "tool_call_id") if "tool_call_id" in record else None,
        name=text_or_none(record, "name") if "name" in record else None,
        weight=label_of(record),
        extra=rest(record, _MESSAGE),
    )


def _call(value: Any) -> Call:
    record = record_of(value)
    if record.get("type", "function") not in ("function", None):
        raise FieldError("type", f"expected function, got {record['type']!r}")
    call_id = id_or_none(record, "id")
    extra = rest(record, _CALL)
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
    own = None
    for field in ("tools", "functions"):
        if own is None and sample.get(field) is not None:
            own = tools_of(sample[field], field)
    return choose_tools(own, given, messages)
