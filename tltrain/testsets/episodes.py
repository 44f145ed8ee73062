"""Multi-step queries: the calls of each reply are executed, and their feedback becomes part of the next prompt.

A call that contradicts the documentation is not executed; its feedback is what is wrong with it. `finish` ends an
episode, and `ask_to_user` gets no answer: both belong to the protocol, not to the executor.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tltrain.audit.schema import schema_faults
from tltrain.dialects import Parsed
from tltrain.errors import DataError
from tltrain.testsets.base import Item
from tltrain.trajectory import Call, Message, Trajectory

MAX_STEPS = 10
"""Maximum number of replies to a query."""
FINISH, ASK = "finish", "ask_to_user"

_NO_USER = json.dumps({"answer": "The user has nothing to add. Go on with what is known."})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of executing a call: the feedback, and why the call failed (None if it succeeded)."""

    feedback: str
    failed: str | None = None


class Executor(Protocol):
    """Executes calls that agree with their tool's documentation."""

    @property
    def name(self) -> str:
        """Part of the score: figures of different executors are not comparable."""
        ...

    def execute(self, call: Call, item: Item) -> Outcome:
        """Execute a call of one of the item's tools."""
        ...


@dataclass(frozen=True, slots=True)
class EpisodeCall:
    """A call of an episode: how it contradicts the documentation (`misread`), and why its execution failed."""

    call: Call
    misread: str | None = None
    failed: str | None = None


class Episode:
    """The progress of a query: get `prompt`, pass the model's reply to `reply`, and repeat until `prompt` is None.

    Args:
        item: the query and its tools.
        executor: executes the calls.
        max_steps: maximum number of replies.
        recorded: saved outcomes of every call except `finish`, in order; then nothing is executed.
    """

    def __init__(
        self, item: Item, executor: Executor, max_steps: int = MAX_STEPS, recorded: Sequence[Outcome] | None = None
    ) -> None:
        self.item, self.executor, self.max_steps = item, executor, max_steps
        self.calls: list[EpisodeCall] = []
        self.outcomes: list[Outcome] = []
        """The outcome of every call except `finish`, in order."""
        self.answer: str | None = None
        """The argument of `finish`; None if it was not called."""
        self.unreadable = 0
        """Number of replies whose calls cannot be parsed."""
        self.steps = 0
        self._messages = list(item.prompt.messages)
        self._recorded = recorded
        self._ended = False

    @property
    def prompt(self) -> Trajectory | None:
        """The tools and all messages so far; None after the end of the episode."""
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
        # The strictest chat templates require ids of nine letters and digits.
        calls = [replace(call, id=f"call{first + number:05d}") for number, call in enumerate(parsed.calls)]
        self._messages.append(Message("assistant", parsed.text or None, tuple(calls)))
        self._ended = not calls
        for call in calls:
            self._execute(call)
            if self._ended:
                return

    def _execute(self, call: Call) -> None:
        misread = self._misread(call)
        if call.name == FINISH and misread is None:
            self.calls.append(EpisodeCall(call))
            self.answer, self._ended = _answer(call), True
            return
        outcome = self._outcome(call, misread)
        self.calls.append(EpisodeCall(call, misread, None if misread else outcome.failed))
        self.outcomes.append(outcome)
        self._messages.append(Message("tool", outcome.feedback, call_id=call.id, name=call.name))

    def _misread(self, call: Call) -> str | None:
        """How the call contradicts the tools and their argument names; bad values are left to the executor."""
        faults = schema_faults(call, self.item.prompt.tools)
        return next((fault.message for fault in faults if fault.category != "bad_value"), None)

    def _outcome(self, call: Call, misread: str | None) -> Outcome:
        if self._recorded is not None:
            return self._recorded_outcome(call)
        if misread is not None:
            return Outcome(json.dumps({"error": misread}, ensure_ascii=False))
        return Outcome(_NO_USER) if call.name == ASK else self.executor.execute(call, self.item)

    def _recorded_outcome(self, call: Call) -> Outcome:
        assert self._recorded is not None
        if len(self.outcomes) >= len(self._recorded):
            raise DataError(f"feedback: {call.name} is call {len(self.outcomes) + 1}, and has none")
        outcome = self._recorded[len(self.outcomes)]
        return replace(outcome, failed=None) if call.name == ASK else outcome


def _answer(call: Call) -> str:
    arguments = call.arguments if isinstance(call.arguments, dict) else {}
    answer = arguments.get("answer", next(iter(arguments.values()), ""))
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
