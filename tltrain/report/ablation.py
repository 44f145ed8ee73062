"""`ablation.md`, `ablation.html` and `figures/` of an ablation, made from its `ablation.json` alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tltrain.arms import ARMS
from tltrain.evaluation.metrics import METRICS
from tltrain.evaluation.significance import LEVEL, NOISE_LEVELS
from tltrain.files import discard, read_json, write_text
from tltrain.progress import quantity
from tltrain.report.charts import intervals, lines, svg_file
from tltrain.report.page import (
    Cell,
    Column,
    Section,
    details,
    figure,
    heading,
    join,
    page,
    paragraph,
    side_by_side,
    table,
)

Row = Mapping[str, Any]
Rows = Sequence[Row]
SCORES = (
    "Per cent of the test items: the mean over random seeds ± its standard error over them, and the 95 % interval over "
    "seeds and items. TS: the right tool; PI: and its argument names; CF: and all values."
)
EFFECTS = (
    "What each part, or several together, add to the same arm without them, in points, over the seeds that all arms of "
    "a row have. With one seed, the interval does not contain the variation between seeds."
)
KINDS = (
    "confusable: another tool of the prompt is easily confused with one that the gold calls, as in the audit; "
    "distinct: none is; text: the gold has no call. Effects of a part are means over the pairs of arms."
)
ERRORS = "Wrong replies by category, in per cent of the items, over all seeds."
COSTS = "Means of a run. Arms with IRM include the SFT that they start from."
_COLOURS = {"MAE": 1, "PKT": 2, "IRM": 3, "MAE+PKT": 4, "MAE+PKT+IRM": 5}
_CURVE_COLOURS = (1, 2, 3, 4, 5, 6, 7)
FIGURES = "figures"
_MEAN = "mean over the pairs"
_MOST_TESTS = 2
"""In the headline."""


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


def write_ablation(folder: Path) -> list[Path]:
    """Write `ablation.md`, `ablation.html` and a file of each chart under `figures/`, and return the three paths.

    Raises:
        DataError: `ablation.json` is missing or malformed.
    """
    found = read_json(folder / "ablation.json")
    write_text(folder / "ablation.md", markdown(found))
    write_text(folder / "ablation.html", html(found))
    discard(folder / FIGURES)  # those of tests and sweeps that are there no more
    for chart in charts(found):
        write_text(folder / chart.path, svg_file(chart.draw(), chart.title))
    return [folder / "ablation.md", folder / "ablation.html", folder / FIGURES]


def charts(found: Row) -> list[Chart]:
    """All charts of the page."""
    swept = (own for sweep in found["sweeps"] for own in _sweep_charts(sweep))
    return [*_effect_charts(found["effects"]), *_level_charts(found["scores"]), *chain.from_iterable(swept)]


def headline(found: Row) -> str:
    """What the parts change in CF on the first tests, as a sentence."""
    rows = _main_effects(found)
    if not rows:
        return f"{quantity(len(_arms(found['scores'])), 'arm')}, {_seeds(found)}"
    tests = list(_by(rows, _test).items())
    several = len(found["seeds"]) > 1
    shown = [f"{test}: {', '.join(_part_text(row, several) for row in own)}" for test, own in tests[:_MOST_TESTS]]
    return f"Points of {_metric(rows)} on {'; on '.join(shown)}"


def _part_text(row: Row, several: bool) -> str:
    """An effect in words; `several`: the ablation has more than one seed, so that an effect of one has to be told."""
    part = row["part"] if row["arm"] is None else _effect_name(row)
    remarks = ["within noise"] * (row["p_holm"] >= LEVEL) + ["one seed"] * (several and row["seeds"] == 1)
    return f"{part} {_signed(row['points'])}" + (f" ({', '.join(remarks)})" if remarks else "")


def markdown(found: Row) -> str:
    """The contents of `ablation.md`."""
    parts = [f"# Ablation: {found['model']} on {found['data']}", f"{headline(found)}; {_seeds(found)}."]
    levels = [chart.link for chart in _level_charts(found["scores"])]
    parts += ["## Scores", SCORES, *levels, *_score_grids(found["scores"])]
    if found["effects"]:
        parts += [
            "## Effects",
            f"{EFFECTS} {found['method']}",
            *[chart.link for chart in _effect_charts(found["effects"])],
            _grid(_EFFECT_TITLES, map(_effect_row, found["effects"])),
        ]
    if scored := found["kinds"]["scores"]:
        parts += ["## Kinds of items", KINDS, _grid(_kind_titles(scored), _kind_rows(scored))]
        by_kind = [[row["kind"], *_effect_row(row)] for row in found["kinds"]["effects"]]
        parts += [_grid(_KIND_EFFECT_TITLES, by_kind)] * bool(by_kind)
    for sweep in found["sweeps"]:
        curves = [chart.link for row in _sweep_charts(sweep) for chart in row]
        parts += [f"## Sweep of `{sweep['field']}`", *curves, _grid(_sweep_titles(sweep), _sweep_rows(sweep))]
        if sweep["changes"]:
            parts.append(_grid(_change_titles(sweep), _change_rows(sweep)))
        if sweep["kinds"]:
            parts.append(_grid([sweep["field"], *_kind_titles(sweep["kinds"])], _sweep_kind_rows(sweep)))
        if sweep["effects"]:
            rows = ([_shown(row["value"]), *_effect_row(row)] for row in sweep["effects"])
            parts.append(_grid([sweep["field"], *_EFFECT_TITLES], rows))
    if found["errors"]:
        parts += ["## Errors", ERRORS, _grid(*_error_table(found["errors"]))]
    parts += ["## Costs", COSTS, _grid(_COST_TITLES, map(_cost_row, found["costs"]))]
    parts += ["## Runs", _grid(_RUN_TITLES, map(_run_row, found["runs"]))]
    return "\n\n".join(parts) + "\n"


def html(found: Row) -> str:
    """The contents of `ablation.html`."""
    sections = [Section("Effects", _effects(found))] if found["effects"] else []
    sections.append(Section("Scores", _scores(found["scores"])))
    if found["kinds"]["scores"]:
        sections.append(Section("Kinds of items", _kinds(found)))
    sections += [Section(f"Sweep of {sweep['field']}", _sweep(sweep)) for sweep in found["sweeps"]]
    if found["errors"]:
        titles, rows = _error_table(found["errors"])
        sections.append(Section("Errors", join([paragraph(ERRORS), table(_columns(titles, 2), rows)])))
    costs = table(_columns(_COST_TITLES, 1), map(_cost_row, found["costs"]))
    sections.append(Section("Costs", join([paragraph(COSTS), costs])))
    sections.append(Section("Runs", table(_columns(_RUN_TITLES, 3), map(_run_row, found["runs"]))))
    title = f"tltrain: ablation of {found['model']} on {found['data']}"
    return page(title, *sections, headline=headline(found), note=_seeds(found))


# Scores


def _scores(rows: Rows) -> Markup:
    parts = [paragraph(SCORES), *(side_by_side(_shown_chart(chart)) for chart in _level_charts(rows))]
    for test, own in _by(rows, _test).items():
        parts += [heading(test), table(_columns(_score_titles(own), 2), _score_rows(own))]
    return join(parts)


def _level_charts(rows: Rows) -> Iterator[Chart]:
    """The main metric of each arm over RoTBench's noise levels, for each turn with several of them."""
    metric = _metric(rows)
    own = [row for row in rows if row["bench"] == "rotbench" and row["metric"] == metric]
    for turn, scored in _by(own, lambda row: row["split"].partition("/")[0]).items():
        by_level = _by(scored, lambda row: row["split"].partition("/")[2])
        levels = [level for level in NOISE_LEVELS if level in by_level]
        if len(levels) > 1:
            placed = [{**row, "value": at} for at, level in enumerate(levels) for row in by_level[level]]
            title = f"{metric} by noise level, rotbench {turn}"
            yield _curve(title, title, placed, "noise level", "mean", lambda row: str(row["arm"]), levels)


def _score_grids(rows: Rows) -> Iterator[str]:
    for test, own in _by(rows, _test).items():
        yield f"### {test}"
        yield _grid(_score_titles(own), _score_rows(own))


def _score_titles(rows: Rows) -> list[str]:
    return ["arm", "what it is", *_metrics(rows), "seeds", "items"]


def _score_rows(rows: Rows) -> Iterator[list[Any]]:
    for arm, own in _by(rows, lambda row: str(row["arm"])).items():
        cells = {row["metric"]: _score_text(row) for row in own}
        values = [cells.get(metric) for metric in _metrics(rows)]
        yield [arm, ARMS[arm].title, *values, own[0]["seeds"] if arm != "base" else None, own[0]["n"]]


def _score_text(row: Row) -> str:
    error = "" if row["se"] is None else f" ± {row['se']:.1f}"
    return f"{row['mean']:.1f}{error} ({row['low']:.1f} to {row['high']:.1f})"


# Effects

_EFFECT_TITLES = ["test", "metric", "part", "arm", "against", "points", "95 % interval", "p", "p after Holm", "seeds"]


def _effects(found: Row) -> Markup:
    rows: Rows = found["effects"]
    parts = [paragraph(f"{EFFECTS} {found['method']} *: p after Holm's correction < {LEVEL}.")]
    metric = _metric(rows)
    parts.append(side_by_side(*map(_shown_chart, _effect_charts(rows))))
    parts.append(_effect_table([row for row in rows if row["metric"] == metric]))
    others = [row for row in rows if row["metric"] != metric]
    if others:
        parts.append(details("Effects on the other metrics", _effect_table(others)))
    return join(parts)


def _effect_charts(rows: Rows) -> Iterator[Chart]:
    """The effects on the main metric, a chart for each test."""
    metric = _metric(rows)
    for test, own in _by([row for row in rows if row["metric"] == metric], _test).items():
        named = {_effect_name(row): row for row in sorted(own, key=_order)}
        title = f"Effects on {metric}, {test}"
        draw = partial(
            intervals,
            title,
            {name: (row["points"], row["low"], row["high"]) for name, row in named.items()},
            x_label=f"points of {metric}",
            colours={name: _COLOURS[row["part"]] for name, row in named.items()},
        )
        yield Chart(title, title, "Points and their 95 % intervals; faint where the interval contains zero.", draw)


def _shown_chart(chart: Chart) -> Markup:
    return figure(chart.draw(), chart.caption, title=chart.title)


def _effect_table(rows: Rows) -> Markup:
    return table(_columns(_EFFECT_TITLES, 5), (_effect_cells(row) for row in rows))


def _effect_name(row: Row) -> str:
    return f"{row['part']}: {_MEAN}" if row["arm"] is None else f"{row['arm']} − {row['against']}"


def _order(row: Row) -> tuple[int, bool]:
    return list(_COLOURS).index(row["part"]), row["arm"] is not None


def _effect_row(row: Row) -> list[Any]:
    arm = _MEAN if row["arm"] is None else row["arm"]
    return [_test(row), row["metric"], row["part"], arm, row["against"], *_effect_texts(row)]


def _effect_texts(row: Row) -> list[Any]:
    interval = f"{_signed(row['low'])} to {_signed(row['high'])}"
    corrected = _p(row["p_holm"]) + ("*" if row["p_holm"] < LEVEL else "")
    return [f"{_signed(row['points'])} ± {row['se']:.1f}", interval, _p(row["p"]), corrected, row["seeds"]]


def _effect_cells(row: Row) -> list[Any]:
    return _sortable(_effect_row(row), row)


def _sortable(texts: Sequence[Any], row: Row) -> list[Any]:
    """Texts that end with those of an effect, as cells that sort by its numbers."""
    *labels, points, interval, p_value, corrected, seeds = texts
    sortable = ((points, "points"), (interval, "low"), (p_value, "p"), (corrected, "p_holm"))
    return [*labels, *(Cell(text, row[name]) for text, name in sortable), seeds]


# Kinds of items

_KIND_EFFECT_TITLES = ["kind", *_EFFECT_TITLES]


def _kinds(found: Row) -> Markup:
    effects: Rows = found["kinds"]["effects"]
    metric = _metric(effects)
    shown = [(row["metric"] == metric, [row["kind"], *_effect_cells(row)]) for row in effects]
    columns = _columns(_KIND_EFFECT_TITLES, 6)
    scored: Rows = found["kinds"]["scores"]
    parts = [paragraph(KINDS)]
    for test, own in _by(scored, _test).items():
        parts += [heading(test), table(_columns(_kind_titles(own)[1:], 2), (cells[1:] for cells in _kind_rows(own)))]
    if effects:
        parts.append(heading(f"Effects on {metric} by kind"))
        parts.append(table(columns, (cells for main, cells in shown if main)))
    if others := [cells for main, cells in shown if not main]:
        parts.append(details("Effects on the other metrics by kind", table(columns, others)))
    return join(parts)


def _kind_titles(rows: Rows) -> list[str]:
    return ["test", "kind", "arm", *_metrics(rows), "seeds", "items"]


def _kind_rows(rows: Rows) -> Iterator[list[Any]]:
    metrics = _metrics(rows)
    for (test, kind, arm), own in _by(rows, lambda row: (_test(row), row["kind"], row["arm"])).items():
        cells = {row["metric"]: _score_text(row) for row in own}
        values = (cells.get(metric) for metric in metrics)
        yield [test, kind, arm, *values, own[0]["seeds"] if arm != "base" else None, own[0]["n"]]


def _main_effects(found: Row) -> list[Row]:
    """The means over the pairs of arms in the main metric; single pairs where there are no means."""
    own = [row for row in found["effects"] if row["metric"] == _metric(found["effects"])]
    return [row for row in own if row["arm"] is None] or own[:3]


def _metric(rows: Rows) -> str:
    """CF, or the last metric there is."""
    names = _metrics(rows)
    return "CF" if "CF" in names or not names else names[-1]


# Sweeps


def _sweep(sweep: Row) -> Markup:
    field = sweep["field"]
    parts = [side_by_side(*map(_shown_chart, row)) for row in _sweep_charts(sweep)]
    parts.append(table(_columns(_sweep_titles(sweep), 3), _sweep_rows(sweep)))
    if sweep["changes"]:
        parts.append(heading(f"From one value of {field} to the next"))
        changes = zip(_change_rows(sweep), sweep["changes"], strict=True)
        parts.append(table(_columns(_change_titles(sweep), 5), (_sortable(texts, row) for texts, row in changes)))
    if sweep["kinds"]:
        columns = _columns([field, *_kind_titles(sweep["kinds"])], 4)
        parts.append(details("Scores of each kind of item", table(columns, _sweep_kind_rows(sweep))))
    if sweep["effects"]:
        rows = ([_shown(row["value"]), *_effect_cells(row)] for row in sweep["effects"])
        parts.append(details("Effects at each value", table(_columns([field, *_EFFECT_TITLES], 6), rows)))
    return join(parts)


def _sweep_charts(sweep: Row) -> Iterator[list[Chart]]:
    """For each test the scores over the values of the field, and the effects if there are any; nothing where the values
    are no numbers."""
    field, metric = sweep["field"], _metric(sweep["scores"])
    if not all(_is_number(row["value"]) for row in sweep["scores"]):
        return
    trained = [row for row in sweep["scores"] if row["metric"] == metric and row["arm"] != "base"]
    for test, scored in _by(trained, _test).items():
        title = f"{metric}, {test}"
        row = [_curve(f"{field} {title}", title, scored, field, "mean", lambda row: str(row["arm"]))]
        own = [row for row in sweep["effects"] if row["metric"] == metric and _test(row) == test]
        if own:
            title = f"Effects on {title}"
            row.append(_curve(f"{field} {title}", title, own, field, "points", _effect_name))
        yield row


def _curve(
    name: str, title: str, rows: Rows, field: str, value: str, label: Callable[[Row], str], ticks: Sequence[str] = ()
) -> Chart:
    """A value of each arm, or pair of arms, over the values of the field, with its intervals; `ticks` are names of the
    values 0, 1, …."""
    named = _by(rows, label)
    series = {key: ([row["value"] for row in own], [row[value] for row in own]) for key, own in named.items()}
    bands = {key: ([row["low"] for row in own], [row["high"] for row in own]) for key, own in named.items()}
    colours = {key: _CURVE_COLOURS[number % len(_CURVE_COLOURS)] for number, key in enumerate(named)}
    if len(named) == 1:  # a single line has no label
        title = f"{title}: {next(iter(named))}"
    draw = partial(lines, title, series, x_label=field, colours=colours, bands=bands, ticks=ticks)
    return Chart(name, title, "The bars are 95 % intervals over seeds and items.", draw)


def _sweep_titles(sweep: Row) -> list[str]:
    return [sweep["field"], "test", "arm", *_metrics(sweep["scores"]), "seeds"]


def _sweep_rows(sweep: Row) -> Iterator[list[Any]]:
    metrics = _metrics(sweep["scores"])
    for (value, test, arm), own in _by(sweep["scores"], lambda row: (row["value"], _test(row), row["arm"])).items():
        cells = {row["metric"]: _score_text(row) for row in own}
        yield [_shown(value), test, arm, *(cells.get(metric) for metric in metrics), own[0]["seeds"]]


def _change_titles(sweep: Row) -> list[str]:
    return [sweep["field"], "before", "test", "arm", "metric", *_EFFECT_TITLES[5:]]


def _change_rows(sweep: Row) -> Iterator[list[Any]]:
    for row in sweep["changes"]:
        yield [_shown(row["value"]), _shown(row["before"]), _test(row), row["arm"], row["metric"], *_effect_texts(row)]


def _sweep_kind_rows(sweep: Row) -> Iterator[list[Any]]:
    for value, rows in _by(sweep["kinds"], lambda row: row["value"]).items():
        yield from ([_shown(value), *cells] for cells in _kind_rows(rows))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> Any:
    """A value of a field in a table: 9.0 as 9, whether the file or the command line wrote it."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if _is_number(value) else str(value)


# Errors, costs, runs

_COST_TITLES = ["arm", "runs", "SFT minutes", "PPO minutes", "evaluation minutes", "replies trained on", "masked",
                "sampled by PPO", "evaluated"]  # fmt: skip
_RUN_TITLES = ["run", "commit", "machine", "minutes"]


def _error_table(rows: Rows) -> tuple[list[str], list[list[Any]]]:
    categories = list(dict.fromkeys(name for row in rows for name in row["categories"]))
    shares = ([row["categories"].get(name, 0.0) for name in categories] for row in rows)
    cells = [[f"{share:.1f}" for share in own] for own in shares]
    return ["test", "arm", *categories], [[_test(row), row["arm"], *own] for row, own in zip(rows, cells, strict=True)]


def _cost_row(row: Row) -> list[Any]:
    minutes, replies = row["minutes"], row["replies"]
    spent = [minutes[name] for name in ("sft", "ppo", "eval")]
    counted = [replies[name] for name in ("trained", "masked", "sampled", "evaluated")]
    shown = [None if value is None else f"{value:,.1f}" for value in spent]
    return [row["arm"], row["runs"], *shown, *(None if value is None else f"{value:,.0f}" for value in counted)]


def _run_row(row: Row) -> list[Any]:
    return [row["run"], (row["commit"] or "")[:10] or None, row["machine"], f"{row['minutes']:.1f}"]


# Common


def _by(rows: Rows, key: Any) -> dict[Any, list[Row]]:
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _columns(titles: Sequence[str], labels: int) -> list[Column]:
    """Columns of which the first `labels` are texts and the others numbers."""
    return [Column(title, numeric=index >= labels) for index, title in enumerate(titles)]


def _metrics(rows: Rows) -> list[str]:
    known = {row["metric"] for row in rows}
    return [name for name in METRICS if name in known]


def _arms(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["arm"] for row in rows if row["arm"] != "base"))


def _test(row: Row) -> str:
    return f"{row['bench']} {row['split']}"


def _seeds(found: Row) -> str:
    seeds = found["seeds"]
    named = ", ".join(map(str, seeds))
    several = f"random seeds {named}" if len(seeds) > 1 else f"random seed {named}"
    return several if len(seeds) > 1 else f"{several} only: the intervals do not contain the variation between seeds"


def _signed(points: float) -> str:
    return f"{'−' if round(points, 1) < 0 else '+'}{abs(points):.1f}"


def _p(p_value: float) -> str:
    return f"{p_value:.4f}"


def _grid(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    written = [list(map(str, titles)), ["---"] * len(titles)]
    written += [["–" if cell is None else str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in written)
