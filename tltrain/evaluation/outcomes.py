"""From the lines of a prediction file to verdicts and a row of `scores.json`, by the one judge."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from math import sqrt
from typing import Any

from tltrain import dialects
from tltrain.dialects import Parsed
from tltrain.evaluation.own_splits import CUT
from tltrain.evaluation.selection import loader
from tltrain.judging import Verdict, judge, summarize
from tltrain.judging.equality import Placeholder
from tltrain.testsets.base import Gold, Item, TestSet
from tltrain.testsets.tooleyes import score_predictions
from tltrain.trajectory import Call, Tool

Line = Mapping[str, Any]


def is_stepwise(test: TestSet) -> bool:
    """Whether a query has several steps, whose calls are executed, and no golds."""
    return any(not item.golds for item in test.items)


def read_line(line: Line, tools: Sequence[Tool]) -> Parsed:
    """The calls of a saved reply; one that is not finished is not parseable."""
    if not line.get("finished", True):
        return Parsed((), line["text"], line.get("reason", CUT))
    if "calls" in line:
        return Parsed(tuple(Call(call["name"], call["arguments"]) for call in line["calls"]), line["text"])
    return dialects.get(line["dialect"]).parse(line["text"], tools)


def judge_line(test: TestSet, item: Item, line: Line) -> Verdict:
    """The verdict on a saved reply."""
    parsed = read_line(line, item.prompt.tools)
    return judge(parsed, golds_for(test, item, parsed), item.prompt.tools)


def golds_for(test: TestSet, item: Item, parsed: Parsed) -> Sequence[Gold]:
    """Acceptable replies, as the test set says with regard to this one."""
    resolve: Callable[..., tuple[Gold, ...]] | None = getattr(loader(test.name), "resolve", None)
    return item.golds if resolve is None else resolve(item, parsed.calls)


def judged(test: TestSet, lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The lines with their verdicts, and what reports and comparisons show of the items."""
    items = {item.index: item for item in test.items}
    return [_judged(test, items[line["index"]], line) for line in lines]


def _judged(test: TestSet, item: Item, line: Line) -> dict[str, Any]:
    asked = [message for message in item.prompt.messages if message.role != "system"]
    query = next((message.content for message in asked if message.role == "user"), "")
    shown = {
        "item": f"{test.split} {item.index}",
        "query": query,
        "prompt": asked[-1].content if asked else "",
        "gold": [[{"name": call.name, "arguments": _plain(call.arguments)} for call in gold] for gold in item.golds],
    }
    if is_stepwise(test):
        return {**line, "query": query, "verdict": {"VA": line["valid"]}}
    verdict = judge_line(test, item, line).to_json()
    accurate = _accurate(test, item, line)
    return {**line, **shown, "verdict": verdict | ({} if accurate is None else {"accuracy": accurate})}


def _accurate(test: TestSet, item: Item, line: Line) -> bool | None:
    """Whether the reply is right by the set's own rule, where it has one."""
    accuracy: Callable[..., bool] | None = getattr(loader(test.name), "accuracy", None)
    if accuracy is None:
        return None
    parsed = read_line(line, item.prompt.tools)
    return not parsed.broken and accuracy(item, parsed.calls)


def _plain(value: Any) -> Any:
    """As JSON: what stands for any value is told in words."""
    if isinstance(value, Placeholder):
        return f"({value.value})"
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def score(test: TestSet, lines: Sequence[Line]) -> dict[str, Any]:
    """The row of a split in the default protocol, without the model's name."""
    if is_stepwise(test):
        found = score_predictions(test, map(json.dumps, lines))
        return {"bench": test.name, "split": test.split, "items": test.total, **found, "warnings": test.warnings}
    items = {item.index: item for item in test.items}
    verdicts = [judge_line(test, items[line["index"]], line) for line in lines]
    accurate = [_accurate(test, items[line["index"]], line) for line in lines]
    found = asdict(summarize(verdicts))
    if None not in accurate:
        share = sum(map(bool, accurate)) / max(len(accurate), 1)
        found["accuracy"] = 100 * share
        found["se"]["accuracy"] = 100 * sqrt(share * (1 - share) / max(len(accurate), 1))
    return {
        "bench": test.name,
        "split": test.split,
        "items": test.total,
        **found,
        "unparseable": sum(verdict.finding == "format" for verdict in verdicts),
        "repaired": {str(index): reason for index, reason in test.repaired.items() if index in items},
        "excluded": _excluded(test),
        "warnings": test.warnings,
    }


def _excluded(test: TestSet) -> dict[str, str]:
    return {str(index): reason for index, reason in test.excluded.items()}
