"""The test trajectories of the built-in data as a test set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tltrain.errors import ConfigError
from tltrain.testsets.trajectories import TrajectorySet
from tltrain.toolworld import generate


@dataclass(frozen=True)
class Toolworld(TrajectorySet):
    """Toolworld's tasks on tools that occur in training (`seen`) and on tools that do not (`unseen`)."""

    SPLITS = ("seen", "unseen")

    @classmethod
    def load(cls, folder: Path, split: str) -> Self:
        """The test trajectories of every run with seed 0; nothing is read from `folder`.

        Raises:
            ConfigError: no such split.
        """
        if split not in cls.SPLITS:
            raise ConfigError(f"toolworld has no split {split!r}: expected one of {', '.join(cls.SPLITS)}")
        world = generate(0)
        return cls.of("toolworld", split, world.test_seen if split == "seen" else world.test_unseen)
