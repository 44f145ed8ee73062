"""Charts of an ablation: shown in the page, and written as files, which `ablation.md` shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

from markupsafe import Markup

from tltrain.evaluation.significance import NOISE_LEVELS
from tltrain.report.ablation.rows import Row, Rows, effect_name, grouped, is_number, main_metric, split_name
from tltrain.report.charts import intervals, lines

FIGURES = "figures"
_COLOURS = {"MAE": 1, "PKT": 2, "IRM": 3, "MAE+PKT": 4, "MAE+PKT+IRM": 5}
_CURVE_COLOURS = (1, 2, 3, 4, 5, 6, 7)


@dataclass(frozen=True)
class Chart:
    """A chart of the page, which is a file as well."""

    name: str
    """What tells it from the other charts of the ablation."""
    title: str
    caption: str
    draw: Callable[[], Markup]
    """Draws it; `ablation.md` only needs its name."""

    @property
    def path(self) -> str:
        """The file, relative to the ablation's folder."""
        return f"{FIGURES}/{re.sub(r'[^a-z0-9.]+', '-', self.name.lower()).strip('-')}.svg"

    @property
    def link(self) -> str:
        """The file as an image in Markdown."""
        return f"![{self.title}]({self.path})"


def charts(found: Row) -> list[Chart]:
    """All charts of the page."""
    swept = (own for sweep in found["sweeps"] for own in sweep_charts(sweep))
    return [*effect_charts(found["effects"]), *level_charts(found["scores"]), *chain.from_iterable(swept)]


def effect_charts(rows: Rows) -> Iterator[Chart]:
    """The effects on the main metric, a chart for each test."""
    metric = main_metric(rows)
    for test, own in grouped([row for row in rows if row["metric"] == metric], split_name).items():
        named = {effect_name(row): row for row in sorted(own, key=_order)}
        title = f"Effects on {metric}, {test}"
        draw = partial(
            intervals,
            title,
            {name: (row["points"], row["low"], row["high"]) for name, row in named.items()},
            x_label=f"points of {metric}",
            colours={name: _COLOURS[row["part"]] for name, row in named.items()},
        )
        yield Chart(title, title, "Points and their 95 % intervals; faint where the interval contains zero.", draw)


def _order(row: Row) -> tuple[int, bool]:
    return list(_COLOURS).index(row["part"]), row["arm"] is not None


def level_charts(rows: Rows) -> Iterator[Chart]:
    """The main metric of each arm over RoTBench's noise levels, for each turn with several of them."""
    metric = main_metric(rows)
    own = [row for row in rows if row["bench"] == "rotbench" and row["metric"] == metric]
    for turn, scored in grouped(own, lambda row: row["split"].partition("/")[0]).items():
        by_level = grouped(scored, lambda row: row["split"].partition("/")[2])
        levels = [level for level in NOISE_LEVELS if level in by_level]
        if len(levels) > 1:
            placed = [{**row, "value": at} for at, level in enumerate(levels) for row in by_level[level]]
            title = f"{metric} by noise level, rotbench {turn}"
            yield _curve(title, title, placed, "noise level", "mean", lambda row: str(row["arm"]), levels)


def sweep_charts(sweep: Row) -> Iterator[list[Chart]]:
    """For each test the scores over the values of the field, and the effects if there are any; nothing where the values
    are no numbers."""
    field, metric = sweep["field"], main_metric(sweep["scores"])
    if not all(is_number(row["value"]) for row in sweep["scores"]):
        return
    trained = [row for row in sweep["scores"] if row["metric"] == metric and row["arm"] != "base"]
    for test, scored in grouped(trained, split_name).items():
        title = f"{metric}, {test}"
        row = [_curve(f"{field} {title}", title, scored, field, "mean", lambda row: str(row["arm"]))]
        own = [row for row in sweep["effects"] if row["metric"] == metric and split_name(row) == test]
        if own:
            title = f"Effects on {title}"
            row.append(_curve(f"{field} {title}", title, own, field, "points", effect_name))
        yield row


def _curve(
    name: str, title: str, rows: Rows, field: str, value: str, label: Callable[[Row], str], ticks: Sequence[str] = ()
) -> Chart:
    """A value of each arm, or pair of arms, over the values of the field, with its intervals; `ticks` are names of the
    values 0, 1, …."""
    named = grouped(rows, label)
    series = {key: ([row["value"] for row in own], [row[value] for row in own]) for key, own in named.items()}
    bands = {key: ([row["low"] for row in own], [row["high"] for row in own]) for key, own in named.items()}
    colours = {key: _CURVE_COLOURS[number % len(_CURVE_COLOURS)] for number, key in enumerate(named)}
    if len(named) == 1:  # a single line has no label
        title = f"{title}: {next(iter(named))}"
    draw = partial(lines, title, series, x_label=field, colours=colours, bands=bands, ticks=ticks)
    return Chart(name, title, "The bars are 95 % intervals over seeds and items.", draw)
