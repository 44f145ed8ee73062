"""Attention over a token tree on CPUs, which saves nothing but the queries, keys and values.

Shapes: H query heads, G key-value heads, T tokens of the pass, E head size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from tltrain.engine.tree import TokenTree

BLOCK = 256
"""Queries whose attention weights are in memory at once. Keys after the last query of a block are not computed."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tokens `begin:end` of a pass that attend to each other and to the same earlier tokens: segments of a tree, each
    of which but the last has only the next as its child."""

    begin: int
    end: int
    depth: int
    """Number of tokens before it on its path, those of earlier passes included."""
    path: tuple[int, ...]
    """Indices of the stretches of this pass on the path to it, itself included."""


def stretches(tree: TokenTree, begin: int = 0, end: int | None = None) -> tuple[Stretch, ...]:
    """The stretches of segments `begin:end`, in flattened order."""
    segments = tree.segments[begin:end]
    first = segments[0].begin
    parents = [segment.ancestors[-1] if segment.ancestors else None for segment in segments]
    children = Counter(parents)
    found: list[Stretch] = []
    stretch_of: list[int] = []  # of each segment
    for index, (segment, parent) in enumerate(zip(segments, parents, strict=True)):
        if index and parent == begin + index - 1 and children[parent] == 1:
            found[-1] = replace(found[-1], end=segment.end - first)
        else:
            above = dict.fromkeys(stretch_of[other - begin] for other in segment.ancestors if other >= begin)
            depth = sum(tree.segments[other].end - tree.segments[other].begin for other in segment.ancestors)
            found.append(Stretch(segment.begin - first, segment.end - first, depth, (*above, len(found))))
        stretch_of.append(len(found) - 1)
    return tuple(found)


def attend_stretches(
    pass_stretches: Sequence[Stretch],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    past: Sequence[torch.Tensor] = (),
    *,
    scale: float,
    window: int | None = None,
) -> torch.Tensor:
    """Causal attention of a pass, each of whose stretches attends to its path.

    Args:
        pass_stretches: of the pass's tokens, depth first.
        query: (1, H, T, E).
        key: (1, G, T, E).
        value: (1, G, T, E).
        past: keys and values of earlier passes in turn, each (1, G, N, E), root first.
        scale: factor of the attention scores.
        window: if given, a token attends only to the last `window` tokens up to and including itself.

    Returns:
        (1, H, T, E).
    """
    attended: torch.Tensor = _RecomputedAttention.apply(  # type: ignore[no-untyped-call]
        pass_stretches, scale, window, query, key, value, *past
    )
    return attended


class _RecomputedAttention(torch.autograd.Function):
    """Attention of the stretches of a pass that saves only its inputs and recomputes the attention weights in the
    backward pass.

    On CPUs the backward pass of torch's fused kernel takes many times as long as its forward pass; plain matrix
    products, with the query heads of a group folded into rows, take a fifth of that. Queries are processed in blocks,
    each against the keys visible to it. The keys and values of the path from the root to a stretch are in a buffer that
    is filled as the tree is walked depth first, so that every token is copied once, however many descendants it has.
    """

    @staticmethod
    def forward(
        context: Any,
        pass_stretches: Sequence[Stretch],
        scale: float,
        window: int | None,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *past: torch.Tensor,
    ) -> torch.Tensor:
        """See `attend_stretches`."""
        context.save_for_backward(query, key, value, *past)
        context.stretches, context.scale, context.window = pass_stretches, scale, window
        keys, values = _path_buffer(pass_stretches, key, past[0::2]), _path_buffer(pass_stretches, value, past[1::2])
        attended = torch.empty_like(query)
        for stretch in pass_stretches:
            _write(stretch, keys, key)
            _write(stretch, values, value)
            for start, stop, visible in _blocks(stretch):
                folded = _fold(query[:, :, start:stop], key.shape[1]) * scale
                weights = _attention_weights(folded, keys[:, :visible], stop - start, window)
                attended[:, :, start:stop] = (weights @ values[:, :visible]).view(1, query.shape[1], stop - start, -1)
        return attended

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of query, key, value and past."""
        query, key, value, *past = context.saved_tensors
        keys = _path_buffer(context.stretches, key, past[0::2])
        values = _path_buffer(context.stretches, value, past[1::2])
        query_gradient, key_gradient, value_gradient = map(torch.empty_like, (query, key, value))
        key_sums, value_sums = torch.zeros_like(keys), torch.zeros_like(values)  # gradients along the path
        path: list[Stretch] = []
        for stretch in context.stretches:
            while path and path[-1].depth >= stretch.depth:  # its descendants are done
                _read(path[-1], key_sums, key_gradient)
                _read(path.pop(), value_sums, value_gradient)
            path.append(stretch)
            _write(stretch, keys, key)
            _write(stretch, values, value)
            for start, stop, visible in _blocks(stretch):
                folded = _fold(query[:, :, start:stop], key.shape[1]) * context.scale
                out = _fold(gradient[:, :, start:stop], key.shape[1])
                weights = _attention_weights(folded, keys[:, :visible], stop - start, context.window)
                value_sums[:, :visible] += weights.transpose(1, 2) @ out
                scores = out @ values[:, :visible].transpose(1, 2)
                scores = torch.ops.aten._softmax_backward_data(scores, weights, -1, weights.dtype)
                rows = (scores @ keys[:, :visible]).view(1, query.shape[1], stop - start, -1)
                query_gradient[:, :, start:stop] = rows * context.scale
                key_sums[:, :visible] += scores.transpose(1, 2) @ folded
        for stretch in path:
            _read(stretch, key_sums, key_gradient)
            _read(stretch, value_sums, value_gradient)
        return (
            None,
            None,
            None,
            query_gradient,
            key_gradient,
            value_gradient,
            *_past_gradients(past, key_sums, value_sums),
        )


def _path_buffer(pass_stretches: Sequence[Stretch], heads: torch.Tensor, past: Sequence[torch.Tensor]) -> torch.Tensor:
    """(G, longest path, E) buffer that begins with the keys or values (1, G, N, E) of earlier passes."""
    longest = max(stretch.depth + stretch.end - stretch.begin for stretch in pass_stretches)
    buffer = heads.new_empty(heads.shape[1], longest, heads.shape[3])
    filled = 0
    for part in past:
        buffer[:, filled : filled + part.shape[2]] = part[0]
        filled += part.shape[2]
    return buffer


def _write(stretch: Stretch, buffer: torch.Tensor, heads: torch.Tensor) -> None:
    """Write the keys or values (1, G, T, E) of a stretch to the buffer of its path."""
    length = stretch.end - stretch.begin
    buffer[:, stretch.depth : stretch.depth + length] = heads[0, :, stretch.begin : stretch.end]


def _read(stretch: Stretch, sums: torch.Tensor, gradient: torch.Tensor) -> None:
    """Move the gradient of a stretch from the sums along its path to (1, G, T, E)."""
    own = sums[:, stretch.depth : stretch.depth + stretch.end - stretch.begin]
    gradient[0, :, stretch.begin : stretch.end] = own
    own.zero_()


def _past_gradients(
    past: Sequence[torch.Tensor], key_sums: torch.Tensor, value_sums: torch.Tensor
) -> Iterator[torch.Tensor]:
    """Gradients of the keys and values of earlier passes, from the sums along the path."""
    filled = 0
    for key in past[0::2]:
        for sums in (key_sums, value_sums):
            yield sums[None, :, filled : filled + key.shape[2]].clone()
        filled += key.shape[2]


def _blocks(stretch: Stretch) -> Iterator[tuple[int, int, int]]:
    """First token, end and number of visible keys of each block of a stretch's queries."""
    for start in range(stretch.begin, stretch.end, BLOCK):
        stop = min(start + BLOCK, stretch.end)
        yield start, stop, stretch.depth + stop - stretch.begin


def _fold(heads: torch.Tensor, groups: int) -> torch.Tensor:
    """(1, H, L, E) -> (G, H/G * L, E): the query heads that share a key head become rows of one matrix."""
    return heads.reshape(groups, -1, heads.shape[-1])


def _attention_weights(folded: torch.Tensor, key: torch.Tensor, count: int, window: int | None) -> torch.Tensor:
    """(G, H/G * count, visible) attention weights of the last `count` of the tokens with keys (G, visible, E); 0 where
    a key is not visible."""
    scores = folded @ key.transpose(1, 2)
    visible = key.shape[1]
    if window is not None and visible <= window:
        window = None
    if count > 1 or window is not None:
        # Without a window, only keys of the block itself can be invisible to its queries.
        masked = count if window is None else visible
        hidden = hidden_keys(count, masked, window, key.device)
        scores.view(key.shape[0], -1, count, visible)[..., visible - masked :].masked_fill_(hidden, -torch.inf)
    return scores.softmax(-1)


def hidden_keys(count: int, known: int, window: int | None, device: torch.device) -> torch.Tensor:
    """(count, known) mask of the last `count` of `known` tokens, True where a key is not visible."""
    keys = torch.arange(known, device=device)[None, :]
    queries = torch.arange(known - count, known, device=device)[:, None]
    return keys > queries if window is None else (keys > queries) | (keys <= queries - window)
