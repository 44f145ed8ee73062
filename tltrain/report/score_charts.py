"""Charts of scores, and the colours of models, the same on every page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from tltrain.arms import ARMS
from tltrain.evaluation.scores import Score
from tltrain.report import charts
from tltrain.report.gold_kinds import shares
from tltrain.report.page import figure

_COLOURS = {arm.name: arm.colour for arm in ARMS.values() if arm.colour is not None}


def colours(names: Sequence[str]) -> dict[str, int]:
    """An index into `charts.PALETTE` for each model, the same in all charts of a page."""
    free = [number for number in range(1, len(charts.PALETTE)) if number not in _COLOURS.values()]
    others = [name for name in names if name not in _COLOURS]
    return _COLOURS | {name: free[index % len(free)] for index, name in enumerate(others)}


def metric_charts(tests: Mapping[str, Sequence[Score]], shades: Mapping[str, int]) -> list[Markup]:
    """A chart for each test, without figures of too few items."""
    figures = []
    for test, rows in tests.items():
        groups: dict[str, dict[str, tuple[float, float | None]]] = {}
        for row in rows:
            for name, share in shares(row).items():
                if not share.few:
                    groups.setdefault(name, {})[row.model] = (share.value, share.error)
        if groups:
            chart = charts.grouped_bars(f"Scores on {test}, per cent", groups, colours=shades)
            figures.append(figure(chart, title=test))
    return figures
