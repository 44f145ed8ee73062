"""Which test sets and models a command line means: `rotbench,toolalpaca/eval_real`, `sft=runs/demo/sft/sft/model`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from tltrain import model as models
from tltrain.errors import ConfigError, DataError
from tltrain.evaluation.endpoint import Endpoint, parse_place
from tltrain.testsets.base import Loader, TestSet

BENCHES = ("rotbench", "toolalpaca", "bfcl", "tooleyes", "toolworld")
ALL = "all"
"""Stands for every test set that is at hand."""
Model = str | Endpoint
"""A folder, a hub name, the built-in model; or an endpoint."""


def loader(bench: str) -> Loader:
    """The module of a test set.

    Raises:
        ConfigError: there is no such test set.
    """
    if bench not in BENCHES:
        raise ConfigError(f"--bench {bench}: no such test set: expected {', '.join(BENCHES)}")
    module: Loader = import_module(f"tltrain.testsets.{bench}")
    return module


def load_tests(names: str, folder: Path, say: Callable[[str], None]) -> list[TestSet]:
    """The splits that are named. `rotbench` and `rotbench/First_Turn` mean all their splits whose files are there, and
    `all` every set's; for those that are not, `say` is called.

    Raises:
        ConfigError: no such test set or split.
        DataError: a split that is named is missing, or all that a name means are, or a file cannot be read.
    """
    found: dict[tuple[str, str], TestSet] = {}
    for name in (name.strip() for name in names.split(",") if name.strip()):
        for one in BENCHES if name == ALL else (name,):
            loaded = _named(one, folder, say)
            if not loaded and name != ALL:
                raise DataError(f"no file of {name} there; `tltrain fetch {one.partition('/')[0]}` gets them", folder)
            found |= {(test.name, test.split): test for test in loaded}
    if not found:
        raise ConfigError("--bench names no test set")
    return list(found.values())


def data_folder(bench: str, folder: Path) -> Path:
    """Where a test set's files are: `folder`, or, if it has none of them, where `tltrain fetch` puts them."""
    fetched = models.cache_folder() / "data"
    return fetched if (fetched / bench).is_dir() and not (folder / bench).exists() else folder


def name_models(places: Sequence[str], endpoint_model: str | None = None, concurrency: int = 8) -> dict[str, Model]:
    """Models by the name that tables show: the one given (`NAME=PLACE`), else the last telling part of the place.

    Raises:
        ConfigError: two models have the same name, or an endpoint names no model.
    """
    named: dict[str, Model] = {}
    for given in places:
        match = re.fullmatch(r"([\w.+-]+)=(.+)", given)
        place = match[2] if match else given
        model = parse_place(place, endpoint_model, concurrency) or place
        name = match[1] if match else _short_name(model)
        if name in named:
            raise ConfigError(f"two models are called {name}: write NAME=MODEL to tell them apart")
        named[name] = model
    return named


def _short_name(model: Model) -> str:
    place = model.model if isinstance(model, Endpoint) else model
    parts = [part for part in place.split("/") if part not in ("", ".", "..", "model")] or ["model"]
    return re.sub(r"[^\w.+-]", "-", parts[-1])


def _named(name: str, folder: Path, say: Callable[[str], None]) -> list[TestSet]:
    """The splits that one name means, as far as their files are there."""
    bench, _, part = name.partition("/")
    splits = _splits(name, loader(bench), part)
    place = data_folder(bench, folder)
    if place != folder:
        say(f"{bench}: from {place / bench}, as {folder} has none")
    found = {split: _load(bench, split, place, say, split == part) for split in splits}
    if absent := [split for split, test in found.items() if test is None]:
        say(f"left out, as {place / bench} has no file of it: {bench} {', '.join(absent)}")
    return [test for test in found.values() if test is not None]


def _splits(name: str, module: Loader, part: str) -> list[str]:
    splits = [split for split in module.SPLITS if split == part or not part or split.startswith(part + "/")]
    if not splits:
        raise ConfigError(f"--bench {name}: no such split: expected one of {', '.join(module.SPLITS)}")
    return splits


def _load(bench: str, split: str, folder: Path, say: Callable[[str], None], wanted: bool) -> TestSet | None:
    try:
        test = loader(bench).load(folder, split)
    except DataError as error:
        if wanted or error.path is None or Path(error.path).exists():
            raise
        return None
    for warning in test.warnings:
        say(warning)
    return test
