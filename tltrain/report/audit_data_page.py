"""Sections of the audit page: what MAE masks, endings, failure detectors, tools, lengths, duplicates."""

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
    "unknown_tool": "unknown tool",
    "not_an_object": "arguments unreadable",
    "unknown_argument": "argument does not exist",
    "missing_argument": "argument missing",
    "bad_value": "bad value",
    "execution": "failed when executed",
    "labelled": "labelled as failed",
}


def per_cent(part: float) -> str:
    """A share from 0 to 1 as a percentage."""
    return f"{100 * part:.1f} %"


def block(*parts: Markup) -> Markup:
    """Parts that stay together in a row of `side_by_side`."""
    return Markup("<div>{}</div>").format(join(parts))


def listing(columns: list[Column], rows: list[list[Any]], what: str, total: int) -> Markup:
    """A table; a long table is collapsed, with its first rows visible."""
    if len(rows) <= OPEN_ROWS:
        return table(columns, rows)
    title = f"All {total:,} {what}" if len(rows) == total else f"The first {len(rows)} of {total:,} {what}"
    return join([table(columns, rows[:8]), details(title, table(columns, rows))])


def mae_section(audit: Audit) -> Section | None:
    """How much is left to train on once failed calls are masked."""
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
            ("replies masked completely", f"{mae['masked_whole']:,} of {mae['replies']:,}"),
            ("replies masked partly", mae["masked_in_part"]),
            ("trajectories masked completely", mae["trajectories_with_nothing_left"]),
        ]
    )
    text = (
        "A reply with a failed call stays in the context of later steps but is excluded from the loss; of parallel "
        "calls, only the failed ones are masked. Green is what the model would be trained on."
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
        else "No trajectory ends without an answer."
    )
    if trajectories["endings"]["user"]:
        text += " Trajectories that end with a message from the user count as neither answered nor unanswered."
    labels = trajectories["labelled_replies"]
    if labels["masked"] or labels["trained"]:
        text += (
            f" {labels['masked']:,} replies are labelled with weight 0 and {labels['trained']:,} with another weight; "
            "labels override the failure detectors."
        )
    return Section("How trajectories end", join([paragraph(text), figure(chart)]))


def detector_section(audit: Audit) -> Section | None:
    """Agreement of the two failure detectors, and their precision and recall where the data are labelled."""
    parts = [part for part in (_agreement(audit["readers"]), _labels(audit.get("labels"))) if part]
    return Section("How reliable is this?", join(parts)) if parts else None


def _agreement(counts: Mapping[str, Any]) -> Markup:
    if not counts["read_by_both"]:
        return Markup()
    kappa = "" if counts["kappa"] is None else f" (Cohen’s kappa {counts['kappa']:.2f})"
    text = (
        "Two independent detectors assess a call: one its form, the other its feedback. On the "
        f"{counts['read_by_both']:,} calls that both could assess, they agree on {per_cent(counts['agreement'])}"
        f"{kappa}. "
        "Full agreement is not expected: a well-formed call can fail, and a lenient tool can accept a malformed one."
    )
    columns = [Column(""), Column("feedback: failed", True), Column("feedback: succeeded", True)]
    rows = [
        ["form: faulty", counts["both_failed"], counts["schema_only"]],
        ["form: correct", counts["feedback_only"], counts["neither"]],
    ]
    return join([paragraph(text), table(columns, rows, sortable=False)])


def _labels(labels: Mapping[str, Any] | None) -> Markup:
    if not labels:
        return Markup()
    text = (
        f"The data label which calls really failed: {labels['wrong']:,} of {labels['calls']:,}. The detectors found "
        f"{labels['found']:,} of them (recall {per_cent(labels['recall'])}) with {labels['false_alarms']:,} false "
        f"alarms (precision {per_cent(labels['precision'])})."
    )
    if labels["missed"]:
        text += (
            " The others failed silently: well-formed and executed without an error, but not what the query required."
        )
    columns = [Column("error"), Column("calls", True), Column("found", True), Column("missed", True)]
    rows = [[row["error"].replace("_", " "), row["calls"], row["found"], row["missed"]] for row in labels["by_error"]]
    return join([heading("Compared with the labels"), paragraph(text), table(columns, rows)])


def tool_sections(audit: Audit) -> list[Section]:
    """Tools that are easily confused, have invalid specifications, or are never called."""
    tools = audit["tools"]
    if not tools["distinct"]:
        return []
    each = tools["per_trajectory"]
    figures = facts(
        [
            ("tools", tools["distinct"]),
            ("tools per trajectory, median", each["p50"]),
            ("tools per trajectory, maximum", each["max"]),
            ("different tool sets", tools["sets"]),
            ("easily confused pairs", tools["confusable"]["pairs"]),
            ("invalid specifications", tools["invalid"]["number"]),
            ("never called", tools["never_used"]["number"]),
        ]
    )
    notes = []
    if tools["inferred"]:
        notes.append(
            f"The specifications of {tools['inferred']:,} tools were inferred from the calls: tools that are never "
            "called are unknown, and these specifications are not checked."
        )
    if tools["several_specifications"]:
        notes.append(f"{tools['several_specifications']:,} further specifications have the name of another tool.")
    parts = [figures, *([paragraph(" ".join(notes))] if notes else [])]
    parts += [
        part for part in (_confusable(tools["confusable"]), _invalid(tools["invalid"]), _never_used(tools)) if part
    ]
    return [Section("The tools", join(parts))]


def _confusable(confusable: Mapping[str, Any]) -> Markup:
    if not confusable["shown"]:
        return Markup()
    columns = [Column("tool"), Column("confused with"), Column("reason"), Column("trajectories", True)]
    rows = [[row["a"], row["b"], "; ".join(row["reasons"]), row["trajectories"]] for row in confusable["shown"]]
    text = "Offered together in one trajectory, with similar names or descriptions: few tokens tell them apart."
    if not confusable["complete"]:
        text += " Only the commonest tool sets were compared."
    return join([heading("Easily confused"), paragraph(text), listing(columns, rows, "pairs", confusable["pairs"])])


def _invalid(invalid: Mapping[str, Any]) -> Markup:
    if not invalid["tools"]:
        return Markup()
    rows = [[row["tool"], "; ".join(row["troubles"]), row["trajectories"]] for row in invalid["tools"]]
    columns = [Column("tool"), Column("problems"), Column("occurrences", True)]
    return join([heading("Invalid specifications"), listing(columns, rows, "specifications", invalid["number"])])


def _never_used(tools: Mapping[str, Any]) -> Markup:
    never = tools["never_used"]
    if not never["number"]:
        return Markup()
    rows = [[row["tool"], row["trajectories"]] for row in never["tools"]]
    columns = [Column("tool"), Column("offered in trajectories", True)]
    return join([heading("Never called"), listing(columns, rows, "tools", never["number"])])


def data_sections(audit: Audit) -> list[Section]:
    """Lengths, duplicates, and the records that could not be read."""
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
                ("95th percentile", "p95"),
                ("99th percentile", "p99"),
                ("longest", "max"),
                ("total", "sum"),
            )
        ]
        edges = [row["from"] for row in lengths["histogram"]] + [lengths["histogram"][-1]["to"]]
        edges[-1] = min(edges[-1], 2 * edges[-2] - edges[-3]) if len(edges) > 2 else edges[-1]
        limit = lengths["max_length"]
        markers = {f"limit {limit:,}": limit} if limit else None
        counts = [row["count"] for row in lengths["histogram"]]
        chart = charts.histogram(f"Lengths in {unit}", edges, counts, x_label=f"{unit} per trajectory", markers=markers)
        caption = "Each whole trajectory: tools, messages, calls and feedback"
        caption += " as rendered by the chat template." if unit == "tokens" else "; pass --model for lengths in tokens."
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
        Column("trajectories truncated", True),
        Column("share", True),
        Column("tokens lost", True),
        Column("share", True),
    ]
    rows = [
        [row["limit"], row["cut"], _share(row["share"]), row["tokens_lost"], _share(row["share_lost"])]
        for row in lengths["limits"]
        if row["cut"] or row["limit"] in (lengths["max_length"], enough)
    ]
    return block(heading("What a length limit would truncate"), table(columns, rows))


def _share(value: float) -> Cell:
    return Cell(per_cent(value), value)


def _duplicates(audit: Audit) -> Section:
    duplicates = audit["duplicates"]
    exact, near = duplicates["exact"], duplicates["near"]
    figures = facts([("exact copies", exact["copies"]), ("near duplicates", near["copies"])])
    text = (
        "An exact copy repeats the messages and calls of an earlier trajectory. A near duplicate has nearly the same "
        "queries and calls: the word trigrams of its queries and the arguments of its calls overlap by "
        f"{100 * duplicates['threshold']:.0f} % or more (estimated Jaccard index)."
    )
    parts = [figures, paragraph(text)]
    for name, groups in (("Largest groups of copies", exact), ("Largest groups of near duplicates", near)):
        if groups["largest"]:
            columns = [Column("query"), Column("size", True), Column("positions in the data")]
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
