"""Shared by the formats that list turns as `{"from": …, "value": …}`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tltrain.dialects import react
from tltrain.formats.fields import FieldError, each, label_of, list_of, record_of, text_of
from tltrain.formats.literals import json_or_literal
from tltrain.formats.tools import tools_of
from tltrain.trajectory import Message, Role, Tool

ROLES: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "function": "tool",
    "tool": "tool",
}
"""Values of `from` in these formats, and the roles they stand for."""


def turns_of(record: Any, field: str = "conversations") -> list[dict[str, Any]] | None:
    """The turns of a record, for format detection; None if it has no list of such turns."""
    turns = record.get(field) if type(record) is dict else None
    if type(turns) is not list or not turns or not all(type(turn) is dict and "from" in turn for turn in turns):
        return None
    return turns


def first_text(turns: list[dict[str, Any]]) -> str:
    """The text of the first turn, for format detection; empty if it is not a string."""
    value = turns[0].get("value")
    return value if type(value) is str else ""


def messages_of(record: dict[str, Any], read_turn: Callable[[dict[str, Any]], list[Message]]) -> tuple[Message, ...]:
    """The messages of all turns; `read_turn` converts a single turn."""
    groups = each(lambda turn: read_turn(record_of(turn)), list_of(record, "conversations"), "conversations")
    return tuple(message for group in groups for message in group)


def role_of(turn: dict[str, Any]) -> Role:
    """The role of a turn. Raises FieldError if its `from` is unknown."""
    speaker = text_of(turn, "from")
    if speaker not in ROLES:
        raise FieldError("from", f"expected one of {', '.join(ROLES)}, got {speaker!r}")
    return ROLES[speaker]


def react_message(turn: dict[str, Any]) -> list[Message]:
    """A turn whose reply is ReAct text: the thought becomes the content. A reply that cannot be parsed is kept as
    text."""
    role, text = role_of(turn), text_of(turn, "value")
    return [react_reply(text, label_of(turn)) if role == "assistant" else Message(role, text)]


def react_reply(text: str, weight: float | None) -> Message:
    """An assistant message with this label, parsed from ReAct text."""
    parsed = react.parse(text)
    return Message("assistant", parsed.text or (None if parsed.calls else ""), parsed.calls, weight=weight)


def tagged(text: str, tag: str) -> tuple[list[str], str]:
    """The contents of all `<tag>…</tag>` blocks, and the text without these blocks. Takes linear time."""
    opening, closing = f"<{tag}>", f"</{tag}>"
    inside: list[str] = []
    outside: list[str] = []
    position = 0
    while (start := text.find(opening, position)) >= 0 and (end := text.find(closing, start)) >= 0:
        outside.append(text[position:start])
        inside.append(text[start + len(opening) : end])
        position = end + len(closing)
    return inside, "".join([*outside, text[position:]])


def tools_in(text: str, marker: str, field: str) -> tuple[Tool, ...] | None:
    """The tools listed in a system prompt after `marker`, as JSON or a Python literal; None if there is no list."""
    start = text.find("[", text.find(marker) + len(marker)) if marker in text else -1
    if start < 0:
        return None
    return tools_of(json_or_literal(text[start : text.rfind("]") + 1], field), field)
