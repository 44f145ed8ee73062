"""The parts of the audit page on the data themselves: what MAE masks, endings, readers, tools, lengths, duplicates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from tltrain.audit.statistics import ENDINGS, WITHOUT_ANSWER
from tltrain.report import charts
from tltrain.report.page import (
    Cell,
    Column,
    Section,
    details,
    facts,
    figure,
    heading,
    join,
    paragraph,
    side_by_side,
    table,
)

Audit = Mapping[str, Any]
OPEN_ROWS = 15
SHORT_CATEGORIES = {
    "unknown_tool": "tool not given",
    "not_an_object": "arguments unreadable",
    "unknown_argument": "argument does not exist",
    "missing_argument": "argument missing",
    "bad_value": "bad value",
    "execution": "failed when executed",
    "labelled": "labelled as failed",
}


def per_cent(part: float) -> str:
    """A share from 0 to 1 for people."""
    return f"{100 * part:.1f} %"


def block(*parts: Markup) -> Markup:
    """Parts that stay together where others stand beside them."""
    return Markup("<div>{}</div>").format(join(parts))


def listing(columns: list[Column], rows: list[list[Any]], what: str, total: int) -> Markup:
    """A short table as it is, a long one folded with its first rows in view."""
    if len(rows) <= OPEN_ROWS:
        return table(columns, rows)
    title = f"All {total:,} {what}" if len(rows) == total else f"The first {len(rows)} of {total:,} {what}"
    return join([table(columns, rows[:8]), details(title, table(columns, rows))])


def mae_section(audit: Audit) -> Section | None:
    """What stays to be learnt once failed calls are masked."""
    mae = audit["mae"]
    if not mae["replies"]:
        return None
    unit, kept = mae["unit"], 1 - mae["share_masked"]
    bar = Markup(
        '<div class="split" role="img" aria-label="{} kept, {} masked">'
        '<span style="width:{}%;background:var(--c3)"></span><span style="width:{}%;background:var(--c5)"></span></div>'
    ).format(per_cent(kept), per_cent(mae["share_masked"]), 100 * kept, 100 * mae["share_masked"])
    figures = facts(
        [
            (f"{unit} of replies kept", f"{mae['kept']:,}"),
            (f"{unit} masked", f"{mae['masked']:,} ({per_cent(mae['share_masked'])})"),
            ("replies masked whole", f"{mae['masked_whole']:,} of {mae['replies']:,}"),
            ("replies masked in part", mae["masked_in_part"]),
            ("trajectories with nothing left", mae["trajectories_with_nothing_left"]),
        ]
    )
    text = (
        "A reply with a failed call stays in the context of later steps and out of the loss; of parallel calls only "
        "the failed ones are masked. Green is what a model would learn from."
    )
    return Section("What MAE would mask", join([bar, figures, paragraph(text)]))


def ending_section(audit: Audit) -> Section | None:
    """How trajectories end."""
    trajectories = audit["trajectories"]
    if not trajectories["total"]:
        return None
    endings = {ENDINGS[name]: count for name, count in trajectories["endings"].items() if count}
    chart = charts.bars("How trajectories end", endings, total=trajectories["total"], colour=1)
    bad = sum(trajectories["endings"][name] for name in WITHOUT_ANSWER)
    text = (
        f"{bad:,} of {trajectories['total']:,} trajectories end without an answer."
        if bad
        else "None ends without an answer."
    )
    if trajectories["endings"]["user"]:
        text += " Where the user has the last word, an answer came before it or was not given: this is not judged."
    labels = trajectories["labelled_replies"]
    if labels["masked"] or labels["trained"]:
        text += (
            f" {labels['masked']:,} replies are labelled as not to be learnt and {labels['trained']:,} as to be "
            "learnt; such labels win over the readers."
        )
    return Section("How trajectories end", join([paragraph(text), figure(chart)]))


def reader_section(audit: Audit) -> Section | None:
    """The two readers against each other, and against labels where there are any."""
    parts = [part for part in (_agreement(audit["readers"]), _labels(audit.get("labels"))) if part]
    return Section("How sure is this?", join(parts)) if parts else None


def _agreement(readers: Mapping[str, Any]) -> Markup:
    if not readers["read_by_both"]:
        return Markup()
    kappa = "" if readers["kappa"] is None else f" (Cohen’s kappa {readers['kappa']:.2f})"
    text = (
        "Two readers that know nothing of each other look at a call: one at its form, one at its feedback. On the "
        f"{readers['read_by_both']:,} calls that both could read they agree in {per_cent(readers['agreement'])}"
        f"{kappa}. "
        "They need not: a well-formed call can fail, and a lenient tool can excuse a malformed one."
    )
    columns = [Column(""), Column("feedback: failed", True), Column("feedback: fine", True)]
    rows = [
        ["form: broken", readers["both_failed"], readers["schema_only"]],
        ["form: fine", readers["feedback_only"], readers["neither"]],
    ]
    return join([paragraph(text), table(columns, rows, sortable=False)])


def _labels(labels: Mapping[str, Any] | None) -> Markup:
    if not labels:
        return Markup()
    text = (
        f"These data say which calls really went wrong: {labels['wrong']:,} of {labels['calls']:,}. The readers found "
        f"{labels['found']:,} of them (recall {per_cent(labels['recall'])}) with {labels['false_alarms']:,} false "
        f"alarms (precision {per_cent(labels['precision'])})."
    )
    if labels["missed"]:
        text += " The others went wrong silently: well-formed, run without complaint, but not what was asked."
    columns = [Column("what went wrong"), Column("calls", True), Column("found", True), Column("missed", True)]
    rows = [[row["error"].replace("_", " "), row["calls"], row["found"], row["missed"]] for row in labels["by_error"]]
    return join([heading("Against the labels"), paragraph(text), table(columns, rows)])


def tool_sections(audit: Audit) -> list[Section]:
    """Tools that are easily confused, badly specified, never called."""
    tools = audit["tools"]
    if not tools["distinct"]:
        return []
    each = tools["per_trajectory"]
    figures = facts(
        [
            ("tools", tools["distinct"]),
            ("tools a trajectory, median", each["p50"]),
            ("at most", each["max"]),
            ("different tool sets", tools["sets"]),
            ("easily confused pairs", tools["confusable"]["pairs"]),
            ("invalid specifications", tools["invalid"]["number"]),
            ("never called", tools["never_used"]["number"]),
        ]
    )
    notes = []
    if tools["inferred"]:
        notes.append(f"{tools['inferred']:,} tools came without a specification; theirs was inferred from the calls.")
    if tools["several_specifications"]:
        notes.append(
            f"{tools['several_specifications']:,} further specifications give another text under the same name."
        )
    parts = [figures, *([paragraph(" ".join(notes))] if notes else [])]
    parts += [
        part for part in (_confusable(tools["confusable"]), _invalid(tools["invalid"]), _never_used(tools)) if part
    ]
    return [Section("The tools", join(parts))]


def _confusable(confusable: Mapping[str, Any]) -> Markup:
    if not confusable["shown"]:
        return Markup()
    columns = [Column("tool"), Column("easily taken for"), Column("because"), Column("trajectories", True)]
    rows = [[row["a"], row["b"], "; ".join(row["reasons"]), row["trajectories"]] for row in confusable["shown"]]
    text = "Offered together in one trajectory, and alike in name or description: here a model decides on few tokens."
    if not confusable["complete"]:
        text += " Only the commonest tool sets were looked at."
    return join([heading("Easily confused"), paragraph(text), listing(columns, rows, "pairs", confusable["pairs"])])


def _invalid(invalid: Mapping[str, Any]) -> Markup:
    if not invalid["tools"]:
        return Markup()
    rows = [[row["tool"], "; ".join(row["troubles"]), row["trajectories"]] for row in invalid["tools"]]
    columns = [Column("tool"), Column("what is wrong"), Column("occurrences", True)]
    return join([heading("Invalid specifications"), listing(columns, rows, "specifications", invalid["number"])])


def _never_used(tools: Mapping[str, Any]) -> Markup:
    never = tools["never_used"]
    if not never["number"]:
        return Markup()
    rows = [[row["tool"], row["trajectories"]] for row in never["tools"]]
    columns = [Column("tool"), Column("offered in trajectories", True)]
    return join([heading("Never called"), listing(columns, rows, "tools", never["number"])])


def data_sections(audit: Audit) -> list[Section]:
    """Lengths, duplicates, and what could not be read."""
    found = [_lengths(audit), _duplicates(audit), _problems(audit)]
    return [section for section in found if section is not None]


def _lengths(audit: Audit) -> Section | None:
    lengths = audit["lengths"]
    parts = []
    if lengths["number"]:
        unit = lengths["unit"]
        figures = [
            (name, lengths[key])
            for name, key in (
                ("shortest", "min"),
                ("median", "p50"),
                ("95 % are below", "p95"),
                ("99 % are below", "p99"),
                ("longest", "max"),
                ("all together", "sum"),
            )
        ]
        edges = [row["from"] for row in lengths["histogram"]] + [lengths["histogram"][-1]["to"]]
        edges[-1] = min(edges[-1], 2 * edges[-2] - edges[-3]) if len(edges) > 2 else edges[-1]
        limit = lengths["max_length"]
        markers = {f"limit {limit:,}": limit} if limit else None
        counts = [row["count"] for row in lengths["histogram"]]
        chart = charts.histogram(f"Lengths in {unit}", edges, counts, x_label=f"{unit} a trajectory", markers=markers)
        caption = "Each trajectory as a whole: tools, messages, calls and feedback"
        caption += " as the chat template writes them." if unit == "tokens" else "; name a model for lengths in tokens."
        drawing = figure(chart, caption)
        parts = [facts(figures), side_by_side(drawing, _limits(lengths))]
    if lengths["refused"]["number"]:
        reason = lengths["refused"]["reasons"][0][0]
        parts.append(
            paragraph(f"The chat template refused {lengths['refused']['number']:,} trajectories, most often: {reason}")
        )
    return Section("Lengths", join(parts)) if parts else None


def _limits(lengths: Mapping[str, Any]) -> Markup:
    if not lengths["limits"]:
        return Markup()
    enough = next((row["limit"] for row in lengths["limits"] if not row["cut"]), None)
    columns = [
        Column("length limit", True),
        Column("trajectories cut", True),
        Column("share", True),
        Column("tokens lost", True),
        Column("share", True),
    ]
    rows = [
        [row["limit"], row["cut"], _share(row["share"]), row["tokens_lost"], _share(row["share_lost"])]
        for row in lengths["limits"]
        if row["cut"] or row["limit"] in (lengths["max_length"], enough)
    ]
    return block(heading("What a length limit would cut"), table(columns, rows))


def _share(value: float) -> Cell:
    return Cell(per_cent(value), value)


def _duplicates(audit: Audit) -> Section:
    duplicates = audit["duplicates"]
    exact, near = duplicates["exact"], duplicates["near"]
    figures = facts([("exact copies", exact["copies"]), ("near duplicates", near["copies"])])
    text = (
        "A copy repeats the messages and calls of an earlier trajectory. A near duplicate asks nearly the same and "
        "calls nearly the same: its query’s word triples and its calls’ arguments overlap by "
        f"{100 * duplicates['threshold']:.0f} % or more (estimated)."
    )
    parts = [figures, paragraph(text)]
    for name, groups in (("Largest groups of copies", exact), ("Largest groups of near duplicates", near)):
        if groups["largest"]:
            columns = [Column("query"), Column("size", True), Column("numbers in the data")]
            rows = [[row["query"] or "(no query)", row["size"], _positions(row)] for row in groups["largest"]]
            parts.append(join([heading(name), table(columns, rows)]))
    return Section("Duplicates", join(parts))


def _positions(row: Mapping[str, Any]) -> str:
    more = row["size"] - len(row["positions"])
    return ", ".join(f"{position:,}" for position in row["positions"]) + (f" and {more:,} more" if more else "")


def _problems(audit: Audit) -> Section | None:
    problems = audit.get("problems")
    if not problems or not problems["number"]:
        return None
    columns = [Column("file"), Column("line", True), Column("reason")]
    rows = [[row["path"], row["line"], row["reason"]] for row in problems["shown"]]
    return Section("Could not be read", listing(columns, rows, "records", problems["number"]))
