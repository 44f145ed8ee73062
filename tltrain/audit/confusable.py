"""Tool names that a model can easily confuse: looked for among tools that are offered together.

Pure functions on names and descriptions; `pairs` puts them to work on the tool sets of a data set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import combinations
from typing import Any

from tltrain.audit.counting import common_prefix

SAME_DESCRIPTION = 0.8
"""Share of words (Jaccard index) from which two descriptions count as near-identical."""
SAME_SPELLING = 0.85
"""`difflib` ratio from which two names count as spelt alike."""
MAX_PAIRS = 500_000
"""Pairs looked at in one audit, some seconds' work: the commonest tool sets come first."""
_NAME_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")


@dataclass(frozen=True, slots=True)
class Likeness:
    """Why two tools are easily confused: each field is empty or zero where it is no reason."""

    prefix: str = ""
    spelling: float = 0.0
    descriptions: float = 0.0

    @property
    def reasons(self) -> list[str]:
        """The reasons for people."""
        found = [f"both begin with {self.prefix}"] if self.prefix else []
        if self.spelling >= 1.0:
            found.append("same words")
        elif self.spelling:
            found.append(f"spelt alike ({self.spelling:.0%})")
        if self.descriptions:
            found.append(f"descriptions share {self.descriptions:.0%} of their words")
        return found


@lru_cache(maxsize=50_000)
def words(name: str) -> tuple[str, ...]:
    """The words of a tool name, lower case: `getPaperDetails` and `get_paper_details` have the same."""
    return tuple(word.lower() for word in _NAME_WORD.findall(name))


def shared_prefix(one: str, other: str) -> str:
    """The common beginning of two names where it says more than a first verb, else an empty text.

    That is: one name is the whole beginning of the other, or they agree for three characters past the first word.
    """
    prefix = common_prefix(one, other)
    if prefix in (one, other):
        return prefix
    first = _NAME_WORD.search(prefix)
    beyond = prefix[first.end() :] if first else ""
    return prefix.rstrip("_-. ") if sum(map(str.isalnum, beyond)) >= 3 else ""


def spelling(one: str, other: str) -> float:
    """How alike two names are spelt, 0 to 1: 1 where they have the same words, in whatever order and case."""
    if sorted(words(one)) == sorted(words(other)):
        return 1.0
    matcher = SequenceMatcher(None, one.lower(), other.lower(), autojunk=False)
    if matcher.real_quick_ratio() < SAME_SPELLING or matcher.quick_ratio() < SAME_SPELLING:
        return 0.0
    return matcher.ratio()


def overlap(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard index of two sets of words; 0 where either has fewer than three."""
    if min(len(one), len(other)) < 3:
        return 0.0
    return len(one & other) / len(one | other)


@lru_cache(maxsize=50_000)
def description_words(description: str) -> frozenset[str]:
    """The distinct words of a description, lower case."""
    return frozenset(re.findall(r"\w+", description.lower()[:2000]))


@lru_cache(maxsize=200_000)
def likeness(one: str, other: str, description: str, other_description: str) -> Likeness | None:
    """Why two tools of different names are easily confused; None where they are not."""
    prefix = shared_prefix(one, other)
    alike = spelling(one, other)
    described = overlap(description_words(description), description_words(other_description))
    alike = round(alike, 2) if alike >= SAME_SPELLING else 0.0
    described = round(described, 2) if described >= SAME_DESCRIPTION else 0.0
    return Likeness(prefix, alike, described) if prefix or alike or described else None


def pairs(
    tool_sets: Iterable[tuple[Sequence[str], int]], descriptions: Mapping[str, str]
) -> tuple[list[dict[str, Any]], bool]:
    """Confusable pairs within tool sets, and whether all pairs were looked at.

    Args:
        tool_sets: the names offered together, and in how many trajectories; the commonest first.
        descriptions: of each tool, by name.

    Returns:
        Rows `{a, b, reasons, prefix, spelling, descriptions, trajectories}`, the commonest pairs first; a name that
        stands twice in one set is a row with `a` equal to `b`.
    """
    found: dict[tuple[str, str], int] = {}
    looked_at = 0
    for names, count in tool_sets:
        looked_at += len(names) * (len(names) - 1) // 2
        if looked_at > MAX_PAIRS:
            break
        for pair in {(min(pair), max(pair)) for pair in combinations(names, 2)}:
            if _compare(pair, descriptions) is not None:
                found[pair] = found.get(pair, 0) + count
    rows = [_row(pair, count, descriptions) for pair, count in found.items()]
    rows.sort(key=lambda row: (-row["trajectories"], -len(row["reasons"]), row["a"], row["b"]))
    return rows, looked_at <= MAX_PAIRS


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate spelt most like `name`, or None where none is near: "did you mean"."""
    best, best_ratio = None, 0.6
    for candidate in candidates:
        if sorted(words(name)) == sorted(words(candidate)):
            return candidate
        matcher = SequenceMatcher(None, name.lower(), candidate.lower(), autojunk=False)
        if matcher.real_quick_ratio() > best_ratio and matcher.quick_ratio() > best_ratio:
            ratio = matcher.ratio()
            if ratio > best_ratio:
                best, best_ratio = candidate, ratio
    return best


def _compare(pair: tuple[str, str], descriptions: Mapping[str, str]) -> Likeness | None:
    one, other = pair
    if one == other:
        return Likeness(prefix=one, spelling=1.0)
    return likeness(one, other, descriptions.get(one, ""), descriptions.get(other, ""))


def _row(pair: tuple[str, str], count: int, descriptions: Mapping[str, str]) -> dict[str, Any]:
    found = _compare(pair, descriptions)
    assert found is not None, "only confusable pairs are kept"
    return {
        "a": pair[0],
        "b": pair[1],
        "reasons": ["the same name twice in one tool set"] if pair[0] == pair[1] else found.reasons,
        "prefix": found.prefix,
        "spelling": found.spelling,
        "descriptions": found.descriptions,
        "trajectories": count,
    }
