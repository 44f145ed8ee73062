"""The run directory: never overwritten, and resumed if the configuration is the same."""

from __future__ import annotations

import fcntl
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from itertools import chain, count
from pathlib import Path
from typing import Any

import psutil

from tltrain.config import EvaluationConfig, RunConfig, read_config
from tltrain.engine.memory import peak_memory_mb, start_peak
from tltrain.errors import RunError
from tltrain.files import discard, no_space, read_json, temporary_name, write_json, write_text
from tltrain.model import BUILTIN

PACKAGES = ("tltrain", "torch", "transformers", "peft", "accelerate", "tokenizers", "numpy", "pydantic")
PATH_FIELDS = ("model", "data", "data.train", "data.tools", "library")
"""Configuration fields that hold a path, besides the test splits."""
ADDRESS_FIELDS = ("ppo.sampler",)
"""Configuration fields that hold the address of a server, which may be another one when a run resumes."""
BUILT_IN = {"toolworld", "tl-training", BUILTIN}
"""Values of such fields that name no file."""


class RunDirectory:
    """The folder of one run, locked by this process until it ends.

    Args:
        folder: created if it is missing.
        config: the configuration of the run.
        overwrite: start anew in any case: a run that the folder holds is moved aside, see `moved_to`.

    Raises:
        RunError: the folder holds a run of another configuration (the message names the keys that differ) or other
            files, cannot be written, or is in use by another process.
    """

    def __init__(self, folder: Path, config: RunConfig | EvaluationConfig, overwrite: bool = False) -> None:
        self.folder = folder
        self.moved_to: Path | None = None
        """Where the run that was in the folder is now, if there was one to overwrite."""
        self.stage_finished: Callable[[str, float], object] = lambda stage, seconds: None
        """Called with the name and the seconds of each stage that ended without an error."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock()
            if overwrite and any(not entry.name.startswith(".") for entry in folder.iterdir()):
                self.moved_to = self._move_aside()
                folder.mkdir()
                self._lock()
            self._open(config)
        except OSError as error:
            reason = no_space(error) or str(error.strerror or error)
            raise RunError(f"{folder}: {reason}") from error

    def _lock(self) -> None:
        """Lock the folder; the operating system releases the lock when the process ends, even if it is killed."""
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)  # closing would release the lock
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{self.folder}: another process is using this run directory") from None

    def _move_aside(self) -> Path:
        """Rename the folder to `NAME.old`, or `NAME.old-2` and so on; refuses a folder that holds no run."""
        for name in ("config.yaml", "environment.json"):
            if not (self.folder / name).is_file():
                raise RunError(f"{self.folder}: not a run directory (it has no {name}), so it is not overwritten")
        folder = self.folder.absolute()
        suffixes = chain([""], (f"-{number}" for number in count(2)))
        targets = (folder.with_name(f"{folder.name}.old{suffix}") for suffix in suffixes)
        target = next(path for path in targets if not path.exists())
        folder.rename(target)
        return target

    def check_data(self, digests: dict[str, str], grows: bool = False) -> None:
        """Record the digests of the input files in `data.json`, and check them against those recorded before.

        Args:
            digests: SHA-256 by path.
            grows: record files that are new; otherwise they count as changed.

        Raises:
            RunError: input files have changed (the message names them).
        """
        path = self.folder / "data.json"
        known: dict[str, str] = read_json(path) if path.exists() else digests
        by_path = {os.path.realpath(name): digest for name, digest in known.items()} | known
        found = {name: by_path.get(name, by_path.get(os.path.realpath(name))) for name in digests}
        added = {name: digest for name, digest in digests.items() if grows and found[name] is None}
        joined = known | added
        changed = [name for name, digest in digests.items() if name not in added and found[name] != digest]
        if changed:
            raise RunError(f"{self.folder}: input files changed since this run started: {', '.join(changed)}")
        if not path.exists() or joined != known:
            write_json(path, joined)

    def _open(self, config: RunConfig | EvaluationConfig) -> None:
        path, versions = self.folder / "config.yaml", self.folder / "environment.json"
        if path.exists():
            changed = differences(read_config(path, type(config)).model_dump(), config.model_dump())
            if changed:
                ways_out = "use another --out" + ", or --overwrite" * isinstance(config, RunConfig)
                raise RunError(f"{self.folder}: holds a run of another configuration: {'; '.join(changed)}; {ways_out}")
            for leftover in list(self.folder.rglob(temporary_name("*"))):  # of a killed process
                discard(leftover)
        elif any(not entry.name.startswith(".") for entry in self.folder.iterdir()):
            raise RunError(f"{self.folder}: not empty and not a run directory (it has no config.yaml)")
        else:
            write_text(path, config.to_yaml())
        if not versions.exists():  # also if the process was killed after writing config.yaml
            write_json(versions, environment(config.seed))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record the time and peak memory of a stage in `stages.json`.

        The times of an interrupted stage and its resumption add up; the time of a killed process is lost.
        """
        start_peak()
        started = time.perf_counter()
        try:
            yield
        except BaseException:
            with suppress(RunError):  # if the disk is full, the first error says so
                self._record(name, time.perf_counter() - started)
            raise
        seconds = time.perf_counter() - started
        self._record(name, seconds)
        self.stage_finished(name, seconds)

    def _record(self, name: str, seconds: float) -> None:
        rows = self._stages()
        row = next((row for row in rows if row["stage"] == name), None)
        if row is None:
            rows.append(row := {"stage": name, "seconds": 0.0, "peak_memory_mb": 0.0})
        row["seconds"] = round(row["seconds"] + seconds, 1)
        row["peak_memory_mb"] = round(max(row["peak_memory_mb"], peak_memory_mb()))
        write_json(self.folder / "stages.json", rows)

    def _stages(self) -> list[dict[str, Any]]:
        path = self.folder / "stages.json"
        rows: list[dict[str, Any]] = read_json(path) if path.exists() else []
        return rows

    def scores(self) -> list[dict[str, Any]]:
        """The rows of `scores.json`; empty if there is none yet."""
        path = self.folder / "scores.json"
        rows: list[dict[str, Any]] = read_json(path) if path.exists() else []
        return rows

    def add_score(self, row: dict[str, Any]) -> None:
        """Append a row to `scores.json`."""
        write_json(self.folder / "scores.json", [*self.scores(), row])


def environment(seed: int) -> dict[str, Any]:
    """Versions, commit, seed and hardware; what cannot be determined is None."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "seed": seed,
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "hardware": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
            "gpu": gpu,
            "system": platform.platform(),
        },
    }


def _commit() -> str | None:
    """The git commit of the checkout that contains this package; None if it is not in a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def differences(old: Any, new: Any, key: str = "") -> list[str]:
    """`KEY was OLD, is NEW` for every field that differs; nested keys are joined by dots."""
    if isinstance(old, dict) and isinstance(new, dict):
        fields = dict.fromkeys([*old, *new])
        paths = {field: f"{key}.{field}".lstrip(".") for field in fields}
        return [line for field, path in paths.items() for line in differences(old.get(field), new.get(field), path)]
    return [] if old == new or _same_path(old, new, key) else [f"{key} was {old!r}, is {new!r}"]


def _same_path(old: Any, new: Any, key: str) -> bool:
    """Whether two values of a field that holds a path name the same file, such as `./logs.jsonl` and `logs.jsonl`; two
    addresses of a server count as the same."""
    if not (isinstance(old, str) and isinstance(new, str)) or {old, new} & BUILT_IN:
        return False
    if key in ADDRESS_FIELDS:
        return True
    return (key in PATH_FIELDS or key.startswith("data.test.")) and os.path.realpath(old) == os.path.realpath(new)
