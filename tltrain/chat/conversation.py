"""A conversation: the user asks, the model calls, calls are executed, results go back, the model answers.

Each turn is a series of events, which pages and files show: texts and calls of the replies, and how the turn ended.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tltrain.audit.feedback import feedback_failed
from tltrain.audit.schema import SchemaFault, schema_faults
from tltrain.chat.text import without_surrogates
from tltrain.chat.toolbox import Toolbox, error_result
from tltrain.dialects import Dialect, Parsed
from tltrain.evaluation.inference import InferenceBackend
from tltrain.evaluation.predictions import Prediction
from tltrain.judging.replies import parse_reply
from tltrain.trajectory import Arguments, Call, Message, Trajectory

MAX_CALLS = 10
"""Calls that are executed for one user turn, unless another limit is given."""

End = Literal["answer", "unparseable", "truncated", "refused", "call limit"]
"""How a turn ended: with an answer; with a reply that cannot be parsed, or was truncated at the length limit; without
one, as the prompt was too long or an endpoint refused it; or with more calls than are executed for a turn."""


@dataclass(frozen=True, slots=True)
class TextEvent:
    """Text beside the calls of a reply."""

    text: str

    def to_json(self) -> dict[str, Any]:
        """The event by the names of its fields."""
        return {"event": "text", "text": self.text}


@dataclass(frozen=True, slots=True)
class CallEvent:
    """A call with its verdict on form and its result. `faults` is empty where the call satisfies its specification;
    `failed` says why the result reports failure, None where it does not."""

    call: Call
    faults: tuple[SchemaFault, ...]
    result: str
    failed: str | None

    def to_json(self) -> dict[str, Any]:
        """The event by the names of its fields."""
        faults = [{"category": fault.category, "message": fault.message} for fault in self.faults]
        called = {"name": self.call.name, "arguments": self.call.arguments, "well_formed": not faults}
        return {"event": "call", **called, "faults": faults, "result": self.result, "failed": self.failed}


@dataclass(frozen=True, slots=True)
class EndEvent:
    """The end of a turn. `text` is the answer, or the reply that cannot be parsed; `reason` says why there is no
    answer."""

    end: End
    text: str = ""
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The event by the names of its fields."""
        return {"event": "end", "end": self.end, "text": self.text, "reason": self.reason}


Event = TextEvent | CallEvent | EndEvent


@dataclass(frozen=True, slots=True)
class Speaker:
    """A model that can be asked for replies. `dialect_name` is how it writes calls, `dialect` reads them."""

    name: str
    backend: InferenceBackend
    dialect_name: str
    dialect: Dialect

    def reply(self, prompt: Trajectory) -> tuple[Prediction, Parsed]:
        """The next reply and its calls."""
        predictions = [one for batch in self.backend.complete({0: prompt}, frozenset()) for one in batch]
        (reply,) = predictions
        if reply.calls is not None or not reply.finished:
            return reply, _valid_unicode(reply.parse(prompt.tools))
        return reply, _valid_unicode(parse_reply(reply.text, True, self.dialect, prompt.tools))


@dataclass
class Conversation:
    """The turns of one model with one set of tools.

    Args:
        speaker: the model.
        toolbox: the tools, and what executes their calls.
        max_calls: calls that are executed for one user turn; further ones are answered with an error and end the turn.
        system: system prompt; None: that of the toolbox.
    """

    speaker: Speaker
    toolbox: Toolbox
    max_calls: int = MAX_CALLS
    system: str | None = None
    messages: list[Message] = field(default_factory=list)
    """Messages of the finished turns, the system prompt first."""

    def __post_init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget every turn. What calls changed in the tools' world stays changed."""
        system = self.toolbox.system if self.system is None else self.system
        self.messages = [Message("system", system)] if system else []

    def ask(self, query: str) -> Iterator[Event]:
        """The events of a turn, as they happen; the last is an `EndEvent`.

        The turn is kept as a whole or not at all: one that is interrupted, or that the model could not be asked to
        answer (`refused`), leaves no trace in `messages`.
        """
        turn = [Message("user", without_surrogates(query))]
        calls = 0
        while True:
            reply, parsed = self.speaker.reply(self._trajectory([*self.messages, *turn]))
            if reply.reason is not None:
                yield EndEvent("refused", reason=reply.reason)
                return
            if parsed.broken is not None or not parsed.calls:
                turn.append(_last_message(parsed))
                self.messages += turn
                yield _end(reply, parsed)
                return
            if parsed.text:
                yield TextEvent(parsed.text)
            numbered = [replace(call, id=self._call_id(turn, at)) for at, call in enumerate(parsed.calls)]
            turn.append(Message("assistant", parsed.text or None, tuple(numbered)))
            for call in numbered:
                calls += 1
                event = self._execute(call, calls)
                turn.append(Message("tool", event.result, call_id=call.id, name=call.name))
                yield event
            if calls > self.max_calls:
                self.messages += turn
                yield EndEvent("call limit", reason=f"more than {self.max_calls} calls in one turn")
                return

    def trajectory(self) -> Trajectory | None:
        """The finished turns as training data, None if there is none. Replies that cannot be parsed have weight 0, so
        that no trainer learns them."""
        if not any(message.role == "user" for message in self.messages):
            return None
        found = self._trajectory(self.messages)
        return replace(found, id=f"try-{uuid.uuid4().hex[:12]}", extra={"model": self.speaker.name})

    def _execute(self, call: Call, number: int) -> CallEvent:
        faults = tuple(schema_faults(call, self.toolbox.tools))
        if number > self.max_calls:
            result = error_result(f"not executed: the limit is {self.max_calls} calls in one turn")
        else:
            result = self.toolbox.execute(call)
        return CallEvent(call, faults, result, feedback_failed(result))

    def _call_id(self, turn: Sequence[Message], index: int) -> str:
        """Nine letters and digits, as the strictest chat templates want ids."""
        made = sum(len(message.calls) for message in (*self.messages, *turn))
        return f"call{made + index:05d}"

    def _trajectory(self, messages: Sequence[Message]) -> Trajectory:
        return Trajectory(tuple(messages), self.toolbox.tools)


def _valid_unicode(parsed: Parsed) -> Parsed:
    """Without lone surrogates, which JSON escapes can bring into texts and arguments."""
    calls = tuple(replace(call, name=without_surrogates(call.name), arguments=_valid(call.arguments))
                  for call in parsed.calls)  # fmt: skip
    return replace(parsed, calls=calls, text=without_surrogates(parsed.text))


def _valid(arguments: Arguments) -> Arguments:
    found: Arguments = json.loads(without_surrogates(json.dumps(arguments, ensure_ascii=False)))
    return found


def _last_message(parsed: Parsed) -> Message:
    return Message("assistant", parsed.text, weight=None if parsed.broken is None else 0)


def _end(reply: Prediction, parsed: Parsed) -> EndEvent:
    if parsed.broken is None:
        return EndEvent("answer", parsed.text)
    return EndEvent("truncated" if reply.truncated else "unparseable", parsed.text, parsed.broken)


def shown_arguments(call: Call) -> str:
    """The arguments as they are shown: `name=value, …` with values as JSON, or the text that is no object."""
    if not isinstance(call.arguments, dict):
        return call.arguments
    return ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in call.arguments.items())
