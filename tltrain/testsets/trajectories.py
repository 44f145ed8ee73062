"""Trajectories as a test set: every unfailed reply is an item, whose prompt is the gold history before it.

The test splits of a run are such sets, and so are those of toolworld and Seal-Tools.
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
    """A split made of trajectories. The gold of an item is the trajectory's reply, with or without calls."""

    trajectories: tuple[range, ...] = ()
    """The indices in `items` of each trajectory's items; `sample` draws whole trajectories."""

    @classmethod
    def of(cls, name: str, split: str, trajectories: Sequence[Trajectory], mode: Mode = "default") -> Self:
        """Every reply of the trajectories that is neither failed nor labelled 0, in order.

        `mode` selects the rule for failed calls, as in `assess_calls`."""
        items: list[Item] = []
        ranges = []
        for trajectory in trajectories:
            first = len(items)
            items += [
                Item(index, prompt, (gold,)) for index, (prompt, gold) in enumerate(_prompts(trajectory, mode), first)
            ]
            ranges.append(range(first, len(items)))
        return cls(name, split, items, len(items), trajectories=tuple(ranges))

    @classmethod
    def load(cls, folder: Path, split: str) -> Self:
        """Not available: use `of`."""
        raise ConfigError("a split of trajectories is made with TrajectorySet.of, not loaded")

    def sample(self, limit: int | None, seed: int) -> Self:
        """The items of at most `limit` trajectories, drawn with the random seed."""
        if limit is None or limit >= len(self.trajectories):
            return self
        chosen = sorted(random.Random(seed).sample(range(len(self.trajectories)), limit))
        kept = [self.items[index] for number in chosen for index in self.trajectories[number]]
        return replace(self, items=kept, trajectories=())


def _prompts(trajectory: Trajectory, mode: Mode) -> Iterator[tuple[Trajectory, Gold]]:
    failed = {assessment.message for assessment in assess_calls(trajectory, mode) if assessment.failed}
    for index, reply in trajectory.replies():
        if index not in failed and reply.weight != 0:
            name = f"{trajectory.id or trajectory.source}#{index}"
            yield replace(trajectory, messages=trajectory.messages[:index], id=name), reply.calls
