"""The TL-Training release: `{id, conversations: [{role, content}]}`, with the tools as JSON in the first system turn.

A call is the name of the tool, a newline, and the arguments as JSON; any other reply is text. The first system turn
defines the tools and does not become a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tltrain.formats.fields import (
    LABELS,
    FieldError,
    arguments_in,
    each,
    id_or_none,
    json_in,
    label_of,
    list_of,
    record_of,
    rest,
    text_of,
)
from tltrain.formats.tools import choose_tools, tools_of
from tltrain.trajectory import Call, Message, Role, Tool, Trajectory

_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant", "function": "tool"}
_KNOWN = frozenset(("id", "conversations"))
_TURN = frozenset(("role", "content", *LABELS))


def detect(record: Any) -> bool:
    """Whether the record has `conversations` with `role` and `content`."""
    turns = record.get("conversations") if type(record) is dict else None
    return type(turns) is list and bool(turns) and type(turns[0]) is dict and {"role", "content"} <= turns[0].keys()


def read(record: Any, tools: Sequence[Tool] | None, source: str) -> list[Trajectory]:
    """The sample in `record`."""
    sample = record_of(record)
    turns = list_of(sample, "conversations")
    listed = _listed(turns)
    names = frozenset(tool.name for tool in listed or ())
    messages = each(lambda turn: _message(turn, names), turns, "conversations")[0 if listed is None else 1 :]
    listed = choose_tools(listed, tools, messages)
    return [Trajectory(messages, listed, id_or_none(sample, "id"), source, extra=rest(sample, _KNOWN))]


def _listed(turns: list[Any]) -> tuple[Tool, ...] | None:
    first = turns[0] if turns else None
    if type(first) is not dict or first.get("role") != "system" or str(first.get("content")).lstrip()[:1] != "[":
        return None
    field = "conversations[0].content"
    return tools_of(json_in(text_of(first, "content"), field), field)


def _message(value: Any, names: frozenset[str]) -> Message:
    turn = record_of(value)
    role_name, text = text_of(turn, "role"), text_of(turn, "content")
    role = _ROLES.get(role_name)
    if role is None:
        raise FieldError("role", f"expected one of {', '.join(_ROLES)}, got {role_name!r}")
    call = _call(text, names) if role == "assistant" else None
    content, calls = (text, ()) if call is None else (None, (call,))
    return Message(role, content, calls, weight=label_of(turn), extra=rest(turn, _TURN))


def _call(text: str, names: frozenset[str]) -> Call | None:
    """The call, if the first line is the name of a tool or the rest is a JSON object; None for other text."""
    name, newline, rest_of_text = text.partition("\n")
    if not newline:
        return None
    arguments = arguments_in(rest_of_text, "content")
    return Call(name, arguments) if name in names or isinstance(arguments, dict) else None
