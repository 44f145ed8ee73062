"""`ablation.md`."""

from __future__ import annotations

from collections.abc import Iterator

from tltrain.report.ablation import tables
from tltrain.report.ablation.charts import effect_charts, level_charts, sweep_charts
from tltrain.report.ablation.headline import headline, seeds_text
from tltrain.report.ablation.rows import Row, Rows, grouped, split_name
from tltrain.report.ablation.tables import Table
from tltrain.report.page import Cell


def markdown(found: Row) -> str:
    """The contents of `ablation.md`."""
    parts = [f"# Ablation: {found['model']} on {found['data']}", f"{headline(found)}; {seeds_text(found)}."]
    levels = [chart.link for chart in level_charts(found["scores"])]
    parts += ["## Scores", tables.SCORES, *levels, *_score_grids(found["scores"])]
    if found["effects"]:
        shown = [chart.link for chart in effect_charts(found["effects"])]
        parts += [
            "## Effects",
            f"{tables.EFFECTS} {found['method']}",
            *shown,
            _grid(tables.effects_table(found["effects"])),
        ]
    if found["kinds"]["scores"]:
        parts += ["## Kinds of items", tables.KINDS, _grid(tables.kinds_table(found["kinds"]["scores"]))]
        if found["kinds"]["effects"]:
            parts.append(_grid(tables.kind_effects_table(found["kinds"]["effects"])))
    for sweep in found["sweeps"]:
        curves = [chart.link for row in sweep_charts(sweep) for chart in row]
        parts += [f"## Sweep of `{sweep['field']}`", *curves, _grid(tables.sweep_scores_table(sweep))]
        if sweep["changes"]:
            parts.append(_grid(tables.changes_table(sweep)))
        if sweep["kinds"]:
            parts.append(_grid(tables.sweep_kinds_table(sweep)))
        if sweep["effects"]:
            parts.append(_grid(tables.sweep_effects_table(sweep)))
    if found["errors"]:
        parts += ["## Errors", tables.ERRORS, _grid(tables.errors_table(found["errors"]))]
    parts += ["## Costs", tables.COSTS, _grid(tables.costs_table(found["costs"]))]
    parts += ["## Runs", _grid(tables.runs_table(found["runs"]))]
    return "\n\n".join(parts) + "\n"


def _score_grids(rows: Rows) -> Iterator[str]:
    for test, own in grouped(rows, split_name).items():
        yield f"### {test}"
        yield _grid(tables.scores_table(own))


def _grid(table: Table) -> str:
    written = [[column.title for column in table.columns], ["---"] * len(table.columns)]
    written += [[_cell_text(cell) for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in written)


def _cell_text(cell: object) -> str:
    text = "–" if cell is None else str(cell.text if isinstance(cell, Cell) else cell)
    return text.replace("|", "\\|")
