"""Which test sets and models a command line selects: `rotbench,toolalpaca/eval_real`, `sft=runs/demo/sft/sft/model`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from tltrain import dialects, formats
from tltrain import model as models
from tltrain.errors import ConfigError, DataError
from tltrain.evaluation.endpoint import Endpoint, parse_endpoint
from tltrain.testsets import TEST_SETS, test_set
from tltrain.testsets.base import TestSet
from tltrain.testsets.trajectories import TrajectorySet

ALL = "all"
"""Selects every test set that is available."""
Model = str | Endpoint
"""A folder, a hub name, the built-in model; or an endpoint."""


def load_test_sets(names: str, folder: Path, warn: Callable[[str], None], *, option: str = "--bench") -> list[TestSet]:
    """The named splits. `rotbench` and `rotbench/First_Turn` select all their splits whose files exist, `all` those of
    every set; skipped splits are reported through `warn`.

    Raises:
        ConfigError: no such test set or split.
        DataError: a split that is named is missing, or all that a name selects are, or a file cannot be read.
    """
    found: dict[tuple[str, str], TestSet] = {}
    for name in (name.strip() for name in names.split(",") if name.strip()):
        for selected in TEST_SETS if name == ALL else (name,):
            loaded = _load_named(selected, folder, warn)
            if not loaded and name != ALL:
                bench = selected.partition("/")[0]
                raise DataError(f"no file of {name} there; `tltrain fetch {bench}` gets them", folder)
            found |= {(test.name, test.split): test for test in loaded}
    if not found:
        raise ConfigError("no test set is named")
    return list(found.values())


def load_trajectories(data: str) -> list[TestSet]:
    """A file or folder of trajectories as a test set whose items are its unfailed replies; `toolworld` is built in.

    Raises:
        DataError: the file cannot be read, or holds nothing to evaluate.
    """
    if data == "toolworld":
        return [test_set(data).load(Path(), split) for split in test_set(data).SPLITS]
    name = re.sub(r"[^\w-]", "-", Path(data).stem) or "test"
    test = replace(TrajectorySet.of(Path(data).stem, name, list(formats.read(data))), sources=(Path(data),))
    if not test.items:
        raise DataError("nothing to evaluate: no trajectory with an unfailed reply", data)
    return [test]


def data_folder(bench: str, folder: Path) -> Path:
    """Where a test set's files are: `folder`, or, if it has none of them, the cache that `tltrain fetch` fills."""
    fetched = models.cache_folder() / "data"
    return fetched if (fetched / bench).is_dir() and not (folder / bench).exists() else folder


def name_models(given: Sequence[str], endpoint_model: str | None = None, concurrency: int = 8) -> dict[str, Model]:
    """Models by the name that tables show: the given one (`NAME=MODEL`), else the last meaningful part of the path.

    Raises:
        ConfigError: two models have the same name, or an endpoint names no model.
    """
    named: dict[str, Model] = {}
    for argument in given:
        match = re.fullmatch(r"([\w.+-]+)=(.+)", argument)
        path = match[2] if match else argument
        model = parse_endpoint(path, endpoint_model, concurrency) or path
        name = match[1] if match else _short_name(model)
        if name in named:
            raise ConfigError(f"two models are called {name}: write NAME=MODEL to tell them apart")
        named[name] = model
    return named


def name_dialects(given: str, names: Iterable[str]) -> dict[str, str]:
    """The dialect of each model from `--dialect`: a name for all of them, or `NAME=DIALECT,…` for some.

    Raises:
        ConfigError: there is no such model or dialect.
    """
    names = list(names)
    pairs = [entry.strip().partition("=") for entry in given.split(",")]
    if len(pairs) == 1 and not pairs[0][1]:
        pairs = [(name, "=", given.strip()) for name in names]
    for name, equals, dialect in pairs:
        if not equals or name not in names:
            raise ConfigError(f"--dialect {given}: expected a dialect, or NAME=DIALECT of {', '.join(names)}")
        if dialect not in dialects.NAMES:
            raise ConfigError(f"--dialect {given}: unknown dialect {dialect!r}: one of {', '.join(dialects.NAMES)}")
    return {name: dialect for name, _, dialect in pairs}


def _short_name(model: Model) -> str:
    path = model.model if isinstance(model, Endpoint) else model
    parts = [part for part in path.split("/") if part not in ("", ".", "..", "model")] or ["model"]
    return re.sub(r"[^\w.+-]", "-", parts[-1])


def _load_named(name: str, folder: Path, warn: Callable[[str], None]) -> list[TestSet]:
    """The splits that a name selects, as far as their files exist."""
    bench, _, part = name.partition("/")
    kind = test_set(bench)
    splits = [split for split in kind.SPLITS if split == part or not part or split.startswith(part + "/")]
    if not splits:
        raise ConfigError(f"{name}: no such split: expected one of {', '.join(kind.SPLITS)}")
    source = data_folder(bench, folder)
    if source != folder:
        warn(f"{bench}: read from {source / bench}, since {folder} has none")
    found = {split: _load(kind, split, source, warn, required=split == part) for split in splits}
    if absent := [split for split, test in found.items() if test is None]:
        warn(f"skipped: {bench} {', '.join(absent)}: not found in {source / bench}")
    return [test for test in found.values() if test is not None]


def _load(kind: type[TestSet], split: str, folder: Path, warn: Callable[[str], None], required: bool) -> TestSet | None:
    try:
        test = kind.load(folder, split)
    except DataError as error:
        if required or error.path is None or Path(error.path).exists():
            raise
        return None
    for warning in test.warnings:
        warn(warning)
    return test
