"""The tasks of general ability that need no download: their items, and one run with lm-eval where it is installed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from support.small_run import call
from support.trained_micro import known, save_trained, write_bfcl

from tltrain.evaluation.general_tasks import ITEMS, TASKS, arithmetic, last_words, sequences, write_tasks
from tltrain.files import read_json


@pytest.mark.parametrize("name", TASKS)
def test_items_are_distinct_and_always_the_same(name: str) -> None:
    items = [json.dumps(item) for item in TASKS[name]()]
    assert len(set(items)) == len(items) == ITEMS
    assert items == [json.dumps(item) for item in TASKS[name]()]


@pytest.mark.parametrize("name", [name for name in TASKS if TASKS[name] is not last_words])
def test_the_position_of_the_right_choice_says_nothing(name: str) -> None:
    items = list(TASKS[name]())
    positions = Counter(item["answer"] for item in items)
    assert len(positions) == len(items[0]["choices"])
    assert max(positions.values()) < 1.5 * ITEMS / len(positions)


def test_the_right_choice_is_right_and_no_other() -> None:
    for item in arithmetic():
        a, sign, b, _ = item["question"].split()
        value = int(a) + int(b) if sign == "+" else int(a) - int(b)
        assert [int(choice) == value for choice in item["choices"]].index(True) == item["answer"]
        assert len(set(item["choices"])) == 4
    for item in sequences():
        *_, before, last = map(int, item["question"].rstrip(",").split(","))
        assert int(item["choices"][item["answer"]]) == 2 * last - before
        assert len(set(item["choices"])) == 4


def test_last_words_leave_their_sentence_whole() -> None:
    for item in last_words():
        assert item["word"].startswith(" ") and item["word"].strip().isalpha() and "\n" not in item["context"]


def test_the_files_are_settings_and_items(tmp_path: Path) -> None:
    for path in write_tasks(tmp_path):
        settings = yaml.safe_load(path.read_text())
        assert settings["task"] == path.stem
        lines = Path(settings["dataset_kwargs"]["data_files"]["test"]).read_text().splitlines()
        assert len(lines) == ITEMS


@pytest.mark.filterwarnings("ignore")
def test_the_preset_runs_beside_a_test_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval", reason="needs the extra `general`")
    monkeypatch.setenv("TLTRAIN_CACHE", str(tmp_path / "cache"))
    save_trained(tmp_path / "one")
    write_bfcl(tmp_path, known()[:2])
    asked = ["--bench", "bfcl/exec", "--data", tmp_path, "--limit", 2, "--dtype", "float32", "--general", "local"]
    code, _, err = call("eval", tmp_path / "one", *asked, "--out", tmp_path / "run")
    assert code == 0, err
    found = read_json(tmp_path / "run/general.json")
    assert {row["task"] for row in found} == set(TASKS)
    assert all(row["n"] == 2 and 0 <= row["value"] <= 1 for row in found)
