"""Hermes function calling: turns as `{"from", "value"}`, calls in `<tool_call>`, feedback in `<tool_response>` tags.

Tools come from a `tools` field (JSON or a string of JSON), or from the `<tools>` block of the system prompt, which is
kept unchanged. Calls and tools may also be Python literals. A reply whose calls cannot be parsed is kept as text. A
turn with several responses becomes several messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tltrain.dialects import hermes
from tltrain.errors import DataError
from tltrain.formats import conversations, jsonio
from tltrain.formats.fields import LABELS, FieldError, id_or_none, label_of, record_of, rest, text_of, text_or_none
from tltrain.formats.literals import json_or_literal, literal
from tltrain.formats.replies import call_of
from tltrain.formats.tools import choose_tools, tools_of
from tltrain.trajectory import Message, Tool, Trajectory

_KNOWN = frozenset(("id", "conversations", "system", "tools"))
_TURN = frozenset(("from", "value", *LABELS))


def detect(record: Any) -> bool:
    """Whether any turn contains the tags."""
    turns = conversations.turns_of(record)
    if turns is None:
        return False
    texts = [turn["value"] for turn in turns if type(turn.get("value")) is str]
    return any(tag in text for text in texts for tag in ("<tools>", "<tool_call>", "<tool_response>"))


def is_certain(record: Any) -> bool:
    """Whether the tags are used, not only mentioned: the first turn lists tools, a turn is a response, or a call in a
    reply is JSON."""
    turns = conversations.turns_of(record) or []
    texts = [(turn["from"], turn["value"]) for turn in turns if type(turn.get("value")) is str]
    if texts and texts[0][0] == "system" and conversations.tagged(texts[0][1], "tools")[0]:
        return True
    return any(
        text.lstrip().startswith("<tool_response>") if speaker in ("tool", "function", "observation")
        else any(block.strip().startswith("{") for block in conversations.tagged(text, "tool_call")[0])
        for speaker, text in texts
    )  # fmt: skip


def read(record: Any, tools: Sequence[Tool] | None, source: str) -> list[Trajectory]:
    """The conversation in `record`."""
    sample = record_of(record)
    messages = conversations.messages_of(sample, _messages)
    system = text_or_none(sample, "system")
    if system:
        messages = (Message("system", system), *messages)
    listed = choose_tools(_listed(sample, messages), tools, messages)
    return [Trajectory(messages, listed, id_or_none(sample, "id"), source, extra=rest(sample, _KNOWN))]


def _listed(sample: dict[str, Any], messages: tuple[Message, ...]) -> tuple[Tool, ...] | None:
    given = sample.get("tools")
    if given is not None:
        return tools_of(json_or_literal(given, "tools") if type(given) is str else given)
    system = messages[0].content or "" if messages and messages[0].role == "system" else ""
    blocks = [block.strip() for block in conversations.tagged(system, "tools")[0]]
    text = next((block for block in blocks if block), None)
    if text is None:
        return None
    field = "conversations[0].value"
    return tools_of(json_or_literal(text, field) if text.startswith("[") else _unbracketed(text, field), field)


def _unbracketed(text: str, field: str) -> list[Any]:
    """The specifications that follow one another: JSON laid out in any way, or a Python literal on each line."""
    try:
        return jsonio.sequence(text)
    except DataError as error:
        reason = error.reason
    try:
        return list(literal(f"[{','.join(text.splitlines())}]"))
    except ValueError:
        raise FieldError(field, reason) from None


def _messages(turn: dict[str, Any]) -> list[Message]:
    role, text, extra = conversations.role_of(turn), text_of(turn, "value"), rest(turn, _TURN)
    if role == "assistant":
        return [replace(_reply(text, extra), weight=label_of(turn))]
    responses, remainder = conversations.tagged(text, "tool_response") if role == "tool" else ([], "")
    if responses and not remainder.strip():
        return [Message("tool", response.strip(), extra=extra) for response in responses]
    return [Message(role, text, extra=extra)]


def _reply(text: str, extra: dict[str, Any]) -> Message:
    parsed = hermes.parse(text)
    if parsed.broken is None:
        return Message("assistant", parsed.text or (None if parsed.calls else ""), parsed.calls, extra=extra)
    blocks, remainder = conversations.tagged(text, "tool_call")
    try:
        calls = tuple(call_of(json_or_literal(block.strip(), "value")) for block in blocks)
    except FieldError:
        calls = ()
    if not calls or hermes.OPEN in remainder or hermes.CLOSE in remainder:
        return Message("assistant", text, extra=extra)
    return Message("assistant", remainder.strip("\n") or None, calls, extra=extra)
