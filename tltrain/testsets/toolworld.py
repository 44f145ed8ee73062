"""The built-in data as a test set: every unfailed reply of a test trajectory is an item with its gold history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tltrain.audit.failure_detectors import assess_calls
from tltrain.errors import ConfigError
from tltrain.testsets.base import Gold, Item, TestSet
from tltrain.toolworld import generate
from tltrain.trajectory import Trajectory

SPLITS = ("seen", "unseen")
DIALECT = "hermes"


def load(folder: Path, split: str) -> TestSet:
    """The test trajectories that every run with seed 0 has; nothing is read from `folder`.

    Raises:
        ConfigError: no such split.
    """
    if split not in SPLITS:
        raise ConfigError(f"toolworld: no split {split}: expected one of {', '.join(SPLITS)}")
    world = generate(0)
    prompts = [prompt for one in getattr(world, f"test_{split}") for prompt in _prompts(one)]
    items = [Item(index, prompt, (gold,)) for index, (prompt, gold) in enumerate(prompts)]
    return TestSet("toolworld", split, items, len(items))


def _prompts(trajectory: Trajectory) -> Iterator[tuple[Trajectory, Gold]]:
    failed = {reading.message for reading in assess_calls(trajectory) if reading.failed}
    for index, reply in trajectory.replies():
        if index not in failed and reply.weight != 0:
            name = f"{trajectory.id or trajectory.source}#{index}"
            yield replace(trajectory, messages=trajectory.messages[:index], id=name), reply.calls
