"""Queries of several steps: replies go in one after another, calls are executed, and the next prompt comes out.

A call that misreads the documentation is answered with what is wrong, and not executed. `finish` ends an episode, and
nobody answers `ask_to_user`: both are the protocol's own tools, not the executor's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tltrain.audit.feedback import feedback_failed
from tltrain.audit.schema import schema_faults
from tltrain.dialects import Parsed
from tltrain.errors import DataError
from tltrain.testsets.base import Item
from tltrain.trajectory import Call, Message, Trajectory

MAX_STEPS = 10
"""Replies a model may give to one query."""
FINISH, ASK = "finish", "ask_to_user"

_NOBODY = json.dumps({"answer": "The user has nothing to add. Go on with what is known."})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What executing a call gave: the feedback, and why the call failed, None where it did not."""

    feedback: str
    failed: str | None = None


class Executor(Protocol):
    """What runs calls that agree with their tool's documentation."""

    @property
    def name(self) -> str:
        """Stands in the score, as figures of different executors are not comparable."""
        ...

    def execute(self, call: Call, item: Item) -> Outcome:
        """Run a call of a tool of the item's."""
        ...


@dataclass(frozen=True, slots=True)
class Made:
    """A call that was made. `misread` says how it disagrees with the documentation, `failed` why executing failed."""

    call: Call
    misread: str | None = None
    failed: str | None = None


class Episode:
    """One query on its way: ask `prompt`, give the answer to `reply`, until `prompt` is None.

    recorded: the feedback that every call but `finish` got when it was made, in order; nothing is executed then.
    """

    def __init__(
        self, item: Item, executor: Executor, max_steps: int = MAX_STEPS, recorded: Sequence[str] | None = None
    ) -> None:
        self.item, self.executor, self.max_steps = item, executor, max_steps
        self.calls: list[Made] = []
        self.feedback: list[str] = []
        """Of every call but `finish`, in order."""
        self.answer: str | None = None
        """What `finish` was called with."""
        self.unreadable = 0
        """Replies whose calls could not be read."""
        self.steps = 0
        self._messages = list(item.prompt.messages)
        self._recorded = recorded
        self._ended = False

    @property
    def prompt(self) -> Trajectory | None:
        """Tools and all messages so far; None where the episode has ended."""
        if self._ended or self.steps >= self.max_steps:
            return None
        return replace(self.item.prompt, messages=tuple(self._messages))

    def reply(self, parsed: Parsed) -> None:
        """Add a reply and the feedback of its calls. A reply without a call ends the episode without an answer."""
        assert self.prompt is not None, "the episode has ended"
        self.steps += 1
        if parsed.broken:
            self.unreadable += 1
            self._messages.append(Message("assistant", parsed.text))
            self._messages.append(Message("user", f"Your reply cannot be read: {parsed.broken}."))
            return
        first = len(self.calls)
        # Nine letters and digits, as the strictest chat templates want ids.
        calls = [replace(call, id=f"call{first + at:05d}") for at, call in enumerate(parsed.calls)]
        self._messages.append(Message("assistant", parsed.text or None, tuple(calls)))
        self._ended = not calls
        for call in calls:
            self._make(call)
            if self._ended:
                return

    def _make(self, call: Call) -> None:
        misread = self._misread(call)
        if call.name == FINISH and misread is None:
            self.calls.append(Made(call))
            self.answer, self._ended = _answer(call), True
            return
        outcome = self._outcome(call, misread)
        self.calls.append(Made(call, misread, None if misread else outcome.failed))
        self.feedback.append(outcome.feedback)
        self._messages.append(Message("tool", outcome.feedback, call_id=call.id, name=call.name))

    def _misread(self, call: Call) -> str | None:
        """How the call disagrees with tools and argument names; a bad value is for the executor to find."""
        faults = schema_faults(call, self.item.prompt.tools)
        return next((fault.message for fault in faults if fault.category != "bad_value"), None)

    def _outcome(self, call: Call, misread: str | None) -> Outcome:
        if self._recorded is not None:
            return self._as_recorded(call)
        if misread is not None:
            return Outcome(json.dumps({"error": misread}, ensure_ascii=False))
        return Outcome(_NOBODY) if call.name == ASK else self.executor.execute(call, self.item)

    def _as_recorded(self, call: Call) -> Outcome:
        assert self._recorded is not None
        if len(self.feedback) >= len(self._recorded):
            raise DataError(f"feedback: {call.name} is call {len(self.feedback) + 1}, and has none")
        text = self._recorded[len(self.feedback)]
        return Outcome(text, None if call.name == ASK else feedback_failed(text))


def run_episode(
    ask: Callable[[Trajectory], Parsed], item: Item, executor: Executor, max_steps: int = MAX_STEPS
) -> Episode:
    """One query from beginning to end; `ask` answers a prompt with a reply as read."""
    episode = Episode(item, executor, max_steps)
    while (prompt := episode.prompt) is not None:
        episode.reply(ask(prompt))
    return episode


def _answer(call: Call) -> str:
    arguments = call.arguments if isinstance(call.arguments, dict) else {}
    answer = arguments.get("answer", next(iter(arguments.values()), ""))
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
