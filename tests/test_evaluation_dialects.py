"""Models that write calls in different ways, side by side in one evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.micro import micro_model, micro_tokenizer
from support.small_run import call
from support.trained_micro import known, write_bfcl

from tltrain import dialects
from tltrain.errors import ConfigError
from tltrain.evaluation.selection import name_dialects
from tltrain.files import read_json, read_json_lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models `first` (hermes) and `second` (python), and `bfcl/exec`."""
    folder = tmp_path_factory.mktemp("dialects")
    for name, dialect in (("first", "hermes"), ("second", "python")):
        tokenizer = micro_tokenizer()
        tokenizer.chat_template = dialects.CHAT_TEMPLATES[dialect]
        micro_model(len(tokenizer)).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return write_bfcl(folder, known())


def evaluate(folder: Path, out: Path, *arguments: object) -> dict[str, dict[str, Any]]:
    """The rows of scores by model."""
    options = ("--bench", "bfcl/exec", "--data", folder, "--limit", 1, "--max-new-tokens", 4, "--dtype", "float32")
    code, printed, err = call("eval", *arguments, *options, "--out", out, "--json")
    assert code == 0, err
    return {row["model"]: row for row in json.loads(printed)}


def saved_dialects(out: Path, name: str) -> set[str]:
    return {line["dialect"] for line in read_json_lines(out / f"predictions/{name}.bfcl.exec.jsonl")}


def test_each_model_is_read_as_its_template_writes(folder: Path, tmp_path: Path) -> None:
    rows = evaluate(folder, tmp_path / "run", f"a={folder / 'first'}", f"b={folder / 'second'}")
    assert {name: row["dialect"] for name, row in rows.items()} == {"a": "hermes", "b": "python"}
    assert (saved_dialects(tmp_path / "run", "a"), saved_dialects(tmp_path / "run", "b")) == ({"hermes"}, {"python"})
    for name in ("comparison.html", "comparison.md"):
        assert "Dialects of the replies: a: hermes, b: python" in (tmp_path / "run" / name).read_text()
    assert read_json(tmp_path / "run/scores.json") == list(rows.values())
    code, _, err = call(
        *("eval", f"b={folder / 'second'}", "--dialect", "b=react", "--bench", "bfcl/exec", "--data", folder),
        *("--limit", 1, "--max-new-tokens", 4, "--dtype", "float32", "--out", tmp_path / "run"),
    )
    assert code == 2
    assert (
        err.splitlines()[-1]
        == f"tltrain: {tmp_path / 'run'}: replies of b were read as python, not as react; use another --out"
    )


def test_a_dialect_against_the_template_is_refused_before_the_first_model(folder: Path, tmp_path: Path) -> None:
    models = (f"a={folder / 'first'}", f"b={folder / 'second'}")
    options = ("--bench", "bfcl/exec", "--data", folder, "--limit", 1, "--out", tmp_path / "run")
    code, _, err = call("eval", *models, "--dialect", "b=hermes", *options)
    said = f"tltrain: model {folder / 'second'}: its chat template writes calls as python: set `dialect: python`"
    assert (code, err.splitlines()[-1]) == (2, said)
    assert not (tmp_path / "run/predictions").exists()


def test_models_and_dialects_of_a_configuration(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "eval.yaml"
    path.write_text(f"models:\n  a: {{model: {folder / 'first'}, dialect: qwen}}\n  b: {folder / 'second'}\nseed: 3\n")
    rows = evaluate(folder, tmp_path / "run", "--config", path, "--set", "batch_size=2")
    assert {name: row["dialect"] for name, row in rows.items()} == {"a": "qwen", "b": "python"}
    saved = (tmp_path / "run/config.yaml").read_text()
    assert "seed: 3" in saved and "batch_size: 2" in saved and "models" not in saved
    path.write_text("models:\n  a: {model: x, dialekt: qwen}\nlimmit: 3\n")
    code, _, err = call("eval", "--config", path, "--out", tmp_path / "other")
    assert code == 2
    assert err.splitlines() == [
        f"tltrain: {path}:2: models.a.dialekt: there is no such field; did you mean `models.a.dialect`?",
        f"tltrain: {path}:3: limmit: there is no such field; did you mean `limit`?",
    ]


def test_names_of_dialects() -> None:
    assert name_dialects("python", ["a", "b"]) == {"a": "python", "b": "python"}
    assert name_dialects("a=hermes, b=python", ["a", "b", "c"]) == {"a": "hermes", "b": "python"}
    for given, said in (
        ("c=hermes", "expected a dialect, or NAME=DIALECT of a, b"),
        ("a=xml", "unknown dialect 'xml': one of hermes, python,"),
        ("xml", "unknown dialect 'xml': one of hermes, python,"),
        ("hermes,python", "expected a dialect, or NAME=DIALECT of a, b"),
    ):
        with pytest.raises(ConfigError, match=f"--dialect {given}: {said}"):
            name_dialects(given, ["a", "b"])
