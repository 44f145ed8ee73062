"""The attention of decoding: one new token for each reply of a batch, which attends to keys and values computed before.

The own tokens of a reply are those after the prefix that its group shares: the rest of its prompt and its generated
tokens. Shapes: B replies decoded together, b replies of a group, H query heads, G key-value heads, E head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tltrain.engine.attention import KeyValues
from tltrain.engine.tree import TokenTree, common_prefix

BUFFER_GROWTH = 256
"""Tokens by which the key-value buffers grow when they are full. Each growth copies them."""
BUFFER_MULTIPLE = 32
"""Buffers are read up to a multiple of this many tokens, so that kernels are compiled for few different shapes."""
GPU_MULTIPLE = 256
"""The same on GPUs, where every length is another CUDA graph, and reading some more costs little."""


@dataclass(slots=True)
class _SharedPrefix:
    """The first `length` tokens of replies `begin:end`; keys and values are (G, length, E)."""

    begin: int
    end: int
    length: int
    key_values: KeyValues


class DecodeLayout:
    """One new token for each of B replies (T = 1), which attends to the shared prefix and to the reply's own tokens.

    Args:
        tree: the token tree of the prompts.
        cached: keys and values of the whole tree; is emptied to save memory.
        groups: indices of the prompts that share a prefix.
        room: number of tokens to be generated, at most.

    Attributes:
        prefix_lengths: (B,) length of each reply's shared prefix.
        lengths: (B,) number of own tokens so far.
        own: keys and values of the own tokens, each (B, G, M, E), where M is the buffers' capacity.
    """

    def __init__(self, tree: TokenTree, cached: KeyValues, groups: Sequence[range], room: int) -> None:
        device = cached[0][0].device
        paths = [torch.tensor(list(tree.path_positions(index)), device=device) for group in groups for index in group]
        shared = [shared_length([paths[index].tolist() for index in group]) for group in groups]
        self.groups = [
            _SharedPrefix(group.start, group.stop, length, {})
            for group, length in zip(groups, shared, strict=True)
            if length
        ]
        prefix_lengths = [length for group, length in zip(groups, shared, strict=True) for _ in group]
        self.prefix_lengths = torch.tensor(prefix_lengths, device=device)
        own_paths = [path[length:] for path, length in zip(paths, prefix_lengths, strict=True)]
        self._first_lengths = [len(path) for path in own_paths]
        self._generated = 0
        self.lengths = torch.tensor(self._first_lengths, device=device)
        capacity = self._longest() + buffer_room(room, device)
        self.own: KeyValues = {}
        self._masks: dict[int | None, torch.Tensor] = {}
        for layer in list(cached):  # layer by layer, so that only a single layer is in memory twice
            key, value = cached.pop(layer)
            for group in self.groups:
                rows = paths[group.begin][: group.length]
                group.key_values[layer] = (key[0][:, rows], value[0][:, rows])
            self.own[layer] = (_padded(key[0], own_paths, capacity), _padded(value[0], own_paths, capacity))

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float,
        window: int | None,
    ) -> torch.Tensor:
        """See `Layout`; T is 1. Writes the new key and value to the buffers."""
        keys, values = self.own[layer]
        index = torch.arange(len(self.lengths), device=query.device)
        keys[index, :, self.lengths] = key[:, :, 0]
        values[index, :, self.lengths] = value[:, :, 0]
        used = self._used()
        keys, values = keys[:, :, :used], values[:, :, :used]
        count, heads, _, size = query.shape
        query = query.view(count, keys.shape[1], -1, size) * scale
        scores = (query @ keys.transpose(2, 3)).float() + self._mask(used, window)
        weights = scores.softmax(-1)
        own = weights.to(query.dtype) @ values
        if not self.groups:
            return own.reshape(count, heads, 1, size)
        own_logsumexp = _logsumexp(scores, weights)
        shared, logsumexp = torch.zeros_like(own), torch.full_like(own_logsumexp, -torch.inf)
        for group in self.groups:
            rows = slice(group.begin, group.end)
            shared[rows], logsumexp[rows] = self._attend_shared(layer, group, query[rows], window)
        own_fraction = torch.sigmoid(own_logsumexp - logsumexp)  # of the attention weights
        return (own * own_fraction + shared * (1 - own_fraction)).to(query.dtype).reshape(count, heads, 1, size)

    def _attend_shared(
        self, layer: int, group: _SharedPrefix, query: torch.Tensor, window: int | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Query (b, G, H/G, E) of a group's replies -> attention output (b, G, H/G, E) over the shared prefix, and the
        log-sum-exp (b, G, H/G, 1) of its scores."""
        count, groups, heads, size = query.shape
        keys, values = group.key_values[layer]
        folded = query.transpose(0, 1).reshape(groups, count * heads, size)
        if window is None and query.device.type == "cpu":
            return _fused(folded, keys, values, count)
        scores = (folded @ keys.transpose(1, 2)).float()
        if window is not None:
            positions = torch.arange(group.length, device=query.device)
            hidden = positions <= (self.lengths[group.begin : group.end] + group.length - window)[:, None, None]
            # A finite number, since the whole prefix may be outside the window.
            scores.view(groups, count, heads, -1).masked_fill_(hidden, torch.finfo(torch.float32).min)
        weights = scores.softmax(-1)
        attended = (weights.to(query.dtype) @ values).view(groups, count, heads, size).transpose(0, 1)
        return attended, _logsumexp(scores, weights).view(groups, count, heads, 1).transpose(0, 1)

    def shape(self) -> tuple[int, int]:
        """Number of replies and used length of the buffers: as long as they stay, a step is the same kernels."""
        return len(self._first_lengths), self._used()

    def _used(self) -> int:
        """Used length of the buffers, the new tokens included, rounded up to a multiple."""
        multiple = GPU_MULTIPLE if self.lengths.device.type == "cuda" else BUFFER_MULTIPLE
        return min((self._longest() // multiple + 1) * multiple, self.own[0][0].shape[2])

    def _longest(self) -> int:
        """Largest number of own tokens, counted on the host: reading `lengths` would wait for a GPU."""
        return max(self._first_lengths) + self._generated

    def _mask(self, used: int, window: int | None) -> torch.Tensor:
        """(B, 1, 1, used) additive mask, 0 or -inf, over the own tokens and the new token; the same for all layers."""
        if window not in self._masks:
            positions = torch.arange(used, device=self.lengths.device)[None, :]
            hidden = positions > self.lengths[:, None]
            if window is not None:
                hidden = hidden | (positions <= self.lengths[:, None] - window)
            mask = torch.zeros(hidden.shape, device=hidden.device).masked_fill(hidden, -torch.inf)
            self._masks[window] = mask[:, None, None, :]
        return self._masks[window]

    def positions(self) -> torch.Tensor:
        """(B, 1) position of each reply's next token."""
        return (self.lengths + self.prefix_lengths)[:, None]

    def advance(self) -> None:
        """Count the token that `attend` has just written, and grow the buffers if they are full.

        The step itself has added it to `lengths`, see `tltrain.engine.decode_step`."""
        self._generated += 1
        self._masks.clear()
        if self._longest() + 1 > self.own[0][0].shape[2]:
            for layer, (keys, values) in self.own.items():
                room = keys.new_zeros(*keys.shape[:2], BUFFER_GROWTH, keys.shape[3])
                self.own[layer] = (torch.cat([keys, room], dim=2), torch.cat([values, room], dim=2))

    def forget_masks(self) -> None:
        """Make new masks in the next layer: `lengths` has changed."""
        self._masks.clear()

    def compact(self, keep: Sequence[int]) -> None:
        """Remove finished replies; `keep` holds the indices of the others, in ascending order."""
        for group in self.groups:
            before = sum(index < group.begin for index in keep)
            group.end = before + sum(group.begin <= index < group.end for index in keep)
            group.begin = before
        self.groups = [group for group in self.groups if group.begin < group.end]
        self._first_lengths = [self._first_lengths[index] for index in keep]
        rows = torch.tensor(keep, device=self.lengths.device)
        self.lengths, self.prefix_lengths = self.lengths[rows], self.prefix_lengths[rows]
        for layer, pair in self.own.items():  # moved in place: smaller buffers would fragment the heap
            for heads in pair:
                heads[: len(keep)] = heads[rows]
            self.own[layer] = (pair[0][: len(keep)], pair[1][: len(keep)])
        self._masks.clear()


def _logsumexp(scores: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(..., 1) log-sum-exp of scores (..., n), given their softmax: the largest weight is exp(largest score -
    log-sum-exp). This takes no second pass of exponentials."""
    return scores.amax(-1, keepdim=True) - weights.amax(-1, keepdim=True).log()


def _fused(
    folded: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Results of `_attend_shared` from scaled queries (G, b * H/G, E) by the kernel behind torch's
    `scaled_dot_product_attention`, which does not return the log-sum-exp."""
    groups, rows, size = folded.shape
    attended, logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        folded[None], keys[None], values[None], scale=1.0
    )
    shape = (groups, count, rows // count)
    return attended[0].reshape(*shape, size).transpose(0, 1), logsumexp[0].reshape(*shape, 1).transpose(0, 1)


def buffer_room(max_new_tokens: int, device: torch.device) -> int:
    """Tokens to be generated for which the buffers have room from the start. A CUDA graph has fixed addresses, so that
    on GPUs the buffers never grow."""
    return max_new_tokens if device.type == "cuda" else min(max_new_tokens, BUFFER_GROWTH)


def shared_length(paths: Sequence[Sequence[int]]) -> int:
    """Length of the paths' common prefix, but not the last token of any of them; 0 for a single path."""
    if len(paths) == 1:
        return 0
    return min(min(map(len, paths)) - 1, *(common_prefix(paths[0], path) for path in paths[1:]))


def _padded(values: torch.Tensor, paths: Sequence[torch.Tensor], capacity: int) -> torch.Tensor:
    """Values (G, T, E) at B lists of positions -> (B, G, capacity, E), padded with zeros."""
    padded = values.new_zeros(len(paths), values.shape[0], capacity, values.shape[2])
    for index, path in enumerate(paths):
        padded[index, :, : len(path)] = values[:, path]
    return padded
