"""`audit.html`: an audit as a page: the headline, then which calls failed and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tltrain.audit.calls import CATEGORIES
from tltrain.progress import quantity
from tltrain.report import charts
from tltrain.report.audit_comparison_page import both_headlines, comparison_sections
from tltrain.report.audit_data_page import (
    SHORT_CATEGORIES,
    block,
    data_sections,
    detector_section,
    ending_section,
    listing,
    mae_section,
    per_cent,
    tool_sections,
)
from tltrain.report.page import (
    Cell,
    Column,
    Section,
    details,
    facts,
    figure,
    heading,
    join,
    page,
    paragraph,
    side_by_side,
)

Audit = Mapping[str, Any]

STEPS_SHOWN = 10
TOOLS_DRAWN = 12
FAILURES_OPEN = 3
STYLE = """
.kind { margin: 1.5rem 0 2rem; }
.kind h3 .count { color: var(--bad); }
.examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: 1rem 1.25rem; }
.failure { min-width: 0; border: 1px solid var(--line); border-top: 3px solid var(--bad); border-radius: .35rem;
  padding: .6rem .85rem .75rem; break-inside: avoid; }
.failure p { margin: .2rem 0 .5rem; font-size: .92rem; }
.failure pre { margin: .2rem 0 .6rem; max-height: 13rem; overflow-y: auto; }
.failure .label { color: var(--muted); font-size: .8rem; margin: 0; }
.failure .location { color: var(--muted); font-size: .8rem; margin: .4rem 0 0; overflow-wrap: anywhere; }
.kind ul { margin: .3rem 0 .9rem; padding-left: 1.2rem; max-width: 58rem; }
.split { display: flex; height: 1.6rem; max-width: 46rem; margin: .9rem 0 .4rem; }
.split span { display: block; min-width: 2px; }
td ul { margin: 0; padding-left: 1.1rem; }
@media print { .failure pre { max-height: none; overflow: visible; } }
"""


def audit_page(audit: Audit, other: Audit | None = None) -> str:
    """The page of an audit (as `audit.run.run_audit` returns it); with `other`, a comparison of both data sets.

    One HTML document without network access; everything from the data is escaped.
    """
    if other is not None:
        sections = [*comparison_sections(audit, other), _folded("A", audit), _folded("B", other)]
        names = f"{audit.get('data', 'A')} and {other.get('data', 'B')}"
        title, note = f"Audit of {names}", _comparison_note(audit, other)
        return page(title, *sections, headline=both_headlines(audit, other), note=note, style=STYLE)
    title = f"Audit of {audit['data']}" if audit.get("data") else "Audit"
    return page(title, *_sections(audit), headline=audit["headline"], note=_note(audit), style=STYLE)


def _sections(audit: Audit) -> list[Section]:
    found = [
        _overview(audit),
        *([_failures(audit), _names(audit)] if audit["calls"]["failed"] else []),
        _tools_used(audit),
        mae_section(audit),
        ending_section(audit),
        detector_section(audit),
        *tool_sections(audit),
        *data_sections(audit),
    ]
    return [section for section in found if section is not None]


def _folded(side: str, audit: Audit) -> Section:
    """All sections of one of two audits, collapsed."""
    whole = (Markup("<h2>{}</h2>{}").format(section.title, section.body) for section in _sections(audit))
    sentence = paragraph(" ".join([audit["headline"], _note(audit)]))
    return Section(f"All about {side}", join([sentence, details(f"Show the audit of {side}", join(whole))]))


def _note(audit: Audit) -> str:
    parts = list(audit["warnings"])
    if audit.get("model"):
        parts.append(f"Lengths in tokens of {audit['model']}.")
    if audit["mode"] == "paper":
        parts.append("Failed calls by the rule of the TL-Training release (paper mode).")
    problems = audit.get("problems", {}).get("number", 0)
    if problems:
        skipped = "was" if problems == 1 else "were"
        parts.append(f"{quantity(problems, 'record')} could not be read and {skipped} skipped.")
    return " ".join(parts)


def _comparison_note(audit: Audit, other: Audit) -> str:
    sides = (("A", audit), ("B", other))
    return " ".join(f"{side}: {warning}" for side, each in sides for warning in each["warnings"])


def _overview(audit: Audit) -> Section:
    calls, trajectories, copies = audit["calls"], audit["trajectories"], audit["duplicates"]["exact"]["copies"]
    figures = [
        ("trajectories", trajectories["total"]),
        ("calls", calls["total"]),
        ("calls failed", per_cent(calls["share"])),
        *([("calls whose form was not judged", calls["form_not_judged"])] if calls["form_not_judged"] else []),
        ("trajectories with a failed call", trajectories["with_failed_calls"]),
        ("end without an answer", trajectories["without_answer"]),
        ("tools offered", audit["tools"]["distinct"]),
        ("exact copies", copies),
    ]
    parts = [facts(figures)]
    if calls["failed"]:
        parts.append(side_by_side(_category_figure(calls), _step_figure(calls)))
        parts.append(paragraph(_recovery(calls)))
    return Section("At a glance", join(parts))


def _category_figure(calls: Mapping[str, Any]) -> Markup:
    counts = {SHORT_CATEGORIES[name]: count for name, count in calls["by_category"].items() if count}
    ordered = dict(sorted(counts.items(), key=lambda item: -item[1]))
    chart = charts.bars("Failed calls by what went wrong", ordered, total=calls["total"], colour=5)
    caption = (
        "Calls, and their share of all calls. A call with several faults counts in the first that applies: tool, form, "
        "argument names, values, execution."
    )
    return figure(chart, caption, title="What went wrong")


def _step_figure(calls: Mapping[str, Any]) -> Markup:
    shown = [row for row in calls["by_step"] if row["step"] <= STEPS_SHOWN]
    rates = {f"step {row['step']}": (100 * row["share"], _error(row["share"], row["calls"])) for row in shown}
    limit = max(5.0, *(value + (error or 0.0) for value, error in rates.values()))
    chart = charts.grouped_bars(
        "Share of calls that failed, by step", {"": rates}, colours=dict.fromkeys(rates, 1), limit=limit
    )
    more = len(calls["by_step"]) - len(shown)
    caption = "Failed calls in a trajectory's first, second, … reply with calls, in per cent, with one standard error."
    if more:
        caption += f" audit.json has {more} later steps."
    return figure(chart, caption, title="Failure rate by step")


def _recovery(calls: Mapping[str, Any]) -> str:
    part = calls["put_right"] / calls["failed"]
    sentence = f"After {per_cent(part)} of the failed calls, all calls of the next reply succeed"
    if part < 0.5:
        return sentence + "."
    return sentence + ": useful as context, even though the failed calls should not be imitated."


def _failures(audit: Audit) -> Section:
    failures = audit["calls"]["failures"]
    kinds = [_kind(row) for row in failures["shown"]]
    parts = [paragraph("Failures grouped by kind, with examples from the data."), *kinds[:FAILURES_OPEN]]
    if kinds[FAILURES_OPEN:]:
        parts.append(details(f"{len(kinds) - FAILURES_OPEN} more kinds", join(kinds[FAILURES_OPEN:])))
    if failures["rest"]:
        parts.append(paragraph(f"{failures['rest']:,} further failures are of rarer kinds."))
    return Section("The commonest failures", join(parts))


def _kind(row: Mapping[str, Any]) -> Markup:
    title = row["pattern"][:1].upper() + row["pattern"][1:]
    head = Markup('<h3><span class="count">{} ×</span> {}</h3>').format(f"{row['count']:,}", title)
    label = "" if row["pattern"] == CATEGORIES[row["category"]] else f", {CATEGORIES[row['category']]}"
    below = Markup('<p class="muted">{} of all failures{}</p>').format(per_cent(row["share"]), label)
    wordings = _wordings(row["wordings"]) if row["category"] != "execution" else Markup()
    cards = join(_example(example) for example in row["examples"])
    return Markup('<div class="kind">{}{}{}<div class="examples">{}</div></div>').format(head, below, wordings, cards)


def _wordings(wordings: Sequence[Mapping[str, Any]]) -> Markup:
    items = (Markup("<li>{} <span class=muted>× {}</span></li>").format(row["text"], row["count"]) for row in wordings)
    return Markup("<ul>{}</ul>").format(join(items))


def _example(example: Mapping[str, Any]) -> Markup:
    query = Markup('<p class="label">query</p><p>{}</p>').format(example["query"]) if example["query"] else Markup()
    feedback = example["feedback"] or "(no feedback)"
    return Markup(
        '<div class="failure">{}<p class="label">call</p><pre>{} {}</pre><p class="label">feedback</p><pre>{}</pre>'
        '<p class="bad">{}</p><p class="location">{}, step {}</p></div>'
    ).format(
        query, example["tool"], example["arguments"], feedback, example["reason"], example["place"], example["step"]
    )


def _names(audit: Audit) -> Section | None:
    """Names that do not exist, with the nearest names that do."""
    tools, arguments = audit["calls"]["unknown_tools"], audit["calls"]["unknown_arguments"]
    parts = []
    if tools:
        rows = [[row["name"], row["nearest"], row["count"]] for row in tools]
        columns = [Column("tool called"), Column("nearest existing tool"), Column("calls", True)]
        parts.append(block(heading("Tools that do not exist"), listing(columns, rows, "names", len(rows))))
    if arguments:
        rows = [[row["name"], row["tool"], row["nearest"], row["count"]] for row in arguments]
        columns = [Column("argument"), Column("of tool"), Column("nearest existing argument"), Column("calls", True)]
        parts.append(block(heading("Arguments that do not exist"), listing(columns, rows, "names", len(rows))))
    return Section("Hallucinated names", side_by_side(*parts)) if parts else None


def _tools_used(audit: Audit) -> Section | None:
    calls = audit["calls"]
    if not calls["by_tool"]:
        return None
    parts = []
    failing = sorted((row for row in calls["by_tool"] if row["failed"]), key=lambda row: (-row["failed"], row["tool"]))
    if failing:
        counts = {row["tool"]: row["failed"] for row in failing[:TOOLS_DRAWN]}
        chart = charts.bars("Failed calls by tool", counts, total=calls["failed"], colour=5)
        parts.append(figure(chart, "Failed calls, and their share of all failures.", title="Failed calls by tool"))
    columns = [Column("tool"), Column("calls", True), Column("failed", True), Column("share failed", True)]
    rows = [
        [row["tool"], row["calls"], row["failed"], Cell(per_cent(row["share"]), row["share"])]
        for row in calls["by_tool"]
    ]
    parts.append(block(heading("Tools called"), listing(columns, rows, "tools called", calls["tools"])))
    return Section("By tool", side_by_side(*parts))


def _error(part: float, number: int) -> float | None:
    """One standard error of a share of `number` calls, in per cent."""
    return float(100 * (part * (1 - part) / number) ** 0.5) if number > 1 else None
