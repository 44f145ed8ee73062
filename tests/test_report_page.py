"""The page shell and the charts: escaped, self-contained, ids that do not clash."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from markupsafe import Markup

from tltrain.report import charts
from tltrain.report.page import Cell, Column, Section, details, facts, figure, number, page, side_by_side, table

EVIL = '<script>alert("x")</script>'
COLOURS = {"base": 0, "sft": 2}


class Reader(HTMLParser):
    """Collects tags, attributes and ids of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(key, value or "") for key, value in attrs]

    def values(self, *keys: str) -> list[str]:
        return [value for key, value in self.attributes if key in keys]


def assert_self_contained(text: str) -> None:
    """One file: nothing loaded or linked from elsewhere, one script, every id once."""
    reader = Reader(text)
    assert all(link.startswith("#") for link in reader.values("href", "src", "xlink:href", "action", "data"))
    assert "http" not in text.replace("http-equiv", "")
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert reader.tags.count("script") == 1
    ids = reader.values("id")
    assert len(ids) == len(set(ids))


def all_charts(title: str = "chart") -> list[Markup]:
    return [
        charts.bars(title, {"wrong tool": 3, EVIL: 1}),
        charts.grouped_bars(title, {"TS": {"base": (2.0, 0.5), "sft": (70.0, None)}}, colours=COLOURS),
        charts.lines(title, {"sft": (range(40), range(40)), "base": ([1], [2.5])}, x_label="step", colours=COLOURS),
        charts.histogram(title, [0, 10, 20], [5, 0], x_label=EVIL, markers={"limit": 30}),
    ]


def test_page_escapes_every_text() -> None:
    body = table([Column(EVIL, help=EVIL)], [[EVIL], [Cell(EVIL, EVIL)]], caption=EVIL, groups=[(EVIL, 1)])
    parts = [body, figure(Markup(""), EVIL, title=EVIL), details(EVIL, facts([(EVIL, EVIL)]))]
    text = page(EVIL, Section(EVIL, side_by_side(*parts)), headline=EVIL, note=EVIL)
    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;alert") == 19  # in title, h1, sort keys, hover texts too
    assert_self_contained(text)


def test_page_replaces_what_utf8_cannot_hold() -> None:
    assert "a\ufffd\ufffdb" in page("a\ud800\x00b")
    page("a\ud800\x00b").encode()


def test_charts_are_inline_svg_in_the_colours_of_the_page() -> None:
    svgs = all_charts()
    text = page("charts", Section("all", side_by_side(*svgs)))
    assert_self_contained(text)
    for svg in svgs:
        assert svg.startswith("<svg") and svg.endswith("</svg>")
        assert "<style" not in svg
        assert "var(--" in svg
        assert not re.search(r": #[0-9a-f]{6}", svg), "a colour that does not follow the theme"
        assert Reader(svg).tags[:3] == ["svg", "title", "desc"]
        references = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg))
        assert references <= set(Reader(svg).values("id"))
    assert EVIL not in text


def test_charts_are_deterministic_and_differ_in_their_ids() -> None:
    assert all_charts() == all_charts()
    ids = [set(Reader(svg).values("id")) for title in ("one", "two") for svg in all_charts(title)]
    assert len(set.union(*ids)) == sum(len(found) for found in ids)


def test_bars_show_counts_and_shares_of_the_total() -> None:
    svg = charts.bars("errors", {"wrong tool": 30, "value": 10}, total=1200)
    assert ">30  (2.5 %)<" in svg
    assert ">10  (0.8 %)<" in svg
    assert ">0  (0.0 %)<" in charts.bars("nothing", {"wrong tool": 0})


def test_grouped_bars_show_values_and_errors() -> None:
    svg = charts.grouped_bars("scores", {"TS": {"base": (2.0, 0.55), "sft": (70.04, None)}}, colours=COLOURS)
    assert ">2.0 ± 0.6<" in svg or ">2.0 ± 0.5<" in svg
    assert ">70.0<" in svg
    assert ">TS<" in svg


def test_lines_leave_out_what_is_not_finite() -> None:
    nan = float("nan")
    svg = charts.lines(
        "loss", {"sft": ([1, 2, 3], [5.0, nan, 4.0]), "base": ([1], [nan])}, x_label="s", colours=COLOURS
    )
    assert "sft: from 5 to 4 in 2 points" in svg
    assert "base" not in svg


def test_running_mean_is_centred() -> None:
    values = charts._running_mean(charts.np.array([0.0, 3.0, 6.0, 0.0]), 3)
    assert values.tolist() == [1.5, 3.0, 3.0, 3.0]


def test_labels_are_text_whatever_they_say() -> None:
    svg = charts.bars("x", {"$\\frac{1}{2}$ & \x01日本\nsecond line of a name that is far too long": 1})
    assert "$\\frac" in svg
    assert "…" in svg


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (1217, "1,217"), (0.17149, "0.1715"), (12345.67, "12,345.7"), (3.0, "3"), (True, "True"), ("x", "x")],
)
def test_number(value: object, shown: str) -> None:
    assert number(value) == shown


def test_table_sorts_numbers_as_numbers_and_dashes_last() -> None:
    text = table(["n"], [[1000], [None], [Cell("3 min", 180.0)]])
    assert re.findall(r'data-sort="([^"]*)"', text) == ["1000", "", "180.0"]


def test_table_refuses_a_ragged_row() -> None:
    with pytest.raises(AssertionError):
        table(["a", "b"], [[1]])


def test_the_room_imports_no_torch() -> None:
    code = (
        "import sys, tltrain.report.report, tltrain.report.inspect_page, tltrain.report.tables\n"
        "assert not {'torch', 'transformers', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
