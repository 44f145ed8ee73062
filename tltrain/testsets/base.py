"""What a test set is: items with a prompt and golds, and everything that is special about the set.

A test set is one file of this package and one entry in `tltrain.testsets.TEST_SETS`: a subclass of `TestSet` that loads
its splits and overrides what differs from the default.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from tltrain.trajectory import Call, Trajectory

Gold = tuple[Call, ...]
"""The calls of one acceptable reply; empty where the right reply has no call."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question to a model: `prompt` holds the tools and all messages before the reply that is scored."""

    index: int
    """Position in the set, from 0; predictions refer to it."""
    prompt: Trajectory
    golds: tuple[Gold, ...]
    """Acceptable replies; none where the set has no golds (ToolEyes)."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What only the set itself understands."""


class PaperOutcome(Protocol):
    """What a published protocol finds in one reply: which metrics hold, and whether the reply could be read."""

    @property
    def TS(self) -> bool: ...  # noqa: N802, D102
    @property
    def PI(self) -> bool: ...  # noqa: N802, D102
    @property
    def CF(self) -> bool: ...  # noqa: N802, D102
    @property
    def readable(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True)
class TestSet:
    """One split, as loaded. Every score is over `items`, out of `total` in the file."""

    __test__ = False  # pytest would collect the class because of its name

    SPLITS: ClassVar[tuple[str, ...]] = ()
    """The splits that `load` knows."""
    DIALECT: ClassVar[str] = "hermes"
    """How predictions for this set are written where a line does not name its dialect."""
    MULTI_STEP: ClassVar[bool] = False
    """Whether an item takes several replies whose calls are executed; such a set has no golds."""
    PAPER_PROTOCOL: ClassVar[bool] = False
    """Whether the set has a published protocol on raw text besides the default one (`paper_outcome`)."""
    OWN_ACCURACY: ClassVar[bool] = False
    """Whether the set has a rule of its own for a right reply (`is_accurate`)."""

    name: str
    split: str
    items: list[Item]
    total: int
    _: KW_ONLY
    repaired: dict[int, str] = field(default_factory=dict)
    """What was repaired in the golds, by the item's index."""
    excluded: dict[int, str] = field(default_factory=dict)
    """Why an item is not scored, by its index."""
    warnings: list[str] = field(default_factory=list)
    """Shown beside every score, such as a file that is not the pinned version."""
    sources: tuple[Path, ...] = ()
    """Files or folders outside the folder of test sets that the items were read from."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, split: str) -> Self:
        """Read a split from `folder`, laid out as `tltrain fetch` leaves it (`rotbench/First_Turn/clean.json`, …).

        Raises:
            ConfigError: no such split.
            DataError: a file is missing or cannot be read.
        """

    def sample(self, limit: int | None, seed: int) -> Self:
        """The set with at most `limit` items, drawn by the seed, in their order; `indices` do not change."""
        if limit is None or limit >= len(self.items):
            return self
        chosen = random.Random(seed).sample(range(len(self.items)), limit)
        return replace(self, items=[self.items[position] for position in sorted(chosen)])

    def golds_for(self, item: Item, calls: Sequence[Call]) -> Sequence[Gold]:
        """The golds that a reply with these calls is judged with."""
        return item.golds

    def is_accurate(self, item: Item, calls: Sequence[Call]) -> bool:
        """Whether a reply with these calls is right by the set's own rule; only where `OWN_ACCURACY`."""
        raise NotImplementedError(f"{self.name} has no accuracy of its own")

    def paper_outcome(self, item: Item, text: str) -> PaperOutcome:
        """What the published protocol finds in a reply's text; only where `PAPER_PROTOCOL`."""
        raise NotImplementedError(f"{self.name} has no published protocol of its own")
