"""The layout and elements of every HTML page: one file without network access, light and dark, printable.

All text is escaped; only `Markup`, which the functions here and in `charts` return, is inserted as HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
_environment = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. Numeric columns are right-aligned; `help` is shown on hover."""

    title: str
    numeric: bool = False
    help: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """A table cell that shows `text` and sorts by `sort` (a number, or a text)."""

    text: str | Markup
    sort: float | str


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of a page. `anchor` is its id; by default it is derived from the title."""

    title: str
    body: Markup
    anchor: str = ""

    @property
    def id(self) -> str:
        """The id that the table of contents links to."""
        return self.anchor or re.sub(r"\W+", "-", self.title.lower()).strip("-")


def printable(text: str) -> str:
    """The text with characters that are invalid in HTML or UTF-8 (controls, lone surrogates) replaced by U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", text)


def render(template: str, **values: Any) -> Markup:
    """Render a template of `templates/`; all text is escaped."""
    return Markup(_environment.get_template(template).render(values))


def page(title: str, *sections: Section, headline: str = "", note: str = "", style: str = "") -> str:
    """A whole HTML document, with a sentence `headline` in large type and a line `note` below it.

    `style` is additional CSS, inserted without escaping.
    """
    values = {"title": title, "headline": headline, "note": note, "sections": sections, "style": Markup(style)}
    return printable(render("page.html.jinja", **values))


def table(
    columns: Sequence[Column | str],
    rows: Iterable[Sequence[Any]],
    *,
    caption: str = "",
    groups: Sequence[tuple[str, int]] = (),
    sortable: bool = True,
    empty: str = "There is nothing to show here.",
) -> Markup:
    """A table that scrolls sideways if it is too wide, and sorts on a click on a column's title.

    Without rows it is the sentence `empty` instead.

    A cell is a `Cell`, a `Markup`, a text, a number, or None (shown as a dash). `groups` is an optional row of titles
    above the columns, each with the number of columns it spans.
    """
    heads = [column if isinstance(column, Column) else Column(column) for column in columns]
    body = [[_cell(value) for value in row] for row in rows]
    if not body:
        return Markup('<p class="muted">{}</p>').format(empty)
    assert all(len(row) == len(heads) for row in body), "every row has one cell for each column"
    assert not groups or sum(span for _, span in groups) == len(heads), "groups cover all columns"
    values = {"columns": heads, "rows": body, "caption": caption, "groups": groups, "sortable": sortable}
    return render("table.html.jinja", **values)


def figure(chart: Markup, caption: str | Markup = "", *, title: str = "") -> Markup:
    """A chart with its title above and its caption below."""
    head = Markup("<h3>{}</h3>").format(title) if title else ""
    below = Markup("<figcaption>{}</figcaption>").format(caption) if caption else ""
    return Markup('<figure class="chart">{}{}{}</figure>').format(head, chart, below)


def side_by_side(*parts: Markup) -> Markup:
    """Parts next to each other if the page is wide enough, else below each other."""
    return Markup('<div class="side">{}</div>').format(join(parts))


def join(parts: Iterable[Markup]) -> Markup:
    """The parts in sequence."""
    return Markup("\n").join(parts)


def paragraph(text: str | Markup) -> Markup:
    """A paragraph."""
    return Markup("<p>{}</p>").format(text)


def heading(text: str) -> Markup:
    """A title inside a section."""
    return Markup("<h3>{}</h3>").format(text)


def code(text: str) -> Markup:
    """Preformatted text; long lines wrap."""
    return Markup("<pre>{}</pre>").format(text)


def details(summary: str | Markup, body: Markup, *, open: bool = False) -> Markup:
    """A part that is collapsed until its summary is clicked; `open`: expanded from the start."""
    return Markup("<details{}><summary>{}</summary>{}</details>").format(Markup(" open") if open else "", summary, body)


def facts(pairs: Iterable[tuple[str, Any]]) -> Markup:
    """Large figures in a row, each with its small label: pairs of (label, figure)."""
    items = (Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(label, number(value)) for label, value in pairs)
    return Markup('<dl class="facts">{}</dl>').format(join(items))


def number(value: Any) -> str | Markup:
    """A value as tables show it: thousands separators, floats with four significant digits, None as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value if isinstance(value, Markup) else str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:,.1f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def _cell(value: Any) -> Cell:
    if isinstance(value, Cell):
        return value
    if isinstance(value, int | float):
        return Cell(number(value), value)
    return Cell(number(value), value.striptags() if isinstance(value, Markup) else str(value or ""))
