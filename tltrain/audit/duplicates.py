"""Exact and near duplicates among trajectories, by hashes, about 0.4 KB of memory a trajectory.

Exact: the same messages and calls (ids, labels and tool sets aside). Near: the queries and calls of two trajectories,
as sets of word triples and `tool argument=value` units, overlap by `THRESHOLD` (Jaccard index), as estimated from
`PERMUTATIONS` minhashes (standard error 0.05); candidates are those that agree in one of `BANDS` bands, which finds
99.98 % of the pairs at the threshold. Each candidate is compared with the first of its band, so the work is linear.
"""

from __future__ import annotations

import json
import re
import zlib
from array import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tltrain.audit.counting import digest, shorten
from tltrain.trajectory import Trajectory

THRESHOLD = 0.8
PERMUTATIONS = 64
BANDS = 16
GROUPS_SHOWN = 10
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]|\w+")
_random = np.random.default_rng(20_241_215)
_FACTORS: NDArray[np.uint64] = _random.integers(1, 2**63, PERMUTATIONS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_OFFSETS: NDArray[np.uint64] = _random.integers(0, 2**63, PERMUTATIONS, dtype=np.uint64)


@dataclass
class Duplicates:
    """Hashes of the trajectories seen, in order."""

    exact: array[int] = field(default_factory=lambda: array("Q"))
    signatures: list[bytes] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)

    def add(self, trajectory: Trajectory) -> None:
        """Add one trajectory."""
        content = _content(trajectory)
        self.exact.append(int.from_bytes(content, "little"))
        self.signatures.append(signature(units(trajectory) or {content.hex()}).tobytes())
        query = next((message.content for message in trajectory.messages if message.role == "user"), None)
        self.labels.append(shorten(" ".join((query or "").split()), 100))

    def merge(self, later: Duplicates) -> None:
        """Add the hashes of the part of the data that follows."""
        self.exact.extend(later.exact)
        self.signatures += later.signatures
        self.labels += later.labels

    def to_json(self) -> dict[str, Any]:
        """Counts and the largest groups; `positions` count trajectories from 1 in the order read."""
        exact = _first_with(np.array(self.exact, dtype=np.uint64))
        return {
            "exact": self._groups(exact),
            "near": self._groups(self._near(exact)),
            "threshold": THRESHOLD,
            "measure": "Jaccard index of query word triples and call arguments, estimated by 64 minhashes",
        }

    def _groups(self, leaders: NDArray[np.int64]) -> dict[str, Any]:
        """`leaders[i]` is the first trajectory of i's group: i itself where it is alone or first."""
        followers: dict[int, list[int]] = {}
        for position in np.flatnonzero(leaders != np.arange(len(leaders))):
            followers.setdefault(int(leaders[position]), []).append(int(position))
        largest = sorted(followers, key=lambda leader: (-len(followers[leader]), leader))[:GROUPS_SHOWN]
        shown = [
            {
                "size": 1 + len(followers[leader]),
                "query": self.labels[leader],
                "positions": [1 + position for position in (leader, *followers[leader][:4])],
            }
            for leader in largest
        ]
        return {"copies": sum(map(len, followers.values())), "groups": len(followers), "largest": shown}

    def _near(self, exact: NDArray[np.int64]) -> NDArray[np.int64]:
        """The leader of each trajectory's group of near duplicates; exact copies stay alone, leading themselves."""
        leaders = np.arange(len(exact))
        chosen = np.flatnonzero(exact == leaders)
        matrix = np.frombuffer(b"".join(self.signatures), dtype=np.uint32).reshape(-1, PERMUTATIONS)[chosen]
        rows = PERMUTATIONS // BANDS
        for band in range(BANDS):
            keys = (
                np.ascontiguousarray(matrix[:, band * rows : (band + 1) * rows]).view(np.uint64).reshape(-1, rows // 2)
            )
            firsts = _first_with(keys[:, 0] * _FACTORS[0] + keys[:, 1])
            alike = (matrix == matrix[firsts]).mean(axis=1) >= THRESHOLD
            for member in np.flatnonzero(alike & (firsts != np.arange(len(firsts)))):
                _join(leaders, int(chosen[member]), int(chosen[firsts[member]]))
        return np.array([_root(leaders, position) for position in range(len(leaders))], dtype=np.int64)


def units(trajectory: Trajectory) -> set[str]:
    """What near duplicates share: the word triples of the user's messages, and each argument of each call."""
    found: set[str] = set()
    for message in trajectory.messages:
        if message.role == "user" and message.content:
            words = _WORD.findall(message.content[:20_000].lower())
            found.update(" ".join(words[start : start + 3]) for start in range(max(1, len(words) - 2)))
        for call in message.calls:
            found.add(call.name)
            if isinstance(call.arguments, str):
                found.add(f"{call.name} {call.arguments}")
            else:
                found.update(f"{call.name} {name}={_plain(value)}" for name, value in call.arguments.items())
    return found


def signature(texts: set[str]) -> NDArray[np.uint32]:
    """`PERMUTATIONS` minhashes of a set that is not empty; sets with Jaccard index J agree in about J of them."""
    hashes = np.array([zlib.crc32(text.encode("utf-8", "surrogatepass")) for text in texts], dtype=np.uint64)
    mixed = hashes[:, None] * _FACTORS + _OFFSETS
    smallest: NDArray[np.uint64] = (mixed >> np.uint64(32)).min(axis=0)
    return smallest.astype(np.uint32)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def _content(trajectory: Trajectory) -> bytes:
    parts: list[str] = []
    for message in trajectory.messages:
        parts += [message.role, message.content or "", message.thought or ""]
        for call in message.calls:
            parts += [call.name, _plain(call.arguments)]
    return digest(*parts)


def _first_with(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """For each position, the first position that has the same key."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return np.asarray(first[inverse], dtype=np.int64)


def _root(leaders: NDArray[np.int64], position: int) -> int:
    while leaders[position] != position:
        leaders[position] = leaders[leaders[position]]
        position = int(leaders[position])
    return position


def _join(leaders: NDArray[np.int64], first: int, second: int) -> None:
    first, second = sorted((_root(leaders, first), _root(leaders, second)))
    leaders[second] = first
