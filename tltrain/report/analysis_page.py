"""`analysis.html` of a run directory, from its `analysis.json`: charts of error categories and token importance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tltrain.files import read_json, write_text
from tltrain.progress import quantity
from tltrain.report import charts
from tltrain.report.page import Column, Section, figure, heading, join, page, paragraph, side_by_side, table
from tltrain.report.summary import category_words

Rows = Sequence[Mapping[str, Any]]


def write_analysis(folder: Path) -> Path:
    """Write `analysis.html` and return its path.

    Raises:
        DataError: `analysis.json` is missing or malformed.
    """
    path = folder / "analysis.html"
    write_text(path, analysis_page(read_json(folder / "analysis.json"), folder.resolve().name))
    return path


def analysis_page(rows: Rows, name: str) -> str:
    """The HTML document for the rows of an `analysis.json`."""
    sections = [Section("Errors", _errors(rows))] if rows else []
    with_tokens = [row for row in rows if row["tokens"] is not None]
    sections += [Section("Token importance", _tokens(with_tokens))] if with_tokens else []
    return page(f"tltrain: analysis {name}", *sections, headline=finding(rows))


def by_kind(rows: Rows) -> list[dict[str, Any]]:
    """Each row as one for the items whose gold has a call and one for those whose gold is a text, since a model that
    never calls is right wherever a text is due. Rows with items of one kind only stay as they are."""
    parts: list[dict[str, Any]] = []
    for row in rows:
        kinds = {
            "items that need a call": row.get("gold_with_call"),
            "items that need a text": row.get("gold_without_call"),
        }
        both = all(counts and counts["n"] for counts in kinds.values())
        parts += [{**row, **counts, "kind": kind} for kind, counts in kinds.items() if counts] if both else [dict(row)]
    return parts


def finding(rows: Rows) -> str:
    """The most frequent error of the model with the fewest right replies, in a sentence."""
    if not rows:
        return "No predictions were analysed."
    row = min(by_kind(rows), key=lambda row: row["right"] / max(row["n"], 1))
    if not row["categories"]:
        return f"No reply is wrong, of {sum(row['n'] for row in rows):,}."
    category, count = max(row["categories"].items(), key=lambda item: item[1])
    wrong = row["n"] - row["right"]
    often = "the most frequent error" if count < wrong else "the only error"
    return f"{_title(row)}: {_part(wrong, row)} wrong; {often} is “{category_words(category)}” ({count:,})."


def _errors(rows: Rows) -> Markup:
    rows = by_kind(rows)
    wrong = [row for row in rows if row["categories"]]
    limit = max((100 * count / row["n"] for row in wrong for count in row["categories"].values()), default=1.0)
    figures = []
    for row in wrong:
        counts = {category_words(category): count for category, count in row["categories"].items()}
        chart = charts.bars(f"Errors of {_title(row)}", counts, total=row["n"], limit=limit)
        figures.append(figure(chart, f"{_part(row['right'], row)} right.", title=_title(row)))
    if not wrong:
        return paragraph("No reply is wrong, so there are no errors to show.")
    text = "Replies by error category, in per cent of the items of each chart. All charts have the same scale."
    return join([paragraph(text), side_by_side(*figures)])


def _tokens(rows: Rows) -> Markup:
    text = (
        "Wrong calls in which the first wrong token of the tool's name, or an argument's name, was corrected by "
        "teacher forcing, and how many became right when the model continued decoding from there. Key tokens are "
        "those to which PKT gives a larger weight; other name tokens do not distinguish the tools given."
    )
    parts = [paragraph(text)]
    for row in rows:
        tokens = row["tokens"]
        columns = [Column("correction of"), *(Column(name, numeric=True) for name in _TITLES)]
        body = [[kind, *_cells(values)] for kind, values in tokens["kinds"].items()]
        shares = {kind: float(values["right"]) for kind, values in tokens["kinds"].items()}
        chart = charts.bars(f"Became right, {_title(row)}", shares, total=max(tokens["wrong_calls"], 1), limit=100.0)
        if not tokens["wrong_calls"]:
            parts += [heading(_title(row)), paragraph(f"No call is wrong, so none was corrected; {_callless(tokens)}.")]
            continue
        parts += [heading(_title(row)), figure(chart, f"In per cent of {_known(tokens)}."), table(columns, body)]
    return join(parts)


def analysis_lines(rows: Rows) -> Iterator[str]:
    """The same figures as text: up to four lines per model and split."""
    for row in rows:
        wrong = (f"{count:,} {category_words(category)}" for category, count in row["categories"].items())
        right = f"{_part(row['right'], row)} right"
        yield f"{_title(row)}: {', '.join([right, *wrong])}"
        for part in by_kind([row]) if "gold_with_call" in row else ():
            if "kind" in part:
                yield f"  {part['kind']}: {part['right']:,} of {part['n']:,} right"
        if (tokens := row["tokens"]) and tokens["wrong_calls"]:
            kinds = ((kind, values["right"], values["corrected"]) for kind, values in tokens["kinds"].items())
            became = ", ".join(f"{kind} {right:,} of {corrected:,}" for kind, right, corrected in kinds)
            yield f"  corrected and became right: {became}; of {_known(tokens)}"


def _part(number: int, row: Mapping[str, Any]) -> str:
    """Such as `1 of 4 replies is`, before `right` or `wrong`."""
    return f"{number:,} of {quantity(row['n'], 'reply')} {'is' if number == 1 else 'are'}"


def _known(tokens: Mapping[str, Any]) -> str:
    return (
        f"{quantity(tokens['wrong_calls'], 'wrong call')}, the name of {tokens['unlocated']:,} of them not located in "
        f"the text; {_callless(tokens)}"
    )


def _callless(tokens: Mapping[str, Any]) -> str:
    return f"{quantity(tokens['without_call'], 'wrong reply')} without a call to correct"


_TITLES = ("calls that contain it", "corrected", "became right", "% of wrong calls", "% of corrected")


def _cells(values: Mapping[str, Any]) -> list[Any]:
    return [values["calls"], values["corrected"], values["right"], values["of_wrong"], values["of_corrected"]]


def _title(row: Mapping[str, Any]) -> str:
    title = f"{row['model']}, {row['bench']} {row['split']}"
    return f"{title}, {row['kind']}" if "kind" in row else title
