"""Rows of `ablation.json`, and how their splits, metrics and numbers are written."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from tltrain.evaluation.metrics import METRICS

Row = Mapping[str, Any]
Rows = Sequence[Row]
Key = TypeVar("Key", bound=Hashable)


def grouped(rows: Rows, key: Callable[[Row], Key]) -> dict[Key, list[Row]]:
    """The rows of each key, in the order in which the keys first occur."""
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def split_name(row: Row) -> str:
    """The test set and the split that a row is about."""
    return f"{row['bench']} {row['split']}"


def metric_names(rows: Rows) -> list[str]:
    """The metrics that the rows have, in their usual order."""
    known = {row["metric"] for row in rows}
    return [name for name in METRICS if name in known]


def main_metric(rows: Rows) -> str:
    """CF, or the last metric there is."""
    names = metric_names(rows)
    return "CF" if "CF" in names or not names else names[-1]


def effect_name(row: Row) -> str:
    """The arms that an effect compares, or the part if it is a mean over pairs of arms."""
    return f"{row['part']}: mean over pairs" if row["arm"] is None else f"{row['arm']} − {row['against']}"


def signed(points: float) -> str:
    """Points with their sign and one decimal."""
    return f"{'−' if round(points, 1) < 0 else '+'}{abs(points):.1f}"


def value_text(value: Any) -> Any:
    """A value of a field in a table: 9.0 as 9, whether the file or the command line wrote it."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if is_number(value) else str(value)


def is_number(value: Any) -> bool:
    """Whether a value can be placed on an axis."""
    return isinstance(value, int | float) and not isinstance(value, bool)
