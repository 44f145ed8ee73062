"""Tables of scores for the terminal and for the pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from tltrain.evaluation.metrics import METRICS
from tltrain.evaluation.scores import Score
from tltrain.evaluation.significance import Comparison
from tltrain.report.gold_kinds import TEXT, Share, columns, description, distinguishes, overall, shares, sizes
from tltrain.report.page import Cell, Column, table
from tltrain.report.run_files import parse_scores
from tltrain.report.summary import (
    Comparisons,
    by_test,
    category_words,
    compared_rows,
    difference,
    p_value,
    truncations,
)

SIDE_BY_SIDE = 6
"""Maximum number of metric columns in a terminal table with the tests side by side."""


def terminal_table(scores: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The rows of a `scores.json` as a table for the terminal, in per cent ± standard error.

    Few tests are shown side by side with a row per model. More tests, and tests with items of both kinds, have a row
    each, in separate tables for test sets with gold calls and for those whose calls are executed.

    Raises:
        RunError: a row is malformed.
    """
    parsed = parse_scores(list(scores))
    tests = by_test(parsed)
    if sum(len(columns(rows)) for rows in tests.values()) <= SIDE_BY_SIDE and not any(map(distinguishes, parsed)):
        result = _terminal(parsed)
        _side_by_side(result, tests)
        return result
    kinds: dict[bool, dict[str, Sequence[Score]]] = {}
    for test, rows in tests.items():
        kinds.setdefault(bool({"TS", TEXT} & set(columns(rows))), {})[test] = rows
    tables = [_long_form(some) for some in kinds.values()]
    return Group(*tables)


def _terminal(scores: Sequence[Score]) -> Table:
    parts = ["per cent ± standard error"]
    parts += ["n: items that need a call + items that need a text"] if any(map(distinguishes, scores)) else []
    parts += ["text: of the latter, those answered without a call"] if TEXT in columns(scores) else []
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption="; ".join(parts))


def _side_by_side(result: Table, tests: Mapping[str, Sequence[Score]]) -> None:
    benches = {row.bench for rows in tests.values() for row in rows}
    bench = benches.pop() if len(benches) == 1 else ""
    result.add_column(f"{escape(bench)}\nmodel", no_wrap=True)
    for test, rows in tests.items():
        above = [escape(test.removeprefix(bench + " ")), _counted(rows)]
        for index, metric in enumerate(columns(rows)):
            result.add_column(f"{above[index] if index < 2 else ''}\n{metric}", no_wrap=True)
    for model in _models(tests):
        cells = [_plain(_row(rows, model), metric) for rows in tests.values() for metric in columns(rows)]
        result.add_row(escape(model), *cells)


def _long_form(tests: Mapping[str, Sequence[Score]]) -> Table:
    """A row per test, with its models on separate lines: fits 80 columns, since only names of tests wrap."""
    scores = [row for rows in tests.values() for row in rows]
    metrics = columns(scores)
    result = _terminal(scores)
    result.add_column("test", overflow="fold")
    for title in ("model", *metrics):
        result.add_column(title, no_wrap=True)
    result.add_column("n", no_wrap=True, justify="right")
    for test, rows in tests.items():
        models = "\n".join(escape(row.model) for row in rows)
        cells = ["\n".join(_plain(row, metric) for row in rows) for metric in metrics]
        result.add_row(escape(test), models, *cells, "\n".join(map(sizes, rows)))
        result.add_section()
    return result


def score_table(scores: Sequence[Score]) -> Markup:
    """The table of a report: metrics and the number of items scored.

    Up to three tests are shown side by side with a row per model; more tests have a row for each test and model, and so
    have tests with items of both kinds, whose metrics are shown apart and over all items.
    """
    if any(map(distinguishes, scores)):
        return _table_by_kind(scores)
    tests = by_test(scores)
    if len(tests) > 3:
        titles = [_column(metric) for metric in columns(scores)]
        lines = [[test, row.model, *(_percent(row, column.title) for column in titles), row.n]
                 for test, rows in tests.items() for row in rows]  # fmt: skip
        return table([Column("test"), Column("model"), *titles, Column("n", numeric=True, help="items scored")], lines)
    heads, groups = [Column("model")], [("", 1)]
    for test, rows in tests.items():
        metrics = columns(rows)
        heads += [_column(metric) for metric in metrics]
        heads.append(Column("n", numeric=True, help="items scored"))
        groups.append((test, len(metrics) + 1))
    body = [[model, *(cell for rows in tests.values() for cell in _cells(rows, model))] for model in _models(tests)]
    return table(heads, body, groups=groups)


def _table_by_kind(scores: Sequence[Score]) -> Markup:
    """A row for each test and model: items whose gold has a call, items whose gold is a text, all items."""
    apart = [metric for metric in columns(scores) if metric != TEXT]
    whole = _metrics(scores)
    number = Column("n", numeric=True, help="items scored")
    heads = [Column("test"), Column("model"), *map(_column, apart), number, Column("text", True, description(TEXT)),
             number, *map(_column, whole), number]  # fmt: skip
    groups = [("", 2), ("a call is due", len(apart) + 1), ("a text is due", 2), ("all items", len(whole) + 1)]
    body = []
    for test, rows in by_test(scores).items():
        for row in rows:
            found, every = shares(row), overall(row)
            texts, calls = found.get(TEXT), found.get("TS")
            body.append([
                test, row.model, *(_share(found.get(metric)) for metric in apart), calls and calls.n,
                _share(texts), texts and texts.n, *(_share(every.get(metric)) for metric in whole), row.n,
            ])  # fmt: skip
    return table(heads, body, groups=groups)


def _column(metric: str) -> Column:
    return Column(metric, numeric=True, help=description(metric))


def comparison_table(scores: Sequence[Score], comparisons: Comparisons) -> Markup:
    """What each stage changed, in points ± standard error, with the verdict and its p-value."""
    body = []
    for test, rows in by_test(scores).items():
        for score, reference in compared_rows(rows):
            shared = [metric for metric in score.metrics if metric in reference.metrics]
            changes = {metric: _change(difference(comparisons, score, reference, metric)) for metric in shared}
            pair = Markup('{}<br><small class="muted">against {}</small>').format(score.model, reference.model)
            body.append([pair, test, *(changes.get(metric) for metric in _metrics(scores))])
    heads = [Column("model"), Column("test"), *map(_column, _metrics(scores))]
    return table(heads, body, empty="No two models were scored on the same test, so nothing is compared.")


def counts_table(scores: Sequence[Score]) -> Markup:
    """Counts behind the percentages: items, scored, unparseable, unanswered, repaired and excluded golds, tokens and
    cost, error categories."""
    used = [title for title in _USAGE if any(score.usage.get(title) for score in scores)]
    categories = list(dict.fromkeys(category for score in scores for category in score.errors))
    heads = [Column("model"), Column("test")]
    titles = ["items", "n", "unparseable", "too long", "refused", "repaired", "excluded"]
    titles += [*(_USAGE[name] for name in used), *map(category_words, categories)]
    heads += [Column(title, numeric=True) for title in titles]
    body = []
    for score in scores:
        counts: list[Any] = [score.items, score.n, score.unparseable, score.too_long, score.refused]
        counts += [_number(score.repaired), _number(score.excluded)]
        tokens = [Cell(_used(score.usage.get(name, 0)), score.usage.get(name, 0)) for name in used]
        errors = (score.errors.get(category, 0) for category in categories)
        body.append([score.model, score.test, *counts, *tokens, *errors])
    return table(heads, body)


def usage_line(scores: Sequence[Mapping[str, Any]], model: str) -> str:
    """Tokens, and cost if prices were given, of all replies of a model in the rows of a `scores.json`."""
    rows = [row.usage for row in parse_scores(list(scores))
            if row.model == model and row.protocol in (None, "default")]  # fmt: skip
    sums = {title: sum(row.get(name, 0) for row in rows) for name, title in _USAGE.items()}
    parts = [f"{_used(value)} {title}" for title, value in sums.items() if value]
    return f"{model}: {', '.join(parts) or 'no tokens'}"


def truncation_lines(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each row of a `scores.json` with truncated replies."""
    return truncations(parse_scores(list(scores)))


_USAGE = {"prompt_tokens": "prompt tokens", "tokens": "reply tokens", "cost": "cost"}


def _used(value: float) -> str:
    """A count of tokens as an integer, a cost with four significant digits."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def _change(result: Comparison | None) -> Cell | None:
    if result is None:
        return None
    good, bad = ("higher", "lower") if METRICS[result.metric].higher_is_better else ("lower", "higher")
    style = {good: "good", bad: "bad"}.get(result.verdict, "muted")
    p = "" if result.p is None else f", {p_value(result.p)}"
    text = Markup('<span class="{}">{}<br><small>{}{}</small></span>').format(style, result.text, result.verdict, p)
    return Cell(text, result.points)


def _cells(rows: Sequence[Score], model: str) -> list[Cell | int | None]:
    row = _row(rows, model)
    cells: list[Cell | int | None] = [_percent(row, metric) for metric in columns(rows)]
    return [*cells, None if row is None else row.n]


def _percent(row: Score | None, metric: str) -> Cell | None:
    return None if row is None else _share(shares(row).get(metric))


def _share(share: Share | None) -> Cell | None:
    if share is None:
        return None
    if share.few:
        return Cell(share.text, share.value)
    after = "" if share.error is None else Markup(' <span class="muted">± {:.1f}</span>').format(share.error)
    return Cell(Markup("{:.1f}{}").format(share.value, after), share.value)


def _plain(row: Score | None, metric: str) -> str:
    share = None if row is None else shares(row).get(metric)
    return "–" if share is None else share.text.replace("± ", "±")


def _row(rows: Sequence[Score], model: str) -> Score | None:
    return next((row for row in rows if row.model == model), None)


def _metrics(rows: Sequence[Score]) -> list[str]:
    return [metric for metric in METRICS if any(metric in row.metrics for row in rows)]


def _models(tests: Mapping[str, Sequence[Score]]) -> list[str]:
    return list(dict.fromkeys(row.model for rows in tests.values() for row in rows))


def _counted(rows: Sequence[Score]) -> str:
    counts = sorted({row.n for row in rows})
    return f"n={counts[0]:,}" + (f"–{counts[-1]:,}" if len(counts) > 1 else "")


def _number(golds: int | Sequence[Any] | Mapping[str, Any]) -> int:
    return golds if isinstance(golds, int) else len(golds)
