"""Attention over a token tree on CPUs as one function, which saves no attention weights and no copies of prefixes.

Shapes: H query heads, G key-value heads, T tokens of the pass, E head size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from tltrain.engine.cpu_kernels import kernel_for
from tltrain.engine.tree import TokenTree


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
    """Attention of the stretches of a pass that saves no attention weights, and no copies of keys or values.

    The keys and values of the path from the root to a stretch are in a buffer that is filled as the tree is walked
    depth first, so that every token is copied once, however many descendants it has. Gradients are summed in such a
    buffer too.
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
        kernel = kernel_for(query.dtype)
        repeats = 1 if kernel.folds else query.shape[1] // key.shape[1]
        keys = _Path(pass_stretches, key, past[0::2], repeats)
        values = _Path(pass_stretches, value, past[1::2], repeats)
        attended, logsumexps = torch.empty_like(query), []
        for stretch in pass_stretches:
            own = slice(stretch.begin, stretch.end)
            found = kernel.forward(query[:, :, own], keys.enter(stretch), values.enter(stretch), scale, window)
            attended[:, :, own] = found[0]
            logsumexps.append(found[1])
        context.save_for_backward(query, key, value, attended, torch.cat(logsumexps, dim=2), *past)
        context.stretches, context.scale, context.window = pass_stretches, scale, window
        return attended

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of query, key, value and past."""
        query, key, value, attended, logsumexp, *past = context.saved_tensors
        kernel = kernel_for(query.dtype)
        repeats = 1 if kernel.folds else query.shape[1] // key.shape[1]
        keys = _Path(context.stretches, key, past[0::2], repeats)
        values = _Path(context.stretches, value, past[1::2], repeats)
        key_sums, value_sums = keys.start_sums(), values.start_sums()
        query_gradient = torch.empty_like(query)
        for stretch in context.stretches:
            own = slice(stretch.begin, stretch.end)
            path_keys, path_values = keys.enter(stretch), values.enter(stretch)
            query_gradient[:, :, own] = kernel.backward(
                gradient[:, :, own],
                (query[:, :, own], attended[:, :, own], logsumexp[:, :, own]),
                path_keys,
                path_values,
                (key_sums[:, : path_keys.shape[1]], value_sums[:, : path_values.shape[1]]),
                scale=context.scale,
                window=context.window,
            )
        past_gradients = zip(keys.finish(), values.finish(), strict=True)
        both = [heads for pair in past_gradients for heads in pair]
        return None, None, None, query_gradient, keys.gradient, values.gradient, *both


class _Path:
    """Keys or values on the path from the root to a stretch, and their gradients.

    Args:
        pass_stretches: of the pass.
        heads: (1, G, T, E) keys or values of the pass.
        past: those of earlier passes, each (1, G, N, E), root first.
        repeats: how often each head is in the buffer: once, or for each of the query heads that share it.

    Attributes:
        gradient: (1, G, T, E) of `heads`, if there are sums; complete after `finish`.
    """

    def __init__(
        self,
        pass_stretches: Sequence[Stretch],
        heads: torch.Tensor,
        past: Sequence[torch.Tensor],
        repeats: int,
    ) -> None:
        longest = max(stretch.depth + stretch.end - stretch.begin for stretch in pass_stretches)
        # The heads of a group follow each other: (G, repeats, ...) and (G * repeats, ...) are the same memory.
        self._buffer = heads.new_empty(heads.shape[1], repeats, longest, heads.shape[3])
        self._heads, self._open = heads, list[Stretch]()
        self._past = [part.shape[2] for part in past]
        filled = 0
        for part in past:
            self._buffer[:, :, filled : filled + part.shape[2]] = part[0, :, None]
            filled += part.shape[2]
        self.gradient: torch.Tensor | None = None

    def start_sums(self) -> torch.Tensor:
        """(G * repeats, longest path, E) gradients along the path, to which those of each stretch are added."""
        self._sums, self.gradient = torch.zeros_like(self._buffer), torch.empty_like(self._heads)
        return self._sums.flatten(0, 1)

    def enter(self, stretch: Stretch) -> torch.Tensor:
        """(G * repeats, N, E) keys or values of the N tokens on the path to the end of the stretch, which comes next in
        the walk."""
        while self._open and self._open[-1].depth >= stretch.depth:
            self._leave()
        self._open.append(stretch)
        end = stretch.depth + stretch.end - stretch.begin
        self._buffer[:, :, stretch.depth : end] = self._heads[0, :, None, stretch.begin : stretch.end]
        return self._buffer.flatten(0, 1)[:, :end]

    def _leave(self) -> None:
        """Move the gradient of the last open stretch, whose descendants are done, out of the sums."""
        stretch = self._open.pop()
        if self.gradient is None:
            return
        own = self._sums[:, :, stretch.depth : stretch.depth + stretch.end - stretch.begin]
        self.gradient[0, :, stretch.begin : stretch.end] = own.sum(1)
        own.zero_()

    def finish(self) -> Iterator[torch.Tensor]:
        """End the walk; the gradients of the earlier passes' keys or values, each (1, G, N, E)."""
        while self._open:
            self._leave()
        start = 0
        for length in self._past:
            yield self._sums[:, :, start : start + length].sum(1)[None]
            start += length
