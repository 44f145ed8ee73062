"""The report of a run directory: figures and their significance, missing stages, malformed files."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.pages import assert_self_contained
from support.report_sample import score, score_rows, write, write_lines, write_sample

from tltrain.errors import RunError
from tltrain.evaluation.scores import Score
from tltrain.evaluation.significance import Comparison, compare, write_significance
from tltrain.report.examples import readable, wrong_examples
from tltrain.report.report import report_page, write_report
from tltrain.report.run_files import parse_scores, read_run
from tltrain.report.summary import compared_rows, difference, headline, lead, setbacks
from tltrain.report.tables import counts_table, score_table, terminal_table, truncation_lines, usage_line


def rows(*values: tuple[str, float, float | None], split: str = "unseen") -> list[dict[str, Any]]:
    """Rows with the metric TS only, from (model, TS, standard error)."""
    return [
        {"model": model, "bench": "toolworld", "split": split, "n": 400, "TS": ts, "se": {"TS": error}}
        for model, ts, error in values
    ]


def parsed(*values: tuple[str, float, float | None], split: str = "unseen") -> tuple[Score, ...]:
    return parse_scores(rows(*values, split=split))


@pytest.fixture(scope="module")
def sample_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = write_sample(tmp_path_factory.mktemp("demo"))
    path = write_report(run)
    assert path == run / "report.html"
    return path.read_text(encoding="utf-8")


def test_page_is_one_escaped_file(sample_page: str) -> None:
    assert_self_contained(sample_page)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in sample_page
    assert "weight: &lt;b&gt;9&lt;/b&gt;" in sample_page


def test_page_shows_the_figures_of_the_files(sample_page: str) -> None:
    for shown in (
        '73.0 <span class="muted">± 2.0</span>',  # scores, unseen, the last model
        ">67.3 ± 2.2</text>",  # in the chart, of the steps that need a call
        "213 (17.5 %)",  # audit
        ">130  (10.7 %)</text>",
        "4 min 20 s",  # stages
        "4.8 GiB",
        "14 min 31 s",
        "<code>versions.torch</code>",  # environment
        "2.12.0",
        "learning_rate: 1.0e-4",  # configuration
        "3 of the wrong answers among 4",  # predictions
        "get_order_items {&#34;order_id&#34;: &#34;A-104&#34;, &#34;limit&#34;: 3}",
    ):
        assert shown in sample_page, shown
    for title in (
        "Training loss",
        "Mean reward",
        "KL divergence from the SFT model",
        "Share of replies with a call",
    ):
        assert f"<h3>{title}</h3>" in sample_page


def test_page_is_the_same_each_time(tmp_path: Path) -> None:
    run = read_run(write_sample(tmp_path))
    assert report_page(run) == report_page(run)


@pytest.mark.parametrize(
    ("kept", "section"),
    [
        ("scores.json", "Scores"),
        ("audit.json", "Training data"),
        ("stages.json", "Time and memory"),
        ("sft/sft/metrics.jsonl", "SFT"),
        ("ppo/metrics.jsonl", "PPO"),
        ("predictions/base.unseen.jsonl", "Example predictions"),
    ],
)
def test_a_run_with_one_stage_has_only_its_section(tmp_path: Path, kept: str, section: str) -> None:
    write_sample(tmp_path)
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        if path != tmp_path / kept:
            path.unlink()
    text = write_report(tmp_path).read_text(encoding="utf-8")
    others = {"Scores", "Training data", "Time and memory", "SFT", "PPO", "Example predictions"} - {section}
    assert f"<h2>{section}</h2>" in text
    assert not [title for title in others if f"<h2>{title}</h2>" in text]
    assert ("has no scores yet" in text) == (kept != "scores.json")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("scores.json", "[{", "scores.json: not JSON"),
        ("scores.json", "{}", "scores.json: expected a list of rows, found dict"),
        ("scores.json", '[{"model": "sft", "n": 3, "TS": 1}, {"n": 3}]', "scores.json: row 1: model: Field required"),
        ("scores.json", '[{"model": "sft", "n": 3}]', "row 0: expected at least one of the metrics TS"),
        ("scores.json", '[{"model": "sft", "n": 3, "TS": NaN}]', "row 0: TS: Input should be a finite number"),
        ("scores.json", "[null]", "row 0: Input should be a valid dictionary"),
        ("stages.json", '[{"stage": "sft"}]', "stages.json: row 0: seconds: Field required"),
        ("audit.json", '{"calls": {"total": 1}}', "audit.json: calls.failed: Field required"),
        ("environment.json", "[]", "environment.json: expected a JSON object, found list"),
        ("ppo/metrics.jsonl", '{"rollout": 1}\n{"rollout": \n', "metrics.jsonl:2: not JSON"),
        ("sft/sft/metrics.jsonl", "{}\n7\n", "metrics.jsonl:2: expected a JSON object, found int"),
        ("predictions/base.unseen.jsonl", "{}\n\n]\n", "base.unseen.jsonl:3: not JSON"),
    ],
)
def test_an_error_in_a_file_is_one_line_that_names_it(tmp_path: Path, name: str, text: str, message: str) -> None:
    write_sample(tmp_path)
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(RunError) as caught:
        write_report(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()


def test_an_incomplete_last_line_is_skipped(tmp_path: Path) -> None:
    write_lines(tmp_path / "ppo" / "metrics.jsonl", [{"rollout": 1, "reward": 0.25}])
    with (tmp_path / "ppo" / "metrics.jsonl").open("a") as stream:
        stream.write('{"rollout": 2, "rew')
    assert read_run(tmp_path).ppo == [{"rollout": 1, "reward": 0.25}]


def test_missing_and_empty_folders_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run directory"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(RunError, match="nothing to report yet"):
        write_report(tmp_path)


def test_metrics_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    values = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": math.nan}, {"step": 3, "loss": None}, {"step": 4}]
    write_lines(tmp_path / "sft" / "sft" / "metrics.jsonl", values)
    assert "2 → 2 (3 not finite)" in write_report(tmp_path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("points", "error", "verdict"),
    [
        (5.9, 3.0, "within noise"),
        (6.0, 3.0, "higher"),  # not smaller than two standard errors
        (-6.1, 3.0, "lower"),
        (-5.9, 3.0, "within noise"),
        (0.0, 0.0, "within noise"),
        (0.1, 0.0, "higher"),
        (50.0, None, "no standard error"),
    ],
)
def test_verdict_of_a_difference(points: float, error: float | None, verdict: str) -> None:
    labels = {"bench": "b", "split": "s", "model": "m", "against": "a", "metric": "TS"}
    assert Comparison(points=points, se=error, **labels).verdict == verdict  # type: ignore[arg-type]


def change(score: Score, reference: Score) -> Comparison:
    """The difference of two rows without predictions."""
    return compare([reference, score])[0]


def test_standard_errors_add_as_squares() -> None:
    sft, ours = parsed(("sft", 60.0, 3.0), ("mae+pkt", 69.9, 4.0))
    result = change(ours, sft)
    assert result.se == pytest.approx(5.0)
    assert (result.text, result.verdict) == ("+9.9 ± 5.0", "within noise")
    assert change(sft, ours).text == "−9.9 ± 5.0"
    assert change(*parsed(("sft", 60.0, None), ("base", 1.0, 0.1))).text == "+59.0"


def test_models_on_the_same_items_are_compared_in_pairs(tmp_path: Path) -> None:
    """Of 40 items, 16 are right for both models and 12 only for the second: difference 0.3, variance 0.3 - 0.09."""
    rights = {"sft": range(16), "mae+pkt": range(28)}
    rows = [score(model, "seen", ts=2.5 * len(right), n=40) for model, right in rights.items()]
    (tmp_path / "scores.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "predictions").mkdir()
    for model, right in rights.items():
        lines = [json.dumps({"item": str(item), "verdict": {"TS": item in right}}) + "\n" for item in range(40)]
        (tmp_path / "predictions" / f"{model}.seen.jsonl").write_text("".join(lines), encoding="utf-8")
    write_significance(tmp_path)
    run = read_run(tmp_path)
    sft, ours = run.scores
    result = difference(run.comparisons, ours, sft, "TS")
    assert result is not None
    assert (result.points, result.se) == (pytest.approx(30.0), pytest.approx(100 * (0.21 / 40) ** 0.5))
    assert change(ours, sft).se == pytest.approx(5 * (2.4 + 2.1) ** 0.5)


def test_models_are_compared_with_the_stage_before_and_the_last_with_standard_sft() -> None:
    scores = parsed(("base", 1, 1), ("sft", 2, 1), ("mae+pkt", 3, 1), ("mae+pkt+irm", 4, 1))
    pairs = [(score.model, reference.model) for score, reference in compared_rows(scores)]
    assert pairs == [("sft", "base"), ("mae+pkt", "sft"), ("mae+pkt+irm", "mae+pkt"), ("mae+pkt+irm", "sft")]
    assert [pair[0].model for pair in compared_rows(scores[:3])] == ["sft", "mae+pkt"]


def test_headline_distinguishes_gains_from_noise() -> None:
    scores = parsed(("base", 2.0, 0.7), ("sft", 60.0, 2.4), ("mae+pkt", 71.0, 2.2), ("mae+pkt+irm", 72.0, 2.2))
    assert headline(scores, compare(scores)) == (
        "On tools never seen in training, the trained model picks the right tool in 72.0 % of 400 steps "
        "(the base model: 2.0 %): MAE and PKT added 11.0 points to standard SFT; "
        "the change by IRM (+1.0 ± 3.1) is within noise."
    )


def test_headline_gives_the_whole_training_credit_where_there_was_no_other() -> None:
    scores = parsed(("base", 2.0, 0.7), ("mae+pkt", 71.0, 2.2))
    assert headline(scores, compare(scores)).endswith(": SFT with MAE and PKT added 69.0 points to the base model.")


def test_headline_reports_a_stage_that_did_harm() -> None:
    scores = parsed(("sft", 80.0, 1.0), ("mae+pkt", 70.0, 1.0), split="seen")
    assert headline(scores, compare(scores)) == (
        "On tools seen in training, the trained model picks the right tool in 70.0 % of 400 steps "
        "(standard SFT: 80.0 %): MAE and PKT did not help but cost 10.0 points against standard SFT."
    )
    assert (
        setbacks(scores, compare(scores))
        == "Worse by more than noise: TS of mae+pkt on toolworld seen (−10.0 ± 1.4 against sft)."
    )


def test_headline_of_one_row_and_of_another_test_set() -> None:
    row = {"model": "my-7b", "bench": "tooleyes", "split": "all", "n": 382, "DE": 0.7, "CE": 9.1, "VA": 59.3}
    assert headline(parse_scores([row]), ()) == (
        "On tooleyes all, my-7b reaches a valid answer in 59.3 % of 382 items."
    )


def test_setbacks_use_the_direction_of_a_metric() -> None:
    first = {"model": "a", "bench": "tooleyes", "n": 900, "DE": 9.0, "VA": 50.0, "se": {"DE": 0.5, "VA": 1.0}}
    second = first | {"model": "b", "DE": 2.0, "VA": 40.0}
    scores = parse_scores([first, second])
    assert setbacks(scores, compare(scores)) == (
        "Worse by more than noise: VA of b on tooleyes (−10.0 ± 1.4 against a)."
    )


def test_every_arm_is_compared_with_the_arm_of_its_row() -> None:
    scores = parsed(("base", 1, 1), ("sft", 2, 1), ("mae", 3, 1), ("pkt", 4, 1), ("mae+pkt", 5, 1), ("pkt+irm", 6, 1))
    pairs = [(score.model, reference.model) for score, reference in compared_rows(scores)]
    arms = [("sft", "base"), ("mae", "sft"), ("pkt", "sft"), ("mae+pkt", "sft"), ("pkt+irm", "pkt")]
    assert pairs == [*arms, ("pkt+irm", "sft")]


def test_a_model_without_its_reference_is_compared_with_the_row_before() -> None:
    scores = parsed(("base", 1, 1), ("mae+pkt", 3, 1), ("my-7b", 4, 1))
    pairs = [(score.model, reference.model) for score, reference in compared_rows(scores)]
    assert pairs == [("mae+pkt", "base"), ("my-7b", "mae+pkt")]


def test_truncated_replies_are_reported(tmp_path: Path) -> None:
    scores = [
        score("base", "seen", 50.0, n=1200, truncated=1100, max_new_tokens=32),
        score("sft", "seen", 60.0, n=1200, truncated=0),
    ]
    steps = {"model": "sft", "bench": "tooleyes", "split": "all", "n": 90, "VA": 9.0, "queries": 90, "truncated": 2}
    assert truncation_lines([*scores, steps]) == [
        "base, toolworld seen: 1,100 of 1,200 replies were truncated at 32 tokens",
        "sft, tooleyes all: 2 of 90 queries have a reply that was truncated at max_new_tokens",
    ]
    write(tmp_path / "scores.json", scores)
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert text.count("replies were truncated at 32 tokens.") == 1


def test_the_headline_is_about_unseen_tools() -> None:
    assert {score.split for score in lead(parse_scores(score_rows()))} == {"unseen"}
    assert {score.split for score in lead(parse_scores(score_rows()[:4]))} == {"seen"}


def printed(scores: list[dict[str, Any]], width: int = 80) -> str:
    console = Console(width=width, record=True, quiet=False, file=open_null())
    console.print(terminal_table(scores))
    return console.export_text()


def open_null() -> Any:
    from io import StringIO

    return StringIO()


def test_terminal_table_fits_80_columns() -> None:
    lines = [line.split() for line in printed(score_rows()).splitlines() if line.strip()]
    assert lines[0] == ["toolworld", "seen", "n=600", "unseen", "n=480"]
    assert lines[1] == ["model", "TS", "PI", "CF", "TS", "PI", "CF"]
    cells = ["79.0", "±1.7", "74.3", "±1.8", "63.2", "±2.0", "73.0", "±2.0", "68.6", "±2.1", "58.4", "±2.2"]
    assert lines[6] == ["mae+pkt+irm", *cells]


def test_terminal_table_of_many_tests_is_long() -> None:
    scores = [score("[red]m", level, ts=50.0, bench="rotbench") for level in ("clean", "slight", "heavy")]
    text = printed(scores)
    assert [line.split()[:4] for line in text.splitlines() if "[red]m" in line] == [
        ["rotbench", level, "[red]m", "50.0"] for level in ("clean", "slight", "heavy")
    ]


def test_terminal_table_of_all_test_sets_fits_80_columns() -> None:
    """Names and figures are not truncated; a table has no columns for metrics that its test sets lack."""
    scores = [score(model, f"First_Turn/{level}", ts=50.0, bench="rotbench", protocol="default")
              for level in ("clean", "union") for model in ("base", "trained")]  # fmt: skip
    scores += [score(model, "exec", ts=100.0, bench="bfcl") | {"accuracy": 100.0} for model in ("base", "trained")]
    shares = {"DE": 10.0, "CE": 20.0, "VA": 30.0}
    scores += [{"model": model, "bench": "tooleyes", "split": "all", "n": 1200, **shares} for model in ("base", "x")]
    text = printed(scores)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    heads = [line.split() for line in text.splitlines() if line.split()[:1] == ["test"]]
    assert heads == [["test", "model", "TS", "PI", "CF", "accuracy", "n"], ["test", "model", "DE", "CE", "VA", "n"]]
    assert "100.0 ±0.0" in text and "1,200" in text


def test_the_headline_counts_items_of_a_test_set() -> None:
    row = score("m", "First_Turn/clean", ts=50.0, n=105, bench="rotbench")
    assert headline(parse_scores([row]), ()).endswith("picks the right tool in 50.0 % of 105 items.")


def test_counts_include_tokens_cost_and_unanswered_prompts() -> None:
    usage = {"prompt_tokens": 1200, "tokens": 30, "cost": 0.0123}
    row = score("m", "exec", ts=50.0, bench="bfcl") | {"usage": usage, "too_long": 2, "refused": 3}
    html = counts_table(parse_scores([row]))
    for shown in ("prompt tokens", "1,200", "cost", "0.0123", "too long", "refused"):
        assert shown in html, shown
    assert usage_line([row], "m") == "m: 1,200 prompt tokens, 30 reply tokens, 0.0123 cost"


def test_score_table_of_many_tests_has_a_row_for_each() -> None:
    scores = [score("m", level, ts=50.0, bench="rotbench") for level in ("clean", "slight", "medium", "heavy")]
    assert score_table(parse_scores(scores)).count("<tr>") == 1 + 4
    assert score_table(parse_scores(scores[:3])).count("<tr>") == 1 + 1
    both = score_table(parse_scores([*scores, *(row | {"model": "other"} for row in scores)]))
    assert re.findall(r">(m|other)</td>", both) == ["m", "other"] * 4  # models of a test below each other


def test_terminal_table_leaves_gaps_where_a_model_was_not_tested() -> None:
    scores = [*rows(("sft", 60.0, 1.0)), *rows(("base", 1.0, None), split="seen")]
    assert [line.split() for line in printed(scores).splitlines() if line.strip()][3:5] == [
        ["sft", "60.0", "±1.0", "–"],
        ["base", "–", "1.0"],
    ]


def test_wrong_examples_take_two_of_each_category(tmp_path: Path) -> None:
    kinds = ["value"] * 5 + ["right"] * 3 + ["format"]
    write_lines(tmp_path / "p.jsonl", [{"item": i, "verdict": {"category": kind}} for i, kind in enumerate(kinds)])
    total, found = wrong_examples(tmp_path / "p.jsonl")
    assert total == 9
    assert [line["item"] for line in found] == [0, 1, 8]


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        ("as it is", "as it is"),
        ([], "no call"),
        ([[]], "no call"),
        ({"name": "f", "arguments": {"a": "é"}}, 'f {"a": "é"}'),
        ([{"name": "f", "arguments": '{"a": 1'}, {"name": "g"}], 'f {"a": 1\ng {}'),
        ([[{"name": "f"}], [{"name": "g"}]], "f {}\nor\ng {}"),
        ({"answer": 1}, json.dumps({"answer": 1})),
    ],
)
def test_readable(gold: Any, text: str) -> None:
    assert readable(gold) == text


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    write(tmp_path / "scores.json", [score(evil, evil, 50.0) | {"errors": {evil: 3}}, score("b", evil, 60.0)])
    write(tmp_path / "stages.json", [{"stage": evil, "seconds": 1, "note": evil}])
    write(tmp_path / "environment.json", {evil: {evil: evil}})
    write(tmp_path / "audit.json", {"headline": evil, "calls": {"total": 1, "failed": 1, "by_category": {evil: 1}}})
    write_lines(tmp_path / "sft" / "x" / "metrics.jsonl", [{"step": 1, "loss": 1.0}])
    line = {"item": evil, "split": evil, "prompt": evil, "text": evil, "verdict": {"category": evil}, "gold": evil}
    write_lines(tmp_path / "predictions" / "x.jsonl", [line])
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert "<img" not in text
    assert_self_contained(text)
