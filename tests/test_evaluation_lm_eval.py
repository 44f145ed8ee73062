"""General ability by lm-eval: its numbers as rows, and, where it is installed, a task of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from support.small_run import call, mistake
from support.trained_micro import known, save_trained, write_bfcl

from tltrain.evaluation.lm_eval import rows
from tltrain.evaluation.significance import general_differences
from tltrain.files import read_json

TASK = {
    "task": "mini",
    "dataset_path": "json",
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "{{answer}}",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
ITEMS = [
    {"question": "Two and two make", "choices": [" seven", " four"], "answer": 1},
    {"question": "Snow is", "choices": [" white", " hot"], "answer": 0},
    {"question": "Fish live in", "choices": [" fire", " water"], "answer": 1},
]


def test_the_numbers_of_a_result() -> None:
    """Named as lm-eval names them; a metric of another filter keeps the filter's name."""
    values = {
        "alias": "t",
        "acc,none": 0.5,
        "acc_stderr,none": 0.1,
        "exact_match,strict": 0.25,
        "exact_match_stderr,strict": "N/A",
    }
    found = {"results": {"t": values}, "n-samples": {"t": {"original": 9, "effective": 4}}}
    assert list(rows(found)) == [
        {"task": "t", "metric": "acc", "value": 0.5, "se": 0.1, "n": 4, "items": None},
        {"task": "t", "metric": "exact_match (strict)", "value": 0.25, "se": None, "n": 4, "items": None},
    ]


def test_the_values_of_items_are_kept_in_order_where_the_metric_is_their_mean() -> None:
    samples = [{"doc_id": at, "filter": "none", "acc": held, "ppl": held} for at, held in ((2, 1), (0, 0), (1, 1))]
    samples += [{"doc_id": 0, "filter": "strict", "acc": 0}]
    values = {"acc,none": 2 / 3, "ppl,none": 7.5}
    found = {row["metric"]: row for row in rows({"results": {"t": values}, "samples": {"t": samples}})}
    assert found["acc"]["items"] == [0.0, 1.0, 1.0]
    assert found["ppl"]["items"] is None, "a metric of the whole task"


def test_models_are_compared_on_the_same_items() -> None:
    """Right on 8 of 10 and on 4 of these: -0.4, with a standard error of sqrt(0.24 / 9)."""
    first = {"model": "a", "task": "t", "metric": "acc", "asked": "t", "items": [1.0] * 8 + [0.0] * 2}
    second = {**first, "model": "b", "items": [1.0] * 4 + [0.0] * 6}
    other = {**second, "task": "u"}
    (row,) = general_differences([first, other, second])
    assert (row["model"], row["against"], row["task"], row["n"]) == ("b", "a", "t", 10)
    assert row["difference"] == pytest.approx(-0.4)
    assert row["se"] == pytest.approx((0.24 / 9) ** 0.5)
    assert row["low"] < -0.4 < row["high"] < 0
    assert general_differences([first, {**second, "items": None}]) == []


def test_a_missing_extra_is_told_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tltrain.evaluation.lm_eval.find_spec", lambda name: None)
    said = mistake("eval", "nowhere", "--bench", "toolworld", "--out", tmp_path / "run", "--general", "mmlu")
    assert said == "--general needs lm-eval: pip install 'tltrain[general]'"


@pytest.mark.filterwarnings("ignore")
def test_a_task_of_ones_own_stands_beside_the_scores(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="needs the extra `general`")
    items = tmp_path / "items.jsonl"
    items.write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    task = tmp_path / "mini.yaml"
    task.write_text(yaml.safe_dump({**TASK, "dataset_kwargs": {"data_files": {"test": str(items)}}}))
    save_trained(tmp_path / "one")
    save_trained(tmp_path / "two")
    write_bfcl(tmp_path, known()[:2])
    asked = ["--bench", "bfcl/exec", "--data", tmp_path, "--max-new-tokens", 48, "--dtype", "float32"]
    code, _, err = call(
        "eval", tmp_path / "one", tmp_path / "two", *asked, "--out", tmp_path / "run", "--general", task
    )
    assert code == 0, err
    first, second = read_json(tmp_path / "run/general.json")
    assert (first["model"], second["model"], first["task"], first["metric"], first["n"]) == (
        "one",
        "two",
        "mini",
        "acc",
        3,
    )
    assert first["value"] == second["value"] in (0, 1 / 3, 2 / 3, 1)
    assert first["items"] == second["items"] and sum(first["items"]) / 3 == first["value"]
    assert "one, mini: acc 0." in err
    shown = f"| two | mini | acc | {second['value']:.4f} ± {second['se']:.4f} | 3 |"
    assert shown in (tmp_path / "run/comparison.md").read_text()
    compared = read_json(tmp_path / "run/comparison.json")
    shown_there = [{name: value for name, value in row.items() if name != "items"} for row in (first, second)]
    assert compared["general"] == shown_there
    (difference,) = compared["general_differences"]
    assert (difference["model"], difference["against"], difference["difference"]) == ("two", "one", 0.0)
    for page in ("comparison.html", "report.html"):
        text = (tmp_path / "run" / page).read_text()
        assert "As lm-eval gives it" in text and "+0.0000 to +0.0000" in text
    code, _, err = call("eval", tmp_path / "one", tmp_path / "two", "--out", tmp_path / "alone", "--general", task)
    assert code == 0, err
    assert "tokens" not in err
    assert read_json(tmp_path / "alone/general.json")[0]["value"] == first["value"]
    page = (tmp_path / "alone/comparison.md").read_text()
    assert "0 of 1 interval of general ability exclude zero" in page
    assert "TS: the right tool" not in page
