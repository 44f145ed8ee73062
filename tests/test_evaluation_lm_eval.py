"""General ability by lm-eval: its numbers as rows, and, where it is installed, a task of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from support.small_run import call, mistake
from support.trained_micro import known, save_trained, write_bfcl

from tltrain.evaluation.lm_eval import rows
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
        {"task": "t", "metric": "acc", "value": 0.5, "se": 0.1, "n": 4},
        {"task": "t", "metric": "exact_match (strict)", "value": 0.25, "se": None, "n": 4},
    ]


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
    assert "one, mini: acc 0." in err
    shown = f"| two | mini | acc | {second['value']:.4f} ± {second['se']:.4f} | 3 |"
    assert shown in (tmp_path / "run/comparison.md").read_text()
    assert read_json(tmp_path / "run/comparison.json")["general"] == [first, second]
    for page in ("comparison.html", "report.html"):
        assert "As lm-eval gives it" in (tmp_path / "run" / page).read_text()
