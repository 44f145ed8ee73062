"""Tables of an ablation, the same in the page and in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from tltrain.arms import ARMS
from tltrain.evaluation.significance import LEVEL
from tltrain.report.ablation.rows import Row, Rows, grouped, metric_names, signed, split_name, value_text
from tltrain.report.page import Cell, Column

Labels = Mapping[str, Callable[[Row], Any]]
"""What the first cells of a row say, by the titles of their columns."""
SCORES = (
    "Per cent of the test items: the mean over random seeds ± its standard error over them, and the 95 % interval over "
    "seeds and items. TS: the right tool; PI: and its argument names; CF: and all values."
)
EFFECTS = (
    "What each part, or several together, add to the same arm without them, in points, over the seeds that all arms of "
    "a row have; a mean leaves out pairs of arms that lack seeds of the others. With one seed, the interval does not "
    "contain the variation between seeds."
)
KINDS = (
    "confusable: another tool of the prompt is easily confused with one that the gold calls, as in the audit; "
    "distinct: none is; text: the gold has no call. Effects of a part are means over the pairs of arms."
)
ERRORS = "Wrong replies by category, in per cent of the items, over all seeds."
COSTS = "Means of a run. Arms with IRM include the SFT that they start from."
_ARM: Labels = {"arm": itemgetter("arm")}
_TEST: Labels = {"test": split_name}
_KIND: Labels = {"kind": itemgetter("kind")}
_METRIC: Labels = {"metric": itemgetter("metric")}
_EFFECT: Labels = {
    **_TEST,
    **_METRIC,
    "part": itemgetter("part"),
    "arm": lambda row: f"mean over {row['pairs']} pairs" if row["arm"] is None else row["arm"],
    "against": itemgetter("against"),
}


@dataclass(frozen=True)
class Table:
    """Columns and rows. A cell is a text, a number, None, or a `Cell` that sorts by a number."""

    columns: list[Column]
    rows: list[list[Any]]

    def without(self, title: str) -> Table:
        """The table without a column."""
        kept = [index for index, column in enumerate(self.columns) if column.title != title]
        return Table([self.columns[index] for index in kept], [[row[index] for index in kept] for row in self.rows])


def scores_table(rows: Rows) -> Table:
    """The scores of the arms on a test."""
    return _scores(rows, {**_ARM, "what it is": lambda row: ARMS[row["arm"]].title})


def kinds_table(rows: Rows) -> Table:
    """The scores of the arms on each kind of item."""
    return _scores(rows, {**_TEST, **_KIND, **_ARM})


def effects_table(rows: Rows) -> Table:
    """Effects of a part, or of several together."""
    return _differences(rows, _EFFECT)


def kind_effects_table(rows: Rows) -> Table:
    """Effects on each kind of item."""
    return _differences(rows, {**_KIND, **_EFFECT})


def sweep_scores_table(sweep: Row) -> Table:
    """The scores at each value of the field."""
    return _scores(sweep["scores"], {**_value(sweep), **_TEST, **_ARM})


def changes_table(sweep: Row) -> Table:
    """What each value of the field changes against the one before it."""
    before: Labels = {"before": lambda row: value_text(row["before"])}
    return _differences(sweep["changes"], {**_value(sweep), **before, **_TEST, **_ARM, **_METRIC})


def sweep_kinds_table(sweep: Row) -> Table:
    """The scores on each kind of item at each value of the field."""
    return _scores(sweep["kinds"], {**_value(sweep), **_TEST, **_KIND, **_ARM})


def sweep_effects_table(sweep: Row) -> Table:
    """The effects at each value of the field."""
    return _differences(sweep["effects"], {**_value(sweep), **_EFFECT})


def errors_table(rows: Rows) -> Table:
    """The error categories of each arm on each test."""
    categories = list(dict.fromkeys(name for row in rows for name in row["categories"]))
    shares = ([f"{row['categories'].get(name, 0.0):.1f}" for name in categories] for row in rows)
    cells = [[split_name(row), row["arm"], *own] for row, own in zip(rows, shares, strict=True)]
    return Table(_columns(["test", "arm"], categories), cells)


def costs_table(rows: Rows) -> Table:
    """The minutes and replies of each arm."""
    minutes = {"SFT minutes": "sft", "PPO minutes": "ppo", "evaluation minutes": "eval"}
    replies = {
        "replies trained on": "trained",
        "masked": "masked",
        "sampled by PPO": "sampled",
        "evaluated": "evaluated",
    }
    cells = [
        [
            row["arm"],
            row["runs"],
            *(_number(row["minutes"][name], 1) for name in minutes.values()),
            *(_number(row["replies"][name], 0) for name in replies.values()),
        ]
        for row in rows
    ]
    return Table(_columns(["arm"], ["runs", *minutes, *replies]), cells)


def runs_table(rows: Rows) -> Table:
    """Where each run was made, and how long it took."""
    cells = [[row["run"], (row["commit"] or "")[:10] or None, row["machine"], f"{row['minutes']:.1f}"] for row in rows]
    return Table(_columns(["run", "commit", "machine"], ["minutes"]), cells)


def _value(sweep: Row) -> Labels:
    return {sweep["field"]: lambda row: value_text(row["value"])}


def _scores(rows: Rows, labels: Labels) -> Table:
    """A row for each combination of labels, with all metrics."""
    metrics = metric_names(rows)
    cells = []
    for named, own in grouped(rows, lambda row: tuple(label(row) for label in labels.values())).items():
        texts = {row["metric"]: _score_text(row) for row in own}
        seeds = None if own[0]["arm"] == "base" else own[0]["seeds"]
        cells.append([*named, *(texts.get(metric) for metric in metrics), seeds, own[0]["n"]])
    return Table(_columns(labels, [*metrics, "seeds", "items"]), cells)


def _differences(rows: Rows, labels: Labels) -> Table:
    """A row for each paired difference."""
    cells = [[*(label(row) for label in labels.values()), *_difference_cells(row)] for row in rows]
    return Table(_columns(labels, ["points", "95 % interval", "p", "p after Holm", "seeds"]), cells)


def _difference_cells(row: Row) -> list[Any]:
    corrected = f"{row['p_holm']:.4f}" + "*" * (row["p_holm"] < LEVEL)
    return [
        Cell(f"{signed(row['points'])} ± {row['se']:.1f}", row["points"]),
        Cell(f"{signed(row['low'])} to {signed(row['high'])}", row["low"]),
        Cell(f"{row['p']:.4f}", row["p"]),
        Cell(corrected, row["p_holm"]),
        row["seeds"],
    ]


def _score_text(row: Row) -> str:
    error = "" if row["se"] is None else f" ± {row['se']:.1f}"
    return f"{row['mean']:.1f}{error} ({row['low']:.1f} to {row['high']:.1f})"


def _number(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:,.{digits}f}"


def _columns(texts: Iterable[str], numbers: Iterable[str]) -> list[Column]:
    return [*map(Column, texts), *(Column(title, numeric=True) for title in numbers)]
