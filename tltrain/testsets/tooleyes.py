"""ToolEyes (Ye et al. 2024, arXiv 2401.00741): queries over one tool library each, of several steps, without golds.

Its exact definitions are not public, these are ours, in per cent. DE: of all calls, those that misread the
documentation: a tool or argument that was not given, a required one left out. CE: of all calls, those that agreed with
it and failed when executed. VA: of all queries, those that ended in a valid answer, a call of `finish` whose answer is
no refusal. The row names the executor: figures of different ones are not comparable.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

from tltrain import dialects, formats
from tltrain.dialects import Parsed
from tltrain.downloads.checksums import warnings_for
from tltrain.errors import ConfigError, DataError
from tltrain.evaluation.own_splits import CUT
from tltrain.formats.fields import FieldError, arguments_of, each, expected, list_of, record_of, text_of
from tltrain.formats.jsonio import loads
from tltrain.testsets.base import Item, TestSet
from tltrain.testsets.episodes import Episode, Executor
from tltrain.testsets.prompts import without_form
from tltrain.testsets.simulator import Simulator
from tltrain.trajectory import Call

SPLITS = ("all",)
DIALECT = "react"
FILE = "tooleyes/scenario_data_zero_processed.json"
PIN = "a86e878200d14e58be468a266f068f03955512bd61ff4fd481d26897a403f3e8"
"""SHA-256 of the file, at commit c818fcebe017951570a25e552a7984e40093fd52 of Junjie-Ye/ToolEyes."""

_UNABLE = r"(?:cannot|can ?not|can['’]t|could ?n[o'’]t|could not|am not able to|was not able to|(?:am |was )?unable to)"
_REFUSAL = re.compile(
    rf"\bcannot handle the task\b|\A[^.!?]{{0,80}}\b(?:I|we)(?:['’]m)? {_UNABLE}(?: \w+ly)? "
    r"(?:handle|complete|answer|provide|help|assist|fulfil+|process|perform|access|retrieve|find|get|do|solve)\b",
    re.IGNORECASE,
)


def load(folder: Path, split: str) -> TestSet:
    """The queries in `folder`; there are no golds, `extra` has the `path` of the tool library and the `scenario`.

    The system text is given without tool list and ReAct form, which a model's own template and dialect provide.

    Raises:
        ConfigError: no such split.
        DataError: the file is missing or cannot be read.
    """
    if split not in SPLITS:
        raise ConfigError(f"tooleyes has no split {split!r}: expected {', '.join(SPLITS)}")
    items = [
        Item(index, replace(one, messages=tuple(map(without_form, one.messages))), (), one.extra)
        for index, one in enumerate(formats.read(folder / FILE, format="tooleyes"))
    ]
    return TestSet("tooleyes", split, items, len(items), warnings=warnings_for("tooleyes", [folder / FILE], PIN))


def score(episodes: Sequence[Episode]) -> dict[str, Any]:
    """DE, CE and VA with what they are shares of, binomial standard errors, and the kinds of what went wrong. Shares of
    nothing are None: a model that calls no tool has not read their documentation well.

    Raises:
        ConfigError: the episodes have different executors.
    """
    names = sorted({episode.executor.name for episode in episodes})
    if len(names) > 1:
        raise ConfigError(f"episodes of several executors cannot be scored together: {', '.join(names)}")
    calls = [call for episode in episodes for call in episode.calls]
    shares = {
        "DE": (sum(call.misread is not None for call in calls), len(calls)),
        "CE": (sum(call.failed is not None for call in calls), len(calls)),
        "VA": (sum(is_valid(episode.answer) for episode in episodes), len(episodes)),
    }
    ends = Counter(_end(episode) for episode in episodes)
    return {
        "n": len(episodes),
        **{name: 100 * count / of if of else None for name, (count, of) in shares.items()},
        "se": {name: _standard_error(count, of) for name, (count, of) in shares.items()},
        "queries": len(episodes),
        "calls": len(calls),
        "misread": shares["DE"][0],
        "failed": shares["CE"][0],
        "ends": dict(sorted(ends.items())),
        "unparseable": sum(episode.unreadable for episode in episodes),
        "executor": names[0] if names else None,
    }


def is_valid(answer: str | None) -> bool:
    """Whether a query's final answer says something and is no refusal."""
    return answer is not None and bool(answer.strip()) and _REFUSAL.search(answer) is None


def score_predictions(
    test: TestSet,
    lines: Iterable[str],
    dialect: str | None = None,
    executor: Executor | None = None,
    path: str | Path | None = None,
) -> dict[str, Any]:
    """The row of saved episodes, one JSON object a line: `{"index": 0, "replies": [...]}`.

    A reply is its raw text, or an object with `text` or `calls`; a line of one reply may have these itself. The line's
    `dialect` says how it is written, else `dialect`. With `feedback`, a list of the texts that every call but `finish`
    was answered with, and `executor`, the name of what answered, nothing is executed again. Other lines are played
    through `executor`, or the simulator. Queries without a line ended without an answer, and are counted as `missing`.

    Raises:
        ConfigError: unknown dialect; episodes of several executors.
        DataError: a line cannot be read, or its index is unknown or doubled, with path and line.
    """
    items = {item.index: item for item in test.items}
    played: dict[int, Episode] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                episode = _play(record_of(loads(line)), items, dialect or DIALECT, executor or Simulator())
                if episode.item.index in played:
                    raise FieldError("index", f"{episode.item.index} stands on an earlier line already")
                played[episode.item.index] = episode
            except DataError as error:
                raise DataError(error.reason, path, number) from None
    known = next(iter(played.values())).executor if played else executor or Simulator()
    missing = [Episode(item, known) for index, item in items.items() if index not in played]
    return score([*played.values(), *missing]) | {
        "bench": test.name,
        "split": test.split,
        "items": test.total,
        "missing": len(missing),
        "warnings": test.warnings,
    }


class _Recorded:
    """Stands for the executor that answered when the episode was saved."""

    def __init__(self, name: str) -> None:
        self.name = name

    def execute(self, call: Call, item: Item) -> Any:
        raise AssertionError("a recorded episode is not executed")


def _play(record: dict[str, Any], items: dict[int, Item], dialect: str, executor: Executor) -> Episode:
    index = record.get("index")
    if type(index) is not int:
        raise expected("number", index, "index")
    if index not in items:
        raise FieldError("index", f"the set has no item {index}")
    item, recorded = items[index], None
    name = text_of({"executor": "recorded", **record}, "executor")
    if record.get("feedback") is not None and name != Simulator.name:
        executor, recorded = _Recorded(name), each(_text, record["feedback"], "feedback")
    written = dialects.get(text_of({"dialect": dialect, **record}, "dialect"))
    said = [record] if "replies" not in record and record.keys() & {"text", "calls"} else list_of(record, "replies")
    replies = each(lambda value: _reply(value, written, item), said, "replies")
    episode = Episode(item, executor, max_steps=max(len(replies), 1), recorded=recorded)
    for parsed in replies:
        if episode.prompt is None:
            break
        episode.reply(parsed)
    return episode


def _reply(value: Any, dialect: dialects.Dialect, item: Item) -> Parsed:
    if isinstance(value, str):
        return dialect.parse(value, item.prompt.tools)
    record = record_of(value)
    if record.get("finished") is False:
        return Parsed((), text_of({"text": "", **record}, "text"), CUT)
    if "calls" in record:
        return Parsed(each(_call, record["calls"], "calls"), text_of({"text": "", **record}, "text"))
    return dialect.parse(text_of(record, "text"), item.prompt.tools)


def _call(value: Any) -> Call:
    record = record_of(value)
    return Call(text_of(record, "name"), arguments_of(record.get("arguments")))


def _text(value: Any) -> str:
    if type(value) is not str:
        raise expected("text", value)
    return value


def _end(episode: Episode) -> str:
    if episode.answer is None:
        return "no_answer"
    return "answer" if is_valid(episode.answer) else "refusal" if episode.answer.strip() else "empty_answer"


def _standard_error(count: int, of: int) -> float | None:
    return 100 * sqrt(count / of * (1 - count / of) / of) if of else None
