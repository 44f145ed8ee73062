"""Predictions: what a model replied to an item, as saved in `predictions/*.jsonl`, one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from tltrain import dialects
from tltrain.dialects import Parsed
from tltrain.files import read_json_lines
from tltrain.judging.replies import TRUNCATED, parse_reply
from tltrain.trajectory import Call, Tool

CallRecord = dict[str, Any]
"""`{"name": …, "arguments": …}`."""


@dataclass(frozen=True)
class Prediction:
    """A model's reply to one item, or its replies where the calls of a reply are executed (multi-step sets).

    Fields that are None are omitted in JSON.
    """

    index: int
    """Position of the item in its test set."""
    text: str = ""
    """The raw reply, without its stop token."""
    dialect: str = "hermes"
    """How calls are written in `text`."""
    finished: bool = True
    """False where the reply was truncated at the length limit, or there is none: then nothing in it is read."""
    _: KW_ONLY
    calls: tuple[CallRecord, ...] | None = None
    """The calls, where an endpoint returned them apart from the text."""
    reason: str | None = None
    """Why there is no reply: the prompt is too long, or an endpoint rejected the request."""
    too_long: bool | None = None
    """True where the prompt left no room for a reply."""
    sampled: bool | None = None
    """True where an endpoint cannot decode greedily."""
    tokens: int | None = None
    """Tokens of the reply, or of all replies."""
    prompt_tokens: int | None = None
    """Tokens of the prompt, where an endpoint reports them."""
    replies: tuple[CallRecord, ...] | None = None
    """Multi-step sets: the replies in order, each with `text`, `finished` and, where given, `calls`."""
    feedback: tuple[str, ...] | None = None
    """Multi-step sets: the feedback of every call except `finish`."""
    failed: tuple[str | None, ...] | None = None
    """Multi-step sets: for each feedback why the call failed; null where it did not."""
    executor: str | None = None
    """Multi-step sets: what executed the calls."""
    valid: bool | None = None
    """Multi-step sets: whether the query ended in a valid answer."""
    item: str | None = None
    """A readable name of the item."""
    query: str | None = None
    """The user's first message."""
    prompt: str | None = None
    """The last message of the prompt."""
    gold: tuple[Any, ...] | None = None
    """The acceptable replies, each a list of calls."""
    verdict: dict[str, Any] | None = None
    """What the judge found: `TS`, `PI`, `CF`, `reward`, `category`, …; `VA` for multi-step sets."""

    def to_json(self) -> dict[str, Any]:
        """The fields that are set, in their order. A multi-step prediction has replies instead of a text."""
        hidden = {"text", "finished"} if self.replies is not None else set()
        named = ((entry.name, getattr(self, entry.name)) for entry in fields(self))
        return {name: value for name, value in named if value is not None and name not in hidden}

    @classmethod
    def from_json(cls, line: Mapping[str, Any], index: int | None = None) -> Prediction:
        """A saved line, also one of an earlier version: unknown fields are ignored, and a line without an index, as
        `tltrain run` used to write, gets `index`."""
        known = {entry.name: line[entry.name] for entry in fields(cls) if line.get(entry.name) is not None}
        listed = ("calls", "replies", "feedback", "failed", "gold")
        known |= {name: tuple(known[name]) for name in listed if name in known}
        return cls(**({"index": index} | known))

    def parse(self, tools: Iterable[Tool]) -> Parsed:
        """The calls of the reply; one that is not finished is not parseable."""
        if not self.finished:
            return Parsed((), self.text, self.reason or TRUNCATED)
        if self.calls is not None:
            return Parsed(tuple(Call(call["name"], call["arguments"]) for call in self.calls), self.text)
        return parse_reply(self.text, True, dialects.get(self.dialect), tuple(tools))

    @property
    def truncated(self) -> bool:
        """Whether a reply was cut off at the length limit."""
        if self.replies is not None:
            return any(isinstance(reply, dict) and reply.get("finished") is False for reply in self.replies)
        return not self.finished and self.reason is None

    @cached_property
    def outcomes(self) -> dict[str, bool]:
        """Which metrics hold, as far as the verdict says."""
        return {name: value for name, value in (self.verdict or {}).items() if type(value) is bool}


def no_reply(index: int, dialect: str, reason: str, too_long: bool = False) -> Prediction:
    """The prediction of an item that got no reply: it counts as wrong, with the reason."""
    return Prediction(index, dialect=dialect, finished=False, tokens=0, reason=reason, too_long=too_long or None)


def prediction_path(folder: Path, model: str, bench: str, split: str) -> Path:
    """The file of a model's predictions on a split."""
    return folder / "predictions" / f"{model}.{bench}.{split.replace('/', '-')}.jsonl"


def saved_predictions(folder: Path, model: str, bench: str, split: str) -> list[Prediction]:
    """The predictions in a run directory; empty if there is no file.

    Earlier versions of `tltrain run` named the file `MODEL.SPLIT.jsonl`: it is read where the present name is missing.
    """
    path = prediction_path(folder, model, bench, split)
    earlier = folder / "predictions" / f"{model}.{split}.jsonl"
    return list(read_predictions(path if path.exists() or not earlier.exists() else earlier))


def read_predictions(path: Path) -> Iterator[Prediction]:
    """The predictions of a file, without a last line that a kill cut off; none where the file is missing."""
    return (Prediction.from_json(line, index) for index, line in enumerate(read_json_lines(path)))
