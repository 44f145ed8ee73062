"""Records that cannot be encoded are found before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from support.micro import micro_tokenizer
from support.small_run import call, write_run

from tltrain.encode import Encoder
from tltrain.encode.check import check_encoding
from tltrain.errors import DataError
from tltrain.trajectory import Call, Message, Tool, Trajectory

ODD = 'say "hi" now'


def trajectory(name: str, line: int) -> Trajectory:
    messages = (Message("user", "Hi"), Message("assistant", calls=(Call(name, {"text": "a"}),)), Message("tool", "ok"))
    return Trajectory(messages, (Tool(name), Tool("other")), source=f"logs.jsonl:{line}")


def test_a_name_that_the_template_escapes_is_an_error_with_file_and_line() -> None:
    data = [trajectory("wave", 1), trajectory(ODD, 2), trajectory("bow", 3)]
    encoder = Encoder(micro_tokenizer())
    with pytest.raises(DataError) as caught:
        check_encoding(data, encoder)
    assert (caught.value.path, caught.value.line) == ("logs.jsonl", 2)
    assert str(caught.value).startswith("logs.jsonl:2: message 1: the chat template does not write the name")
    assert "`data.strict: false` skips such records" in str(caught.value)
    kept, problems = check_encoding(data, encoder, strict=False)
    assert kept == [data[0], data[2]]
    assert [(problem.path, problem.line) for problem in problems] == [("logs.jsonl", 2)]
    with pytest.raises(DataError, match="no trajectory can be encoded"):
        check_encoding(data[1:2], encoder, strict=False)


def test_arms_without_key_tokens_keep_the_record() -> None:
    data = [trajectory(ODD, 1)]
    assert check_encoding(data, Encoder(micro_tokenizer(), pkt=False)) == (data, [])


def odd_run(folder: Path, strict: bool) -> Path:
    """A configuration whose training data ends with an odd record; the first arm alone could be trained on it."""
    config = write_run(folder, ppo=None, eval=None)
    settings = yaml.safe_load(config.read_text())
    record = trajectory(ODD, 1).to_json()
    with Path(settings["data"]["train"]).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(record) + "\n")
    settings["data"]["strict"] = strict
    settings["sft"]["arms"] = ["sft", "mae+pkt"] if strict else ["mae+pkt"]
    config.write_text(yaml.safe_dump(settings))
    return config


def test_a_run_stops_before_the_first_arm(tmp_path: Path) -> None:
    config = odd_run(tmp_path, strict=True)
    code, _, error = call("run", config, "--out", tmp_path / "run")
    assert code == 2
    assert f"train.jsonl:13: message 1: the chat template does not write the name {ODD!r}" in error
    assert not (tmp_path / "run" / "sft").exists()


def test_a_run_that_is_not_strict_skips_the_record_and_names_it(tmp_path: Path) -> None:
    config = odd_run(tmp_path, strict=False)
    code, _, err = call("run", config, "--out", tmp_path / "run")
    assert code == 0
    assert "train.jsonl: openai, 13 trajectories, " in err
    audit = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert audit["problems"]["number"] == 1 and audit["problems"]["shown"][0]["line"] == 13
    assert audit["trajectories"]["total"] == 12
    assert (tmp_path / "run" / "sft" / "mae+pkt" / "model").exists()


def test_the_audit_names_the_record(tmp_path: Path) -> None:
    logs = tmp_path / "logs.jsonl"
    logs.write_text("".join(json.dumps(trajectory(name, 0).to_json()) + "\n" for name in ("wave", ODD)))
    code, _, err = call("audit", logs, "--out", tmp_path / "audit")
    assert code == 0
    assert f"1 record calls a tool whose name contains quotes, backslashes or control characters: {logs}:2 " in err
    assert "`data.strict: false`" in err
    assert f"{logs}: openai, 2 trajectories, 3 tools\n" in err
