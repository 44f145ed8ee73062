"""The part of the audit page that sets two data sets side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from tltrain.audit.compare import compare
from tltrain.audit.page_data import SHORT_CATEGORIES, per_cent
from tltrain.audit.statistics import ENDINGS
from tltrain.report import charts
from tltrain.report.page import Cell, Column, Section, figure, join, number, paragraph, side_by_side, table

Audit = Mapping[str, Any]


def comparison_sections(a: Audit, b: Audit) -> list[Section]:
    """Measures, categories and endings of both."""
    values = compare(a, b)
    legend = f"A is {values['a']}, B is {values['b']}. The parts below the comparison are about A."
    columns = [Column("measure"), Column("A", True), Column("B", True), Column("B less A", True)]
    rows = [
        [
            row["name"],
            *(_cell(row[side], row["unit"]) for side in ("a", "b")),
            _cell(row["difference"], row["unit"], signed=True),
        ]
        for row in values["measures"]
    ]
    parts = [paragraph(legend), side_by_side(table(columns, rows), _categories(values)), _endings(values)]
    return [Section("Side by side", join(parts))]


def _categories(values: Mapping[str, Any]) -> Markup:
    rows = [row for row in values["by_category"] if row["a"] or row["b"]]
    groups = {SHORT_CATEGORIES[row["category"]]: _bars(row) for row in rows}
    return _figure("Calls that failed, by what went wrong", groups, "Per cent of all calls of each data set.")


def _endings(values: Mapping[str, Any]) -> Markup:
    groups = {ENDINGS[row["ending"]]: _bars(row) for row in values["endings"] if row["a"] or row["b"]}
    return _figure("How trajectories end", groups, "Per cent of all trajectories of each data set.")


def _figure(title: str, groups: Mapping[str, Mapping[str, tuple[float, None]]], caption: str) -> Markup:
    if not groups:
        return Markup()
    limit = max(1.0, *(value for group in groups.values() for value, _ in group.values()))
    return figure(charts.grouped_bars(title, groups, colours={"A": 1, "B": 2}, limit=limit), caption, title=title)


def _bars(row: Mapping[str, Any]) -> dict[str, tuple[float, None]]:
    return {"A": (100 * row["a"], None), "B": (100 * row["b"], None)}


def _cell(value: float | None, unit: str, signed: bool = False) -> Cell:
    if value is None:
        return Cell("–", "")
    sign = "+" if signed and value > 0 else ""
    text = per_cent(value) if unit == "share" else number(value)
    return Cell((sign + text).replace("-", "\u2212"), value)
