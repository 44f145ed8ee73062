"""`ablation.html`."""

from __future__ import annotations

from markupsafe import Markup

from tltrain.evaluation.significance import LEVEL
from tltrain.report import page as pages
from tltrain.report.ablation import tables
from tltrain.report.ablation.charts import Chart, effect_charts, level_charts, sweep_charts
from tltrain.report.ablation.headline import headline, seeds_text
from tltrain.report.ablation.rows import Row, Rows, grouped, main_metric, split_name
from tltrain.report.ablation.tables import Table
from tltrain.report.page import Section, details, figure, heading, join, paragraph, side_by_side


def html(found: Row) -> str:
    """The contents of `ablation.html`."""
    sections = [Section("Effects", _effects(found))] if found["effects"] else []
    sections.append(Section("Scores", _scores(found["scores"])))
    if found["kinds"]["scores"]:
        sections.append(Section("Kinds of items", _kinds(found["kinds"])))
    sections += [Section(f"Sweep of {sweep['field']}", _sweep(sweep)) for sweep in found["sweeps"]]
    if found["errors"]:
        sections.append(
            Section("Errors", join([paragraph(tables.ERRORS), _table(tables.errors_table(found["errors"]))]))
        )
    sections.append(Section("Costs", join([paragraph(tables.COSTS), _table(tables.costs_table(found["costs"]))])))
    sections.append(Section("Runs", _table(tables.runs_table(found["runs"]))))
    title = f"tltrain: ablation of {found['model']} on {found['data']}"
    return pages.page(title, *sections, headline=headline(found), note=seeds_text(found))


def _effects(found: Row) -> Markup:
    main, others = _by_importance(found["effects"])
    parts = [paragraph(f"{tables.EFFECTS} {found['method']} *: p after Holm's correction < {LEVEL}.")]
    parts += [side_by_side(*map(_figure, effect_charts(found["effects"]))), _table(tables.effects_table(main))]
    if others:
        parts.append(details("Effects on the other metrics", _table(tables.effects_table(others))))
    return join(parts)


def _scores(rows: Rows) -> Markup:
    parts = [paragraph(tables.SCORES), *(side_by_side(_figure(chart)) for chart in level_charts(rows))]
    for test, own in grouped(rows, split_name).items():
        parts += [heading(test), _table(tables.scores_table(own))]
    return join(parts)


def _kinds(found: Row) -> Markup:
    parts = [paragraph(tables.KINDS)]
    for test, own in grouped(found["scores"], split_name).items():
        parts += [heading(test), _table(tables.kinds_table(own).without("test"))]
    main, others = _by_importance(found["effects"])
    if main:
        parts += [heading(f"Effects on {main_metric(main)} by kind"), _table(tables.kind_effects_table(main))]
    if others:
        parts.append(details("Effects on the other metrics by kind", _table(tables.kind_effects_table(others))))
    return join(parts)


def _sweep(sweep: Row) -> Markup:
    parts = [side_by_side(*map(_figure, row)) for row in sweep_charts(sweep)]
    parts.append(_table(tables.sweep_scores_table(sweep)))
    if sweep["changes"]:
        parts += [heading(f"From one value of {sweep['field']} to the next"), _table(tables.changes_table(sweep))]
    if sweep["kinds"]:
        parts.append(details("Scores of each kind of item", _table(tables.sweep_kinds_table(sweep))))
    if sweep["effects"]:
        parts.append(details("Effects at each value", _table(tables.sweep_effects_table(sweep))))
    return join(parts)


def _by_importance(rows: Rows) -> tuple[Rows, Rows]:
    """The rows of the main metric, and those of the others."""
    metric = main_metric(rows)
    return [row for row in rows if row["metric"] == metric], [row for row in rows if row["metric"] != metric]


def _figure(chart: Chart) -> Markup:
    return figure(chart.draw(), chart.caption, title=chart.title)


def _table(table: Table) -> Markup:
    return pages.table(table.columns, table.rows)
