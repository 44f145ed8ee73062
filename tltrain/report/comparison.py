"""`comparison.md` and `comparison.html` of a run directory, made from its `comparison.json`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tltrain.evaluation.scores import Score
from tltrain.evaluation.significance import LEVEL, Comparison
from tltrain.files import read_json, write_text
from tltrain.progress import quantity
from tltrain.report import summary
from tltrain.report.gold_kinds import (
    FEW_HELP,
    KINDS_HELP,
    TEXT,
    Share,
    columns,
    description,
    distinguishes,
    has_few,
    shares,
    sizes,
)
from tltrain.report.page import Cell, Column, Section, join, page, paragraph, printable, side_by_side, table
from tltrain.report.run_files import parse_scores
from tltrain.report.score_charts import colours, metric_charts

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
    write_text(folder / "comparison.md", printable(markdown(found)))
    sections = []
    if found["tests"]:
        sections += [Section("Scores", _scores(found)), Section("Differences", _pairs(found))]
    if found.get("paper"):
        sections.append(Section("The paper's protocol", _paper(found)))
    if robust:
        sections.append(Section("Robustness", robustness_table(robust)))
    if general:
        sections.append(Section("General ability", general_table(general, found.get("general_differences", []))))
    path = folder / "comparison.html"
    write_text(path, page(f"tltrain: comparison {folder.resolve().name}", *sections, headline=finding(found)))
    return path


def markdown(found: Mapping[str, Any]) -> str:
    """The contents of `comparison.md`."""
    robust, general = found.get("robustness", []), found.get("general", [])
    parts = ["# Comparison", _literal(finding(found))]
    parts += [METRICS_HELP, *_notes(_parsed(found))] if found["tests"] else []
    parts += [_grid(["test", "model", *names, "n"], rows) for names, rows in _score_rows(_parsed(found))]
    parts += ["\n".join(f"- {_literal(text)}" for text in remarks)] if (remarks := _remarks(found)) else []
    if any(test["pairs"] for test in found["tests"]):
        parts += ["## Differences", f"In points, over all items; {_literal(found['test'])}."]
        parts.append(
            _grid(["test", "model", "against", "metric", "points", "p", "p after Holm", "n"], _pair_rows(found))
        )
    elif found["tests"]:
        parts += ["## Differences", NO_PAIRS]
    if found.get("paper"):
        parts += ["## The paper's protocol", PAPER]
        parts += [_grid(["test", "model", *names, "n"], rows) for names, rows in _score_rows(_paper_scores(found))]
    if robust:
        parts += ["## Robustness", ROBUSTNESS]
        parts.append(_grid(["model", "turn", "level", "TS", "PI", "CF", "drop TS", "drop PI", "drop CF", "n"],
                           map(_level_row, robust)))  # fmt: skip
    if general:
        parts += ["## General ability", "As lm-eval gives it."]
        parts.append(_grid(["model", "task", "metric", "value", "n"], map(_general_row, general)))
    if differences := found.get("general_differences"):
        parts += [GENERAL_DIFFERENCES, _grid(_GENERAL_TITLES, map(_general_difference, differences))]
    return "\n\n".join(parts) + "\n"


NO_PAIRS = "No two models were scored on the same test, so nothing is compared."
PAPER = "The same predictions, scored as the test set's authors do; see the documentation of the protocol."
GENERAL_DIFFERENCES = "Mean differences over the items of a task, with 95 % bootstrap intervals; p is not corrected."
ROBUSTNESS = (
    "RoTBench by noise level, per cent ± standard error; drop: points lost against clean. Its error is over queries, "
    "each clean item paired with its noisy versions, or, where marked *, that of independent samples."
)


def robustness_table(rows: Rows) -> Markup:
    """The table of `robustness.json`."""
    heads = [Column(name) for name in ("model", "turn", "level")]
    heads += [Column(name, numeric=True) for name in ("TS", "PI", "CF", "drop TS", "drop PI", "drop CF", "n")]
    return join([paragraph(ROBUSTNESS), table(heads, map(_level_row, rows))])


def general_table(rows: Rows, differences: Rows) -> Markup:
    """The rows of `general.json`, and the differences between models (see `general_differences`)."""
    heads = [Column("model"), Column("task"), Column("metric"), Column("value", numeric=True), Column("n", True)]
    parts = [paragraph("As lm-eval gives it."), table(heads, map(_general_row, rows))]
    if differences:
        columns = [Column(title, numeric=index >= 4) for index, title in enumerate(_GENERAL_TITLES)]
        parts += [paragraph(GENERAL_DIFFERENCES), table(columns, map(_general_difference, differences))]
    return join(parts)


def general_line(row: Mapping[str, Any]) -> str:
    """A row of `general.json` as text."""
    model, task, metric, value, n = _general_row(row)
    return f"{model}, {task}: {metric} {value} (n={n})"


def finding(found: Mapping[str, Any]) -> str:
    """The comparison in a sentence: how many differences are significant after Holm's correction, and the largest. Of
    general ability it speaks only where there is nothing else."""
    pairs = [(labels[0], pair) for labels, pair in _comparisons(found)]
    if not pairs:
        return _general_finding(found.get("general_differences", [])) or NO_PAIRS
    tested = [(test, pair) for test, pair in pairs if pair.p_holm is not None]
    clear = [(test, pair) for test, pair in tested if pair.p_holm is not None and pair.p_holm < LEVEL]
    limit, number = "significant after Holm's correction", len(tested)
    if not tested:  # without predictions the items cannot be paired
        clear = [(test, pair) for test, pair in pairs if pair.significant]
        limit, number = "larger than two standard errors, taking the models as independent samples", len(pairs)
    test, pair = max(clear or tested or pairs, key=lambda one: abs(one[1].points))
    largest = f"the largest: {pair.metric} of {pair.model} on {test}, {pair.text} points against {pair.against}"
    if not clear:
        return f"No difference is {limit} ({number} tested); {largest}."
    return f"{len(clear)} of {quantity(number, 'difference')} {'is' if len(clear) == 1 else 'are'} {limit}; {largest}."


def _general_finding(differences: Rows) -> str:
    if not differences:
        return ""
    most = max(differences, key=lambda row: abs(row["difference"]))
    model, against, task, metric, difference, interval, *_ = _general_difference(most)
    beyond = sum(row["low"] > 0 or row["high"] < 0 for row in differences)
    verb = "excludes" if beyond == 1 else "exclude"
    return (
        f"{beyond} of {quantity(len(differences), 'interval')} of general ability {verb} zero; the largest difference: "
        f"{metric} of {model} on {task}, {difference} ({interval}) against {against}."
    )


def _scores(found: Mapping[str, Any]) -> Markup:
    scores = _parsed(found)
    parts = [paragraph(text) for text in (METRICS_HELP, *_notes(scores))]
    parts += [_score_tables(scores), *(paragraph(f"{text}.") for text in _remarks(found))]
    figures = metric_charts(summary.by_test(scores), colours([score.model for score in scores]))
    return join([*parts, side_by_side(*figures)])


def _paper(found: Mapping[str, Any]) -> Markup:
    return join([paragraph(PAPER), _score_tables(_paper_scores(found))])


def _score_tables(scores: Sequence[Score]) -> Markup:
    tables = []
    for names, rows in _score_rows(scores):
        heads = [*(Column(name, numeric=True, help=description(name)) for name in names), Column("n", numeric=True)]
        tables.append(table([Column("test"), Column("model"), *heads], rows))
    return join(tables)


def _parsed(found: Mapping[str, Any]) -> tuple[Score, ...]:
    return parse_scores([row for test in found["tests"] for row in test["models"]], "comparison.json")


def _paper_scores(found: Mapping[str, Any]) -> tuple[Score, ...]:
    return parse_scores(found.get("paper", []), "comparison.json")


def _notes(scores: Sequence[Score]) -> list[str]:
    return [KINDS_HELP] * any(map(distinguishes, scores)) + [FEW_HELP] * has_few(scores)


def _remarks(found: Mapping[str, Any]) -> list[str]:
    rows = [row for test in found["tests"] for row in test["models"]]
    return [*summary.remarks(_parsed(found)), *_dialects(rows)]


def _dialects(rows: Rows) -> list[str]:
    """How the replies of each model were read, where the scores say so."""
    known = {row["model"]: row["dialect"] for row in rows if row.get("dialect")}
    return [f"Dialects of the replies: {', '.join(f'{name}: {dialect}' for name, dialect in known.items())}"] * bool(
        known
    )


def _score_rows(scores: Sequence[Score]) -> Iterator[tuple[list[str], list[list[Any]]]]:
    """Columns and rows of the two tables: test sets with gold calls, and test sets whose calls are executed."""
    for golds in (True, False):
        selected = [score for score in scores if bool({"TS", TEXT} & shares(score).keys()) == golds]
        names = columns(selected)
        if selected:
            yield names, [[_test_of(score), score.model, *_shares(score, names), sizes(score)] for score in selected]


def _shares(score: Score, names: Sequence[str]) -> list[Cell]:
    found = shares(score)
    return [Cell(found[name].text, found[name].value) if name in found else Cell("–", -1.0) for name in names]


def _pairs(found: Mapping[str, Any]) -> Markup:
    heads = [Column("test"), Column("model"), Column("against"), Column("metric"), Column("points", numeric=True)]
    heads += [Column("p", numeric=True), Column("p after Holm", numeric=True), Column("n", numeric=True)]
    rows = [[*labels, Cell(pair.text, pair.points), _p_cell(pair.p), _p_cell(pair.p_holm), pair.n]
            for labels, pair in _comparisons(found)]  # fmt: skip
    text = f"In points ± standard error, over all items; {found['test']}. *: p < {LEVEL}."
    return join([paragraph(text), table(heads, rows, empty=NO_PAIRS)])


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
    values = [Share(row[name], (row.get("se") or {}).get(name), row["n"]).text for name in names]
    return [row["model"], row["turn"], row["level"], *values, *drops, row["n"]]


def _general_row(row: Mapping[str, Any]) -> list[Any]:
    error = "" if row["se"] is None else f" ± {row['se']:.4f}"
    return [row["model"], row["task"], row["metric"], f"{row['value']:.4f}{error}", row["n"]]


_GENERAL_TITLES = ["model", "against", "task", "metric", "difference", "95 % interval", "p", "n"]


def _general_difference(row: Mapping[str, Any]) -> list[Any]:
    values = [f"{'−' if row[name] < 0 else '+'}{abs(row[name]):.4f}" for name in ("difference", "low", "high")]
    labels = [row["model"], row["against"], row["task"], row["metric"]]
    return [*labels, f"{values[0]} ± {row['se']:.4f}", f"{values[1]} to {values[2]}", f"{row['p']:.4f}", row["n"]]


def _signed(points: float, error: float) -> str:
    return f"{'−' if round(points, 1) < 0 else '+'}{abs(points):.1f} ± {error:.1f}"


def _test_of(score: Score) -> str:
    return f"{score.bench} {score.split}"


def _test(test: Mapping[str, Any]) -> str:
    return f"{test['bench']} {test['split']}"


def _grid(titles: Sequence[str], rows: Iterator[Sequence[Any]] | Any) -> str:
    """A Markdown table."""
    lines = [list(map(str, titles)), ["---"] * len(titles)]
    lines += [[_markdown_cell(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _markdown_cell(value: Any) -> str:
    return _literal("–" if value is None else str(value.text if isinstance(value, Cell) else value))


def _literal(text: str) -> str:
    """Text on one line that Markdown shows as it is: names are other people's, and may contain markup."""
    return " ".join(re.sub(r"[\\|`\[\]]|<(?=[A-Za-z/!?])", r"\\\g<0>", text).split())
