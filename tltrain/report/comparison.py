"""`comparison.md` and `comparison.html` of a run directory, made from its `comparison.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tltrain.evaluation.metrics import METRICS
from tltrain.evaluation.significance import LEVEL, Comparison
from tltrain.files import read_json, write_text
from tltrain.report import summary
from tltrain.report.page import Cell, Column, Section, join, page, paragraph, table
from tltrain.report.run_files import parse_scores

Rows = Sequence[Mapping[str, Any]]
METRICS_HELP = (
    "Per cent ± standard error of the items. TS: the right tool; PI: and its argument names; CF: and all values; "
    "accuracy: right by the set's own rule; DE, CE: calls that misread the documentation, or failed when executed; "
    "VA: queries that ended in a valid answer."
)


def write_comparison(folder: Path) -> Path:
    """Write both files, and return the path of `comparison.html`.

    Raises:
        DataError: `comparison.json` is missing or malformed.
    """
    found = read_json(folder / "comparison.json")
    robust, general = found.get("robustness", []), found.get("general", [])
    write_text(folder / "comparison.md", markdown(found))
    sections = [Section("Scores", _scores(found)), Section("Differences", _pairs(found))]
    sections += [Section("Robustness", robustness_table(robust))] if robust else []
    sections += [Section("General ability", general_table(general))] if general else []
    path = folder / "comparison.html"
    write_text(path, page(f"tltrain: comparison {folder.resolve().name}", *sections))
    return path


def markdown(found: Mapping[str, Any]) -> str:
    """The contents of `comparison.md`."""
    robust, general = found.get("robustness", []), found.get("general", [])
    parts = ["# Comparison", METRICS_HELP]
    parts += [_grid(["test", "model", *metrics, "n"], rows) for metrics, rows in _score_rows(found)]
    parts += ["\n".join(f"- {text}" for text in remarks)] if (remarks := _remarks(found)) else []
    if any(test["pairs"] for test in found["tests"]):
        parts += ["## Differences", f"In points; {found['test']}."]
        parts.append(
            _grid(["test", "model", "against", "metric", "points", "p", "p after Holm", "n"], _pair_rows(found))
        )
    if robust:
        parts += ["## Robustness", ROBUSTNESS]
        parts.append(_grid(["model", "turn", "level", "TS", "PI", "CF", "drop TS", "drop PI", "drop CF", "n"],
                           map(_level_row, robust)))  # fmt: skip
    if general:
        parts += ["## General ability", "As lm-eval gives it."]
        parts.append(_grid(["model", "task", "metric", "value", "n"], map(_general_row, general)))
    return "\n\n".join(parts) + "\n"


ROBUSTNESS = (
    "RoTBench by noise level, per cent ± standard error; drop: points lost against clean. Its error is over queries, "
    "each clean item paired with its noisy versions, or, where marked *, that of independent samples."
)


def robustness_table(rows: Rows) -> Markup:
    """The table of `robustness.json`."""
    columns = [Column(name) for name in ("model", "turn", "level")]
    columns += [Column(name, numeric=True) for name in ("TS", "PI", "CF", "drop TS", "drop PI", "drop CF", "n")]
    return join([paragraph(ROBUSTNESS), table(columns, map(_level_row, rows))])


def general_table(rows: Rows) -> Markup:
    """The table of `general.json`."""
    columns = [Column("model"), Column("task"), Column("metric"), Column("value", numeric=True), Column("n", True)]
    return join([paragraph("As lm-eval gives it."), table(columns, map(_general_row, rows))])


def general_line(row: Mapping[str, Any]) -> str:
    """A row of `general.json` as text."""
    model, task, metric, value, n = _general_row(row)
    return f"{model}, {task}: {metric} {value} (n={n})"


def _scores(found: Mapping[str, Any]) -> Markup:
    parts = [paragraph(METRICS_HELP)]
    for metrics, rows in _score_rows(found):
        titles = [*(Column(name, numeric=True) for name in metrics), Column("n", numeric=True)]
        parts.append(table([Column("test"), Column("model"), *titles], rows))
    return join([*parts, *(paragraph(f"{text}.") for text in _remarks(found))])


def _remarks(found: Mapping[str, Any]) -> list[str]:
    rows = [row for test in found["tests"] for row in test["models"]]
    return [*summary.remarks(parse_scores(rows)), *_dialects(rows)]


def _dialects(rows: Rows) -> list[str]:
    """How the replies of each model were read, where the scores say so."""
    known = {row["model"]: row["dialect"] for row in rows if row.get("dialect")}
    return [f"Dialects of the replies: {', '.join(f'{name}: {dialect}' for name, dialect in known.items())}"] * bool(
        known
    )


def _score_rows(found: Mapping[str, Any]) -> Iterator[tuple[list[str], list[list[Any]]]]:
    """Metrics and rows of the two tables: test sets with gold calls, and test sets whose calls are executed."""
    rows = [(_test(test), row) for test in found["tests"] for row in test["models"]]
    for golds in (True, False):
        selected = [(test, row) for test, row in rows if ("TS" in row) == golds]
        metrics = [name for name in METRICS if any(name in row for _, row in selected)]
        if selected:
            yield metrics, [[test, row["model"], *_values(row, metrics), row["n"]] for test, row in selected]


def _pairs(found: Mapping[str, Any]) -> Markup:
    columns = [Column("test"), Column("model"), Column("against"), Column("metric"), Column("points", numeric=True)]
    columns += [Column("p", numeric=True), Column("p after Holm", numeric=True), Column("n", numeric=True)]
    rows = [[*labels, Cell(pair.text, pair.points), _p_cell(pair.p), _p_cell(pair.p_holm), pair.n]
            for labels, pair in _comparisons(found)]  # fmt: skip
    text = f"In points ± standard error; {found['test']}. *: p < {LEVEL}."
    return join([paragraph(text), table(columns, rows)])


def _p_cell(p_value: float | None) -> Cell | None:
    return None if p_value is None else Cell(_p_text(p_value) or "", p_value)


def _p_text(p_value: float | None) -> str | None:
    if p_value is None:
        return None
    return (f"{p_value:.4f}" if p_value >= 1e-4 else "<0.0001") + ("*" if p_value < LEVEL else "")


def _comparisons(found: Mapping[str, Any]) -> Iterator[tuple[list[str], Comparison]]:
    for test in found["tests"]:
        for row in test["pairs"]:
            pair = Comparison.model_validate({"bench": test["bench"], "split": test["split"], **row})
            yield [_test(test), pair.model, pair.against, pair.metric], pair


def _pair_rows(found: Mapping[str, Any]) -> Iterator[list[Any]]:
    for labels, pair in _comparisons(found):
        yield [*labels, pair.text, _p_text(pair.p), _p_text(pair.p_holm), pair.n]


def _level_row(row: Mapping[str, Any]) -> list[Any]:
    names, drop = ("TS", "PI", "CF"), row.get("drop", {})
    star = "" if row.get("pairing", "queries") == "queries" else "*"
    drops = [f"{_signed(drop[name], row['drop_se'][name])}{star}" if name in drop else "–" for name in names]
    return [row["model"], row["turn"], row["level"], *_values(row, names), *drops, row["n"]]


def _general_row(row: Mapping[str, Any]) -> list[Any]:
    error = "" if row["se"] is None else f" ± {row['se']:.4f}"
    return [row["model"], row["task"], row["metric"], f"{row['value']:.4f}{error}", row["n"]]


def _values(row: Mapping[str, Any], metrics: Sequence[str]) -> list[str]:
    return [_value(row.get(name), (row.get("se") or {}).get(name)) for name in metrics]


def _value(value: float | None, error: float | None) -> str:
    return "–" if value is None else f"{value:.1f}" + ("" if error is None else f" ± {error:.1f}")


def _signed(points: float, error: float) -> str:
    return f"{'−' if round(points, 1) < 0 else '+'}{abs(points):.1f} ± {error:.1f}"


def _test(test: Mapping[str, Any]) -> str:
    return f"{test['bench']} {test['split']}"


def _grid(titles: Sequence[str], rows: Iterator[Sequence[Any]] | Any) -> str:
    """A Markdown table."""
    lines = [list(map(str, titles)), ["---"] * len(titles)]
    lines += [["–" if cell is None else str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
