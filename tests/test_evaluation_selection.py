"""Which test sets and models are meant by the names that a user gives."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.evaluated import WRONG
from support.trained_micro import known, write_bfcl

from tltrain.errors import ConfigError, DataError
from tltrain.evaluation.selection import load_test_sets, name_models


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of test sets that holds BFCL's `exec` only."""
    return write_bfcl(tmp_path / "data-folder", known() + WRONG)


def test_names_of_test_sets(data: Path) -> None:
    shown: list[str] = []
    (test,) = load_test_sets("bfcl", data, shown.append)
    assert (test.name, test.split) == ("bfcl", "exec")
    assert shown[-1] == f"skipped: bfcl ast, live: not found in {data / 'bfcl'}"
    for names, error, text in (
        ("nothing", ConfigError, "no such test set"),
        ("bfcl/none", ConfigError, "no such split: expected one of exec, ast, live"),
        ("bfcl/ast", DataError, "no such file"),
        (",", ConfigError, "no test set is named"),
        ("tooleyes", DataError, "no file of tooleyes there; `tltrain fetch tooleyes` gets them"),
    ):
        with pytest.raises(error, match=text):
            load_test_sets(names, data, shown.append)


def test_a_set_that_the_folder_lacks_is_taken_from_where_fetch_puts_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLTRAIN_CACHE", str(tmp_path))
    (tmp_path / "here").mkdir()
    with pytest.raises(DataError, match="no file of bfcl there"):
        load_test_sets("bfcl", tmp_path / "here", lambda text: None)
    shutil.copytree(data / "bfcl", tmp_path / "data/bfcl")
    shown: list[str] = []
    (test,) = load_test_sets("bfcl/exec", tmp_path / "here", shown.append)
    assert len(test.items) == 11
    assert shown[0] == f"bfcl: read from {tmp_path / 'data/bfcl'}, since {tmp_path / 'here'} has none"
    shown.clear()
    found = load_test_sets("all", data, shown.append)
    assert [(test.name, test.split) for test in found] == [
        ("bfcl", "exec"),
        ("toolworld", "seen"),
        ("toolworld", "unseen"),
    ]
    assert f"skipped: tooleyes all: not found in {data / 'tooleyes'}" in shown


def test_names_of_models() -> None:
    named: dict[str, Any] = dict(name_models(["runs/a/sft/mae+pkt/model", "x=Qwen/Qwen3-0.6B", "http://h/v1#Qwen/Q 3"]))
    assert list(named) == ["mae+pkt", "x", "Q-3"]
    assert (named["Q-3"].url, named["Q-3"].model) == ("http://h/v1", "Qwen/Q 3")
    with pytest.raises(ConfigError, match="two models are called model-a"):
        name_models(["x/model-a", "y/model-a/model"])
    with pytest.raises(ConfigError, match="URL#model-name"):
        name_models(["http://h/v1"])
