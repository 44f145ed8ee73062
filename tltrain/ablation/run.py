"""Runs an ablation: every run that has no record yet is trained, evaluated and recorded."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tltrain.ablation.grid import BASE, Run, jobs
from tltrain.ablation.kinds import item_kind
from tltrain.ablation.records import RUNS, Record, item_row, read_record, read_records, record_path, write_record
from tltrain.ablation.sharing import Shared, SharingPipeline
from tltrain.arms import ARMS
from tltrain.config import RunConfig, read_config
from tltrain.data import digests
from tltrain.errors import ConfigError
from tltrain.evaluation.predictions import saved_predictions
from tltrain.files import discard, read_json, read_json_lines
from tltrain.pipeline import Pipeline
from tltrain.progress import Progress, ProgressFactory, no_progress_factory, quantity
from tltrain.run_directory import RunDirectory, differences, environment
from tltrain.testsets.base import TestSet

WORK = "work"
Announce = Callable[[str], None]


@dataclass(frozen=True)
class Ablation:
    """An ablation in its folder.

    `config` is that of every run, but for the arm, the random seed and the swept field. `keep_models` keeps trained
    models; otherwise a model is deleted as soon as it is scored and nothing starts from it. `models` is the folder of
    another ablation, whose kept models are evaluated where it has trained the same run.
    """

    config: RunConfig
    folder: Path
    keep_models: bool = False
    models: Path | None = None

    def open(self) -> None:
        """Lock the folder and check that it holds no other ablation.

        Raises:
            ConfigError: the models of the other ablation were trained in another way, or it kept none.
            RunError: the folder belongs to another configuration, or its data have changed.
        """
        if self.models is not None:
            _check_models(self.models, self.config)
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

    def trained_before(self, run: Run) -> tuple[Path, Record] | None:
        """The model of the same run in `models`, and its record there; None if there is none."""
        if self.models is None:
            return None
        model, record = Ablation(self.config, self.models).model(run), record_path(self.models, run)
        if not model.exists() or not record.exists():
            return None
        return model, read_record(record)


def _check_models(folder: Path, config: RunConfig) -> None:
    """Check that the kept models of an ablation may differ from those of this one in their evaluation only."""
    path = folder / "config.yaml"
    if not path.is_file() or not (folder / RUNS).is_dir():
        raise ConfigError(f"--models {folder}: not the folder of an ablation (it needs config.yaml and {RUNS}/)")
    trained, wanted = (one.model_dump(exclude={"eval"}) for one in (read_config(path), config))
    if changed := differences(trained, wanted):
        raise ConfigError(f"--models {folder}: trained with another configuration: {'; '.join(changed)}")
    known = read_json(folder / "data.json")
    if other := [name for name, digest in digests(config.data).items() if known.get(name) != digest]:
        raise ConfigError(f"--models {folder}: input files have changed since the training: {', '.join(other)}")
    if not any((folder / WORK).glob("**/model/config.json")):
        raise ConfigError(f"--models {folder}: holds no models; an ablation keeps them with --keep-models")


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
    shared = Shared()
    waiting = set(ablation.missing(runs))
    # Whether MAE is idle takes loading the data, so it is not asked of runs that are done.
    groups = jobs(runs, lambda run: run in waiting and shared.mae_is_idle(run.config(ablation.config)))
    if workers > 1:
        for group in _in_processes(ablation, [group for group in groups if waiting.intersection(group)], workers):
            for run in group:
                clock.finished(run)
    else:
        for group in groups:
            for run in run_job(ablation, group, shared, progress):
                clock.finished(run)
    for group in groups:  # of a process that was killed before it deleted them
        _discard_models(ablation, group)


def run_job(ablation: Ablation, group: Sequence[Run], shared: Shared, progress: ProgressFactory) -> Iterator[Run]:
    """Make the missing records of a group of `jobs`; yields each run when it is done."""
    for run in ablation.missing(group):
        record = _record_base if run.arm == BASE else _record_trained
        record(ablation, run, shared, progress)
        yield run
    _discard_models(ablation, group)


def _record_trained(ablation: Ablation, run: Run, shared: Shared, progress: ProgressFactory) -> None:
    """Train an arm, unless it was trained before in another ablation, and evaluate it. Where no call failed, MAE has
    nothing to mask: its record is that of the arm without it."""
    same = run.without_mae
    if same is not None and not ablation.missing([same]) and shared.mae_is_idle(run.config(ablation.config)):
        known = read_record(record_path(ablation.folder, same))
        config = run.config(known.settings).model_dump()
        where = {**known.environment, "same_as": same.label}
        write_record(ablation.folder, replace(known, run=run, config=config, environment=where))
        return
    if before := ablation.trained_before(run):
        model, known = before
        pipeline = _pipeline(ablation, run, shared, progress)
        pipeline.evaluate(run.arm, str(model))
        write_record(ablation.folder, _record(pipeline, run, known))
        return
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
    tests = _tests(pipeline)
    for record in read_records(ablation.folder):
        same_items = record.run.arm == BASE and list(record.tests) == tests
        if same_items and _of_base(record.settings) == _of_base(pipeline.config):
            write_record(ablation.folder, replace(record, run=run, config=pipeline.config.model_dump()))
            return
    pipeline.evaluate(BASE, pipeline.config.model)
    write_record(ablation.folder, _record(pipeline, run))


def _of_base(config: RunConfig) -> dict[str, Any]:
    """The settings that the base model's replies to given items depend on."""
    return config.model_dump(exclude={"data", "sft", "ppo"})


def _record(pipeline: Pipeline, run: Run, trained: Record | None = None) -> Record:
    """The record of a finished run, from the files of its run directory; `trained` is that of its training, if its
    model comes from another ablation."""
    folder, rows = pipeline.folder, []
    for test in pipeline.test_sets:
        kinds = {item.index: item_kind(item) for item in test.items}
        rows += [
            item_row(test.name, test.split, prediction, kinds[prediction.index])
            for prediction in saved_predictions(folder, run.arm, test.name, test.split)
        ]
    # PPO continues the run directory of its SFT arm, perhaps with later code or on another machine.
    where = {**environment(pipeline.config.seed), "started": read_json(folder / "environment.json")["started"]}
    return Record(
        run=run,
        config=pipeline.config.model_dump(),
        environment={**where, "training": trained.environment} if trained else where,
        tests=tuple(_tests(pipeline)),
        minutes={**(trained.minutes if trained else {}), **_minutes(folder, run)},
        replies={**(trained.replies if trained else _replies(folder, run)), "evaluated": len(rows)},
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
        left = ablation.missing(runs)
        done, known = len(runs) - len(left), sum(ablation.trained_before(run) is not None for run in left)
        parts = [quantity(len(runs), "run")] + [f"{done} of them done"] * bool(done)
        announce(", ".join(parts + [f"{known} with a model from {ablation.models}"] * bool(known)))

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
