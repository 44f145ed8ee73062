"""Paired significance and robustness to noise, on outcomes small enough to count by hand."""

from __future__ import annotations

import json
from math import sqrt
from pathlib import Path
from typing import Any

import pytest

from tltrain.evaluation.predictions import prediction_path
from tltrain.evaluation.significance import comparison_json, holm, mcnemar, paired, robustness, write_significance
from tltrain.report.comparison import markdown, write_comparison
from tltrain.report.report import write_report


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 0, 2 / 32),
        (0, 5, 2 / 32),
        (3, 3, 1.0),
        (8, 1, 2 * (1 + 9) / 512),
        (20, 2, 2 * (1 + 22 + 231) / 2**22),
        (1500, 1500, 1.0),
        (1700, 1300, 2.9796404809142083e-13),
    ],
)
def test_mcnemar_is_the_binomial_tail_on_both_sides(first: int, second: int, p: float) -> None:
    assert mcnemar(first, second) == pytest.approx(p, rel=1e-12)


def test_paired_counts_only_items_that_both_answered() -> None:
    first = {0: True, 1: True, 2: True, 3: False, 4: False, 9: True}
    second = {0: True, 1: False, 2: False, 3: True, 4: False, 8: True}
    found = paired(first, second)
    assert (found["n"], found["only_first"], found["only_second"]) == (5, 2, 1)
    assert found["points"] == pytest.approx(20)
    assert found["se"] == pytest.approx(100 * sqrt((3 / 5 - 1 / 25) / 5))
    assert found["p"] == 1.0
    assert paired({}, {})["n"] == 0


def written(folder: Path, model: str, split: str, right: list[tuple[str, bool]]) -> None:
    """Predictions and a row: pairs of a query and whether the answer is right in all three metrics."""
    path = prediction_path(folder, model, "rotbench", split)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        {"index": at, "query": query, "verdict": dict.fromkeys(("TS", "PI", "CF"), good)}
        for at, (query, good) in enumerate(right)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    share = 100 * sum(good for _, good in right) / len(right)
    row = {"model": model, "bench": "rotbench", "split": split, "n": len(right), "se": {}}
    row |= dict.fromkeys(("TS", "PI", "CF"), share)
    scores = folder / "scores.json"
    rows: list[Any] = json.loads(scores.read_text()) if scores.exists() else []
    scores.write_text(json.dumps([*rows, row]))


def test_robustness_pairs_a_clean_item_with_the_mean_of_its_noisy_versions(tmp_path: Path) -> None:
    written(tmp_path, "m", "First_Turn/slight", [("a", True), ("b", False), ("a", False), ("b", False)])
    written(tmp_path, "m", "First_Turn/clean", [("a", True), ("b", True)])
    written(tmp_path, "m", "First_Turn/union", [("b", True), ("c", False), ("d", False)])
    clean, slight, union = robustness(tmp_path)
    assert [row["level"] for row in (clean, slight, union)] == ["clean", "slight", "union"]
    assert "drop" not in clean
    # Changes of a and b: 1 - 1/2 and 1 - 0.
    assert (slight["pairing"], slight["drop"]["CF"]) == ("queries", pytest.approx(75))
    assert slight["drop_se"]["CF"] == pytest.approx(100 * sqrt(0.125 / 2))
    # Other queries: independent, errors 0 and that of (1, 0, 0).
    assert (union["pairing"], union["drop"]["CF"]) == ("none", pytest.approx(200 / 3))
    assert union["drop_se"]["CF"] == pytest.approx(100 * sqrt(1 / 9))


def test_robustness_without_saved_predictions_has_the_levels_alone(tmp_path: Path) -> None:
    for level in ("clean", "slight"):
        written(tmp_path, "m", f"First_Turn/{level}", [("a", True)])
        prediction_path(tmp_path, "m", "rotbench", f"First_Turn/{level}").unlink()
    assert [(row["level"], row["CF"], "drop" in row) for row in robustness(tmp_path)] == [
        ("clean", 100, False),
        ("slight", 100, False),
    ]


def test_the_comparison_names_every_pair_once_in_all_three_files(tmp_path: Path) -> None:
    for model, good in (("one", 2), ("two", 9), ("three|x", 9)):
        written(tmp_path, model, "First_Turn/clean", [(str(at), at < good) for at in range(10)])
    found = comparison_json(tmp_path)
    (test,) = found["tests"]
    pairs = [(pair["model"], pair["against"]) for pair in test["pairs"] if pair["metric"] == "CF"]
    assert pairs == [("two", "one"), ("three|x", "one"), ("three|x", "two")]
    first = test["pairs"][0]
    assert (first["points"], first["p"]) == (pytest.approx(70), pytest.approx(2 / 128))
    (tmp_path / "comparison.json").write_text(json.dumps(found))
    write_comparison(tmp_path)
    text = (tmp_path / "comparison.md").read_text()
    assert text == markdown(found)
    assert "| rotbench First_Turn/clean | two | one | CF | +70.0 ± 14.5 | 0.0156* | 0.1406 | 10 |" in text
    assert "three\\|x" in text
    found["tests"][0]["pairs"][0]["p"] = 1e-9
    assert "| <0.0001* | 0.1406 | 10 |" in markdown(found)
    page = (tmp_path / "comparison.html").read_text()
    assert "+70.0 ± 14.5" in page and "0.0156*" in page


def categorised(folder: Path, model: str, categories: list[str]) -> None:
    """Predictions of the verdicts' categories, and a row with their counts."""
    path = prediction_path(folder, model, "toolworld", "unseen")
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        {"index": at, "verdict": {**dict.fromkeys(("TS", "PI", "CF"), name == "right"), "category": name}}
        for at, name in enumerate(categories)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    share = 100 * categories.count("right") / len(categories)
    counts = {name: categories.count(name) for name in sorted({*categories} - {"right"})}
    row = {"model": model, "bench": "toolworld", "split": "unseen", "n": len(categories), "se": {}, "errors": counts}
    scores = folder / "scores.json"
    rows: list[Any] = json.loads(scores.read_text()) if scores.exists() else []
    scores.write_text(json.dumps([*rows, row | dict.fromkeys(("TS", "PI", "CF"), share)]))


def test_kinds_of_error_are_compared_item_by_item(tmp_path: Path) -> None:
    """Of 40 items, 12 arguments that do not exist become missing ones; one format error is repaired, another made."""
    start = ["argument_hallucinated"] * 12 + ["format", "right"] + ["right"] * 26
    categorised(tmp_path, "mae+pkt", start)
    categorised(tmp_path, "mae+pkt+irm", ["argument_missing"] * 10 + ["right"] * 3 + ["format"] + start[14:])
    categorised(tmp_path, "other", ["argument_missing"] * 10 + ["right"] * 3 + ["format"] + start[14:])
    write_significance(tmp_path)
    (test,) = json.loads((tmp_path / "comparison.json").read_text())["tests"]
    rows = {row["category"]: row for row in test["errors"] if row["model"] == "mae+pkt+irm"}
    assert list(rows) == ["argument_hallucinated", "argument_missing", "format"]
    assert [(row["n"], row["before"], row["after"]) for row in rows.values()] == [(40, 12, 0), (40, 0, 10), (40, 1, 1)]
    assert [row["p"] for row in rows.values()] == pytest.approx([2 / 2**12, 2 / 2**10, 1.0])
    assert [row["p_holm"] for row in rows.values()] == pytest.approx([6 / 2**12, 4 / 2**10, 1.0])
    assert all(row["p"] == 1 for row in test["errors"] if (row["model"], row["against"]) == ("other", "mae+pkt+irm"))
    page = write_report(tmp_path).read_text()
    assert (
        "mae+pkt+irm against mae+pkt: argument does not exist 12 → 0 (p = 0.001); "
        "argument missing 0 → 10 (p = 0.004); the other kinds are within noise."
    ) in page
    assert "other against mae+pkt+irm: no kind of error changed by more than noise." in page


def test_what_has_to_be_known_stands_with_the_figures(tmp_path: Path) -> None:
    """Data that is not the pinned one, and what executed the calls; sets of several steps have a table of their own."""
    written(tmp_path, "one", "First_Turn/clean", [("a", True)])
    warning = "tooleyes: not the pinned data, but a part or another version of it"
    row = {"model": "one", "bench": "tooleyes", "split": "all", "n": 1, "DE": 1.0, "CE": 2.0, "VA": 3.0, "se": {}}
    rows = json.loads((tmp_path / "scores.json").read_text())
    (tmp_path / "scores.json").write_text(json.dumps([*rows, row | {"executor": "simulator", "warnings": [warning]}]))
    (tmp_path / "comparison.json").write_text(json.dumps(comparison_json(tmp_path)))
    write_comparison(tmp_path)
    write_report(tmp_path)
    text = (tmp_path / "comparison.md").read_text()
    assert "| test | model | TS | PI | CF | n |" in text and "| test | model | DE | CE | VA | n |" in text
    for file in ("comparison.md", "comparison.html", "report.html"):
        shown = (tmp_path / file).read_text()
        assert warning in shown and "calls are executed by the simulator" in shown, file


@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [([], []), ([0.03], [0.03]), ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]), ([0.5, 0.9], [1.0, 1.0])],
)
def test_holm_multiplies_by_the_tests_that_are_left(p_values: list[float], corrected: list[float]) -> None:
    assert holm(p_values) == pytest.approx(corrected)


@pytest.mark.parametrize("name", ["{model}.toolworld.seen.jsonl", "{model}.seen.jsonl"])
def test_both_pages_give_the_same_answer(tmp_path: Path, name: str) -> None:
    """CF 50 and 60 of 100 nested items, in the present file name and in that of earlier versions of `tltrain run`:
    +10.0 points, standard error 100 sqrt(0.1 * 0.9 / 100) = 3.0, p = 2 / 2**10."""
    (tmp_path / "predictions").mkdir()
    rows: list[dict[str, Any]] = []
    for model, right in (("sft", 50), ("mae+pkt", 60)):
        lines = [
            {"item": f"t{at}#1", "text": "", "verdict": {"TS": True, "PI": True, "CF": at < right}} for at in range(100)
        ]
        path = tmp_path / "predictions" / name.format(model=model)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        rows.append({"model": model, "split": "seen", "n": 100, "TS": 100.0, "PI": 100.0, "CF": float(right)})
        rows[-1]["se"] = {"TS": 0.0, "PI": 0.0, "CF": 5.0}
    (tmp_path / "scores.json").write_text(json.dumps(rows))
    write_significance(tmp_path)
    write_comparison(tmp_path)
    write_report(tmp_path)
    assert "| toolworld seen | mae+pkt | sft | CF | +10.0 ± 3.0 | 0.0020* |" in (tmp_path / "comparison.md").read_text()
    assert "+10.0 ± 3.0" in (tmp_path / "comparison.html").read_text()
    report = (tmp_path / "report.html").read_text()
    assert "+10.0 ± 3.0<br><small>higher, p = 0.002</small>" in report
