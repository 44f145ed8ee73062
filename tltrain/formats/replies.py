"""Shared by several formats: calls as bare objects, feedback without ids, weights of replies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tltrain.formats.fields import FieldError, arguments_of, id_or_none, record_of, rest, text_of
from tltrain.trajectory import Call, Message, Trajectory

_CALL = frozenset(("name", "arguments", "id"))


def call_of(value: Any) -> Call:
    """The call in an object `{"name", "arguments"}` with an optional `id`."""
    record = record_of(value)
    name, arguments = text_of(record, "name"), arguments_of(record.get("arguments"))
    return Call(name, arguments, id_or_none(record, "id"), rest(record, _CALL))


def with_feedback(messages: tuple[Message, ...], start: int = 0) -> Iterator[tuple[int, Message, list[Message]]]:
    """Index, message and feedback of the messages from `start` on; the feedback of a reply is in the order of its
    calls.

    Raises FieldError if order alone does not tell which call the feedback answers: an earlier call has none, or it
    answers no call.
    """
    index = start
    while index < len(messages):
        end = index + 1
        while messages[index].calls and end < len(messages) and messages[end].role == "tool":
            end += 1
        yield index, messages[index], _in_order(messages[index:end], index)
        index = end


def _in_order(part: tuple[Message, ...], index: int) -> list[Message]:
    answers = [site.feedback for site in Trajectory(part).call_sites()][: len(part) - 1]
    ordered = [feedback for feedback in answers if feedback is not None]
    if len(ordered) < len(part) - 1:
        raise FieldError(f"messages[{index}]", "without ids it is ambiguous which calls the feedback answers")
    return ordered


def thought_before(message: Message) -> str:
    """The thought of a message as the `<think>` block before its text; empty if there is no thought."""
    return "" if message.thought is None else f"<think>\n{message.thought}\n</think>\n\n"


def weight_to_write(message: Message, failed: bool) -> float | None:
    """The weight to write for a message: 0 for a failed reply, else its own label."""
    return 0 if failed else message.weight
