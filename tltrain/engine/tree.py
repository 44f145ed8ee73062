"""Token trees: sequences merged by their common prefixes, so that each distinct prefix is computed once.

Shapes: T tokens of the tree, S sequences, R predicted tokens (all sequences' replies in order), D distinct positions
that predict one of them (D <= R).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """Token ids whose tail, from position `start` on, is predicted (a reply after its prompt).

    `weights` has one loss weight per predicted token. Tokens of weight 0 are context only.
    """

    ids: Sequence[int]
    start: int
    weights: Sequence[float]

    def __post_init__(self) -> None:
        assert 0 < self.start <= len(self.ids), "the first token of a sequence has nothing before it to predict it"
        assert len(self.weights) == len(self.ids) - self.start


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens `begin:end` of the flattened tree; `ancestors` are indices of the segments before them, root first."""

    begin: int
    end: int
    ancestors: tuple[int, ...]


@dataclass(slots=True)
class _Node:
    tokens: list[int]
    children: dict[int, _Node] = field(default_factory=dict)
    leaves: list[int] = field(default_factory=list)


class TokenTree:
    """The tree of a set of sequences, flattened depth first.

    Attributes:
        ids: (1, T) token ids.
        positions: (1, T) position of each token in its own sequences.
        segments: in flattened order, parents before children.
        rows: (D,) positions in the flattened tree that predict a token of weight > 0 or, with `keep_all`, any.
        row_of: (R',) for each predicted token kept, its index in `rows`.
        targets: (R',) the predicted token ids.
        weights: (R',) their loss weights.
        owner: (R',) index of the sequence each belongs to.
    """

    def __init__(self, sequences: Sequence[TokenSequence], keep_all: bool = False) -> None:
        assert sequences, "a tree has at least one sequence"
        ids, positions, self.segments, self.paths = _flatten(_merge(sequences), len(sequences))
        self.ids = torch.tensor([ids])
        self.positions = torch.tensor([positions])
        predictors, targets, weights, owner = [], [], [], []
        for index, sequence in enumerate(sequences):
            place = list(self.path_positions(index))
            for offset, weight in enumerate(sequence.weights):
                if weight > 0 or keep_all:
                    predictors.append(place[sequence.start + offset - 1])
                    targets.append(sequence.ids[sequence.start + offset])
                    weights.append(float(weight))
                    owner.append(index)
        self.rows, self.row_of = torch.unique(torch.tensor(predictors, dtype=torch.long), return_inverse=True)
        self.targets = torch.tensor(targets, dtype=torch.long)
        self.weights = torch.tensor(weights, dtype=torch.float32)
        self.owner = torch.tensor(owner, dtype=torch.long)
        self.separate_tokens = sum(len(sequence.ids) for sequence in sequences)

    def __len__(self) -> int:
        return self.ids.shape[1]

    def path_positions(self, sequence: int) -> Iterator[int]:
        """Positions in the flattened tree of a sequence's tokens, in order."""
        for segment in self.paths[sequence]:
            yield from range(self.segments[segment].begin, self.segments[segment].end)


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common prefix of two token sequences."""
    length = min(len(a), len(b))
    if a[:length] == b[:length]:
        return length
    low, high = 0, length  # a[:low] agrees, a[:high] does not
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _merge(sequences: Sequence[TokenSequence]) -> _Node:
    root = _Node([])
    for index, sequence in enumerate(sequences):
        node, rest = root, list(sequence.ids)
        while rest:
            child = node.children.get(rest[0])
            if child is None:
                child = node.children[rest[0]] = _Node(rest)
            shared = common_prefix(child.tokens, rest)
            if shared < len(child.tokens):
                child = node.children[rest[0]] = _split(child, shared)
            node, rest = child, rest[shared:]
        node.leaves.append(index)
    return root


def _split(node: _Node, at: int) -> _Node:
    upper = _Node(node.tokens[:at])
    node.tokens = node.tokens[at:]
    upper.children[node.tokens[0]] = node
    return upper


def _flatten(root: _Node, count: int) -> tuple[list[int], list[int], list[Segment], list[tuple[int, ...]]]:
    ids: list[int] = []
    positions: list[int] = []
    segments: list[Segment] = []
    paths: list[tuple[int, ...]] = [()] * count
    pending: list[tuple[_Node, tuple[int, ...], int]] = [(child, (), 0) for child in reversed(root.children.values())]
    while pending:
        node, ancestors, depth = pending.pop()
        path = (*ancestors, len(segments))
        segments.append(Segment(len(ids), len(ids) + len(node.tokens), ancestors))
        ids += node.tokens
        positions += range(depth, depth + len(node.tokens))
        for leaf in node.leaves:
            paths[leaf] = path
        below = depth + len(node.tokens)
        pending += [(child, path, below) for child in reversed(node.children.values())]
    return ids, positions, segments, paths


def plan(sequences: Sequence[TokenSequence], max_tokens: int) -> list[list[int]]:
    """Split sequences into groups whose trees hold at most `max_tokens` tokens each (or one sequence).

    Sequences are taken in the order of their tokens, so that those with long common prefixes meet. Returns indices.
    """
    order = sorted(range(len(sequences)), key=lambda index: list(sequences[index].ids))
    groups: list[list[int]] = []
    room, previous = 0, None
    for index in order:
        ids = sequences[index].ids
        added = len(ids) - (common_prefix(sequences[previous].ids, ids) if previous is not None else 0)
        if previous is None or added > room:
            groups.append([])
            room, added = max_tokens, len(ids)
        groups[-1].append(index)
        room, previous = room - added, index
    return groups
