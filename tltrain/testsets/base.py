"""The base class of test sets: items with a prompt and golds, and everything that is special about a set.

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
    """A request to a model: `prompt` holds the tools and all messages before the reply that is scored."""

    index: int
    """Position in the set, from 0; predictions refer to it."""
    prompt: Trajectory
    golds: tuple[Gold, ...]
    """Acceptable replies; none where the set has no golds (ToolEyes)."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Data for the methods of the test set."""


class PaperOutcome(Protocol):
    """The result of a published protocol for a reply: which metrics hold, and whether the reply could be parsed."""

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
    """A loaded split. Scores are computed over `items`; the file has `total` items."""

    __test__ = False  # pytest would collect the class because of its name

    SPLITS: ClassVar[tuple[str, ...]] = ()
    """Names of the splits that `load` accepts."""
    DIALECT: ClassVar[str] = "hermes"
    """Dialect of predictions that do not name one."""
    MULTI_STEP: ClassVar[bool] = False
    """Whether items take several replies, whose calls are executed; such a set has no golds."""
    PAPER_PROTOCOL: ClassVar[bool] = False
    """Whether the set also has a published protocol for raw text (`paper_outcome`)."""
    OWN_ACCURACY: ClassVar[bool] = False
    """Whether the set defines an accuracy besides TS, PI and CF (`is_accurate`)."""

    name: str
    split: str
    items: list[Item]
    total: int
    _: KW_ONLY
    repaired: dict[int, str] = field(default_factory=dict)
    """Repairs of golds, by the item's index."""
    excluded: dict[int, str] = field(default_factory=dict)
    """Reasons why items are not scored, by the item's index."""
    warnings: list[str] = field(default_factory=list)
    """Shown with every score: a file is not the pinned version, for example."""
    sources: tuple[Path, ...] = ()
    """Files or folders, outside the folder of test sets, from which the items were read."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, split: str) -> Self:
        """Read a split from `folder`, which has the layout of `tltrain fetch` (`rotbench/First_Turn/clean.json`, …).

        Raises:
            ConfigError: no such split.
            DataError: a file is missing or cannot be read.
        """

    def sample(self, limit: int | None, seed: int) -> Self:
        """At most `limit` items, drawn with the random seed, in their original order and with the same indices."""
        if limit is None or limit >= len(self.items):
            return self
        chosen = random.Random(seed).sample(range(len(self.items)), limit)
        return replace(self, items=[self.items[index] for index in sorted(chosen)])

    def golds_for(self, item: Item, calls: Sequence[Call]) -> Sequence[Gold]:
        """The golds that a reply with these calls is judged with."""
        return item.golds

    def is_accurate(self, item: Item, calls: Sequence[Call]) -> bool:
        """Whether a reply with these calls is right by the set's own definition; requires `OWN_ACCURACY`."""
        raise NotImplementedError(f"{self.name} has no accuracy of its own")

    def paper_outcome(self, item: Item, text: str) -> PaperOutcome:
        """The result of the published protocol for a reply's text; requires `PAPER_PROTOCOL`."""
        raise NotImplementedError(f"{self.name} has no published protocol of its own")
