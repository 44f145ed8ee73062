"""ToolEyes (Ye et al. 2024, arXiv 2401.00741): multi-step queries to a library of tools, without golds.

The exact definitions of its metrics are not public; these are ours, in per cent. DE: share of calls that contradict the
documentation (an unknown tool or argument, or a missing required argument). CE: share of calls that agree with it but
fail when executed. VA: share of queries that end in a valid answer, that is a call of `finish` whose answer is not a
refusal. Scores name the executor: figures of different executors are not comparable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from tltrain import dialects, formats
from tltrain.audit.feedback import feedback_failed
from tltrain.dialects import Parsed
from tltrain.errors import ConfigError
from tltrain.formats.fields import FieldError, each, expected, record_of, text_of
from tltrain.formats.replies import call_of
from tltrain.judging.replies import TRUNCATED
from tltrain.testsets.base import Item, TestSet
from tltrain.testsets.checksums import version_warnings
from tltrain.testsets.episodes import Episode, Executor, Outcome
from tltrain.testsets.prompts import without_react_instructions
from tltrain.testsets.simulator import Simulator
from tltrain.trajectory import Call

FILE = "tooleyes/scenario_data_zero_processed.json"
PIN = "a86e878200d14e58be468a266f068f03955512bd61ff4fd481d26897a403f3e8"
"""SHA-256 of the file, at commit c818fcebe017951570a25e552a7984e40093fd52 of Junjie-Ye/ToolEyes."""

_UNABLE = r"(?:cannot|can ?not|can['’]t|could ?n[o'’]t|could not|am not able to|was not able to|(?:am |was )?unable to)"
_REFUSAL = re.compile(
    rf"\bcannot handle the task\b|\A[^.!?]{{0,80}}\b(?:I|we)(?:['’]m)? {_UNABLE}(?: \w+ly)? "
    r"(?:handle|complete|answer|provide|help|assist|fulfil+|process|perform|access|retrieve|find|get|do|solve)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ToolEyes(TestSet):
    """ToolEyes' queries, whose calls are executed."""

    SPLITS = ("all",)
    DIALECT = "react"
    MULTI_STEP = True

    @classmethod
    def load(cls, folder: Path, split: str) -> Self:
        """The queries in `folder`, without golds. `extra` holds the `path` in the tool library and the `scenario`.

        The tool list and the ReAct instructions are removed from the system text: the model's own template and dialect
        provide both.

        Raises:
            ConfigError: no such split.
            DataError: the file is missing or cannot be read.
        """
        if split not in cls.SPLITS:
            raise ConfigError(f"tooleyes has no split {split!r}: expected {', '.join(cls.SPLITS)}")
        items = [
            Item(
                index, replace(query, messages=tuple(map(without_react_instructions, query.messages))), (), query.extra
            )
            for index, query in enumerate(formats.read(folder / FILE, format="tooleyes"))
        ]
        return cls("tooleyes", split, items, len(items), warnings=version_warnings("tooleyes", [folder / FILE], PIN))


def is_valid(answer: str | None) -> bool:
    """Whether the final answer to a query is neither empty nor a refusal."""
    return answer is not None and bool(answer.strip()) and _REFUSAL.search(answer) is None


def how_it_ended(episode: Episode) -> str:
    """`answer`, `empty_answer`, `refusal` or `no_answer`."""
    if episode.answer is None:
        return "no_answer"
    return "answer" if is_valid(episode.answer) else "refusal" if episode.answer.strip() else "empty_answer"


def replay(record: Mapping[str, Any], item: Item, dialect: str, executor: Executor | None = None) -> Episode:
    """The episode of a saved query, `{"replies": [...]}`.

    A reply is its raw text, in the record's `dialect` (default: `dialect`), or an object with `text` or `calls`. If the
    record has `feedback`, the feedback of every call except `finish`, and `executor`, the name of its source, nothing
    is executed; otherwise the calls are executed by `executor` (default: the simulator). `failed` says for each
    feedback why its call failed, or null; without it the text of the feedback decides.

    Raises:
        ConfigError: unknown dialect.
        DataError: a field is of the wrong type, or there is less feedback than calls.
    """
    name, recorded = text_of({"executor": "recorded", **record}, "executor"), None
    executor = executor or Simulator()
    if record.get("feedback") is not None and name != Simulator.name:
        executor, recorded = _Recorded(name), _outcomes(record)
    written = dialects.get(text_of({"dialect": dialect, **record}, "dialect"))
    replies = each(lambda value: _reply(value, written, item), list(record["replies"]), "replies")
    episode = Episode(item, executor, max_steps=max(len(replies), 1), recorded=recorded)
    for parsed in replies:
        if episode.prompt is None:
            break
        episode.reply(parsed)
    return episode


def _outcomes(record: Mapping[str, Any]) -> list[Outcome]:
    """The saved outcomes. A process may fail without a text that says so, hence `failed`."""
    texts = each(_text, list(record["feedback"]), "feedback")
    if record.get("failed") is None:
        return [Outcome(text, feedback_failed(text)) for text in texts]
    failed = each(_text_or_none, list(record["failed"]), "failed")
    if len(failed) != len(texts):
        raise FieldError("failed", f"expected an element for each of {len(texts)} in feedback, got {len(failed)}")
    return [Outcome(text, reason) for text, reason in zip(texts, failed, strict=True)]


class _Recorded:
    """Stands in for the executor of a saved episode."""

    def __init__(self, name: str) -> None:
        self.name = name

    def execute(self, call: Call, item: Item) -> Any:
        raise AssertionError("a recorded episode is not executed")


def _reply(value: Any, dialect: dialects.Dialect, item: Item) -> Parsed:
    if isinstance(value, str):
        return dialect.parse(value, item.prompt.tools)
    record = record_of(value)
    if record.get("finished") is False:
        return Parsed((), text_of({"text": "", **record}, "text"), TRUNCATED)
    if "calls" in record:
        return Parsed(each(call_of, record["calls"], "calls"), text_of({"text": "", **record}, "text"))
    return dialect.parse(text_of(record, "text"), item.prompt.tools)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise expected("text", value)
    return value


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)
