"""The metrics: one table of their names, directions, definitions and wording. To add a metric, add a row.

A metric is a share in per cent. Most hold or do not hold for an item; DE and CE are shares of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass

from tltrain.judging import Verdict
from tltrain.testsets.episodes import Episode
from tltrain.testsets.tooleyes import is_valid


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What is known of one item once its prediction has been judged."""

    verdict: Verdict | None = None
    """None for multi-step sets, which have no golds."""
    accurate: bool | None = None
    """Whether the reply is right by the set's own rule; None where the set has none."""
    episode: Episode | None = None
    """The replies and executed calls of a multi-step item."""


Share = tuple[int, int]
"""How many of how many."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: as in `scores.json` and in tables.
        description: completes "per cent of …" in legends.
        headline: a sentence part with `{}` for how many of how many.
        count: of one item, how many hold out of how many; None where the metric does not apply to the item.
        higher_is_better: the direction.
        per_item: whether it holds or does not hold for each item, so that two models can be paired.
    """

    name: str
    description: str
    headline: str
    count: Callable[[ItemResult], Share | None]
    _: KW_ONLY
    higher_is_better: bool = True
    per_item: bool = True


def _verdict(name: str) -> Callable[[ItemResult], Share | None]:
    return lambda result: None if result.verdict is None else (int(getattr(result.verdict, name)), 1)


def _accurate(result: ItemResult) -> Share | None:
    return None if result.accurate is None else (int(result.accurate), 1)


def _calls(problem: str) -> Callable[[ItemResult], Share | None]:
    def count(result: ItemResult) -> Share | None:
        if result.episode is None:
            return None
        calls = result.episode.calls
        return sum(getattr(call, problem) is not None for call in calls), len(calls)

    return count


def _valid(result: ItemResult) -> Share | None:
    return None if result.episode is None else (int(is_valid(result.episode.answer)), 1)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("TS", "the right tool, per cent of items", "picks the right tool in {}", _verdict("TS")),
        Metric(
            "PI",
            "the right tool and the same set of argument names, per cent of items",
            "names the right tool and arguments in {}",
            _verdict("PI"),
        ),
        Metric(
            "CF",
            "right tool, argument names and values, per cent of items",
            "makes the right call in {}",
            _verdict("CF"),
        ),
        Metric(
            "accuracy",
            "right by the test set's own rule, per cent of items",
            "is right by the set's own rule in {}",
            _accurate,
        ),
        Metric(
            "DE",
            "calls that misread the documentation, per cent of calls",
            "misreads the documentation in {}",
            _calls("misread"),
            higher_is_better=False,
            per_item=False,
        ),
        Metric(
            "CE",
            "calls that failed when executed, per cent of calls",
            "makes calls that fail in {}",
            _calls("failed"),
            higher_is_better=False,
            per_item=False,
        ),
        Metric(
            "VA", "queries that ended in a valid answer, per cent of queries", "reaches a valid answer in {}", _valid
        ),
    )
}
"""By name, in the order of tables."""


def outcomes(result: ItemResult) -> dict[str, bool]:
    """Whether each metric that is decided by single items holds for this one."""
    counts = {name: metric.count(result) for name, metric in METRICS.items() if metric.per_item}
    return {name: bool(share[0]) for name, share in counts.items() if share is not None}


def shares(results: Sequence[ItemResult]) -> dict[str, Share]:
    """The metrics that apply to the items: how many hold, out of how many."""
    found = {}
    for name, metric in METRICS.items():
        counts = [share for share in map(metric.count, results) if share is not None]
        if counts:
            found[name] = (sum(held for held, _ in counts), sum(of for _, of in counts))
    return found


def percentage(held: int, of: int) -> float | None:
    """Per cent; None of nothing."""
    return 100 * held / of if of else None
