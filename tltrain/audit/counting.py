"""Accumulators for a single pass over the data: each has bounded memory and can be merged with others of its class.

Merging is associative and commutative as long as the bounds are not reached; beyond them only the tail is lost, and its
size is reported.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


def digest(*parts: str) -> bytes:
    """An eight-byte hash of the texts that is the same in every process."""
    joined = "\x1f".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(joined, digest_size=8).digest()


def shorten(text: str, length: int) -> str:
    """The text, truncated to `length` characters with an ellipsis."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


@dataclass
class Tally:
    """Counts by key for at most `limit` distinct keys; further keys are only counted in `other`."""

    limit: int = 20_000
    counts: dict[Any, int] = field(default_factory=dict)
    other: int = 0

    def add(self, key: Any, count: int = 1) -> bool:
        """Count a key; return False if it is counted in `other` because the limit is reached."""
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
        """The keys and counts, the most common first, ties in the order of the keys."""
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], str(item[0])))
        return ordered[:number]

    @property
    def total(self) -> int:
        """The sum of all counts, including `other`."""
        return sum(self.counts.values()) + self.other


@dataclass
class Sample:
    """A sample of values: those with the smallest digests, so that it is random but does not depend on their order.

    Values with the same digest are stored once.
    """

    size: int = 3
    kept: dict[bytes, Any] = field(default_factory=dict)

    def wants(self, key: bytes) -> bool:
        """Whether `add` would keep a value with this digest; avoids computing values that are not kept."""
        return key not in self.kept and (len(self.kept) < self.size or key < max(self.kept))

    def add(self, key: bytes, value: Any) -> None:
        """Keep `value` if its digest `key` is among the smallest."""
        if self.wants(key):
            self.kept[key] = value
            if len(self.kept) > self.size:
                del self.kept[max(self.kept)]

    def merge(self, later: Sample) -> None:
        """Add the sample of another part of the data."""
        self.kept.update((key, value) for key, value in later.kept.items() if key not in self.kept)
        self.kept = {key: self.kept[key] for key in heapq.nsmallest(self.size, self.kept)}

    def values(self) -> list[Any]:
        """The kept values, in the order of their digests."""
        return [self.kept[key] for key in sorted(self.kept)]


@dataclass
class Spread:
    """The exact distribution of integers (lengths, counts), as a count of each distinct value."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, value: int) -> None:
        """Count a value."""
        self.counts[value] += 1

    def merge(self, later: Spread) -> None:
        """Add the values of another part of the data."""
        self.counts.update(later.counts)

    @property
    def number(self) -> int:
        """The number of values."""
        return self.counts.total()

    @property
    def sum(self) -> int:
        """The sum of the values."""
        return sum(value * count for value, count in self.counts.items())

    def percentile(self, share: float) -> int:
        """The smallest value that at least `share` (0 to 1) of the values do not exceed; 0 if there are none."""
        needed, seen = share * self.number, 0
        for value in sorted(self.counts):
            seen += self.counts[value]
            if seen >= needed:
                return value
        return 0

    def summary(self) -> dict[str, float]:
        """Number, sum, mean, minimum, maximum and percentiles."""
        quantiles = {f"p{round(share * 100)}": self.percentile(share) for share in (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)}
        ends = {"min": min(self.counts, default=0), "max": max(self.counts, default=0)}
        mean = round(self.sum / self.number, 1) if self.number else 0.0
        return {"number": self.number, "sum": self.sum, "mean": mean, **ends, **quantiles}

    def histogram(self, bins: int = 24) -> list[dict[str, int]]:
        """Counts in at most `bins` ranges of the same round width, from `from` (inclusive) to `to` (exclusive).

        The last range contains all values above the 99.5th percentile, so that outliers do not compress the others.
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


def common_prefix(a: str, b: str) -> str:
    """The longest common prefix of two strings."""
    for index, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return a[:index]
    return min(a, b, key=len)


def share(part: float, whole: float) -> float:
    """`part / whole` rounded to four digits; 0 if `whole` is 0."""
    return round(part / whole, 4) if whole else 0.0
