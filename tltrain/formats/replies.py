"""What several formats share about replies: calls as bare objects, feedback without ids, weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tltrain.formats.fields import FieldError, arguments_of, id_or_none, record_of, rest, text_of
from tltrain.trajectory import Call, Message, Trajectory

_CALL = frozenset(("name", "arguments", "id"))


def call_of(value: Any) -> Call:
    """The call of an object `{"name", "arguments"}`, with an `id` or without."""
    record = record_of(value)
    name, arguments = text_of(record, "name"), arguments_of(record.get("arguments"))
    return Call(name, arguments, id_or_none(record, "id"), rest(record, _CALL))


def with_feedback(messages: tuple[Message, ...], start: int = 0) -> Iterator[tuple[int, Message, list[Message]]]:
    """Index and message from `start` on, a reply with calls together with the feedback that follows it, in the order
    of its calls.

    Raises FieldError where order alone could not say which call a feedback answers: one before it has none, or it
    answers no call.
    """
    at = start
    while at < len(messages):
        after = at + 1
        while messages[at].calls and after < len(messages) and messages[after].role == "tool":
            after += 1
        yield at, messages[at], _in_order(messages[at:after], at)
        at = after


def _in_order(part: tuple[Message, ...], at: int) -> list[Message]:
    answers = [site.feedback for site in Trajectory(part).call_sites()][: len(part) - 1]
    ordered = [feedback for feedback in answers if feedback is not None]
    if len(ordered) < len(part) - 1:
        raise FieldError(f"messages[{at}]", "without ids it could not be said which calls the feedback answers")
    return ordered


def thought_before(message: Message) -> str:
    """A message's thought as the `<think>` block that opens its text; empty where there is none."""
    return "" if message.thought is None else f"<think>\n{message.thought}\n</think>\n\n"


def weight_after(message: Message, failed: bool) -> float | None:
    """A message's weight: 0 for a failed reply, else its own label."""
    return 0 if failed else message.weight
