"""`tltrain ablate` on a micro model: its folder, what a second call does, a kill, and tables without training."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from support.small_run import SETTINGS, call, mistake, write_run
from support.trained_micro import known, write_bfcl

from tltrain.ablation.records import Record, read_record, read_records, write_record
from tltrain.cli import main
from tltrain.config import read_config
from tltrain.files import read_json
from tltrain.pipeline import Pipeline

ARMS = ("sft", "mae", "sft+irm", "mae+irm")
TABLES = ("ablation.json", "ablation.md", "ablation.html")
OPTIONS = ("--seeds", "0,1", "--arms", "sft+irm,mae+irm")


@dataclass(frozen=True)
class Finished:
    config: Path
    folder: Path
    code: int
    out: str
    err: str


def write_config(place: Path) -> Path:
    write_bfcl(place, known()[:2])
    return write_run(place, eval={**SETTINGS["eval"], "bench": ["bfcl/exec"], "data": str(place)})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    place = tmp_path_factory.mktemp("ablation")
    config = write_config(place)
    return Finished(config, place / "out", *call("ablate", config, *OPTIONS, "--out", place / "out", "--json"))


def written(folder: Path) -> dict[str, int]:
    """Every file but the tables and figures, and when it was written."""
    made = {*folder.glob("figures/*"), *(folder / name for name in TABLES)}
    paths = (path for path in folder.rglob("*") if path.is_file() and path not in made)
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in paths}


def comparable(record: Record) -> tuple[Any, ...]:
    """What is equal in two executions of a run: all but the machine and its speed."""
    return record.run, record.config, record.tests, record.replies, record.items


def test_every_run_is_recorded_with_what_it_was(finished: Finished) -> None:
    assert finished.code == 0, finished.err
    found = {(record.run.arm, record.run.seed): record for record in read_records(finished.folder)}
    assert set(found) == {("base", None), *((arm, seed) for arm in ARMS for seed in (0, 1))}
    record = found["mae+irm", 1]
    assert (record.config["seed"], record.config["data"]["seed"], record.config["sft"]["arms"]) == (1, 0, ["mae"])
    assert {"commit", "versions", "hardware"} <= record.environment.keys()
    assert record.replies == {"sampled": 8, "evaluated": len(record.items)}
    splits = [(test["bench"], test["split"]) for test in record.tests]
    assert splits == [("train", "seen"), ("train", "unseen"), ("bfcl", "exec")]
    assert {(row["bench"], row["split"]) for row in record.items} == set(splits)
    assert all((row["kind"] == "text") == (row["gold"] == []) for row in record.items)
    assert found["mae", 0].replies["masked"] > found["sft", 0].replies["masked"] == 0


def test_the_output_is_the_result_and_progress_says_what_is_left(finished: Finished) -> None:
    assert json.loads(finished.out) == read_json(finished.folder / "ablation.json")
    assert "9 runs\n" in finished.err
    assert "9 of 9 runs: mae+irm, seed 1 done\n" in finished.err
    assert "5 of 9 runs: mae+irm, seed 0 done, about " in finished.err


def test_models_are_deleted_once_they_are_scored(finished: Finished) -> None:
    assert not list(finished.folder.rglob("*.safetensors"))


def test_seeds_differ_in_training_and_share_the_base_model_s_predictions(finished: Finished) -> None:
    lines = [(finished.folder / f"work/plain/seed-{seed}/sft/sft/sft/metrics.jsonl").read_text() for seed in (0, 1)]
    assert lines[0] != lines[1]
    assert [path.parent.name for path in finished.folder.rglob("predictions")].count("base") == 1
    assert not list(finished.folder.rglob("seed-*/**/predictions/base.*"))


def test_a_second_call_trains_nothing(finished: Finished) -> None:
    before = written(finished.folder)
    code, out, err = call("ablate", finished.config, *OPTIONS, "--out", finished.folder, "--json")
    assert (code, out) == (0, finished.out), err
    assert "9 runs, 9 of them done" in err
    assert written(finished.folder) == before


def test_tables_are_rebuilt_from_the_records_byte_for_byte(finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished.folder / "runs", tmp_path / "other/runs")
    code, out, err = call("ablate", tmp_path / "other", "--report", "--json")
    assert (code, out) == (0, finished.out), err
    for name in TABLES:
        assert (tmp_path / "other" / name).read_bytes() == (finished.folder / name).read_bytes()


def test_a_sweep_is_added_to_the_same_folder_and_shares_its_runs(finished: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished.folder, folder)
    sweep = ("--sweep", "ppo.beta=0.1,0.4", "--arms", "sft+irm", "--seeds", "0")
    code, out, err = call("ablate", finished.config, *sweep, "--out", folder, "--json", "--keep-models")
    assert code == 0, err
    assert "4 runs, 3 of them done" in err
    assert [path.relative_to(folder) for path in folder.rglob("ppo.beta*/seed-0/sft/ppo/model")]
    points = [row for row in json.loads(out)["sweeps"][0]["scores"] if row["metric"] == "CF" and row["split"] == "seen"]
    assert [(row["arm"], row["value"]) for row in points if row["arm"] == "sft+irm"] == [
        ("sft+irm", 0.1),
        ("sft+irm", 0.4),
    ]
    # SFT was trained a second time, since its model was deleted, and ended the same.
    metrics = "work/plain/seed-0/sft/sft/sft/metrics.jsonl"
    losses = [[json.loads(line)["loss"] for line in (place / metrics).read_text().splitlines()]
              for place in (folder, finished.folder)]  # fmt: skip
    assert losses[0] == losses[1]


def test_kept_models_are_evaluated_on_other_test_sets_without_training(finished: Finished, tmp_path: Path) -> None:
    kept, other = tmp_path / "kept", tmp_path / "other"
    options = ("--seeds", "0", "--arms", "sft+irm")
    assert call("ablate", finished.config, *options, "--out", kept, "--keep-models")[0] == 0
    more = ("--set", "eval.own_splits=false", "--models", kept, "--out", other)
    code, _, err = call("ablate", finished.config, *options, *more)
    assert code == 0, err
    assert f"3 runs, 2 with a model from {kept}\n" in err
    assert not list(other.rglob("metrics.jsonl")), "nothing was trained"
    found, trained = ({one.run: one for one in read_records(folder)} for folder in (other, kept))
    for run, record in found.items():
        assert [test["bench"] for test in record.tests] == ["bfcl"]
        assert list(record.items) == [row for row in trained[run].items if row["bench"] == "bfcl"]
        if run.seed is not None:
            assert record.environment["training"] == trained[run].environment
            assert record.replies == {**trained[run].replies, "evaluated": len(record.items)}
            assert {**trained[run].minutes, "eval": record.minutes["eval"]} == record.minutes
    code, _, err = call("ablate", finished.config, "--seeds", "0,1", "--arms", "sft", *more)
    assert code == 0, err
    assert "3 runs, 2 of them done" in err, "a run without a kept model is trained"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--set", "sft.batch_size=2"), "trained with another configuration: sft.batch_size was 3, is 2"),
        ((), "holds no models; an ablation keeps them with --keep-models"),
    ],
)
def test_models_of_another_training_are_refused(
    finished: Finished, tmp_path: Path, change: tuple[str, ...], message: str
) -> None:
    options = ("--models", finished.folder, "--out", tmp_path / "out")
    assert message in mistake("ablate", finished.config, *options, *change)
    assert not (tmp_path / "out").exists()


def test_models_come_from_the_folder_of_an_ablation(finished: Finished, tmp_path: Path) -> None:
    options = ("--models", finished.config.parent, "--out", tmp_path / "out")
    assert "not the folder of an ablation" in mistake("ablate", finished.config, *options)
    assert not (tmp_path / "out").exists()


def test_the_base_model_is_not_asked_again_where_the_test_items_are_the_same(
    finished: Finished, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished.folder / "runs/plain", folder / "runs/plain")
    (folder / "config.yaml").write_bytes((finished.folder / "config.yaml").read_bytes())
    (base,) = (record for record in read_records(folder) if record.run.arm == "base")
    settings = {name: value for name, value in base.config["eval"].items() if name != "own_splits"}
    write_record(folder, replace(base, config={**base.config, "eval": settings}))  # as before that field was added
    options = ("--sweep", "data.strict=false", "--arms", "sft", "--seeds", "0", "--out", folder)
    code, _, err = call("ablate", finished.config, *options)
    assert code == 0, err
    assert ", base: " not in err and "base, data.strict False done" in err
    (copied,) = [path for path in folder.rglob("base.jsonl.gz") if "plain" not in path.parts]
    assert read_record(copied).items == read_record(folder / "runs/plain/base.jsonl.gz").items


def test_ppo_without_mae_takes_its_prompts_from_all_replies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {}

    class Counting:
        def __init__(self, *args: Any, prompts: list[Any], config: Any, **others: Any) -> None:
            counts[config.arm] = len(prompts)

        def train(self) -> None:
            pass

    monkeypatch.setattr("tltrain.ppo.trainer.PPOTrainer", Counting)
    for arm in ("sft", "mae"):
        path = write_run(tmp_path, sft={**SETTINGS["sft"], "arms": [arm]}, ppo={**SETTINGS["ppo"], "arm": arm})
        Pipeline(read_config(path), tmp_path / arm).ppo(tmp_path / "model")
    replies = sum(len(list(one.replies())) for one in Pipeline(read_config(path), tmp_path / "other").data.train)
    assert counts["mae"] < counts["sft"] == replies


def test_mae_without_failed_calls_is_the_arm_without_it(tmp_path: Path) -> None:
    config = write_run(tmp_path, noise=0.0)
    both, alone = tmp_path / "both", tmp_path / "alone"
    code, _, err = call("ablate", config, "--seeds", "0", "--arms", "sft+irm,mae+irm", "--out", both)
    assert code == 0, err
    found = {record.run.arm: record for record in read_records(both)}
    assert not (both / "work/plain/seed-0/mae").exists(), "nothing was trained twice"
    assert found["mae"].environment["same_as"] == "sft, seed 0"
    assert found["mae+irm"].environment["same_as"] == "sft+irm, seed 0"
    code, _, err = call("ablate", config, "--seeds", "0", "--arms", "mae+irm", "--out", alone)
    assert code == 0, err
    trained = {record.run.arm: record for record in read_records(alone)}
    for arm in ("mae", "mae+irm"):
        assert "same_as" not in trained[arm].environment
        assert comparable(found[arm]) == comparable(trained[arm])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "a,b"], "--seeds a,b: expected whole numbers"),
        (["--arms", "mae,xyz"], "--arms xyz: unknown"),
        (["--sweep", "sft.nothing=1"], "--sweep sft.nothing: there is no such field"),
    ],
)
def test_mistakes_leave_no_folder(finished: Finished, tmp_path: Path, arguments: list[str], message: str) -> None:
    assert message in mistake("ablate", finished.config, *arguments, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_another_configuration_is_refused(finished: Finished) -> None:
    changed = finished.config.with_name("changed.yaml")
    changed.write_text(finished.config.read_text().replace("rollouts: 2", "rollouts: 3"))
    assert "ppo.rollouts was 2, is 3" in mistake("ablate", changed, "--out", finished.folder)


def test_reports_of_nothing_are_mistakes(tmp_path: Path) -> None:
    assert "no such file or folder" in mistake("ablate", tmp_path / "none", "--report")
    assert "no records of runs" in mistake("ablate", tmp_path, "--report")
    assert "a folder, expected a YAML file" in mistake("ablate", tmp_path)


def test_an_unknown_public_test_set_is_named_by_its_field(tmp_path: Path) -> None:
    config = write_run(tmp_path, eval={"bench": ["nothing"]})
    code, out, err = call("run", config, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert "tltrain: nothing: no such test set: expected rotbench" in err
    assert not (tmp_path / "out/sft").exists()


# A kill at any moment


def die_at(arguments: list[str], commit: int) -> None:
    """In a process of its own: run, and be killed before a rename, by which all that is written appears."""
    counted = 0
    rename, replace = Path.rename, Path.replace

    def counting(function: Any) -> Any:
        def wrapper(*given: Any) -> Any:
            nonlocal counted
            counted += 1
            if counted == commit:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*given)

        return wrapper

    Path.rename, Path.replace = counting(rename), counting(replace)  # type: ignore[method-assign]
    with contextlib.redirect_stdout(StringIO()), contextlib.redirect_stderr(StringIO()):
        main(arguments)


@pytest.mark.slow
def test_killed_several_times_it_ends_the_same(finished: Finished, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_ablation", "tltrain.ablation.run", "tltrain.ppo.trainer"])
    arguments = ["ablate", str(finished.config), *OPTIONS, "--out", str(tmp_path / "out")]
    for commit in (9, 17, 30, 23):
        process = context.Process(target=die_at, args=(arguments, commit))
        process.start()
        process.join(300)
        assert process.exitcode == -signal.SIGKILL
    code, _, err = call(*arguments)
    assert code == 0, err
    assert "9 runs, " in err and "of them done" in err
    records = [list(map(comparable, read_records(folder))) for folder in (tmp_path / "out", finished.folder)]
    assert records[0] == records[1]
    assert written(tmp_path / "out").keys() == written(finished.folder).keys(), "and nothing is left over"


@pytest.mark.slow
def test_several_processes_make_the_same_records(finished: Finished, tmp_path: Path) -> None:
    code, _, err = call("ablate", finished.config, *OPTIONS, "--out", tmp_path / "out", "--workers", 2)
    assert code == 0, err
    assert "9 of 9 runs: " in err
    records = [list(map(comparable, read_records(folder))) for folder in (tmp_path / "out", finished.folder)]
    assert records[0] == records[1]
