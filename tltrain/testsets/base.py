"""What a test set is: items with a prompt and golds, and what its loader had to repair or leave out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tltrain.trajectory import Call, Trajectory

Gold = tuple[Call, ...]
"""The calls of one acceptable reply; empty where a reply without a call is wanted."""


@dataclass(frozen=True, slots=True)
class Item:
    """What a model is asked: `prompt` holds the tools and all messages before the wanted reply."""

    index: int
    """Place in the set's file, from 0; predictions name it."""
    prompt: Trajectory
    golds: tuple[Gold, ...]
    """Acceptable replies; none where the set has no golds (ToolEyes)."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What only the set itself understands."""


@dataclass(frozen=True, slots=True)
class TestSet:
    """One split, as loaded: every figure is over `items`, of `total` in the file."""

    __test__ = False
    """Not a class of tests, whatever its name looks like."""

    name: str
    split: str
    items: list[Item]
    total: int
    repaired: dict[int, str] = field(default_factory=dict)
    """Index of an item to what was repaired in its golds."""
    excluded: dict[int, str] = field(default_factory=dict)
    """Index of an item that is not scored to the reason."""
    warnings: list[str] = field(default_factory=list)
    """What the report repeats, such as a file that is not the pinned one."""


class Loader(Protocol):
    """A module of this room.

    It may also have `resolve(item, calls) -> golds`, the golds that a reply with these calls is judged with;
    `accuracy(item, calls) -> bool`, the set's own metric; `paper(item, text)`, the published protocol on raw text.
    """

    SPLITS: tuple[str, ...]
    DIALECT: str
    """How the set's own predictions are written, where a line does not say."""

    def load(self, folder: Path, split: str) -> TestSet:
        """Read a split from `folder`, laid out as `tltrain fetch` leaves it (`rotbench/First_Turn/clean.json`, …).

        Raises:
            ConfigError: no such split.
            DataError: the file is missing or cannot be read.
        """
        ...
