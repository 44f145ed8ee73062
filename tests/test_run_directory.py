"""The run directory: held by one process, and by one state of the data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.small_run import call, mistake, write_run

from tltrain.config import DataConfig, PPOConfig, RunConfig, ValidationConfig, read_config
from tltrain.errors import RunError
from tltrain.run_directory import RunDirectory

HOLDER = """
import sys
from pathlib import Path
from tltrain.config import RunConfig
from tltrain.run_directory import RunDirectory
run = RunDirectory(Path(sys.argv[1]), RunConfig())
print("held", flush=True)
sys.stdin.read()
"""


def test_one_process_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="another process is using this run directory"):
            RunDirectory(folder, RunConfig())
        holder.kill()
        holder.wait()
    RunDirectory(folder, RunConfig())


def test_a_run_goes_on_with_the_data_it_began_with(tmp_path: Path) -> None:
    write_run(tmp_path)
    test = tmp_path / "data" / "seen.jsonl"
    command = ("eval", tmp_path / "model", "--data", test, "--limit", "1", "--out", tmp_path / "scored")
    assert call(*command)[0] == 0
    assert call(*command)[0] == 0
    test.write_text(test.read_text() + test.read_text().splitlines()[0] + "\n")
    assert mistake(*command) == f"{tmp_path / 'scored'}: input files changed since this run started: {test}"


def test_another_configuration_is_refused_with_the_ways_out(tmp_path: Path) -> None:
    RunDirectory(tmp_path / "run", RunConfig())
    with pytest.raises(RunError) as raised:
        RunDirectory(tmp_path / "run", RunConfig(seed=3))
    said = str(raised.value)
    assert said.endswith("another configuration: seed was 0, is 3; use another --out, or --overwrite")
    assert "\n" not in said


def test_any_other_setting_of_ppo_is_refused_but_the_address_of_a_server(tmp_path: Path) -> None:
    """`tltrain ppo` resumes from its checkpoint only where every setting of the stage is the same."""

    def opened(**settings: Any) -> None:
        RunDirectory(tmp_path / "run", RunConfig(ppo=PPOConfig(**settings)))

    opened(sampler="http://localhost:8000/v1")
    opened(sampler="http://another-node:9000/v1")
    with pytest.raises(RunError, match=r"ppo\.validation was None, is \{'share': 0\.1, 'every': 2\}"):
        opened(sampler="http://localhost:8000/v1", validation=ValidationConfig())
    with pytest.raises(RunError, match=r"ppo\.sampler was 'http://localhost:8000/v1', is None"):
        opened()


def test_paths_written_differently_are_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def config(model: str, train: str, test: str) -> RunConfig:
        return RunConfig(model=model, data=DataConfig(train=train, test={"a": test}))

    run = RunDirectory(tmp_path / "run", config("m", "logs.jsonl", "test.jsonl"))
    run.check_data({"logs.jsonl": "1", "test.jsonl": "2"})
    same = config("./m", "./logs.jsonl", str(tmp_path / "test.jsonl"))
    run = RunDirectory(tmp_path / "run", same)
    run.check_data({"./logs.jsonl": "1", str(tmp_path / "test.jsonl"): "2"})
    with pytest.raises(RunError, match=r"input files changed since this run started: \./logs\.jsonl"):
        run.check_data({"./logs.jsonl": "3"})
    with pytest.raises(RunError, match=r"data\.train was 'logs\.jsonl', is 'other\.jsonl'"):
        RunDirectory(tmp_path / "run", config("m", "other.jsonl", "test.jsonl"))
    RunDirectory(tmp_path / "builtin", RunConfig())
    with pytest.raises(RunError, match=r"data.train was 'toolworld', is './toolworld'"):
        RunDirectory(tmp_path / "builtin", RunConfig(data=DataConfig(train="./toolworld")))


def test_overwrite_moves_a_run_aside(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert RunDirectory(folder, RunConfig(), overwrite=True).moved_to is None
    (folder / "scores.json").write_text("[]")
    for seed, moved in ((1, "run.old"), (2, "run.old-2")):
        run = RunDirectory(folder, RunConfig(seed=seed), overwrite=True)
        assert run.moved_to == tmp_path / moved
        assert read_config(folder / "config.yaml").seed == seed
        assert not (folder / "scores.json").exists()
    assert (tmp_path / "run.old/scores.json").read_text() == "[]"
    assert read_config(tmp_path / "run.old-2/config.yaml").seed == 1


@pytest.mark.parametrize("name", ["thesis.txt", "config.yaml"])
def test_overwrite_leaves_a_folder_that_holds_no_run(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / name).write_text("seed: 3\n")
    with pytest.raises(RunError, match=r"not a run directory .* so it is not overwritten"):
        RunDirectory(folder, RunConfig(), overwrite=True)
    assert (folder / name).read_text() == "seed: 3\n"
    assert [path.name for path in tmp_path.iterdir()] == ["project"]


def test_overwrite_leaves_a_run_in_use(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="another process is using this run directory"):
            RunDirectory(folder, RunConfig(), overwrite=True)
        holder.kill()
        holder.wait()
    assert (folder / "config.yaml").exists()
