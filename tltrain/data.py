"""The data of a run: its training split and its test splits, which are kept apart."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tltrain import formats
from tltrain.config import DataConfig
from tltrain.errors import ConfigError, DataError
from tltrain.files import file_sha256
from tltrain.model import cache_folder
from tltrain.trajectory import Trajectory

TOOLWORLD = "toolworld"
RELEASE = "tl-training"
"""As `data.train`: the training data of the TL-Training release, where `tltrain fetch tl-training` puts them."""
RELEASE_FILE = "raw_data.json"


@dataclass(frozen=True, slots=True)
class Data:
    """The training split, the test splits by name, and the records that could not be read."""

    bench: str
    train: list[Trajectory]
    tests: dict[str, list[Trajectory]]
    problems: list[formats.Problem] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    """Lines about what the files contain: their format, trajectories and tools, and fields that are not used."""

    @property
    def overlap(self) -> dict[str, int]:
        """For each test split, the number of trajectories whose opening (see `opening`) also occurs in the training
        split; scores on training data are too high."""
        known = {opening(trajectory) for trajectory in self.train}
        return {name: sum(opening(t) in known for t in split) for name, split in self.tests.items()}


def load_data(config: DataConfig, seed: int) -> Data:
    """Read or generate all splits.

    Raises:
        DataError: a file cannot be read or contains no trajectory.
        ConfigError: a test split shares files with the training data, or is configured for toolworld.
    """
    if config.train == TOOLWORLD:
        return _toolworld(config, seed)
    config = _located(config)
    problems: list[formats.Problem] = []
    found: list[str] = []
    if config.train is None:
        tests = {name: _read(path, config, problems, found) for name, path in config.test.items()}
        return Data("+".join(Path(path).stem for path in config.test.values()), [], tests, problems, found)
    for name, path in config.test.items():
        if _within(path, config.train) or _within(config.train, path):
            how = "is" if Path(path).resolve() == Path(config.train).resolve() else "shares files with"
            raise ConfigError(f"data.test.{name}: {path} {how} the training data {config.train}")
    train = _read(config.train, config, problems, found)
    tests = {name: _read(path, config, problems, found) for name, path in config.test.items()}
    if not tests and config.holdout:
        train, held = _hold_out(train, config.holdout, seed)
        tests = {"held": held} if held else {}
    return Data(Path(config.train).stem, _sample(train, config.trajectories, seed), tests, problems, found)


def digests(config: DataConfig) -> dict[str, str]:
    """The SHA-256 of every input file by path; empty for toolworld, which is determined by its seed."""
    config = _located(config)
    paths = [config.train, config.tools, *config.test.values()]
    return file_digests([Path(path) for path in paths if path is not None and path != TOOLWORLD])


def file_digests(roots: Iterable[Path]) -> dict[str, str]:
    """The SHA-256 by path of the files, and of all files in the folders; missing files are omitted."""
    files = [file for root in roots for file in (sorted(root.rglob("*")) if root.is_dir() else [root])]
    return {str(file): file_sha256(file) for file in files if file.is_file()}


def _located(config: DataConfig) -> DataConfig:
    """The configuration with the path of the training data in place of `tl-training`.

    Raises:
        DataError: they have not been fetched.
    """
    if config.train != RELEASE:
        return config
    path = cache_folder() / "data" / RELEASE / RELEASE_FILE
    if not path.is_file():
        raise DataError(f"data.train {RELEASE}: not fetched yet; run `tltrain fetch {RELEASE}`", path)
    return config.model_copy(update={"train": str(path)})


def _toolworld(config: DataConfig, seed: int) -> Data:
    from tltrain.toolworld import generate

    if config.test:
        raise ConfigError("data.test: toolworld has its own test splits")
    world = generate(config.size, seed, noise=config.noise)
    train = _sample(world.train, config.trajectories, seed)
    return Data(TOOLWORLD, train, {"seen": world.test_seen, "unseen": world.test_unseen})


def _sample(trajectories: list[Trajectory], size: int | None, seed: int) -> list[Trajectory]:
    """A random sample, determined by `seed`, in the order of the data. Larger samples contain the smaller ones."""
    if size is None or size >= len(trajectories):
        return trajectories
    indices = list(range(len(trajectories)))
    random.Random(seed).shuffle(indices)
    return [trajectories[index] for index in sorted(indices[:size])]


def _within(path: str, other: str) -> bool:
    return Path(path).resolve().is_relative_to(Path(other).resolve())


def _read(path: str, config: DataConfig, problems: list[formats.Problem], lines: list[str]) -> list[Trajectory]:
    found = formats.Found()
    tools = None if config.tools is None else formats.read_tools(config.tools)
    trajectories = list(formats.read(path, config.format, tools, config.strict, problems, found))
    if not trajectories:
        raise DataError("no trajectories found", path)
    lines += found.lines(path)
    return trajectories


def _hold_out(trajectories: list[Trajectory], share: float, seed: int) -> tuple[list[Trajectory], list[Trajectory]]:
    """The training split and the held-out split; trajectories with the same opening are in the same split."""
    held = held_openings(trajectories, share, seed)
    return (
        [trajectory for trajectory in trajectories if opening(trajectory) not in held],
        [trajectory for trajectory in trajectories if opening(trajectory) in held],
    )


def held_openings(trajectories: Sequence[Trajectory], share: float, seed: int) -> set[str]:
    """A random sample, determined by `seed`, of the distinct openings; `share` is its size as a fraction."""
    openings = sorted({opening(trajectory) for trajectory in trajectories})
    random.Random(seed).shuffle(openings)
    return set(openings[: round(share * len(openings))])


def opening(trajectory: Trajectory) -> str:
    """A text that is equal for trajectories with the same tools and the same messages before the first reply."""
    first = next((index for index, _ in trajectory.replies()), len(trajectory.messages))
    parts: list[Any] = [(message.role, message.content) for message in trajectory.messages[:first]]
    return repr((parts, [tool.name for tool in trajectory.tools]))
