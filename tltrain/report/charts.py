"""Charts as inline SVG: colours follow the page's theme, text is not converted to paths, ids are unique.

matplotlib draws with placeholder colours, the keys of `_THEME`, which are then replaced with the page's CSS variables.
Sizes are in CSS pixels (figures have 72 dots per inch, so a matplotlib point is a pixel). Charts are `WIDTH` pixels
wide: two fit side by side on a desktop screen, and the text of one is readable on a phone.
"""

from __future__ import annotations

import hashlib
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tltrain.report.page import printable

WIDTH = 460
FONT, SMALL = 13, 12
INK, MUTED, LINE, PAPER = "#010203", "#010204", "#010205", "#010206"
SMOOTHED_FROM = 20
"""Points from which a curve is drawn as its running mean too."""
PALETTE = tuple(f"#02010{number}" for number in range(8))
"""Placeholders of the series colours: 0 is a neutral grey for baselines, 1-7 are safe for colour-blind readers."""
_THEME = {
    INK: "var(--ink, #1a1d21)",
    MUTED: "var(--muted, #59616b)",
    LINE: "var(--line, #d8dce2)",
    PAPER: "var(--paper, #ffffff)",
} | {
    colour: f"var(--c{number}, {plain})"
    for number, (colour, plain) in enumerate(
        zip(
            PALETTE,
            ("#858d98", "#0072b2", "#cf7400", "#008a63", "#b0508a", "#c9410c", "#3795d4", "#8a6d00"),
            strict=True,
        )
    )
}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tltrain",
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "font.size": FONT,
    "figure.dpi": 72,
}
_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_ROW = 25


def bars(title: str, counts: Mapping[str, float], *, total: float | None = None, limit: float | None = None,
         colour: int = 1) -> Markup:  # fmt: skip
    """Horizontal bars, one per category, labelled with the count and its share of `total` in per cent.

    `total` defaults to the sum of the counts. `limit` is the share (in per cent) at the right end of the axis; charts
    to be compared need the same limit.
    """
    total = sum(counts.values()) if total is None else total
    shares = [100 * count / total if total else 0.0 for count in counts.values()]
    texts = [f"{count:,g}  ({share:.1f} %)" for count, share in zip(counts.values(), shares, strict=True)]
    names = [_short(name) for name in counts]
    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas(
            _ROW * max(len(names), 1) + 8, left=_text_width(names) + 10, right=_text_width(texts) + 8
        )
        axes.barh(range(len(names)), shares, height=0.62, color=PALETTE[colour])
        for row, (share, text) in enumerate(zip(shares, texts, strict=True)):
            _note(axes, share, row, text, dx=6)
        axes.set_xlim(0, limit or max([*shares, 1e-9]))
        _name_rows(axes, range(len(names)), names)
    return _svg(figure, title, _listing(counts, texts))


def grouped_bars(
    title: str,
    groups: Mapping[str, Mapping[str, tuple[float, float | None]]],
    *,
    colours: Mapping[str, int],
    limit: float = 100.0,
) -> Markup:
    """Horizontal bars in titled groups (one per metric), labelled by name, with error bars of one standard error.

    `groups[group][name]` is (value, standard error or None); `colours[name]` is an index into `PALETTE`.
    """
    rows, headings, height = [], [], 0.0
    for group, members in groups.items():
        headings.append((height, group))
        rows += [(height + 1 + index, name, *value) for index, (name, value) in enumerate(members.items())]
        height += len(members) + 1.5
    texts = [f"{value:.1f}" + ("" if error is None else f" ± {error:.1f}") for _, _, value, error in rows]
    names = [_short(row[1]) for row in rows]
    with matplotlib.rc_context(_STYLE):
        left = max(_text_width(names), 1.1 * _text_width(list(groups))) + 10  # group titles are bold
        figure, axes = _canvas(22 * height, left=left, right=_text_width(texts) + 12)
        for (y, name, value, error), text in zip(rows, texts, strict=True):
            axes.barh(y, value, height=0.68, color=PALETTE[colours[name]])
            if error:
                axes.errorbar(value, y, xerr=error, color=INK, elinewidth=1.2, capsize=3, capthick=1.2)
            _note(axes, value + (error or 0.0), y, text, dx=6)
        for y, group in headings:
            _note(axes, 0, y, group, dx=-6, color=INK, weight="bold", ha="right")
        axes.set_xlim(0, limit)
        _name_rows(axes, [row[0] for row in rows], names)
        axes.set_ylim(height - 0.5, -0.6)
    return _svg(figure, title, "; ".join(f"{row[1]} {text}" for row, text in zip(rows, texts, strict=True)))


def lines(
    title: str,
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x_label: str,
    colours: Mapping[str, int],
    smooth: bool = False,
    limits: tuple[float, float] | None = None,
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    ticks: Sequence[str] = (),
) -> Markup:
    """Line chart of `{name: (x, y)}`, each line labelled at its end. Values that are not finite are omitted.

    `smooth` draws the running mean (over a twentieth of the points) as a strong line and the points as a faint line.
    `limits` are the ends of the vertical axis, for values with natural bounds; None: fitted to the data. `bands` are
    the lower and upper ends of the intervals of a line's points, as vertical bars. `ticks` are names for x = 0, 1, ….
    """
    points = {name: _finite(*values) for name, values in series.items()}
    points = {name: values for name, values in points.items() if len(values[0])}
    names = [_short(name) for name in points]
    with matplotlib.rc_context(_STYLE):
        several = len(points) > 1
        figure, axes = _canvas(230, left=52, right=_text_width(names) + 10 if several else 12, top=10, bottom=44)
        ends = []
        for name, (x, y) in points.items():
            colour = PALETTE[colours[name]]
            mean = running_mean(y, max(1, len(y) // SMOOTHED_FROM)) if smooth else y
            if smooth and len(y) >= SMOOTHED_FROM:
                axes.plot(x, y, color=colour, linewidth=0.8, alpha=0.35)
            axes.plot(x, mean, color=colour, linewidth=2, marker="o" if len(y) <= 12 else None, markersize=4)
            if bands and name in bands:
                kept = np.isfinite(np.asarray(series[name], dtype=float)).all(axis=0)
                low, high = (np.asarray(side, dtype=float)[kept] for side in bands[name])
                axes.errorbar(x, y, yerr=(y - low, high - y), color=colour, fmt="none", elinewidth=1.2, capsize=3)
            ends.append(float(mean[-1]))
        _measure(axes, x_label)
        if not all(float(value).is_integer() for x, _ in points.values() for value in x):
            axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        if ticks:
            axes.set_xticks(range(len(ticks)), ticks)
            axes.margins(x=0.08)
        every = np.concatenate([y for _, y in points.values()]) if points else np.zeros(1)
        if limits:
            axes.set_ylim(*limits)
        elif np.ptp(every) <= 1e-9 * abs(every[0]):  # a flat line, whose rounding errors would fill the chart
            axes.set_ylim(every[0] - (abs(every[0]) or 1.0) / 2, every[0] + (abs(every[0]) or 1.0) / 2)
        if several:
            _label_ends(axes, names, ends, [PALETTE[colours[name]] for name in points])
    return _svg(figure, title, "; ".join(f"{name}: {_span(y)}" for name, (_, y) in points.items()))


def intervals(
    title: str, rows: Mapping[str, tuple[float, float, float]], *, x_label: str, colours: Mapping[str, int]
) -> Markup:
    """Points with their intervals in a column, and a line at zero: `rows[name]` is (value, low, high).

    An interval that excludes zero is drawn strong, one that contains it faint. `colours[name]` is an index into
    `PALETTE`.
    """
    names = [_short(name, 32) for name in rows]
    texts = [_signed(value) for value, _, _ in rows.values()]
    with matplotlib.rc_context(_STYLE):
        left, right = _text_width(names) + 10, _text_width(texts) + 8
        figure, axes = _canvas(_ROW * max(len(names), 1) + 50, left=left, right=right, bottom=44)
        _measure(axes, x_label)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", color=LINE, linewidth=1)
        _name_rows(axes, range(len(names)), names)
        for row, ((name, (value, low, high)), text) in enumerate(zip(rows.items(), texts, strict=True)):
            colour, strong = PALETTE[colours[name]], low > 0 or high < 0
            axes.plot([low, high], [row, row], color=colour, linewidth=2.5 if strong else 1.2)
            axes.plot([value], [row], "o", color=colour, markersize=7 if strong else 5)
            axes.annotate(text, (1, row), (6, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                          va="center", color=INK if strong else MUTED)  # fmt: skip
        ends = [0.0, *(end for _, low, high in rows.values() for end in (low, high))]
        axes.set_xlim(min(ends) - 0.04 * (max(ends) - min(ends) or 1), max(ends) + 0.04 * (max(ends) - min(ends) or 1))
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    shown = (f"{text}, {_signed(low)} to {_signed(high)}" for text, (_, low, high) in zip(texts, rows.values(),
                                                                                         strict=True))  # fmt: skip
    return _svg(figure, title, _listing(rows, list(shown)))


def histogram(
    title: str,
    edges: Sequence[float],
    counts: Sequence[float],
    *,
    x_label: str,
    markers: Mapping[str, float] | None = None,
    colour: int = 1,
) -> Markup:
    """Bars of `counts` between the n + 1 `edges`; `markers` are named vertical lines, such as a length limit."""
    assert len(edges) == len(counts) + 1, "n counts need n + 1 edges"
    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas(230, left=58, right=14, top=26 if markers else 10, bottom=44)
        widths = np.diff(edges)
        axes.bar(edges[:-1], counts, width=widths, align="edge", color=PALETTE[colour], edgecolor=PAPER, linewidth=0.6)
        _measure(axes, x_label)
        axes.set_ylim(0, max([*counts, 1]) * 1.05)
        low, high = axes.get_xlim()
        for name, x in (markers or {}).items():
            axes.set_xlim(min(low, x), max(high, x))
            axes.axvline(x, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
            side = "right" if x > (low + high) / 2 else "left"
            axes.annotate(
                _short(name), (x, 1), (0, 5), xycoords=("data", "axes fraction"), textcoords="offset points",
                ha=side, va="bottom", color=INK, fontsize=SMALL,
            )  # fmt: skip
    texts = [f"{low:g} to {high:g}: {count:g}" for low, high, count in zip(edges, edges[1:], counts, strict=False)]
    return _svg(figure, title, "; ".join(texts))


def svg_file(chart: Markup, title: str) -> str:
    """A chart as a file of its own with its title, on white: the colours of a page do not reach into an image."""
    head, style, rest = str(chart).partition(' style="')
    start, box = head.split('viewBox="')
    _, _, width, height = (float(value) for value in box.rstrip('"').split())
    top = 2 * FONT
    size = f'xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height + top:g}"'
    text = Markup(
        '<text x="6" y="{y}" style="font: bold {size}px system-ui, sans-serif; fill: {ink}">{title}</text></svg>'
    ).format(y=-FONT // 2, size=FONT, ink=_THEME[INK], title=printable(title))
    view = f'viewBox="0 {-top} {width:g} {height + top:g}"'
    return f"{start}{size} {view}{style}background: {_THEME[PAPER]}; {rest.removesuffix('</svg>')}{text}\n"


def _canvas(height: float, *, left: float, right: float, top: float = 4, bottom: float = 4) -> tuple[Figure, Axes]:
    """A figure of `WIDTH` x `height` pixels and its axes within the margins (in pixels), without frame or ticks."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, facecolor="none")
    width = max(WIDTH - left - right, 80)
    box = (left / WIDTH, bottom / height, width / WIDTH, (height - top - bottom) / height)
    axes = figure.add_axes(box, facecolor="none")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=MUTED, labelsize=SMALL)
    return figure, axes


def _name_rows(axes: Axes, positions: Sequence[float], names: Sequence[str]) -> None:
    """Label the rows of a bar chart at `positions` on the vertical axis."""
    axes.set_xticks([])
    axes.set_yticks(positions, names)
    axes.tick_params(axis="y", labelcolor=INK, labelsize=FONT, pad=6)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.axvline(0, color=MUTED, linewidth=1)


def _measure(axes: Axes, x_label: str) -> None:
    """Show numbers on both axes, and faint horizontal grid lines."""
    axes.grid(axis="y", color=LINE, linewidth=1)
    axes.set_axisbelow(True)
    axes.set_xlabel(_short(x_label, 50), color=MUTED, fontsize=SMALL, labelpad=6)
    axes.margins(x=0.02, y=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}".replace("-", "\u2212")))
    axes.spines["bottom"].set(visible=True, color=MUTED)


def _note(axes: Axes, x: float, y: float, text: str, *, dx: float, color: str = MUTED, **style: Any) -> None:
    axes.annotate(text, (x, y), (dx, 0), textcoords="offset points", va="center", color=color, **style)


def _label_ends(axes: Axes, names: Sequence[str], ends: Sequence[float], colours: Sequence[str]) -> None:
    """Write names beside the ends of their lines, moved apart if they would overlap."""
    axes.autoscale_view()
    pixels = axes.transData.transform([(0, end) for end in ends])[:, 1]
    order = sorted(range(len(names)), key=lambda index: float(pixels[index]))
    placed: dict[int, float] = {}
    floor = -math.inf
    for index in order:
        placed[index] = floor = max(float(pixels[index]), floor + FONT + 4)
    excess = max(0.0, floor - float(axes.bbox.y1))
    for index in order:
        axes.annotate(
            names[index], (1, (placed[index] - excess - axes.bbox.y0) / axes.bbox.height), (6, 0),
            xycoords="axes fraction", textcoords="offset points", va="center", color=colours[index], weight="bold",
        )  # fmt: skip


def _finite(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    kept = np.isfinite(xs) & np.isfinite(ys)
    return xs[kept], ys[kept]


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """The centred mean over `window` values, fewer at both ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    indices = np.arange(len(values))
    starts = np.maximum(indices - window // 2, 0)
    ends = np.minimum(indices + window // 2 + 1, len(values))
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))


def _span(values: np.ndarray) -> str:
    return f"from {values[0]:.4g} to {values[-1]:.4g} in {len(values)} points"


def _signed(value: float) -> str:
    """A difference with its sign and one decimal."""
    return f"{'−' if round(value, 1) < 0 else '+'}{abs(value):.1f}"


def _listing(names: Mapping[str, Any], texts: Sequence[str]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in zip(names, texts, strict=True))


def _short(text: str, limit: int = 26) -> str:
    """A label on one line; the middle of a label of more than `limit` characters is replaced by an ellipsis."""
    line = " ".join(printable(text).split())
    return line if len(line) <= limit else f"{line[: limit - limit // 3 - 1]}…{line[len(line) - limit // 3 :]}"


def _text_width(texts: Sequence[str]) -> float:
    """Width of the longest text in a browser's default font, in pixels; rather too large than too small."""
    return 0.58 * FONT * max((len(text) for text in texts), default=0)


def _svg(figure: Figure, title: str, description: str) -> Markup:
    """The figure as an inline SVG element in the page's colours and font, described for screen readers."""
    file = StringIO()
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # browsers have the glyph
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(file.getvalue())
    _strip(root)
    content = (title + description + file.getvalue()).encode("utf-8", "surrogatepass")  # names may be broken text
    prefix = "c" + hashlib.sha256(content).hexdigest()[:10]
    _rename_ids(root, prefix)
    for element in root.iter():
        if "style" in element.attrib:
            element.set("style", _themed(element.attrib["style"]))
    inside = "".join(ElementTree.tostring(child, encoding="unicode") for child in root)
    return Markup(
        '<svg viewBox="{box}" style="max-width: {width}px; stroke-linejoin: round" role="img" '
        'aria-labelledby="{id}-t {id}-d"><title id="{id}-t">{title}</title><desc id="{id}-d">{text}</desc>'
    ).format(box=root.attrib["viewBox"], width=WIDTH * 1.15, id=prefix, title=printable(title),
             text=printable(description)) + Markup(inside + "</svg>")  # fmt: skip


def _strip(root: ElementTree.Element) -> None:
    """Remove namespaces, metadata, and the style sheet, which would apply to the whole page."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (_SVG + "metadata", _SVG + "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        for key in [key for key in element.attrib if key.startswith(_XLINK)]:
            element.set(key.removeprefix(_XLINK), element.attrib.pop(key))


def _rename_ids(root: ElementTree.Element, prefix: str) -> None:
    """Remove ids without references, and prefix the others to make them unique on the page."""
    pattern = re.compile(r"(url\(#|^#)([^)]+)")
    used = {
        match[2] for element in root.iter() for value in element.attrib.values() for match in pattern.finditer(value)
    }
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            if key == "id":
                element.attrib.pop(key)
                if value in used:
                    element.set(key, prefix + value)
            else:
                element.set(key, pattern.sub(rf"\g<1>{prefix}\g<2>", value))


def _themed(style: str) -> str:
    for colour, variable in _THEME.items():
        style = style.replace(colour, variable)
    return re.sub(r"font-family: [^;]*", "font-family: system-ui, sans-serif", style)
