"""`tltrain score`: a file of predictions, or the golds in their place, to the row of a split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Any

from tltrain import dialects
from tltrain.dialects import react
from tltrain.errors import ConfigError, DataError
from tltrain.evaluation import outcomes
from tltrain.evaluation.selection import loader
from tltrain.formats.fields import FieldError, arguments_of, each, expected, record_of, text_of
from tltrain.formats.jsonio import loads
from tltrain.judging import Counts
from tltrain.testsets import tooleyes
from tltrain.testsets.base import Item, TestSet

Line = dict[str, Any]

PROTOCOLS = ("default", "paper")
MISSING = "no prediction"


def load(bench: str, split: str | None, folder: Path) -> TestSet:
    """A split of a test set; None where it has but one.

    Raises:
        ConfigError: no such test set or split.
        DataError: its files are missing or cannot be read.
    """
    module = loader(bench)
    if split is None and len(module.SPLITS) > 1:
        raise ConfigError(f"{bench} has several splits: name one of {', '.join(module.SPLITS)} with --split")
    return module.load(folder, split or module.SPLITS[0])


def score_file(
    test: TestSet,
    lines: Iterable[str],
    protocol: str = "default",
    dialect: str | None = None,
    path: str | Path | None = None,
) -> dict[str, Any]:
    """The row of predictions, one JSON object a line: `{"index": 0, "text": "<raw reply>"}`.

    A line may say its `dialect` (else `dialect`, else the set's own), and may have `calls`, a list of
    `{"name", "arguments"}`, in place of text. Items without a line count as wrong and not parseable, and as `missing`;
    lines for excluded items are not looked at. For ToolEyes see `tooleyes.score_predictions`.

    Raises:
        ConfigError: unknown protocol or dialect.
        DataError: a line cannot be read, or its index is unknown or doubled, with path and line.
    """
    _check_protocol(test, protocol)
    dialect = dialect or loader(test.name).DIALECT
    dialects.get(dialect)
    if outcomes.is_stepwise(test):
        return _told(test, protocol) | tooleyes.score_predictions(test, lines, dialect, path=path)
    given = _read(test, lines, dialect, path)
    absent = {"text": "", "dialect": dialect, "finished": False, "reason": MISSING}
    wanted = [given.get(item.index) or {"index": item.index, **absent} for item in test.items]
    missing = sum(item.index not in given for item in test.items)
    return _row(test, wanted, protocol) | {"missing": missing}


def score_golds(test: TestSet, protocol: str = "default", dialect: str | None = None) -> dict[str, Any]:
    """The row of each item's first gold, written as a reply in the dialect (in the paper's protocol: as it stands in
    the file) and read back as any prediction is.

    Raises:
        ConfigError: the set has no golds; unknown protocol or dialect.
        DataError: a gold cannot be written in the dialect.
    """
    _check_protocol(test, protocol)
    if outcomes.is_stepwise(test):
        raise ConfigError(f"{test.name} has no golds to score")
    dialect = dialect or loader(test.name).DIALECT
    written = [_gold_line(item, protocol, dialect) for item in test.items]
    return _row(test, written, protocol) | {"missing": 0}


def paper_row(test: TestSet, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The row of checked lines by the published protocol of the set, whose module has a function `paper`.

    That protocol reads ReAct texts: other replies are read in their dialect and written in that form.
    """
    items = {item.index: item for item in test.items}
    paper = loader(test.name).paper  # type: ignore[attr-defined]
    found = [paper(item := items[line["index"]], _as_react(item, line)) for line in lines]
    n = len(found)
    held = {name: sum(getattr(outcome, name) for outcome in found) for name in ("TS", "PI", "CF")}
    read = sum(outcome.readable for outcome in found)
    shares = {name: count / max(n, 1) for name, count in held.items()}
    lost = zip(("format", "tool_wrong", "argument_names", "value"), pairwise((n, read, *held.values())), strict=True)
    return _told(test, "paper") | {
        "items": test.total,
        "n": n,
        **{name: 100 * share for name, share in shares.items()},
        "se": {name: 100 * sqrt(share * (1 - share) / max(n, 1)) for name, share in shares.items()},
        "errors": {kind: before - after for kind, (before, after) in lost if before > after},
        "calls": asdict(Counts(n, **held)),
        "unparseable": n - read,
        "repaired": {},
        "excluded": {str(index): reason for index, reason in test.excluded.items()},
        "warnings": test.warnings,
    }


def _row(test: TestSet, lines: Sequence[Line], protocol: str) -> dict[str, Any]:
    return paper_row(test, lines) if protocol == "paper" else _told(test, protocol) | outcomes.score(test, lines)


def _told(test: TestSet, protocol: str) -> dict[str, Any]:
    return {"bench": test.name, "split": test.split, "protocol": protocol}


def _check_protocol(test: TestSet, protocol: str) -> None:
    if protocol not in PROTOCOLS:
        raise ConfigError(f"--protocol {protocol}: expected one of {', '.join(PROTOCOLS)}")
    if protocol == "paper" and not hasattr(loader(test.name), "paper"):
        raise ConfigError(f"--protocol paper: {test.name} has the default protocol only")


def _gold_line(item: Item, protocol: str, dialect: str) -> Line:
    if protocol == "paper":
        return {"index": item.index, "text": item.extra["texts"][0], "dialect": "react"}
    try:
        text = dialects.get(dialect).format(item.golds[0])
    except ValueError as error:
        raise DataError(f"the gold of item {item.index} cannot be written in {dialect}: {error}") from None
    return {"index": item.index, "text": text, "dialect": dialect}


def _as_react(item: Item, line: Mapping[str, Any]) -> str:
    if "calls" not in line and line["dialect"] == "react":
        return str(line["text"])
    parsed = outcomes.read_line(line, item.prompt.tools)
    try:
        return "" if parsed.broken else react.format(parsed.calls, parsed.text)
    except ValueError:
        return ""


def _read(test: TestSet, lines: Iterable[str], dialect: str, path: str | Path | None) -> dict[int, Line]:
    """The lines by index, checked."""
    given: dict[int, Line] = {}
    for number, text in enumerate(lines, 1):
        if text.strip():
            try:
                line = _line(loads(text), test.total, dialect)
                if line["index"] in given:
                    raise FieldError("index", f"{line['index']} stands on an earlier line already")
            except (DataError, ConfigError) as error:
                raise DataError(error.reason if isinstance(error, DataError) else str(error), path, number) from None
            given[line["index"]] = line
    return given


def _line(value: Any, total: int, dialect: str) -> Line:
    record = record_of(value)
    index = record.get("index")
    if type(index) is not int:
        raise FieldError("index", "expected a whole number")
    if not 0 <= index < total:
        raise FieldError("index", f"there is no item {index}: the split has {total}, from 0")
    line: Line = {"index": index, "dialect": text_of({"dialect": dialect, **record}, "dialect")}
    dialects.get(line["dialect"])
    if record.get("calls") is not None:
        line["calls"] = each(_call, record["calls"], "calls")
    line["text"] = text_of({"text": "", **record} if "calls" in line else record, "text")
    if type(record.get("finished", True)) is not bool:
        raise expected("true or false", record["finished"], "finished")
    told = {name: record[name] for name in ("finished", "reason") if name in record}
    return line | told


def _call(value: Any) -> dict[str, Any]:
    record = record_of(value)
    return {"name": text_of(record, "name"), "arguments": arguments_of(record.get("arguments"))}
