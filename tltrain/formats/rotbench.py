"""RoTBench: ReAct turns, the tool list in the system prompt, and a last turn that lists the acceptable replies.

The first acceptable reply becomes the last reply of the trajectory; the others are kept as text in
`extra["alternatives"]`. The system prompt is kept unchanged, including the tool list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tltrain.formats import conversations
from tltrain.formats.fields import FieldError, expected, id_or_none, label_of, rest
from tltrain.formats.tools import choose_tools
from tltrain.trajectory import Message, Tool, Trajectory

MARKER = "you have access of the following tools:"
_KNOWN = frozenset(("id", "conversations"))


def detect(record: Any) -> bool:
    """Whether the system prompt contains the tool list and the last turn is a list of replies."""
    turns = conversations.turns_of(record)
    return turns is not None and MARKER in conversations.first_text(turns) and type(turns[-1].get("value")) is list


def read(record: Any, tools: Sequence[Tool] | None, source: str) -> list[Trajectory]:
    """The item in `record`: the history and the first acceptable reply."""
    alternatives: list[str] = []

    def read_turn(turn: dict[str, Any]) -> list[Message]:
        if type(turn.get("value")) is not list:
            return conversations.react_message(turn)
        if not turn["value"] or not all(type(text) is str for text in turn["value"]):
            raise FieldError("value", "expected a list of at least one text")
        alternatives.extend(turn["value"][1:])
        return [conversations.react_reply(turn["value"][0], label_of(turn))]

    trajectory = read_turns(record, tools, source, read_turn)
    if alternatives:
        trajectory.extra["alternatives"] = alternatives
    return [trajectory]


def read_turns(record: Any, tools: Sequence[Tool] | None, source: str, read_turn: Any) -> Trajectory:
    """The trajectory in `record`, with the tools listed in its first turn; `read_turn` converts a turn to messages."""
    if type(record) is not dict:
        raise expected("object", record)
    messages = conversations.messages_of(record, read_turn)
    listed = conversations.tools_in(messages[0].content or "", MARKER, "conversations[0].value") if messages else None
    listed = choose_tools(listed, tools, messages)
    return Trajectory(messages, listed, id_or_none(record, "id"), source, extra=rest(record, _KNOWN))
