"""What the formats that list turns as `{"from": …, "value": …}` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tltrain.dialects import react
from tltrain.formats.fields import FieldError, each, list_of, record_of, text_of
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
"""Who speaks, as the `from` of these formats says it."""


def turns_of(record: Any, field: str = "conversations") -> list[dict[str, Any]] | None:
    """The turns, for detection; None where this is no such record."""
    turns = record.get(field) if type(record) is dict else None
    if type(turns) is not list or not turns or not all(type(turn) is dict and "from" in turn for turn in turns):
        return None
    return turns


def first_text(turns: list[dict[str, Any]]) -> str:
    """The first turn's text, for detection; empty where it is none."""
    value = turns[0].get("value")
    return value if type(value) is str else ""


def messages_of(record: dict[str, Any], message: Callable[[dict[str, Any]], list[Message]]) -> tuple[Message, ...]:
    """The messages of all turns; `message` gives those of one turn."""
    groups = each(lambda turn: message(record_of(turn)), list_of(record, "conversations"), "conversations")
    return tuple(one for group in groups for one in group)


def role_of(turn: dict[str, Any]) -> Role:
    """The role of who speaks in a turn."""
    speaker = text_of(turn, "from")
    if speaker not in ROLES:
        raise FieldError("from", f"expected one of {', '.join(ROLES)}, got {speaker!r}")
    return ROLES[speaker]


def react_message(turn: dict[str, Any]) -> list[Message]:
    """A turn whose replies are ReAct texts: the thought is the content. A reply that cannot be read stays text."""
    role, text = role_of(turn), text_of(turn, "value")
    return [react_reply(text) if role == "assistant" else Message(role, text)]


def react_reply(text: str) -> Message:
    """A reply in ReAct's form."""
    parsed = react.parse(text)
    return Message("assistant", parsed.text or (None if parsed.calls else ""), parsed.calls)


def tagged(text: str, tag: str) -> tuple[list[str], str]:
    """What stands between `<tag>` and `</tag>`, each time, and the text without these blocks. Takes linear time."""
    opening, closing = f"<{tag}>", f"</{tag}>"
    inside: list[str] = []
    outside: list[str] = []
    at = 0
    while (start := text.find(opening, at)) >= 0 and (end := text.find(closing, start)) >= 0:
        outside.append(text[at:start])
        inside.append(text[start + len(opening) : end])
        at = end + len(closing)
    return inside, "".join([*outside, text[at:]])


def tools_in(text: str, marker: str, field: str) -> tuple[Tool, ...] | None:
    """The tools listed in a system text after `marker`, as JSON or as Python writes it; None where it lists none."""
    start = text.find("[", text.find(marker) + len(marker)) if marker in text else -1
    if start < 0:
        return None
    return tools_of(json_or_literal(text[start : text.rfind("]") + 1], field), field)
