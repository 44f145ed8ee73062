"""`report.html` of a run directory: scores and their significance, curves, errors, examples, time, environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tltrain.evaluation.metrics import METRICS
from tltrain.evaluation.scores import Score
from tltrain.evaluation.significance import FEW, ErrorChange
from tltrain.files import read_json, write_text
from tltrain.report import charts
from tltrain.report.comparison import general_table, robustness_table
from tltrain.report.curves import ENDS, curve, drawable, first_to_last
from tltrain.report.examples import example_sections
from tltrain.report.gold_kinds import FEW_HELP, KINDS_HELP, TEXT, columns, has_few
from tltrain.report.page import (
    Cell,
    Column,
    Section,
    code,
    details,
    facts,
    figure,
    heading,
    join,
    page,
    paragraph,
    side_by_side,
    table,
)
from tltrain.report.ppo_section import ppo_section
from tltrain.report.run_files import Audit, Run, Stage, read_run
from tltrain.report.score_charts import colours, metric_charts
from tltrain.report.summary import (
    Comparisons,
    by_test,
    category_words,
    errors_changed,
    headline,
    lead,
    remarks,
    setbacks,
    truncations,
)
from tltrain.report.tables import comparison_table, counts_table, score_table


def write_report(run_dir: Path) -> Path:
    """Write `report.html` from the files of a run directory; stages that have not run yet are omitted.

    Raises:
        RunError: the folder does not exist or has nothing to report, or a file is malformed (the message names the
            file and the line or row).
    """
    path = run_dir / "report.html"
    write_text(path, report_page(read_run(run_dir)))
    return path


def report_page(run: Run) -> str:
    """The report of a run as an HTML document."""
    parts = [
        _scores(run.scores, run.comparisons),
        _robustness(run.folder),
        _errors(run.scores, run.error_changes),
        _sft(run.sft),
        ppo_section(run.ppo, run.validation),
        _audit(run.audit),
        example_sections(run.predictions, list(dict.fromkeys(score.model for score in run.scores))),
        _stages(run.stages),
        _environment(run.environment, run.config),
    ]
    name = run.folder.resolve().name
    return page(
        f"tltrain: run {name}",
        *(part for part in parts if part is not None),
        headline=headline(run.scores, run.comparisons) if run.scores else f"Run {name} has no scores yet.",
        note=setbacks(run.scores, run.comparisons),
    )


def _scores(scores: Sequence[Score], comparisons: Comparisons) -> Section | None:
    if not scores:
        return None
    tests = by_test(scores)
    shades = colours([score.model for score in scores])
    definitions = "; ".join(
        f"{metric}: {METRICS[metric].description}" for metric in METRICS if any(metric in s.metrics for s in scores)
    )
    parts = [paragraph(Markup('<span class="muted">{}. After ± one standard error.</span>').format(definitions))]
    parts += [paragraph(KINDS_HELP)] if TEXT in columns(scores) else []
    parts += [paragraph(FEW_HELP)] if has_few(scores) else []
    notes = (paragraph(f"{text}.") for text in (*remarks(scores), *truncations(scores)))
    parts += [score_table(scores), *notes, side_by_side(*metric_charts(tests, shades))]
    if any(len(rows) > 1 for rows in tests.values()):
        text = (
            "Differences in points ± standard error, with the p-value of McNemar's exact test on the items that both "
            "models answered; p of 0.05 or more is within noise. Without predictions the items count as "
            "independent samples, and a difference smaller than two standard errors is within noise; of fewer than "
            f"{FEW} items there is no standard error then."
        )
        parts += [heading("What each stage changed"), paragraph(text), comparison_table(scores, comparisons)]
    return Section("Scores", join([*parts, details("All counts", counts_table(scores))]))


def _robustness(folder: Path) -> Section | None:
    parts = []
    if (folder / "robustness.json").exists():
        parts.append(robustness_table(read_json(folder / "robustness.json")))
    if (folder / "general.json").exists():
        path = folder / "comparison.json"
        compared = read_json(path) if path.exists() else {}
        parts.append(general_table(read_json(folder / "general.json"), compared.get("general_differences", [])))
    return Section("Robustness and general ability", join(parts)) if parts else None


def _errors(scores: Sequence[Score], changes: Sequence[ErrorChange]) -> Section | None:
    rows = [row for row in (lead(scores) if scores else []) if row.errors]
    if not rows:
        return None
    sums: dict[str, int] = {}
    for row in rows:
        for category, count in row.errors.items():
            sums[category] = sums.get(category, 0) + count
    order = sorted((category for category in sums if sums[category]), key=lambda category: -sums[category])
    limit = max(100 * count / max(row.n, 1) for row in rows for count in row.errors.values())
    shades = colours([row.model for row in rows])
    figures = [
        figure(
            charts.bars(
                f"Errors of {row.model}",
                {category_words(category): row.errors.get(category, 0) for category in order},
                total=row.n,
                limit=limit or 1.0,
                colour=shades[row.model],
            ),
            title=row.model,
        )
        for row in rows
    ]
    text = (
        f"Predictions by error category on {rows[0].test}, in per cent of the items scored; same scale for all models."
    )
    parts = [paragraph(text), side_by_side(*figures)]
    if found := errors_changed(rows, changes):
        test = "p-values are those of McNemar's exact test, after Holm's correction over the kinds of error."
        parts += [heading("Which errors each stage changed"), *map(paragraph, found), paragraph(test)]
    return Section("Errors", join(parts))


def _sft(arms: Mapping[str, Sequence[Mapping[str, Any]]]) -> Section | None:
    curves = {arm: curve(lines, "step", "loss") for arm, lines in arms.items() if lines}
    if not curves:
        return None
    shades = colours(list(curves))
    smoothed = any(len(steps) >= charts.SMOOTHED_FROM for steps, _ in curves.values())
    caption = "Strong: the running mean. Faint: each optimiser step." if smoothed else "Each optimiser step."
    if len(curves) > 1:
        caption += " The arms weigh tokens differently, so the height of one curve says nothing about the other."
    parts = []
    norms = {arm: curve(lines, "step", "grad_norm") for arm, lines in arms.items()}
    for title, found, text in (("Training loss", curves, caption), ("Gradient norm", norms, "Before clipping.")):
        if drawable(found):
            chart = charts.lines(title, found, x_label="optimiser step", colours=shades, smooth=True)
            parts.append(figure(chart, text, title=title))
    ends = [(f"Loss of {arm}, {ENDS}", first_to_last(values)) for arm, (_, values) in curves.items()]
    return Section("SFT", join([facts(ends), side_by_side(*parts)]))


def _audit(audit: Audit) -> Section | None:
    if audit.calls is None:
        return None
    calls = audit.calls
    share = f" ({100 * calls.failed / calls.total:.1f} %)" if calls.total else ""
    parts = [paragraph(audit.headline)] if audit.headline else []
    parts.append(facts([("Calls in the training data", calls.total), ("Failed", f"{calls.failed:,}{share}")]))
    if any(calls.by_category.values()):
        ordered = sorted(calls.by_category.items(), key=lambda item: -item[1])
        found = {category_words(category): count for category, count in ordered if count}
        chart = charts.bars("Failed calls by category", found, total=calls.total, colour=5)
        parts.append(figure(chart, "In per cent of all calls.", title="Failed calls by category"))
    return Section("Training data", join(parts))


def _stages(stages: Sequence[Stage]) -> Section | None:
    if not stages:
        return None
    total = sum(stage.seconds for stage in stages)
    memory = [stage.peak_memory_mb for stage in stages if stage.peak_memory_mb is not None]
    columns = [
        Column("stage"),
        Column("time", True),
        Column("share", True),
        Column("peak memory", True),
        Column("note"),
    ]
    rows = [
        [
            stage.stage,
            Cell(_duration(stage.seconds), stage.seconds),
            Cell(f"{100 * stage.seconds / total:.0f} %" if total else "–", stage.seconds),
            None if stage.peak_memory_mb is None else Cell(_memory(stage.peak_memory_mb), stage.peak_memory_mb),
            stage.note,
        ]
        for stage in stages
    ]
    figures = [("In all", _duration(total)), ("Peak memory", _memory(max(memory)) if memory else None)]
    return Section("Time and memory", join([facts(figures), table(columns, rows)]))


def _environment(environment: Mapping[str, Any], config: str) -> Section | None:
    if not environment and not config:
        return None
    parts = []
    if environment:
        rows = [[Markup("<code>{}</code>").format(key), value] for key, value in _flat(environment)]
        parts.append(details("Versions, commit, seed, hardware", table(["key", "value"], rows)))
    if config:
        parts.append(details("Configuration", code(config)))
    return Section("Environment", join(parts))


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", "–" if value is None else str(value)))
    return rows


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"


def _memory(megabytes: float) -> str:
    return f"{megabytes / 1024:.1f} GiB" if megabytes >= 1024 else f"{megabytes:.0f} MiB"
