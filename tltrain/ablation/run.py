"""Runs an ablation: every run that has no record yet is trained, evaluated and recorded."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tltrain.ablation.grid import BASE, Run, jobs
from tltrain.ablation.records import Record, item_row, read_record, read_records, record_path, write_record
from tltrain.ablation.sharing import Shared, SharingPipeline
from tltrain.arms import ARMS
from tltrain.config import RunConfig
from tltrain.data import digests
from tltrain.evaluation.predictions import saved_predictions
from tltrain.files import discard, read_json, read_json_lines
from tltrain.pipeline import Pipeline
from tltrain.progress import Progress, ProgressFactory, no_progress_factory, quantity
from tltrain.run_directory import RunDirectory, environment
from tltrain.testsets.base import TestSet

WORK = "work"
Announce = Callable[[str], None]


@dataclass(frozen=True)
class Ablation:
    """An ablation in its folder.

    `config` is that of every run, but for the arm, the random seed and the swept field. `keep_models` keeps trained
    models; otherwise a model is deleted as soon as it is scored and nothing starts from it.
    """

    config: RunConfig
    folder: Path
    keep_models: bool = False

    def open(self) -> None:
        """Lock the folder and check that it holds no other ablation.

        Raises:
            RunError: the folder belongs to another configuration, or its data have changed.
        """
        # A folder whose `work` was left out, such as a fresh checkout, is continued as well.
        RunDirectory(self.folder, self.config).check_data(digests(self.config.data))

    def missing(self, runs: Sequence[Run]) -> list[Run]:
        """The runs without a record."""
        return [run for run in runs if not record_path(self.folder, run).exists()]

    def work(self, run: Run) -> Path:
        """The run directory of a run; one with PPO shares that of its SFT arm, unless settings of PPO differ."""
        return self.folder / WORK / run.path

    def model(self, run: Run) -> Path:
        """Folder of the trained model of a run."""
        stage = Path("ppo") if ARMS[run.arm].irm else Path("sft") / run.arm
        return self.work(run) / stage / "model"


def execute(
    ablation: Ablation,
    runs: Sequence[Run],
    *,
    workers: int = 1,
    progress: ProgressFactory = no_progress_factory,
    announce: Announce = print,
) -> None:
    """Make the records that are missing, in `workers` processes. A call that was stopped at any moment is continued by
    the same call.

    Raises:
        TLTrainError: a run failed because of its configuration, its data or its model.
    """
    ablation.open()
    clock = _Clock(ablation, runs, announce, workers)
    groups = jobs(runs)
    if workers > 1:
        waiting = [group for group in groups if ablation.missing(group)]
        for group in _in_processes(ablation, waiting, workers):
            for run in group:
                clock.finished(run)
    else:
        shared = Shared()
        for group in groups:
            for run in run_job(ablation, group, shared, progress):
                clock.finished(run)
    for group in groups:  # of a process that was killed before it deleted them
        _discard_models(ablation, group)


def run_job(ablation: Ablation, group: Sequence[Run], shared: Shared, progress: ProgressFactory) -> Iterator[Run]:
    """Make the missing records of an SFT arm and of the runs that start from it, or of the base model; yields each run
    when it is done."""
    for run in ablation.missing(group):
        record = _record_base if run.arm == BASE else _record_trained
        record(ablation, run, shared, progress)
        yield run
    _discard_models(ablation, group)


def _record_trained(ablation: Ablation, run: Run, shared: Shared, progress: ProgressFactory) -> None:
    """Train and evaluate an arm."""
    if run.parent is not None and not ablation.model(run).exists():
        pipeline = _pipeline(ablation, run.parent, shared, progress)
        pipeline.sft(run.parent.arm)  # again, if its model was deleted after an earlier call
    pipeline = _pipeline(ablation, run, shared, progress)
    if run.parent is None:
        pipeline.sft(run.arm)
    else:
        pipeline.ppo(ablation.model(run.parent))
    pipeline.evaluate(run.arm, str(ablation.model(run)))
    write_record(ablation.folder, _record(pipeline, run))


def _pipeline(ablation: Ablation, run: Run, shared: Shared, progress: ProgressFactory) -> SharingPipeline:
    def labelled(stage: str) -> Progress:
        return progress(f"{run.label}: {stage}")

    return SharingPipeline(run.config(ablation.config), ablation.work(run), labelled, shared)


def _record_base(ablation: Ablation, run: Run, shared: Shared, progress: ProgressFactory) -> None:
    """Evaluate the base model, unless it was evaluated on the same items in another setting."""
    pipeline = _pipeline(ablation, run, shared, progress)
    config, tests = pipeline.config.model_dump(), _tests(pipeline)
    for record in read_records(ablation.folder):
        if (
            record.run.arm == BASE
            and list(record.tests) == tests
            and _without_data(record.config) == _without_data(config)
        ):
            write_record(ablation.folder, replace(record, run=run, config=config))
            return
    pipeline.evaluate(BASE, pipeline.config.model)
    write_record(ablation.folder, _record(pipeline, run))


def _without_data(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in ("data", "sft", "ppo")}


def _record(pipeline: Pipeline, run: Run) -> Record:
    """The record of a finished run, from the files of its run directory."""
    folder, rows = pipeline.folder, []
    for test in pipeline.test_sets:
        rows += [
            item_row(test.name, test.split, prediction)
            for prediction in saved_predictions(folder, run.arm, test.name, test.split)
        ]
    return Record(
        run=run,
        config=pipeline.config.model_dump(),
        # PPO continues the run directory of its SFT arm, perhaps with later code or on another machine.
        environment={**environment(pipeline.config.seed), "started": read_json(folder / "environment.json")["started"]},
        tests=tuple(_tests(pipeline)),
        minutes=_minutes(folder, run),
        replies=_replies(folder, run) | {"evaluated": len(rows)},
        items=tuple(rows),
    )


def _tests(pipeline: Pipeline) -> list[dict[str, Any]]:
    limit, seed = pipeline.evaluation.config.limit, pipeline.evaluation.config.seed
    return [
        {"bench": test.name, "split": test.split, "digest": _digest(test.sample(limit, seed))}
        for test in pipeline.test_sets
    ]


def _digest(test: TestSet) -> str:
    """Identifies the items of a test set: their prompts and golds."""
    lines = (json.dumps([item.index, item.prompt.to_json(), repr(item.golds)]) for item in test.items)
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode())
    return digest.hexdigest()[:16]


def _minutes(folder: Path, run: Run) -> dict[str, float]:
    names = {"ppo": "ppo"} if run.parent else {f"sft {run.arm}": "sft"}
    names |= {f"eval {run.arm}": "eval"}
    stages = read_json(folder / "stages.json")
    return {names[row["stage"]]: round(row["seconds"] / 60, 2) for row in stages if row["stage"] in names}


def _replies(folder: Path, run: Run) -> dict[str, int]:
    if run.arm == BASE:
        return {}
    if run.parent:
        return {"sampled": sum(line["replies"] for line in read_json_lines(folder / "ppo" / "metrics.jsonl"))}
    counts = read_json(folder / "sft" / run.arm / "encoding.json")
    return {"trained": counts["replies"], "masked": counts["masked"]}


def _discard_models(ablation: Ablation, group: Sequence[Run]) -> None:
    """Delete the models of a finished group: hundreds of megabytes each, and their verdicts are recorded."""
    if ablation.keep_models or ablation.missing(group):
        return
    for run in (run for run in group if run.arm != BASE):
        for name in ("model", "adapter"):
            discard(ablation.model(run).with_name(name))


# Several processes

_shared = Shared()


def _in_processes(ablation: Ablation, groups: Sequence[Sequence[Run]], workers: int) -> Iterator[list[Run]]:
    """Run the groups in processes of their own, which share the cores; yields the runs of each finished group."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(threads,)) as pool:
        futures = [pool.submit(_work, ablation, group) for group in groups]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker(threads: int) -> None:
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(threads)


def _work(ablation: Ablation, group: Sequence[Run]) -> list[Run]:
    return list(run_job(ablation, group, _shared, no_progress_factory))


class _Clock:
    """Announces each finished run, and the estimated time that those left take."""

    def __init__(self, ablation: Ablation, runs: Sequence[Run], announce: Announce, workers: int) -> None:
        self.ablation, self.runs, self.announce, self.workers = ablation, runs, announce, workers
        done = len(runs) - len(ablation.missing(runs))
        announce(quantity(len(runs), "run") + (f", {done} of them done" if done else ""))

    def finished(self, run: Run) -> None:
        """Announce a finished run."""
        left = self.ablation.missing(self.runs)
        estimate = self._minutes_left(left)
        after = f", about {_duration(estimate)} left" if left and estimate is not None else ""
        self.announce(f"{len(self.runs) - len(left)} of {quantity(len(self.runs), 'run')}: {run.label} done{after}")

    def _minutes_left(self, left: Sequence[Run]) -> float | None:
        """From the mean minutes of the runs with and without PPO so far; None where one of them is not known yet."""
        known: dict[bool, list[float]] = {}
        for run in self.runs:
            if run.arm != BASE and run not in left:
                minutes = sum(read_record(record_path(self.ablation.folder, run)).minutes.values())
                known.setdefault(ARMS[run.arm].irm, []).append(minutes)
        means = {irm: sum(minutes) / len(minutes) for irm, minutes in known.items()}
        if any(ARMS[run.arm].irm not in means for run in left):
            return None
        return sum(means[ARMS[run.arm].irm] for run in left) / self.workers


def _duration(minutes: float) -> str:
    return f"{minutes / 60:.1f} hours" if minutes >= 90 else f"{max(minutes, 1):.0f} min"
