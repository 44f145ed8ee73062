"""The record of a run: what was run, on which machine, at what cost, and the verdict on every test item.

One gzipped JSON Lines file per run under `runs/`: the first line is the header, each further line one test item. The
files hold everything that an ablation's tables are made from, and equal contents give equal bytes.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tltrain.ablation.grid import Run, frozen
from tltrain.ablation.kinds import Kind
from tltrain.config import RunConfig, parse_config
from tltrain.errors import DataError
from tltrain.evaluation.metrics import METRICS
from tltrain.evaluation.predictions import Prediction
from tltrain.files import replacing

RUNS = "runs"
SUFFIX = ".jsonl.gz"
Test = tuple[str, str]
"""Name of a test set and of its split."""


@dataclass(frozen=True)
class Record:
    """A run and its verdicts."""

    run: Run
    config: Mapping[str, Any]
    """The resolved configuration."""
    environment: Mapping[str, Any]
    """Commit, versions and hardware of the process that finished the run, as in a run's `environment.json`; `training`
    is that of the process which trained the model, if it comes from another ablation; `same_as` is the run that this
    is a copy of, as its data have no failed call for MAE to mask."""
    tests: tuple[Mapping[str, Any], ...]
    """For each test split `bench`, `split` and `digest`, which identifies its items."""
    minutes: Mapping[str, float]
    """Minutes of this run's own stages: `sft`, `ppo`, `eval`."""
    replies: Mapping[str, int]
    """Replies of this run's own stages: `trained` and `masked` by SFT, `sampled` by PPO, `evaluated`."""
    items: tuple[Mapping[str, Any], ...] = field(repr=False)
    """For each test item `bench`, `split`, `index`, `item`, `gold` (names of the tools), `kind` (see `kinds.item_kind`;
    missing in records of other versions), `metrics` (those that hold), `category`, `finding` and `tokens`."""

    @cached_property
    def settings(self) -> RunConfig:
        """The configuration; fields that are newer than the record have their defaults.

        Raises:
            ConfigError: it has unknown fields or invalid values.
        """
        return parse_config(dict(self.config), self.run.label)

    @cached_property
    def outcomes(self) -> dict[tuple[Test, str], dict[int, bool]]:
        """Whether a metric holds, by the item's index, for each test and metric."""
        found: dict[tuple[Test, str], dict[int, bool]] = {}
        for row in self.items:
            for metric in row["known"]:
                held = found.setdefault(((row["bench"], row["split"]), metric), {})
                held[row["index"]] = metric in row["metrics"]
        return found

    @cached_property
    def kinds(self) -> dict[Test, dict[int, str]]:
        """The kind of each item, by its index, for each test; without items of unknown kind."""
        found: dict[Test, dict[int, str]] = {}
        for row in self.items:
            if "kind" in row:
                found.setdefault((row["bench"], row["split"]), {})[row["index"]] = row["kind"]
        return found


def record_path(folder: Path, run: Run) -> Path:
    """The file of a run's record in the ablation's folder."""
    name = run.arm + SUFFIX
    return folder / RUNS / run.path.parent / name


def item_row(bench: str, split: str, prediction: Prediction, kind: Kind | None) -> dict[str, Any]:
    """What a record keeps of a judged prediction, and of what kind its item is."""
    verdict = prediction.verdict or {}
    row = {
        "bench": bench,
        "split": split,
        "index": prediction.index,
        "item": prediction.item,
        "gold": [call["name"] for call in prediction.gold[0]] if prediction.gold else None,
        "kind": kind,
        "known": [name for name in METRICS if name in prediction.outcomes],
        "metrics": [name for name in METRICS if prediction.outcomes.get(name)],
        "category": verdict.get("category"),
        "finding": verdict.get("finding"),
        "tokens": prediction.tokens,
        "truncated": prediction.truncated or None,
    }
    return {name: value for name, value in row.items() if value is not None}


def write_record(folder: Path, record: Record) -> None:
    """Write the record; the file appears when it is complete."""
    run = record.run
    header = {
        "arm": run.arm,
        "seed": run.seed,
        "overrides": dict(run.overrides),
        "config": record.config,
        "environment": record.environment,
        "tests": record.tests,
        "minutes": record.minutes,
        "replies": record.replies,
    }
    lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in (header, *record.items))
    with replacing(record_path(folder, run)) as temporary:
        temporary.write_bytes(gzip.compress(lines.encode(), compresslevel=9, mtime=0))


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        DataError: the file is missing or is not a record.
    """
    try:
        header, *items = map(json.loads, gzip.decompress(path.read_bytes()).decode().splitlines())
        overrides = tuple((name, frozen(value)) for name, value in header["overrides"].items())
        return Record(
            run=Run(header["arm"], header["seed"], overrides),
            items=tuple(items),
            tests=tuple(header["tests"]),
            **{name: header[name] for name in ("config", "environment", "minutes", "replies")},
        )
    except FileNotFoundError:
        raise DataError("no such record", path) from None
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"not the record of a run: {' '.join(str(error).split())}", path) from None


def read_records(folder: Path) -> Iterator[Record]:
    """All records of an ablation, in the order of their paths.

    Raises:
        DataError: a file is not a record.
    """
    return map(read_record, sorted((folder / RUNS).rglob(f"*{SUFFIX}")))
