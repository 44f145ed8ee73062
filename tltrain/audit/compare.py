"""Two audits compared: the same measures of both, and their differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tltrain.audit.calls import CATEGORIES
from tltrain.audit.counting import share
from tltrain.audit.statistics import ENDINGS

Audit = Mapping[str, Any]
Unit = Literal["number", "share"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One row of a comparison: `take` extracts its value from an audit, None where the audit has no such value."""

    name: str
    unit: Unit
    take: Callable[[Audit], float | None]


def _of_trajectories(part: Callable[[Audit], float]) -> Callable[[Audit], float]:
    return lambda audit: share(part(audit), audit["trajectories"]["total"])


MEASURES = (
    Measure("trajectories", "number", lambda audit: audit["trajectories"]["total"]),
    Measure("calls", "number", lambda audit: audit["calls"]["total"]),
    Measure("calls per trajectory", "number", lambda audit: audit["trajectories"]["calls_each"]["mean"]),
    Measure("calls that failed", "share", lambda audit: audit["calls"]["share"]),
    Measure(
        "calls of inferred tools, form not judged",
        "share",
        lambda audit: share(audit["calls"]["form_not_judged"], audit["calls"]["total"]),
    ),
    Measure(
        "failed calls recovered from in the next reply",
        "share",
        lambda audit: share(audit["calls"]["put_right"], audit["calls"]["failed"]),
    ),
    Measure(
        "trajectories with a failed call", "share", _of_trajectories(lambda a: a["trajectories"]["with_failed_calls"])
    ),
    Measure("trajectories without an answer", "share", _of_trajectories(lambda a: a["trajectories"]["without_answer"])),
    Measure("exact copies", "share", _of_trajectories(lambda a: a["duplicates"]["exact"]["copies"])),
    Measure("near duplicates", "share", _of_trajectories(lambda a: a["duplicates"]["near"]["copies"])),
    Measure("tools offered", "number", lambda audit: audit["tools"]["distinct"]),
    Measure("tools per trajectory", "number", lambda audit: audit["tools"]["per_trajectory"]["mean"]),
    Measure("tools never called", "number", lambda audit: audit["tools"]["never_used"]["number"]),
    Measure("pairs of confusable tools", "number", lambda audit: audit["tools"]["confusable"]["pairs"]),
    Measure("invalid tool specifications", "number", lambda audit: audit["tools"]["invalid"]["number"]),
    Measure("length, median", "number", lambda audit: audit["lengths"]["p50"]),
    Measure("length, 95th percentile", "number", lambda audit: audit["lengths"]["p95"]),
    Measure("length of the replies that MAE masks", "share", lambda audit: audit["mae"]["share_masked"]),
    Measure("agreement of the two failure detectors", "share", lambda audit: _agreement(audit)),
)


def compare(a: Audit, b: Audit) -> dict[str, Any]:
    """Two audits measure by measure.

    Returns:
        `a`, `b`: the names of the data. `measures`: rows `{name, unit, a, b, difference}` (b minus a; shares from 0 to
        1; None where an audit has no such value). `by_category`: rows `{category, a, b, difference}`, shares of all
        calls. `endings`: rows `{ending, a, b, difference}`, shares of the trajectories.
    """
    return {
        "a": a.get("data", "A"),
        "b": b.get("data", "B"),
        "measures": [
            {"name": measure.name, "unit": measure.unit, **_pair(measure.take(a), measure.take(b))}
            for measure in MEASURES
        ],
        "by_category": [{"category": name, **_pair(_category(a, name), _category(b, name))} for name in CATEGORIES],
        "endings": [{"ending": name, **_pair(_ending(a, name), _ending(b, name))} for name in ENDINGS],
    }


def _pair(a: float | None, b: float | None) -> dict[str, float | None]:
    return {"a": a, "b": b, "difference": None if a is None or b is None else round(b - a, 4)}


def _category(audit: Audit, name: str) -> float:
    return share(audit["calls"]["by_category"][name], audit["calls"]["total"])


def _ending(audit: Audit, name: str) -> float:
    return share(audit["trajectories"]["endings"][name], audit["trajectories"]["total"])


def _agreement(audit: Audit) -> float | None:
    readers = audit["readers"]
    return readers["agreement"] if readers["read_by_both"] else None
