"""Verdicts on and scores of predictions; golds can be scored in the same way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from tltrain import dialects
from tltrain.dialects import Parsed, react
from tltrain.errors import ConfigError, DataError
from tltrain.evaluation.metrics import ItemResult, outcomes, percentage, shares
from tltrain.evaluation.predictions import Prediction
from tltrain.evaluation.scores import Score
from tltrain.formats.fields import FieldError, each, expected, list_of, record_of, text_of
from tltrain.formats.jsonio import loads
from tltrain.formats.replies import call_of
from tltrain.judging import CATEGORIES, Verdict, judge, standard_error
from tltrain.judging.equality import Placeholder
from tltrain.testsets import test_set
from tltrain.testsets.base import Item, TestSet
from tltrain.testsets.episodes import Episode
from tltrain.testsets.simulator import Simulator
from tltrain.testsets.tooleyes import how_it_ended, replay

PROTOCOLS = ("default", "paper")
MISSING = "no prediction"


def protocols(test: TestSet) -> tuple[str, ...]:
    """The protocols that the test set is scored by."""
    return PROTOCOLS if test.PAPER_PROTOCOL else PROTOCOLS[:1]


def load(bench: str, split: str | None, folder: Path) -> TestSet:
    """A split of a test set; `split` may be None if it has only one.

    Raises:
        ConfigError: no such test set or split.
        DataError: its files are missing or cannot be read.
    """
    kind = test_set(bench)
    if split is None and len(kind.SPLITS) > 1:
        raise ConfigError(f"{bench} has several splits: name one of {', '.join(kind.SPLITS)} with --split")
    return kind.load(folder, split or kind.SPLITS[0])


def judge_prediction(test: TestSet, item: Item, prediction: Prediction) -> Verdict:
    """The verdict on a reply, with the golds that the test set gives for it."""
    return _judge_parsed(test, item, prediction.parse(item.prompt.tools))


def _judge_parsed(test: TestSet, item: Item, parsed: Parsed) -> Verdict:
    return judge(parsed, test.golds_for(item, parsed.calls), item.prompt.tools)


def item_result(test: TestSet, item: Item, prediction: Prediction) -> ItemResult:
    """Everything that metrics are computed from."""
    if test.MULTI_STEP:
        return ItemResult(episode=replay(prediction.to_json(), item, prediction.dialect))
    parsed = prediction.parse(item.prompt.tools)
    accurate = not parsed.broken and test.is_accurate(item, parsed.calls) if test.OWN_ACCURACY else None
    return ItemResult(_judge_parsed(test, item, parsed), accurate)


def with_verdicts(test: TestSet, predictions: Iterable[Prediction]) -> list[Prediction]:
    """The predictions with their verdicts, and with what reports show of the items."""
    items = {item.index: item for item in test.items}
    return [_with_verdict(test, items[prediction.index], prediction) for prediction in predictions]


def _with_verdict(test: TestSet, item: Item, prediction: Prediction) -> Prediction:
    messages = [message for message in item.prompt.messages if message.role != "system"]
    query = next((message.content for message in messages if message.role == "user"), "")
    if test.MULTI_STEP:
        return replace(prediction, query=query, verdict={"VA": prediction.valid})
    result = item_result(test, item, prediction)
    assert result.verdict is not None, "only multi-step sets have no verdicts"
    return replace(
        prediction,
        item=item.prompt.id if item.prompt.id and not test.SPLITS else f"{test.split} {item.index}",
        query=query,
        prompt=(messages[-1].content or "") if messages else "",
        gold=tuple(
            [{"name": call.name, "arguments": _as_json(call.arguments)} for call in gold] for gold in item.golds
        ),
        verdict=result.verdict.to_json() | outcomes(result),
    )


def _as_json(value: Any) -> Any:
    """Gold arguments as JSON: a placeholder for any value becomes a remark in parentheses."""
    if isinstance(value, Placeholder):
        return f"({value.value})"
    if isinstance(value, dict):
        return {key: _as_json(inner) for key, inner in value.items()}
    return [_as_json(inner) for inner in value] if isinstance(value, list | tuple) else value


def score(test: TestSet, predictions: Sequence[Prediction], model: str = "", protocol: str = "default") -> Score:
    """The score of a split, over the items that have a prediction."""
    if protocol == "paper":
        return _paper_score(test, predictions, model)
    items = {item.index: item for item in test.items}
    results = [item_result(test, items[prediction.index], prediction) for prediction in predictions]
    row: dict[str, Any] = {"model": model} if model else {}
    row |= {"bench": test.name, "split": test.split, "items": test.total, **measured(results)}
    row |= {"protocol": "default"} if test.PAPER_PROTOCOL else {}
    row |= {"truncated": sum(prediction.truncated for prediction in predictions), "warnings": test.warnings}
    if test.MULTI_STEP:
        return Score(**row, **episode_counts([result.episode for result in results if result.episode]))
    verdicts = [result.verdict for result in results if result.verdict is not None]
    found = Counter(verdict.category for verdict in verdicts)
    with_call = [any(items[prediction.index].golds[0]) for prediction in predictions]
    parts: dict[str, Any] = {}
    for name, wanted in (("gold_with_call", True), ("gold_without_call", False)):
        parts[name] = measured([result for result, call in zip(results, with_call, strict=True) if call == wanted])
    names = ("n", "TS", "PI", "CF")
    return Score(
        **row,
        errors={category: found[category] for category in CATEGORIES if category != "right" and found[category]},
        calls={name: sum(getattr(verdict.counts, name) for verdict in verdicts) for name in names},
        **parts,
        unparseable=sum(verdict.finding == "format" for verdict in verdicts),
        repaired={str(index): reason for index, reason in test.repaired.items() if index in items},
        excluded=_excluded(test),
    )


def measured(results: Sequence[ItemResult]) -> dict[str, Any]:
    """`n`, the metrics in per cent, and their standard errors."""
    # A set without items still shows its metrics, as zeros: a share of no calls is None instead.
    found = shares(results) or dict.fromkeys(("TS", "PI", "CF"), (0, 1))
    return {
        "n": len(results),
        **{name: percentage(*share) for name, share in found.items()},
        "se": {name: standard_error(*share) for name, share in found.items()},
    }


def _excluded(test: TestSet) -> dict[str, str]:
    return {str(index): reason for index, reason in test.excluded.items()}


def episode_counts(episodes: Sequence[Episode]) -> dict[str, Any]:
    """What the percentages of a multi-step set are shares of.

    Raises:
        ConfigError: the calls were executed by different executors.
    """
    executors = sorted({episode.executor.name for episode in episodes})
    if len(executors) > 1:
        raise ConfigError(f"episodes of several executors cannot be scored together: {', '.join(executors)}")
    calls = [call for episode in episodes for call in episode.calls]
    return {
        "queries": len(episodes),
        "calls": len(calls),
        "misread": sum(call.misread is not None for call in calls),
        "failed": sum(call.failed is not None for call in calls),
        "ends": dict(sorted(Counter(map(how_it_ended, episodes)).items())),
        "unparseable": sum(episode.unreadable for episode in episodes),
        "executor": executors[0] if executors else None,
    }


def _paper_score(test: TestSet, predictions: Sequence[Prediction], model: str) -> Score:
    """The score by the published protocol of the set.

    That protocol reads ReAct texts: other replies are read in their dialect and written in that form.
    """
    items = {item.index: item for item in test.items}
    found = [
        test.paper_outcome(item := items[prediction.index], _as_react(item, prediction)) for prediction in predictions
    ]
    n, read = len(found), sum(outcome.readable for outcome in found)
    held = {name: sum(getattr(outcome, name) for outcome in found) for name in ("TS", "PI", "CF")}
    named: dict[str, Any] = {"model": model} if model else {}
    shown: dict[str, Any] = {name: percentage(count, max(n, 1)) for name, count in held.items()}
    lost = zip(("format", "tool_wrong", "argument_names", "value"), pairwise((n, read, *held.values())), strict=True)
    return Score(
        **named,
        bench=test.name,
        split=test.split,
        protocol="paper",
        items=test.total,
        n=n,
        **shown,
        se={name: standard_error(count, max(n, 1)) for name, count in held.items()},
        errors={kind: before - after for kind, (before, after) in lost if before > after},
        calls={"n": n, **held},
        unparseable=n - read,
        repaired={},
        excluded=_excluded(test),
        warnings=test.warnings,
    )


def _as_react(item: Item, prediction: Prediction) -> str:
    if prediction.calls is None and prediction.dialect == "react":
        return prediction.text
    parsed = prediction.parse(item.prompt.tools)
    try:
        return "" if parsed.broken else react.format(parsed.calls, parsed.text)
    except ValueError:
        return ""


def score_golds(test: TestSet, protocol: str = "default", dialect: str | None = None) -> Score:
    """The score of each item's first gold, written as a reply in the dialect (in the paper's protocol: as written in
    the file) and read back as any prediction is.

    Raises:
        ConfigError: the set has no golds; unknown protocol or dialect.
        DataError: a gold cannot be written in the dialect.
    """
    _check_protocol(test, protocol)
    if test.MULTI_STEP:
        raise ConfigError(f"{test.name} has no golds to score")
    written = [_gold_prediction(item, protocol, dialect or test.DIALECT) for item in test.items]
    return score(test, written, protocol=protocol).model_copy(update={"protocol": protocol, "missing": 0})


def _gold_prediction(item: Item, protocol: str, dialect: str) -> Prediction:
    if protocol == "paper":
        return Prediction(item.index, item.extra["texts"][0], "react")
    try:
        return Prediction(item.index, dialects.get(dialect).format(item.golds[0]), dialect)
    except ValueError as error:
        raise DataError(f"the gold of item {item.index} cannot be written in {dialect}: {error}") from None


def score_file(
    test: TestSet,
    lines: Iterable[str],
    protocol: str = "default",
    dialect: str | None = None,
    path: str | Path | None = None,
) -> Score:
    """The score of given predictions, one JSON object a line: `{"index": 0, "text": "<raw reply>"}`.

    A line may name its `dialect` (else `dialect`, else the set's own), and may have `calls`, a list of
    `{"name", "arguments"}`, instead of text. Items without a line count as wrong and as `missing`, not as unparseable;
    lines for excluded items are ignored. For a multi-step set a line has `replies`, each a text or an object
    with `text` or `calls`; with `feedback` and `executor` nothing is executed again.

    Raises:
        ConfigError: unknown protocol or dialect; several executors.
        DataError: a line cannot be read, or its index is unknown or repeated, with path and line.
    """
    _check_protocol(test, protocol)
    dialect = dialect or test.DIALECT
    dialects.get(dialect)
    given = _read(test, lines, dialect, path)
    absent = Prediction(-1, dialect=dialect, finished=False, reason=MISSING)
    if test.MULTI_STEP:
        absent = Prediction(-1, dialect=dialect, replies=(), feedback=(), executor=_executor(test, given, dialect))
    predictions = [given.get(item.index) or replace(absent, index=item.index) for item in test.items]
    row = score(test, predictions, protocol=protocol).model_copy(update={"protocol": protocol, "missing": 0})
    missing = sum(item.index not in given for item in test.items)
    return _with_missing(row, missing) if missing else row


def _with_missing(row: Score, missing: int) -> Score:
    """The row of a file that lacks predictions: what it counts as unparseable is only what is there."""
    if row.queries is not None:  # an episode without replies has no unparseable one
        return row.model_copy(update={"missing": missing})
    errors = row.errors | {"format": row.errors["format"] - missing, "missing": missing}
    found = {category: number for category, number in errors.items() if number}
    return row.model_copy(update={"missing": missing, "unparseable": row.unparseable - missing, "errors": found})


def _executor(test: TestSet, given: Mapping[int, Prediction], dialect: str) -> str:
    """The executor of the given episodes, for the queries that have none."""
    items = {item.index: item for item in test.items}
    known = (
        replay(prediction.to_json(), items[index], dialect) for index, prediction in given.items() if index in items
    )
    return next((episode.executor.name for episode in known), Simulator.name)


def _check_protocol(test: TestSet, protocol: str) -> None:
    if protocol not in PROTOCOLS:
        raise ConfigError(f"--protocol {protocol}: expected one of {', '.join(PROTOCOLS)}")
    if protocol not in protocols(test):
        raise ConfigError(f"--protocol paper: {test.name} has the default protocol only")


def _read(test: TestSet, lines: Iterable[str], dialect: str, path: str | Path | None) -> dict[int, Prediction]:
    """The predictions by index, checked."""
    given: dict[int, Prediction] = {}
    items = {item.index: item for item in test.items}
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            prediction = _parse_line(loads(text), test.total, dialect, test.MULTI_STEP)
            if prediction.index in given:
                raise FieldError("index", f"{prediction.index} already has an earlier line")
            if test.MULTI_STEP and prediction.index in items:
                replay(prediction.to_json(), items[prediction.index], dialect)  # so that its mistakes have a line
        except (DataError, ConfigError) as error:
            raise DataError(error.reason if isinstance(error, DataError) else str(error), path, number) from None
        given[prediction.index] = prediction
    return given


def _parse_line(value: Any, total: int, dialect: str, multi_step: bool) -> Prediction:
    record = record_of(value)
    index = record.get("index")
    if type(index) is not int:
        raise FieldError("index", "expected a whole number")
    if not 0 <= index < total:
        raise FieldError("index", f"there is no item {index}: the split has {total}, from 0")
    line: dict[str, Any] = {"index": index, "dialect": text_of({"dialect": dialect, **record}, "dialect")}
    dialects.get(line["dialect"])
    if multi_step:
        return Prediction(**_multi_step_fields(record, line))
    if record.get("calls") is not None:
        line["calls"] = each(_call, record["calls"], "calls")
    line["text"] = text_of({"text": "", **record} if "calls" in line else record, "text")
    if type(record.get("finished", True)) is not bool:
        raise expected("true or false", record["finished"], "finished")
    return Prediction.from_json(line | {name: record[name] for name in ("finished", "reason") if name in record})


def _multi_step_fields(record: dict[str, Any], line: dict[str, Any]) -> dict[str, Any]:
    """Replies as given; a line of a single reply may have its `text` or `calls` itself."""
    single = "replies" not in record and record.keys() & {"text", "calls"}
    line["replies"] = (record,) if single else tuple(list_of(record, "replies"))
    line |= {name: record[name] for name in ("feedback", "failed") if record.get(name) is not None}
    return line | {"executor": text_of(record, "executor") if "executor" in record else None}


def _call(value: Any) -> dict[str, Any]:
    call = call_of(value)
    return {"name": call.name, "arguments": call.arguments}
