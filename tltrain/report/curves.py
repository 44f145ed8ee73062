"""Curves from the lines of `metrics.jsonl`: their points, and their ends as text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from tltrain.report.run_files import finite

Curve = tuple[list[float], list[float]]
"""Values on the horizontal axis, and on the vertical axis; NaN where there is none."""
ENDS = "first and last tenth"


def curve(lines: Sequence[Mapping[str, Any]], x: str, y: str) -> Curve:
    """The values of two fields in every line."""
    return [finite(line.get(x)) for line in lines], [finite(line.get(y)) for line in lines]


def drawable(curves: Mapping[str, Curve]) -> bool:
    """Whether any curve has two points; a single one is a number, not a chart."""
    return any(sum(map(math.isfinite, map(sum, zip(*one, strict=True)))) > 1 for one in curves.values())


def first_to_last(values: Sequence[float], percent: bool = False) -> str:
    """The means of the first and the last tenth of the finite values, and how many values are not finite.

    A single value is shown as it is; `percent`: the values are shares from 0 to 1.
    """
    ends = tenths(values)
    if ends is None:
        return "no finite value"
    shown = [f"{100 * end:.0f} %" if percent else f"{end:.3g}".replace("-", "\u2212") for end in ends]
    finite_values = sum(map(math.isfinite, values))
    text = shown[0] if finite_values == 1 and len(values) == 1 else f"{shown[0]} → {shown[1]}"
    return text if finite_values == len(values) else f"{text} ({len(values) - finite_values} not finite)"


def tenths(values: Sequence[float]) -> tuple[float, float] | None:
    """The means of the first and the last tenth of the finite values; None if there are none."""
    kept = [value for value in values if math.isfinite(value)]
    size = max(1, len(kept) // 10)
    return (fmean(kept[:size]), fmean(kept[-size:])) if kept else None


def scatter(values: Sequence[float]) -> float | None:
    """Standard deviation of a single value around the curve's trend, from differences of neighbours; None of fewer than
    three values."""
    kept = [value for value in values if math.isfinite(value)]
    if len(kept) < 3:
        return None
    squares = [(after - before) ** 2 for before, after in itertools.pairwise(kept)]
    return math.sqrt(fmean(squares) / 2)
