"""The part of the audit page that compares two data sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tltrain.audit.compare import compare
from tltrain.audit.statistics import ENDINGS
from tltrain.report import charts
from tltrain.report.audit_data_page import SHORT_CATEGORIES, per_cent
from tltrain.report.page import Cell, Column, Section, figure, join, number, paragraph, side_by_side, table

Audit = Mapping[str, Any]


def comparison_sections(a: Audit, b: Audit) -> list[Section]:
    """Measures, failure categories and endings of both data sets."""
    values = compare(a, b)
    legend = f"A is {values['a']}, B is {values['b']}; lengths are in {a['lengths']['unit']}."
    columns = [Column("measure"), Column("A", True), Column("B", True), Column("B − A", True)]
    rows = [_row(row) for row in values["measures"]]
    categories = _charts(
        "Failed calls by category, in {}",
        "Calls, and their share of all calls.",
        [(each["calls"]["by_category"], each["calls"]["total"]) for each in (a, b)],
        SHORT_CATEGORIES,
    )
    endings = _charts(
        "How trajectories end, in {}",
        "Trajectories, and their share of all.",
        [(each["trajectories"]["endings"], each["trajectories"]["total"]) for each in (a, b)],
        ENDINGS,
    )
    return [Section("Side by side", join([paragraph(legend), table(columns, rows), categories, endings]))]


def both_headlines(a: Audit, b: Audit) -> str:
    """The headline for two data sets: the failure rate of each."""
    names = [Path(str(each.get("data", side))).name for each, side in ((a, "A"), (b, "B"))]
    if names[0] == names[1]:
        names = ["A", "B"]
    parts = (
        f"{name}: {per_cent(each['calls']['share'])} of {each['calls']['total']:,} calls failed"
        for name, each in zip(names, (a, b), strict=True)
    )
    return "; ".join(parts) + "."


def _charts(title: str, caption: str, both: list[tuple[Mapping[str, int], int]], names: Mapping[str, str]) -> Markup:
    """Bar charts of A and of B on the same scale; categories that occur in neither are omitted."""
    kinds = [name for name in names if any(counts[name] for counts, _ in both)]
    if not kinds:
        return Markup()
    limit = 100 * max(counts[name] / max(total, 1) for counts, total in both for name in kinds)
    drawn = [
        charts.bars(
            title.format(side), {names[name]: counts[name] for name in kinds}, total=total, limit=limit, colour=colour
        )
        for side, colour, (counts, total) in zip("AB", (1, 2), both, strict=True)
    ]
    return side_by_side(
        *(figure(chart, caption, title=title.format(side)) for side, chart in zip("AB", drawn, strict=True))
    )


def _row(row: Mapping[str, Any]) -> list[Any]:
    cells = [_cell(row[side], row["unit"]) for side in ("a", "b")]
    return [row["name"], *cells, _cell(row["difference"], row["unit"], signed=True)]


def _cell(value: float | None, unit: str, signed: bool = False) -> Cell:
    if value is None:
        return Cell("–", "")
    sign = "+" if signed and value > 0 else ""
    text = number(value) if unit == "number" else f"{100 * value:.1f} points" if signed else per_cent(value)
    return Cell((sign + text).replace("-", "\u2212"), value)
