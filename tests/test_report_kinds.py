"""Items whose gold has a call apart from those whose gold is a text, and what is claimed from few items."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console
from support.report_sample import score, score_rows, write, write_lines, write_sample

from tltrain.evaluation.significance import FEW, compare, comparison_json, write_significance
from tltrain.report.analysis_page import analysis_lines, analysis_page
from tltrain.report.comparison import finding, markdown, write_comparison
from tltrain.report.examples import example_sections
from tltrain.report.gold_kinds import TEXT, shares
from tltrain.report.report import write_report
from tltrain.report.run_files import parse_scores
from tltrain.report.summary import headline
from tltrain.report.tables import comparison_table, score_table, terminal_table


def row(model: str, calls: tuple[int, int], texts: tuple[int, int], **more: Any) -> dict[str, Any]:
    """A row from (right, of how many) of the items with and without a gold call."""

    def part(right: int, n: int) -> dict[str, Any]:
        return {"n": n, "TS": 100 * right / max(n, 1), "se": {"TS": 1.0}}

    whole = part(calls[0] + texts[0], calls[1] + texts[1])
    found = {"model": model, "bench": "own", "split": "held", **whole}
    return found | {"gold_with_call": part(*calls), "gold_without_call": part(*texts)} | more


def printed(scores: list[dict[str, Any]], width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(terminal_table(scores))
    return console.export_text()


def test_a_model_that_never_calls_picks_no_tool() -> None:
    scores = parse_scores([row("base", (0, 3), (1, 1))])
    assert (
        headline(scores, ()) == "On own held, the base model picks the right tool in 0 of the 3 items that need a call."
    )


def test_few_items_are_counts_and_models_are_compared_in_pairs_only(tmp_path: Path) -> None:
    """The verdict on a difference is the same in the headline and in the table below it."""
    few = [row("sft", (1, 12), (0, 0)), row("mae+pkt", (9, 12), (0, 0))]
    scores = parse_scores([{key: value for key, value in each.items() if "gold" not in key} for each in few])
    start = "On own held, the trained model picks the right tool in 9 of 12 items (standard SFT: 1 of 12)"
    unpaired = compare(scores)
    assert headline(scores, unpaired) == (
        f"{start}: MAE and PKT changed it by +66.7 points, without a standard error to judge by."
    )
    assert "no standard error" in comparison_table(scores, unpaired)
    for model, right in (("sft", 1), ("mae+pkt", 9)):
        write_lines(
            tmp_path / "predictions" / f"{model}.own.held.jsonl",
            [{"index": index, "item": str(index), "verdict": {"TS": index < right}} for index in range(12)],
        )
    paired = compare(scores, tmp_path)
    assert headline(scores, paired) == f"{start}: MAE and PKT added 66.7 points to standard SFT."
    assert "higher, p = 0.008" in comparison_table(scores, paired)


def test_of_enough_items_the_gain_is_over_all_of_them() -> None:
    enough = parse_scores([row("sft", (6, FEW), (1, 4)), row("mae+pkt", (30, FEW), (4, 4))])
    assert "100.0 % of the 30 items that need a call (standard SFT: 20.0 %); over all 34 items, MAE and PKT added" in (
        headline(enough, compare(enough))
    )


def test_a_test_without_gold_calls_says_so() -> None:
    scores = parse_scores([row("base", (0, 0), (40, 50))])
    assert headline(scores, ()) == (
        "On own held, the base model answers without a call in 80.0 % of 50 items, none of which needs a call."
    )
    assert {name: share.value for name, share in shares(scores[0]).items()} == {TEXT: 80.0}


def test_tables_show_both_kinds() -> None:
    rows = [row("base", (0, 90), (40, 50)), row("sft", (45, 90), (3, 5))]
    lines = [line.split() for line in printed(rows).splitlines() if line.strip()]
    assert lines[0] == ["test", "model", "TS", "text", "n"]
    assert lines[2] == ["own", "held", "base", "0.0", "±1.0", "80.0", "±1.0", "90+50"]
    assert lines[3] == ["sft", "50.0", "±1.0", "3", "of", "5", "90+5"]
    html = score_table(parse_scores(rows))
    assert "a call is due" in html and "a text is due" in html and "all items" in html
    assert ">3 of 5</td>" in html
    assert max(map(len, printed(score_rows(apart=True)).splitlines())) <= 80


def test_shares_of_calls_are_counted_by_calls() -> None:
    steps = {"model": "m", "bench": "tooleyes", "split": "all", "n": 9, "VA": 33.3, "CE": 25.0, "calls": 4000}
    found = shares(parse_scores([steps])[0])
    assert (found["VA"].text, found["CE"].text) == ("3 of 9", "25.0")


def test_no_chart_of_few_items(tmp_path: Path) -> None:
    write(tmp_path / "scores.json", [row("base", (1, 3), (1, 1))])
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert "<svg" not in text and ">1 of 3</td>" in text


def test_a_comparison_starts_with_its_finding(tmp_path: Path) -> None:
    write(tmp_path / "scores.json", [score("sft", "seen", 60.0), score("mae+pkt", "seen", 80.0)])
    write_significance(tmp_path)
    page = write_comparison(tmp_path).read_text(encoding="utf-8")
    sentence = (
        "3 of 3 differences are larger than two standard errors, taking the models as independent samples; "
        "the largest: TS of mae+pkt on toolworld seen, +20.0 ± 3.2 points against sft."
    )
    assert f"<h1>{sentence}</h1>" in page and "<svg" in page
    assert sentence in (tmp_path / "comparison.md").read_text(encoding="utf-8")


def test_a_comparison_of_one_model_says_that_nothing_is_compared(tmp_path: Path) -> None:
    write(tmp_path / "scores.json", [score("sft", "seen", 60.0)])
    found = comparison_json(tmp_path)
    assert finding(found) == "No two models were scored on the same test, so nothing is compared."
    write(tmp_path / "comparison.json", found)
    page = write_comparison(tmp_path).read_text(encoding="utf-8")
    assert page.count("<table") == 1  # the scores; the table of differences is a sentence


def test_rows_of_the_paper_protocol_are_in_the_comparison(tmp_path: Path) -> None:
    paper = {"bench": "rotbench", "protocol": "paper"}
    rows = [score(model, "First_Turn/clean", 60.0, bench="rotbench", protocol="default") for model in ("a", "b")]
    whole = score("a", "First_Turn/clean", 71.25, n=105) | paper
    write(tmp_path / "scores.json", [*rows, {key: whole[key] for key in whole if not key.startswith("gold_")}])
    found = comparison_json(tmp_path)
    assert [entry["protocol"] for entry in found["paper"]] == ["paper"]
    text = markdown(found)
    assert "| rotbench First_Turn/clean | a | 71.2 ± 4.4 |" in text.partition("## The paper's protocol")[2]
    assert all(pair["model"] == "b" for test in found["tests"] for pair in test["pairs"])


def test_examples_open_the_last_arm(tmp_path: Path) -> None:
    write_sample(tmp_path)
    for model in ("base", "sft", "mae+pkt", "mae+pkt+irm"):
        source = tmp_path / "predictions" / "base.unseen.jsonl"
        (tmp_path / "predictions" / f"{model}.toolworld.seen.jsonl").write_text(source.read_text())
    files = sorted((tmp_path / "predictions").glob("*.toolworld.*"))
    assert files[-1].name.startswith("sft.")  # alphabetically the last
    section = example_sections(files, ["base", "sft", "mae+pkt", "mae+pkt+irm"])
    assert section is not None
    opened = section.body.partition("<details open>")[2]
    assert opened.startswith("<summary>mae+pkt+irm.toolworld.seen")
    assert section.body.count("<details open>") == 1


def test_an_analysis_shows_items_with_and_without_gold_calls_apart() -> None:
    """The model never calls: it is right wherever a text is due, which says nothing about its calls."""
    counts = {"n": 8, "right": 5, "categories": {"no_call": 3}}
    kinds = {
        "gold_with_call": {"n": 3, "right": 0, "categories": {"no_call": 3}},
        "gold_without_call": {"n": 5, "right": 5, "categories": {}},
    }
    row = {"model": "base", "bench": "toolworld", "split": "seen", **counts, **kinds, "tokens": None}
    text = analysis_page([row], "run")
    assert "base, toolworld seen, items that need a call: 3 of 3 replies are wrong" in text
    assert "0 of 3 replies are right." in text and "5 of 8" not in text
    first, *parts = analysis_lines([row])
    assert first.startswith("base, toolworld seen: 5 of 8 replies are right")
    assert parts == ["  items that need a call: 0 of 3 right", "  items that need a text: 5 of 5 right"]
