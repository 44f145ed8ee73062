"""Finds tools that a model can easily confuse, among tools that are offered together.

The functions compare names and descriptions; `pairs` applies them to the tool sets of a data set.
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
"""Minimum Jaccard index of the words of two descriptions that count as near-identical."""
SAME_SPELLING = 0.85
"""Minimum `difflib` ratio of two names that count as similarly spelt."""
MAX_PAIRS = 500_000
"""Maximum number of pairs compared in an audit (some seconds); the most common tool sets come first."""
_NAME_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")


@dataclass(frozen=True, slots=True)
class Likeness:
    """Why two tools are easily confused; a field is empty or zero if it is not a reason."""

    prefix: str = ""
    spelling: float = 0.0
    descriptions: float = 0.0

    @property
    def reasons(self) -> list[str]:
        """The reasons in words, for reports."""
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


def shared_prefix(a: str, b: str) -> str:
    """The common prefix of two names if it is more than a first verb; otherwise an empty string.

    That is, a name is a prefix of the other, or the names share at least three characters after the first word.
    """
    prefix = common_prefix(a, b)
    if prefix in (a, b):
        return prefix
    first = _NAME_WORD.search(prefix)
    rest = prefix[first.end() :] if first else ""
    return prefix.rstrip("_-. ") if sum(map(str.isalnum, rest)) >= 3 else ""


def spelling(a: str, b: str) -> float:
    """The similarity of two names, from 0 to 1; 1 if they have the same words in any order and case."""
    if sorted(words(a)) == sorted(words(b)):
        return 1.0
    matcher = SequenceMatcher(None, a.lower(), b.lower(), autojunk=False)
    if matcher.real_quick_ratio() < SAME_SPELLING or matcher.quick_ratio() < SAME_SPELLING:
        return 0.0
    return matcher.ratio()


def overlap(a: frozenset[str], b: frozenset[str]) -> float:
    """The Jaccard index of two sets of words; 0 if either has fewer than three."""
    if min(len(a), len(b)) < 3:
        return 0.0
    return len(a & b) / len(a | b)


@lru_cache(maxsize=50_000)
def description_words(description: str) -> frozenset[str]:
    """The distinct words of a description, lower case."""
    return frozenset(re.findall(r"\w+", description.lower()[:2000]))


@lru_cache(maxsize=200_000)
def likeness(a: str, b: str, description_a: str, description_b: str) -> Likeness | None:
    """Why two tools with different names are easily confused; None if they are not."""
    prefix = shared_prefix(a, b)
    alike = spelling(a, b)
    described = overlap(description_words(description_a), description_words(description_b))
    alike = round(alike, 2) if alike >= SAME_SPELLING else 0.0
    described = round(described, 2) if described >= SAME_DESCRIPTION else 0.0
    return Likeness(prefix, alike, described) if prefix or alike or described else None


def pairs(
    tool_sets: Iterable[tuple[Sequence[str], int]], descriptions: Mapping[str, str]
) -> tuple[list[dict[str, Any]], bool]:
    """The confusable pairs within tool sets, and whether all pairs were compared.

    Args:
        tool_sets: names of tools that are offered together, with the number of trajectories; the most common set first.
        descriptions: the description of each tool, by name.

    Returns:
        Rows `{a, b, reasons, prefix, spelling, descriptions, trajectories}`, the most common pairs first; a name that
        occurs twice in a set is a row with `a` equal to `b`.
    """
    found: dict[tuple[str, str], int] = {}
    compared = 0
    for names, count in tool_sets:
        compared += len(names) * (len(names) - 1) // 2
        if compared > MAX_PAIRS:
            break
        for pair in {(min(pair), max(pair)) for pair in combinations(names, 2)}:
            if _compare(pair, descriptions) is not None:
                found[pair] = found.get(pair, 0) + count
    rows = [_row(pair, count, descriptions) for pair, count in found.items()]
    rows.sort(key=lambda row: (-row["trajectories"], -len(row["reasons"]), row["a"], row["b"]))
    return rows, compared <= MAX_PAIRS


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate most similar to `name` ("did you mean …"); None if none is similar."""
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
    a, b = pair
    if a == b:
        return Likeness(prefix=a, spelling=1.0)
    return likeness(a, b, descriptions.get(a, ""), descriptions.get(b, ""))


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
