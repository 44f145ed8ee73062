"""`tltrain init`: settings that fit the logs, with their reasons, in a file that a run can use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.micro import micro_tokenizer, micro_trajectories, save_micro
from support.small_run import call, mistake

from tltrain.config import read_config
from tltrain.planning import proposal
from tltrain.planning.proposal import Proposal, configuration_path, is_data, propose
from tltrain.planning.replies import fitting_limit, gold_lengths
from tltrain.trajectory import Message, Tool, Trajectory


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_micro(tmp_path_factory.mktemp("init") / "model"))


def write(path: Path, trajectories: Sequence[Trajectory]) -> Path:
    path.write_text("".join(json.dumps(trajectory.to_json()) + "\n" for trajectory in trajectories))
    return path


def values(proposal: Proposal) -> dict[str, Any]:
    return {".".join(setting.path): setting.value for setting in proposal.settings}


def reason(proposal: Proposal, path: str) -> str:
    (found,) = (setting.reason for setting in proposal.settings if ".".join(setting.path) == path)
    return found


def test_it_writes_a_commented_configuration(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = write(tmp_path / "my.logs.jsonl", micro_trajectories(12))
    monkeypatch.chdir(tmp_path)
    code, out, err = call("init", logs, "--model", model)
    assert code == 0, err
    assert out == "3 of 15 calls failed; all of them name an argument that does not exist.\n"
    assert err.splitlines()[0] == f"{logs}: openai, 12 trajectories, 5 tools"
    assert err.splitlines()[-1].startswith("next: tltrain plan my.logs.yaml")
    text = (tmp_path / "my.logs.yaml").read_text()
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not line.lstrip().startswith("#") and not line.endswith(":"):
            assert lines[number - 1].lstrip().startswith("# "), f"no reason above {line!r}"
    config = read_config(tmp_path / "my.logs.yaml")
    assert (config.model, config.dialect, config.data.train) == (model, "hermes", str(logs))
    assert config.sft is not None and config.sft.arms == ["sft", "mae"]
    assert config.ppo is None and "PPO gained nothing with a model of 135 million" in text


def test_an_existing_file_is_kept_unless_it_is_to_be_overwritten(model: str, tmp_path: Path) -> None:
    logs, path = write(tmp_path / "logs.jsonl", micro_trajectories()), tmp_path / "mine.yaml"
    path.write_text("precious")
    assert mistake("init", logs, "--model", model, "--out", path).startswith(f"{path}: exists already; ")
    assert path.read_text() == "precious"
    code, out, err = call("init", logs, "--model", model, "--out", path, "--overwrite", "--json")
    assert code == 0, err
    result = json.loads(out)
    written = yaml.safe_load(path.read_text())
    assert result["config"]["sft"]["batch_size"] == written["sft"]["batch_size"]
    assert result["reasons"]["sft.arms"].startswith("2 of 10 calls failed")


def test_without_failed_calls_nothing_is_masked(model: str, tmp_path: Path) -> None:
    right = [one for number, one in enumerate(micro_trajectories(16)) if number % 4 != 1]
    chosen = propose(str(write(tmp_path / "right.jsonl", right)), model)
    assert values(chosen)["sft.arms"] == ["sft"]
    assert reason(chosen, "sft.arms") == "no call failed, so nothing would be masked"


def test_pkt_and_ppo_are_proposed_for_large_models(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = str(write(tmp_path / "logs.jsonl", micro_trajectories(16)))
    small = propose(logs, model)
    assert (values(small)["sft.arms"], small.config.ppo) == (["sft", "mae"], None)
    monkeypatch.setattr(proposal, "WHOLE_METHOD_FROM", 1_000)
    chosen = propose(logs, model)
    assert (values(chosen)["sft.arms"], values(chosen)["ppo.arm"]) == (["sft", "mae+pkt"], "mae+pkt")
    right = [one for number, one in enumerate(micro_trajectories(16)) if number % 4 != 1]
    assert values(propose(str(write(tmp_path / "right.jsonl", right)), model))["sft.arms"] == ["sft", "pkt"]
    assert values(chosen)["eval.max_new_tokens"] == values(chosen)["ppo.max_new_tokens"]


def test_ppo_needs_calls_that_can_be_judged(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposal, "WHOLE_METHOD_FROM", 0)
    texts = [one for number, one in enumerate(micro_trajectories(16)) if number % 4 == 2]
    without_calls = propose(str(write(tmp_path / "texts.jsonl", texts)), model)
    assert (values(without_calls)["ppo"], values(without_calls)["sft.arms"]) == (None, ["sft"])
    logs = write(tmp_path / "toolless.jsonl", micro_trajectories(16))
    lines = [{"messages": json.loads(line)["messages"]} for line in logs.read_text().splitlines()]
    logs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    inferred = propose(str(logs), model)
    assert values(inferred)["ppo"] is None
    assert "were inferred from the calls" in reason(inferred, "ppo")


def test_groups_are_as_large_as_sharing_allows(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposal, "WHOLE_METHOD_FROM", 0)
    shared = [one for number, one in enumerate(micro_trajectories(40)) if number % 4 == 0]
    chosen = values(propose(str(write(tmp_path / "shared.jsonl", shared)), model))
    assert (chosen["sft.batch_size"], chosen["sft.group_size"], chosen["ppo.group_size"]) == (4, 4, 8)
    own = [replace(one, tools=(*one.tools, Tool(f"own_{at}"))) for at, one in enumerate(shared)]
    alone = propose(str(write(tmp_path / "own.jsonl", own)), model)
    assert values(alone)["sft.group_size"] == values(alone)["ppo.group_size"] == 1
    assert reason(alone, "sft.group_size") == "hardly any trajectories share their tools"


def test_lengths_decide_limits(model: str, tmp_path: Path) -> None:
    short = micro_trajectories(12)
    long = replace(short[2], messages=(short[2].messages[0], Message("assistant", "order " * 3_000)))
    chosen = propose(str(write(tmp_path / "short.jsonl", short)), model)
    assert values(chosen)["max_length"] % 256 == 0
    assert values(chosen)["max_length"] < 2_048
    limit = fitting_limit(gold_lengths(short, micro_tokenizer()))
    assert values(chosen)["eval.max_new_tokens"] == limit
    beyond = propose(str(write(tmp_path / "long.jsonl", [*short, long])), model)
    assert values(beyond)["max_length"] == 4_096, "the model has no more positions"
    assert "the model has no more positions" in reason(beyond, "max_length")


def test_of_few_trajectories_some_are_held_out_and_of_one_none(model: str, tmp_path: Path) -> None:
    few = propose(str(write(tmp_path / "few.jsonl", micro_trajectories(3))), model)
    assert values(few)["data.holdout"] == 0.33
    one = propose(str(write(tmp_path / "one.jsonl", micro_trajectories(1))), model)
    assert (values(one)["data.holdout"], values(one)["eval"]) == (0.0, None)


def test_records_that_cannot_be_read_are_counted(model: str, tmp_path: Path) -> None:
    path = write(tmp_path / "broken.jsonl", micro_trajectories(8))
    path.write_text(path.read_text() + '{"messages": [{"role": "nobody"}]}\n')
    chosen = propose(str(path), model)
    assert values(chosen)["data.strict"] is False
    assert reason(chosen, "data.strict") == "1 record cannot be read and is skipped"
    assert len(chosen.problems) == 1


@pytest.mark.parametrize(
    ("name", "text", "data"),
    [
        ("a.yaml", '{"messages": []}', False),
        ("a.yml", "model: x", False),
        ("a.jsonl", "", True),
        ("a.json", "[]", True),
        ("a.conf", "model: x", False),
        ("a.logs", ' {"messages": []}', True),
    ],
)
def test_data_and_configurations_are_told_apart(name: str, text: str, data: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert is_data(tmp_path / name) == data
    assert is_data(tmp_path), "a folder"
    assert not is_data(tmp_path / "none.jsonl"), "the message is that of a missing file"


def test_the_name_of_the_configuration(tmp_path: Path) -> None:
    assert configuration_path("logs/my.jsonl.gz") == Path("my.yaml")
    assert configuration_path(str(tmp_path / "folder")) == Path("folder.yaml")
