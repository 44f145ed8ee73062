"""Small accumulators of a streaming pass: each has a bound on its memory and merges with its like.

Merging is associative and commutative as long as the bounds are not reached; past them only the tail is lost, and how
much of it is said.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


def digest(*parts: str) -> bytes:
    """Eight bytes that stand for the texts, the same in every process."""
    joined = "\x1f".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(joined, digest_size=8).digest()


def shorten(text: str, length: int) -> str:
    """The text on at most `length` characters, cut with an ellipsis."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


@dataclass
class Tally:
    """Counts by key, for at most `limit` distinct keys; what comes after is counted in `other` alone."""

    limit: int = 20_000
    counts: dict[Any, int] = field(default_factory=dict)
    other: int = 0

    def add(self, key: Any, count: int = 1) -> bool:
        """Count a key; False where there was no more room for it."""
        if key not in self.counts and len(self.counts) >= self.limit:
            self.other += count
            return False
        self.counts[key] = self.counts.get(key, 0) + count
        return True

    def merge(self, later: Tally) -> None:
        """Add the counts of another part of the data."""
        self.other += later.other
        for key, count in later.counts.items():
            self.add(key, count)

    def common(self, number: int | None = None) -> list[tuple[Any, int]]:
        """Keys and counts, the commonest first, ties in the order of the keys."""
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], str(item[0])))
        return ordered[:number]

    @property
    def total(self) -> int:
        """Everything counted, keys without room included."""
        return sum(self.counts.values()) + self.other


@dataclass
class Sample:
    """A few of the values seen: those with the smallest digests, so the choice is random, but the same in any order.

    Values with equal digests count as one.
    """

    size: int = 3
    kept: dict[bytes, Any] = field(default_factory=dict)

    def wants(self, key: bytes) -> bool:
        """Whether a value of this digest would be kept now: ask before building a costly one."""
        return key not in self.kept and (len(self.kept) < self.size or key < max(self.kept))

    def add(self, key: bytes, value: Any) -> None:
        """Keep `value` if its digest is among the smallest."""
        if self.wants(key):
            self.kept[key] = value
            if len(self.kept) > self.size:
                del self.kept[max(self.kept)]

    def merge(self, later: Sample) -> None:
        """Add the sample of another part of the data."""
        self.kept.update((key, value) for key, value in later.kept.items() if key not in self.kept)
        self.kept = {key: self.kept[key] for key in heapq.nsmallest(self.size, self.kept)}

    def values(self) -> list[Any]:
        """The values kept, in the order of their digests."""
        return [self.kept[key] for key in sorted(self.kept)]


@dataclass
class Spread:
    """How whole numbers (lengths, counts) are spread: exact, one entry for each distinct number."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, value: int) -> None:
        """Count one number."""
        self.counts[value] += 1

    def merge(self, later: Spread) -> None:
        """Add the numbers of another part of the data."""
        self.counts.update(later.counts)

    @property
    def number(self) -> int:
        """How many numbers were counted."""
        return self.counts.total()

    @property
    def sum(self) -> int:
        """Their sum."""
        return sum(value * count for value, count in self.counts.items())

    def percentile(self, share: float) -> int:
        """The smallest number that at least `share` (0 to 1) of the numbers do not exceed; 0 for none."""
        needed, seen = share * self.number, 0
        for value in sorted(self.counts):
            seen += self.counts[value]
            if seen >= needed:
                return value
        return 0

    def summary(self) -> dict[str, float]:
        """Number, sum, mean, the ends and percentiles."""
        quantiles = {f"p{round(share * 100)}": self.percentile(share) for share in (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)}
        ends = {"min": min(self.counts, default=0), "max": max(self.counts, default=0)}
        mean = round(self.sum / self.number, 1) if self.number else 0.0
        return {"number": self.number, "sum": self.sum, "mean": mean, **ends, **quantiles}

    def histogram(self, bins: int = 24) -> list[dict[str, int]]:
        """Counts in at most `bins` ranges of one round width: `from` inclusive, `to` exclusive.

        The last range holds all above the 99.5th percentile, so that one giant does not squeeze the rest.
        """
        if not self.counts:
            return []
        low, high = min(self.counts), max(min(self.counts) + 1, self.percentile(0.995))
        width = _round_up((high - low + 1) / bins)
        start = low // width * width
        edges = range(start, high + 1, width)
        rows = [{"from": edge, "to": edge + width, "count": 0} for edge in edges]
        for value, count in self.counts.items():
            rows[min((value - start) // width, len(rows) - 1)]["count"] += count
        rows[-1]["to"] = max(rows[-1]["to"], max(self.counts) + 1)
        return rows


def _round_up(width: float) -> int:
    scale = 1
    while True:
        for step in (1, 2, 5):
            if width <= step * scale:
                return step * scale
        scale *= 10


def common_prefix(one: str, other: str) -> str:
    """The longest text that both begin with."""
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return one[:index]
    return min(one, other, key=len)


def share(part: float, whole: float) -> float:
    """`part` of `whole` as a share from 0 to 1 on four digits; 0 of nothing."""
    return round(part / whole, 4) if whole else 0.0
