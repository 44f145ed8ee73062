"""Token trees: sequences merged by their common prefixes, so that each distinct prefix is computed once.

Shapes: T tokens of the tree or pass, R' predicted tokens, D distinct positions that predict one of them (D <= R').
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """A prompt and its reply, whose tokens are predicted."""

    ids: Sequence[int]
    """Token ids of prompt and reply."""
    start: int
    """Index of the first predicted token, at least 1."""
    weights: Sequence[float]
    """Loss weight of each predicted token; tokens of weight 0 serve as context only."""

    def __post_init__(self) -> None:
        assert 0 < self.start <= len(self.ids), "the first token of a sequence cannot be predicted"
        assert len(self.weights) == len(self.ids) - self.start


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens `begin:end` of the flattened tree: a stretch of a path without branches."""

    begin: int
    end: int
    ancestors: tuple[int, ...]
    """Indices of the segments on the path to this segment, root first."""


@dataclass(slots=True)
class _Node:
    tokens: list[int]
    children: dict[int, _Node] = field(default_factory=dict)
    leaves: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """Predicted tokens of a pass, in the order of the positions that predict them.

    Attributes:
        rows: (D,) distinct predicting positions, counted from the pass's first token.
        row_of: (R',) for each predicted token, its index in `rows`; ascending.
        targets: (R',) the predicted token ids.
        weights: (R',) their loss weights.
        owner: (R',) index of the sequence that each belongs to.
        offset: (R',) its index in the sequence's reply.
    """

    rows: torch.Tensor
    row_of: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    owner: torch.Tensor
    offset: torch.Tensor

    def __len__(self) -> int:
        return len(self.targets)


class TokenTree:
    """The tree of a set of sequences, flattened depth first.

    Args:
        sequences: must not be empty.
        keep_all: predict tokens of weight 0 too.
        owners: index of each sequence in `Predicted.owner`; by default 0, 1, 2 and so on.

    Attributes:
        ids: (1, T) token ids.
        positions: (1, T) position of each token in its own sequences.
        segments: in flattened order, parents before children.
        paths: for each sequence, the indices of its segments, root first.
        separate_tokens: total length of the sequences.
    """

    def __init__(
        self, sequences: Sequence[TokenSequence], keep_all: bool = False, owners: Sequence[int] | None = None
    ) -> None:
        assert sequences, "a tree needs a sequence"
        ids, positions, self.segments, self.paths = _flatten(_merge(sequences), len(sequences))
        self.ids = torch.tensor([ids])
        self.positions = torch.tensor([positions])
        self.separate_tokens = sum(len(sequence.ids) for sequence in sequences)
        table: list[tuple[int, int, float, int, int]] = []
        for index, sequence in enumerate(sequences):
            path = list(self.path_positions(index))
            owner = index if owners is None else owners[index]
            for offset, weight in enumerate(sequence.weights):
                if weight > 0 or keep_all:
                    target = sequence.start + offset
                    predictor = path[target - 1]
                    table.append((predictor, sequence.ids[target], float(weight), owner, offset))
        table.sort(key=lambda row: row[0])
        columns = [torch.tensor(column) for column in zip(*table, strict=True)] or [
            torch.zeros(0, dtype=torch.long)
        ] * 5
        self._predictors, self._targets, self._weights, self._owners, self._offsets = columns

    def predicted(self, begin: int = 0, end: int | None = None) -> Predicted:
        """The tokens predicted from positions in segments `begin:end`."""
        first, last = self._span(begin, end)
        start, stop = torch.searchsorted(self._predictors, torch.tensor([first, last])).tolist()
        rows, row_of = torch.unique(self._predictors[start:stop] - first, return_inverse=True)
        return Predicted(
            rows=rows,
            row_of=row_of,
            targets=self._targets[start:stop],
            weights=self._weights[start:stop],
            owner=self._owners[start:stop],
            offset=self._offsets[start:stop],
        )

    def inputs(self, begin: int = 0, end: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and positions of segments `begin:end`, both (1, T)."""
        first, last = self._span(begin, end)
        return self.ids[:, first:last], self.positions[:, first:last]

    def _span(self, begin: int, end: int | None) -> tuple[int, int]:
        return self.segments[begin].begin, self.segments[end - 1 if end else -1].end

    def subtree_ends(self) -> list[int]:
        """For each segment, the index after the last of its descendants."""
        ends = [len(self.segments)] * len(self.segments)
        open_segments: list[int] = []
        for index, segment in enumerate(self.segments):
            while len(open_segments) > len(segment.ancestors):
                ends[open_segments.pop()] = index
            open_segments.append(index)
        return ends

    def __len__(self) -> int:
        return self.ids.shape[1]

    def path_positions(self, sequence: int) -> Iterator[int]:
        """Indices in the flattened tree of a sequence's tokens, in order."""
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


def _split(node: _Node, length: int) -> _Node:
    """Split off the first `length` tokens of a node as its new parent, which is returned."""
    parent = _Node(node.tokens[:length])
    node.tokens = node.tokens[length:]
    parent.children[node.tokens[0]] = node
    return parent


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
        child_depth = depth + len(node.tokens)
        pending += [(child, path, child_depth) for child in reversed(node.children.values())]
    return ids, positions, segments, paths


def group_by_budget(sequences: Sequence[TokenSequence], max_tokens: int) -> list[list[int]]:
    """Split sequences into groups whose trees hold at most `max_tokens` tokens each, or a single sequence.

    Sequences are taken in the order of their token ids, so that those with long common prefixes are in the same group.

    Returns:
        Indices of the sequences of each group.
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
