"""Anthropic messages: content blocks `text`, `thinking`, `tool_use` and `tool_result`, beside `system` and `tools`.

The tool results of a user message become feedback, its texts become a user message after them. Texts are joined; text
between or after calls is moved before them. `is_error`, `signature` and other fields of blocks are kept in the
message's `extra`, as is the data of `redacted_thinking`. Blocks of other types (images) are rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
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
)
from tltrain.formats.tools import choose_tools, tools_of
from tltrain.trajectory import Call, Message, Tool, Trajectory

_KNOWN = frozenset(("id", "messages", "system", "tools"))
_MESSAGE = frozenset(("role", "content", *LABELS))
_BLOCKS = ("tool_use", "tool_result", "thinking", "redacted_thinking")


def detect(record: Any) -> bool:
    """Whether messages contain tool or thinking blocks, or tools have an `input_schema`."""
    messages = record.get("messages") if type(record) is dict else None
    if type(messages) is not list:
        return False
    tools = record.get("tools")
    if type(tools) is list and any(type(tool) is dict and "input_schema" in tool for tool in tools):
        return True
    contents = [message.get("content") for message in messages if type(message) is dict]
    blocks = [block for content in contents if type(content) is list for block in content]
    return any(type(block) is dict and block.get("type") in _BLOCKS for block in blocks)


def read(record: Any, tools: Sequence[Tool] | None, source: str) -> list[Trajectory]:
    """The conversation in `record`."""
    sample = record_of(record)
    groups = each(_messages, list_of(sample, "messages"), "messages")
    system = sample.get("system")
    opening = () if system is None else (Message("system", _text(system, "system")),)
    messages = (*opening, *(message for group in groups for message in group))
    own = None if sample.get("tools") is None else tools_of(sample["tools"])
    listed = choose_tools(own, tools, messages)
    return [Trajectory(messages, listed, id_or_none(sample, "id"), source, extra=rest(sample, _KNOWN))]


def _messages(value: Any) -> list[Message]:
    record = record_of(value)
    role, content, extra = text_of(record, "role"), record.get("content"), rest(record, _MESSAGE)
    if role not in ("user", "assistant"):
        raise FieldError("role", f"expected user or assistant, got {role!r}")
    blocks = [{"type": "text", "text": content}] if type(content) is str else content
    if type(blocks) is not list:
        raise expected("text or list of blocks", content, "content")
    each(record_of, blocks, "content")
    return [_reply(blocks, extra, label_of(record))] if role == "assistant" else _user(blocks, extra)


def _reply(blocks: list[dict[str, Any]], extra: dict[str, Any], weight: float | None) -> Message:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[Call] = []
    for index, block in enumerate(blocks):
        try:
            kind = block.get("type")
            if kind == "text":
                texts.append(text_of(block, "text"))
            elif kind == "thinking":
                thoughts.append(text_of(block, "thinking"))
                extra = extra | rest(block, {"type", "thinking"})
            elif kind == "redacted_thinking":
                extra = extra | {kind: text_of(block, "data")}
            elif kind == "tool_use":
                calls.append(_call(block))
            else:
                raise FieldError("type", f"expected text, thinking or tool_use, got {kind!r}")
        except FieldError as error:
            raise error.inside(f"content[{index}]") from None
    content = "".join(texts) if texts else None
    thought = "\n".join(thoughts) if thoughts else None
    return Message("assistant", content, tuple(calls), thought, weight=weight, extra=extra)


def _call(block: dict[str, Any]) -> Call:
    name, arguments = text_of(block, "name"), arguments_of(block.get("input"), "input")
    return Call(name, arguments, id_or_none(block, "id"), rest(block, {"type", "id", "name", "input"}))


def _user(blocks: list[dict[str, Any]], extra: dict[str, Any]) -> list[Message]:
    results = [_result(block) for block in blocks if block.get("type") == "tool_result"]
    others = [block for block in blocks if block.get("type") != "tool_result"]
    if not others and results:
        return results
    return [*results, Message("user", _text(others, "content"), extra=extra)]


def _result(block: dict[str, Any]) -> Message:
    content = block.get("content")
    text = "" if content is None else _text(content, "content")
    extra = rest(block, {"type", "tool_use_id", "content"})
    return Message("tool", text, call_id=id_or_none(block, "tool_use_id"), extra=extra)


def _text(value: Any, field: str) -> str:
    return value if type(value) is str else "".join(each(_text_block, value, field))


def _text_block(value: Any) -> str:
    block = record_of(value)
    if block.get("type") != "text":
        raise FieldError("type", f"expected text (only text can be read), got {block.get('type')!r}")
    return text_of(block, "text")
