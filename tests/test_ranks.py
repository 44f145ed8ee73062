"""Two processes (gloo, on the CPU) against one, sharded or not; kills at every kind of moment; launches."""

from __future__ import annotations

import json
import multiprocessing
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from support.micro import micro_model, micro_tokenizer
from support.ranks_job import JOBS, KILL, PPO_JOBS, SAMPLER, call_as, train, train_as, train_ppo
from support.small_run import SETTINGS, write_run
from support.vllm_server import Served, serving

from tltrain.engine.order import share

DISTRIBUTED = [job for job in JOBS if "bf16" not in job]
SECONDS = 1500
"""Until a hanging launch is ended; a busy machine may need minutes."""


@pytest.fixture(scope="module")
def context() -> Any:
    """Processes that begin with the libraries loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["support.ranks_job", "tltrain.pipeline"])
    first = context.Process(target=int)  # waits for what is loaded before, so that no later one has to
    first.start()
    first.join()
    return context


def start(
    context: Any,
    count: int,
    target: Callable[..., None],
    folder: Path,
    arguments: list[str],
    kills: dict[int, str] | None = None,
    sampler: str | None = None,
) -> list[Any]:
    """As a launcher starts `count` processes; `kills` says at which hook a rank kills itself, `sampler` is PPO's."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = []
    for rank in range(count):
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
        environment = {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", **{n: str(v) for n, v in names.items()}}
        environment = environment if count > 1 else {}
        environment |= {KILL: kills[rank]} if kills and rank in kills else {}
        environment |= {SAMPLER: sampler} if sampler else {}
        processes.append(context.Process(target=target, args=(environment, folder, arguments)))
        processes[-1].start()
    return processes


def end(processes: list[Any]) -> list[int]:
    """Their exit codes; the others are ended where one failed, as a launcher does."""
    running = {process.sentinel: process for process in processes}
    while running and (ended := connection.wait(list(running), SECONDS)):
        codes = []
        for sentinel in ended:
            running[sentinel].join()
            codes.append(running.pop(sentinel).exitcode)
        if running and any(codes):
            connection.wait(list(running), 10)  # the others may fail by themselves
            break
    for process in processes:
        process.kill()
        process.join()
    return [process.exitcode for process in processes]


def said(folder: Path) -> str:
    return "\n".join(path.read_text()[-3000:] for path in sorted(folder.glob("said.*")))


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def two(context: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every job, in two processes."""
    folder = tmp_path_factory.mktemp("two")
    assert end(start(context, 2, train_as, folder, [*JOBS, *PPO_JOBS])) == [0, 0], said(folder)
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A job in one process: sharding and recomputing change no result."""
    folder = tmp_path_factory.mktemp("one")

    def trained(job: str) -> Path:
        place = folder / re.sub("^fsdp$|checkpointing|passes", "plain", job.removeprefix("fsdp-"))
        if not place.exists():
            train(place, **JOBS[place.name])
        return place

    return trained


@pytest.mark.parametrize("job", DISTRIBUTED)
def test_two_processes_with_four_are_one_with_eight(two: Path, one: Callable[[str], Path], job: str) -> None:
    alone, together = lines(one(job)), lines(two / job)
    assert len(alone) == len(together)
    for row, other in zip(alone, together, strict=True):
        for name in ("step", "learning_rate", "weight", "separate_tokens"):
            assert row[name] == other[name]
        for name in ("loss", "grad_norm", *(["eval_loss"] if "eval_loss" in row else [])):
            assert other[name] == pytest.approx(row[name], rel=1e-5), (row["step"], name)
    expected, found = weights(one(job)), weights(two / job)
    assert expected.keys() == found.keys()
    difference = torch.cat([(found[name] - expected[name]).flatten() for name in expected]).norm()
    assert difference < 1e-5 * torch.cat([value.flatten() for value in expected.values()]).norm()


@pytest.mark.parametrize("job", PPO_JOBS)
def test_ppo_in_two_processes_is_that_of_one(two: Path, tmp_path: Path, job: str) -> None:
    """The same replies, token for token; rewards and losses; weights."""
    train_ppo(tmp_path, **PPO_JOBS[job])
    for name in ("rollouts.jsonl", "validation.jsonl"):
        if (tmp_path / name).exists():
            assert (two / job / name).read_text() == (tmp_path / name).read_text()
    assert len(lines(tmp_path)) == 3
    assert all(row["policy_grad_norm"] > 0 for row in lines(tmp_path)[1:])
    for row, other in zip(lines(tmp_path), lines(two / job), strict=True):
        assert row.keys() == other.keys()
        for name in row.keys() - {"seconds", "replies_per_second"}:
            expected = pytest.approx(row[name], rel=1e-3, abs=1e-5) if isinstance(row[name], float) else row[name]
            assert other[name] == expected, (row["rollout"], name)
    expected, found = weights(tmp_path), weights(two / job)
    change = torch.cat([(found[name] - expected[name]).flatten() for name in expected]).norm()
    assert change < 1e-4 * torch.cat([value.flatten() for value in expected.values()]).norm()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in (two / job).iterdir())


def test_sharded_ppo_with_a_sampling_server_is_that_of_one_process(context: Any, tmp_path: Path) -> None:
    """Each process asks for its own replies; the first sends the adapter, which is gathered."""
    pytest.importorskip("openai")
    served = Served(micro_model(len(micro_tokenizer())), root="micro")
    with serving(served) as url:
        processes = start(context, 2, train_as, tmp_path, ["ppo-fsdp-lora"], sampler=f"{url}#base")
        assert end(processes) == [0, 0], said(tmp_path)
    assert served.loaded == served.unloaded and len(served.loaded) == 3
    train_ppo(tmp_path / "alone", **PPO_JOBS["ppo-fsdp-lora"])
    rollouts = [(tmp_path / name / "rollouts.jsonl").read_text() for name in ("alone", "ppo-fsdp-lora")]
    assert rollouts[0] == rollouts[1]
    assert all(row["importance_max"] == pytest.approx(1, abs=1e-3) for row in lines(tmp_path / "ppo-fsdp-lora"))
    expected, found = weights(tmp_path / "alone"), weights(tmp_path / "ppo-fsdp-lora")
    assert all((found[name] - expected[name]).norm() < 1e-4 * expected[name].norm() for name in expected)


@pytest.mark.parametrize("job", [job for job in JOBS if "bf16" in job])
def test_bf16_in_two_processes_is_near(two: Path, one: Callable[[str], Path], job: str) -> None:
    for row, other in zip(lines(one(job)), lines(two / job), strict=True):
        assert other["loss"] == pytest.approx(row["loss"], rel=2e-2)
    assert all(value.dtype == torch.bfloat16 for value in weights(two / job).values())


def test_only_the_first_process_writes(two: Path) -> None:
    for job in JOBS:
        steps = [row["step"] for row in lines(two / job)]
        assert steps == sorted(set(steps))
        names = {path.name for path in (two / job).iterdir()}
        assert names - {"adapter"} == {"encoding.json", "metrics.jsonl", "model"}
        assert ("adapter" in names) == ("lora" in JOBS[job])


def test_shares_are_neighbours_and_even() -> None:
    batch = [4, 2, 7, 5, 9]
    assert [share(batch, [1] * 5, rank, 1) for rank in range(1)] == [batch]
    assert [share(batch[:4], [10] * 4, rank, 2) for rank in range(2)] == [[4, 2], [7, 5]]
    assert [share(batch, [40, 10, 10, 10, 10], rank, 2) for rank in range(2)] == [[4], [2, 7, 5, 9]]
    parts = [share(batch, [3, 0, 5, 2, 9], rank, 3) for rank in range(3)]
    assert [sample for part in parts for sample in part] == batch
    assert [sample for rank in range(8) for sample in share([1, 2], [5, 5], rank, 8)] == [1, 2]


# Kills


@pytest.mark.parametrize(
    ("count", "job", "kills"),
    [
        (1, "plain", [(0, "step 1"), (0, "log 2"), (0, "checkpoint 1"), (0, "rename 2"), (0, "model 1")]),
        (1, "lora", [(0, "step 2"), (0, "checkpoint 2"), (0, "rename 1"), (0, "model 1")]),
        (1, "held-out", [(0, "log 1"), (0, "log 2"), (0, "checkpoint 1"), (0, "checkpoint 2"), (0, "rename 2")]),
        (2, "fsdp", [(1, "step 2"), (0, "checkpoint 1"), (1, "log 2"), (0, "model 1")]),
        pytest.param(2, "fsdp-lora", [(0, "rename 2"), (1, "step 2")], marks=pytest.mark.slow),
        (1, "ppo", [(0, "rollout 2"), (0, "checkpoint 1"), (0, "rename 1"), (0, "model 1")]),
        pytest.param(
            2,
            "ppo-leave-one-out",
            [(1, "rollout 1"), (0, "checkpoint 1"), (1, "rollout 2"), (0, "model 1")],
            marks=pytest.mark.slow,
        ),
        (2, "ppo-fsdp", [(1, "rollout 2"), (0, "model 1")]),
        pytest.param(2, "ppo-fsdp-leave-one-out", [(0, "checkpoint 2"), (1, "rollout 2")], marks=pytest.mark.slow),
    ],
)
def test_killed_again_and_again_the_weights_are_the_same(
    context: Any, tmp_path: Path, count: int, job: str, kills: list[tuple[int, str]]
) -> None:
    """Every launch resumes where the one before was killed; each kill is that of a rank at a hook."""
    assert end(start(context, count, train_as, tmp_path / "whole", [job])) == [0] * count, said(tmp_path / "whole")
    folder = tmp_path / "killed"
    for rank, moment in kills:
        codes = end(start(context, count, train_as, folder, [job], {rank: moment}))
        assert codes[rank] == -signal.SIGKILL, (moment, codes, said(folder))
    assert end(start(context, count, train_as, folder, [job])) == [0] * count, said(folder)
    reference = tmp_path / "whole" / job
    expected, found = weights(reference), weights(folder / job)
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    times = {"seconds": 0, "replies_per_second": 0}
    for row, other in zip(lines(reference), lines(folder / job), strict=True):
        assert {**row, **times} == {**other, **times}
    assert not [path for path in (folder / job).iterdir() if "checkpoint" in path.name or path.name == "best.pt"]


def test_started_by_one_process_and_resumed_by_two(context: Any, one: Callable[[str], Path], tmp_path: Path) -> None:
    """A checkpoint is whole, whoever wrote it."""
    assert end(start(context, 1, train_as, tmp_path, ["fsdp"], {0: "step 4"})) == [-signal.SIGKILL], said(tmp_path)
    assert (tmp_path / "fsdp" / "checkpoint-3").exists()
    assert end(start(context, 2, train_as, tmp_path, ["fsdp"])) == [0, 0], said(tmp_path)
    expected, found = weights(one("plain")), weights(tmp_path / "fsdp")
    for name, value in expected.items():
        assert (found[name] - value).norm() < 1e-4 * value.norm()


# The command line


@pytest.fixture
def run(tmp_path: Path) -> Path:
    settings = {"arms": ["sft"], "batch_size": 3, "group_size": 1, "checkpoint_every": 1}
    ppo = {**SETTINGS["ppo"], "arm": "sft"}
    return write_run(tmp_path, ppo=ppo, sft={**settings, "optimiser": {"learning_rate": 1e-2}})


def test_a_run_as_two_processes(context: Any, run: Path, tmp_path: Path) -> None:
    """Every stage: both train, the first alone evaluates, reports and writes."""
    folder, log = tmp_path / "run", tmp_path / "log"
    arguments = ["run", str(run), "--out", str(folder)]
    assert end(start(context, 2, call_as, log, arguments)) == [0, 0], said(log)
    text = (log / "said.0").read_text()
    assert "sft sft: 4 of 4, loss" in text
    assert "ppo: 2 of 2" in text
    assert (log / "said.1").read_text() == ""
    assert {row["model"] for row in json.loads((folder / "scores.json").read_text())} == {"base", "sft", "sft+irm"}
    assert (folder / "ppo/model/config.json").exists() and (folder / "report.html").exists()
    values = yaml.safe_load(run.read_text())
    values["sft"]["batch_size"] = 4
    run.write_text(yaml.safe_dump(values))
    assert end(start(context, 2, call_as, log, arguments)) == [2, 2]
    for rank in range(2):
        text = (log / f"said.{rank}").read_text()
        assert text == (
            f"tltrain: {folder}: holds a run of another configuration: sft.batch_size was 3, is 4; "
            "use another --out, or --overwrite\n"
        )


def test_the_launcher_does_not_shard(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from support.small_run import mistake

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert "ACCELERATE_USE_FSDP=true: launch without it and set `sft.fsdp: true`" in mistake(
        "sft", run, "--out", tmp_path
    )


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torch.distributed.run --nproc-per-node 2", "accelerate.commands.launch"])
def test_real_launchers(run: Path, tmp_path: Path, launcher: str) -> None:
    command = [
        sys.executable,
        "-m",
        *launcher.split(),
        "-m",
        "tltrain",
        "sft",
        str(run),
        "--out",
        str(tmp_path / "run"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("sft sft: 4 of 4") == 1
    assert (tmp_path / "run/sft/sft/model/model.safetensors").exists()
