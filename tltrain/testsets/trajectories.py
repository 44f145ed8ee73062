"""Trajectories as a test set: every unfailed reply is an item, asked after its gold history.

A run's own test splits are such sets, and so are toolworld's and Seal-Tools'.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from tltrain.audit.failure_detectors import assess_calls
from tltrain.errors import ConfigError
from tltrain.testsets.base import Gold, Item, TestSet
from tltrain.trajectory import Trajectory

Mode = Literal["default", "paper"]


@dataclass(frozen=True)
class TrajectorySet(TestSet):
    """A split made of trajectories. The gold of an item is the reply of the trajectory, with a call or without."""

    trajectories: tuple[range, ...] = ()
    """The positions in `items` that each trajectory takes; `sample` draws whole trajectories."""

    @classmethod
    def of(cls, name: str, split: str, trajectories: Sequence[Trajectory], mode: Mode = "default") -> Self:
        """Every reply of the trajectories that is neither failed nor labelled 0, in order; `mode` says which rule
        decides that a call failed."""
        items: list[Item] = []
        ranges = []
        for trajectory in trajectories:
            first = len(items)
            items += [Item(first + at, prompt, (gold,)) for at, (prompt, gold) in enumerate(_prompts(trajectory, mode))]
            ranges.append(range(first, len(items)))
        return cls(name, split, items, len(items), trajectories=tuple(ranges))

    @classmethod
    def load(cls, folder: Path, split: str) -> Self:
        """Not available: a split of one's own is made by `of`."""
        raise ConfigError("a split of trajectories has no files of its own")

    def sample(self, limit: int | None, seed: int) -> Self:
        """The set with at most `limit` whole trajectories, drawn by the seed."""
        if limit is None or limit >= len(self.trajectories):
            return self
        chosen = sorted(random.Random(seed).sample(range(len(self.trajectories)), limit))
        kept = [self.items[at] for number in chosen for at in self.trajectories[number]]
        return replace(self, items=kept, trajectories=())


def _prompts(trajectory: Trajectory, mode: Mode) -> Iterator[tuple[Trajectory, Gold]]:
    failed = {reading.message for reading in assess_calls(trajectory, mode) if reading.failed}
    for index, reply in trajectory.replies():
        if index not in failed and reply.weight != 0:
            name = f"{trajectory.id or trajectory.source}#{index}"
            yield replace(trajectory, messages=trajectory.messages[:index], id=name), reply.calls
