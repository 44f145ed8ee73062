"""Scores apart for items whose gold has a call and for items whose gold is a text.

A model that never calls is right wherever a text is due, so a percentage of all items says little about its calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tltrain.evaluation.metrics import METRICS
from tltrain.evaluation.scores import Score
from tltrain.evaluation.significance import FEW

TEXT = "text"
"""Column of the items whose gold is a text: the share of them answered without a call."""
KINDS_HELP = (
    "TS, PI and CF are over the items whose gold has a call; text: of the items whose gold is a text, those answered "
    "without a call."
)
FEW_HELP = f"Of fewer than {FEW} items, counts are shown: a percentage of so few says little."


@dataclass(frozen=True, slots=True)
class Share:
    """A percentage, its standard error in points, and the number of items it is of."""

    value: float
    error: float | None
    n: int | None
    """None if it is not known."""

    @property
    def few(self) -> bool:
        """Whether there are too few items for a percentage."""
        return self.n is not None and self.n < FEW

    @property
    def held(self) -> int:
        """How many items it holds for."""
        return round(self.value * (self.n or 0) / 100)

    @property
    def short(self) -> str:
        """The percentage, or, of few items, how many of how many."""
        return f"{self.held} of {self.n}" if self.few else f"{self.value:.1f} %"

    @property
    def text(self) -> str:
        """As in a table: the percentage with its standard error, or how many of how many."""
        if self.few:
            return f"{self.held} of {self.n}"
        return f"{self.value:.1f}" + ("" if self.error is None else f" ± {self.error:.1f}")


def distinguishes(score: Score) -> bool:
    """Whether the row has items of both kinds, so that its metrics have to be shown apart."""
    return all(part and part.get("n") for part in (score.gold_with_call, score.gold_without_call))


def only_texts(score: Score) -> bool:
    """Whether no gold has a call."""
    return score.gold_with_call is not None and not score.gold_with_call.get("n") and score.n > 0


def shares(score: Score) -> dict[str, Share]:
    """The metrics of a row by name. Those of a row with items of both kinds are over the items whose gold has a call,
    and `TEXT` is the share of texts where one is due."""
    if score.gold_without_call is not None and (distinguishes(score) or only_texts(score)):
        text = _part(score.gold_without_call).get("TS")
        texts = {} if text is None else {TEXT: text}
        return texts if only_texts(score) or score.gold_with_call is None else _part(score.gold_with_call) | texts
    return overall(score)


def overall(score: Score) -> dict[str, Share]:
    """The metrics of a row by name, over all its items."""
    calls = score.calls if isinstance(score.calls, int) else None
    return {
        name: Share(value, score.se.get(name), score.n if METRICS[name].per_item else calls)
        for name, value in score.metrics.items()
    }


def sizes(row: Score) -> str:
    """The number of items, of both kinds where they are shown apart."""
    if not distinguishes(row) or row.gold_with_call is None or row.gold_without_call is None:
        return f"{row.n:,}"
    return f"{row.gold_with_call['n']:,}+{row.gold_without_call['n']:,}"


def columns(rows: Sequence[Score]) -> list[str]:
    """The names of `shares` of any row, in the order of tables."""
    present = {name for row in rows for name in shares(row)}
    return [name for name in (*METRICS, TEXT) if name in present]


def description(name: str) -> str:
    """What a column shows."""
    return "items whose gold is a text, answered without a call" if name == TEXT else METRICS[name].description


def has_few(rows: Sequence[Score]) -> bool:
    """Whether any figure of the rows is shown as a count."""
    return any(share.few for row in rows for share in shares(row).values())


def _part(part: Mapping[str, Any]) -> dict[str, Share]:
    errors = part.get("se") or {}
    return {name: Share(part[name], errors.get(name), int(part["n"])) for name in METRICS if part.get(name) is not None}
