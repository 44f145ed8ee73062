"""Attention over token trees, registered with the attention interface of `transformers`.

`tree_attention(model, layout)` switches a model that was loaded as usual: inside the block every attention layer calls
`layout.attend`. Shapes: B sequences, H query heads, G key-value heads, T tokens of the pass, E head size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from tltrain.engine.tree import TokenTree
from tltrain.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "tltrain_tree"
UNSUPPORTED = ("softcap", "s_aux")
"""Arguments with which some models change the attention formula: rejected, since ignoring them would be wrong."""


class Layout(Protocol):
    """Which tokens of a pass attend to which others."""

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
        """Attention output of one layer.

        Args:
            layer: index of the layer.
            query: (B, H, T, E).
            key: (B, G, T, E).
            value: (B, G, T, E).
            scale: factor of the attention scores.
            window: size of the layer's sliding window, in tokens; None for full attention.

        Returns:
            (B, H, T, E).
        """
        ...


_current: list[Layout] = []


@contextmanager
def tree_attention(model: PreTrainedModel, layout: Layout) -> Iterator[None]:
    """Inside the block, the model's attention layers use `layout`.

    Raises:
        ModelError: the model's attention cannot be replaced (it is recurrent, or implements its own).
    """
    previous = model.config._attn_implementation
    if previous != NAME:
        _switch(model, NAME)
    _current.append(layout)
    try:
        yield
    finally:
        _current.pop()
        if previous != NAME:
            _switch(model, previous)


def _switch(model: PreTrainedModel, name: str) -> None:
    try:
        model.set_attn_implementation(name)
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{type(model).__name__} cannot be used with token trees: {error}") from error


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    for name in UNSUPPORTED:
        if options.get(name) is not None:
            raise ModelError(f"{type(module).__name__} cannot be used with token trees: its attention has '{name}'")
    scale = 1 / math.sqrt(query.shape[-1]) if scaling is None else scaling
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    attended = _current[-1].attend(layer, query, key, value, scale=scale, window=sliding_window)
    return attended.transpose(1, 2).contiguous(), None


# There is no mask of this name, so `transformers` builds none, and does not look for packed sequences in the positions,
# for which the host would wait for a GPU: the layout determines which tokens are visible.
AttentionInterface.register(NAME, _attention)


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None = None
) -> torch.Tensor:
    """Causal attention of the last L of N consecutive tokens.

    Args:
        query: (1, H, L, E).
        key: (1, G, N, E).
        value: (1, G, N, E).
        scale: factor of the attention scores.
        window: if given, a token attends only to the last `window` tokens up to and including itself.

    Returns:
        (1, H, L, E).
    """
    if window is not None and key.shape[2] <= window:
        window = None
    if query.device.type != "cpu":
        return fused_attention(query, key, value, scale, window)
    attended: torch.Tensor = _RecomputedAttention.apply(query, key, value, scale, window)  # type: ignore[no-untyped-call]
    return attended


def fused_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None
) -> torch.Tensor:
    """`attend` with torch's fused kernels, which need an (L, N) mask in memory only on CPUs or if there is a window."""
    mask: torch.Tensor = causal_lower_right(query.shape[2], key.shape[2])
    if window is not None:
        mask = ~_hidden(0, query.shape[2], key.shape[2], length=query.shape[2], window=window, device=query.device)
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=scale, enable_gqa=query.shape[1] > key.shape[1]
    )


BLOCK = 256
"""Queries whose attention weights are in memory at once. Keys after the last query of a block are not computed."""


def _hidden(
    start: int, stop: int, known: int, *, length: int, window: int | None, device: torch.device
) -> torch.Tensor:
    """Mask of queries `start:stop`: (stop - start, known - length + stop), True where a key is not visible.

    There are `length` queries, which are the last of `known` tokens."""
    before = known - length
    keys = torch.arange(before + stop, device=device)[None, :]
    queries = torch.arange(before + start, before + stop, device=device)[:, None]
    return keys > queries if window is None else (keys > queries) | (keys <= queries - window)


class _RecomputedAttention(torch.autograd.Function):
    """Attention that saves only its inputs and recomputes the attention weights in the backward pass.

    On CPUs the backward pass of torch's fused kernel takes many times as long as its forward pass; plain matrix
    products, with the query heads of a group folded into rows, take a fifth of that. Queries are processed in blocks,
    each against the keys visible to it.
    """

    @staticmethod
    def forward(
        context: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        """See `attend`."""
        context.save_for_backward(query, key, value)
        context.scale, context.window = scale, window
        attended = torch.empty_like(query)
        for start, stop, visible in _blocks(query.shape[2], key.shape[2]):
            folded = _fold(query[:, :, start:stop], key.shape[1]) * scale
            weights = _attention_weights(
                folded, key[0, :, :visible], start, stop, length=query.shape[2], known=key.shape[2], window=window
            )
            attended[:, :, start:stop] = (weights @ value[0, :, :visible]).view(1, query.shape[1], stop - start, -1)
        return attended

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of query, key and value."""
        query, key, value = context.saved_tensors
        query_gradient, key_gradient, value_gradient = torch.empty_like(query), *map(torch.zeros_like, (key, value))
        for start, stop, visible in _blocks(query.shape[2], key.shape[2]):
            folded = _fold(query[:, :, start:stop], key.shape[1]) * context.scale
            out = _fold(gradient[:, :, start:stop], key.shape[1])
            keys, values = key[0, :, :visible], value[0, :, :visible]
            weights = _attention_weights(
                folded, keys, start, stop, length=query.shape[2], known=key.shape[2], window=context.window
            )
            value_gradient[0, :, :visible] += weights.transpose(1, 2) @ out
            scores = torch.ops.aten._softmax_backward_data(out @ values.transpose(1, 2), weights, -1, weights.dtype)
            rows = (scores @ keys).view(1, query.shape[1], stop - start, -1)
            query_gradient[:, :, start:stop] = rows * context.scale
            key_gradient[0, :, :visible] += scores.transpose(1, 2) @ folded
        return query_gradient, key_gradient, value_gradient, None, None


def _blocks(length: int, known: int) -> Iterator[tuple[int, int, int]]:
    """Start and end of each block of `length` queries, the last of `known` tokens, and its number of visible keys."""
    for start in range(0, length, BLOCK):
        stop = min(start + BLOCK, length)
        yield start, stop, known - length + stop


def _fold(heads: torch.Tensor, groups: int) -> torch.Tensor:
    """(1, H, L, E) -> (G, H/G * L, E): the query heads that share a key head become rows of one matrix."""
    return heads.reshape(groups, -1, heads.shape[-1])


def _attention_weights(
    folded: torch.Tensor, key: torch.Tensor, start: int, stop: int, *, length: int, known: int, window: int | None
) -> torch.Tensor:
    """(G, H/G * (stop - start), visible) attention weights of a block, 0 where a key is not visible."""
    scores = folded @ key.transpose(1, 2)
    if stop - start > 1 or window is not None:
        hidden = _hidden(start, stop, known, length=length, window=window, device=key.device)
        if window is None:  # only keys of the block itself can be invisible to its queries
            hidden = hidden[:, start - stop :]
        rows = scores.view(key.shape[0], -1, stop - start, key.shape[1])
        rows[..., -hidden.shape[1] :].masked_fill_(hidden, -torch.inf)
    return scores.softmax(-1)


KeyValues = dict[int, tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of some tokens, each (1, G, T, E), by layer."""


class TreeLayout:
    """A pass over segments `begin:end` of a tree (B = 1).

    A token attends to the tokens of its own segment up to itself, and to all tokens of the segment's ancestors.

    Args:
        tree: the whole tree.
        begin: first segment of the pass.
        end: the segment after the last; None for all that follow.
        past: keys and values of the segments on the path from the root to these, from earlier passes.
        cache: whether to store the keys and values of each layer in `cached`, for later passes and for generation.

    Attributes:
        cached: keys and values of the pass's tokens, filled during the pass if `cache` is set.
    """

    def __init__(
        self,
        tree: TokenTree,
        begin: int = 0,
        end: int | None = None,
        past: Sequence[KeyValues] = (),
        cache: bool = False,
    ) -> None:
        segments = tree.segments[begin:end]
        self._inputs = tree.inputs(begin, end)
        self.lengths = [segment.end - segment.begin for segment in segments]
        self.visible = [
            (*(other - begin for other in segment.ancestors if other >= begin), index)
            for index, segment in enumerate(segments)
        ]
        self.past = past
        self.cache = cache
        self.cached: KeyValues = {}

    def inputs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and positions of the pass, both (1, T)."""
        return self._inputs

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
        """See `Layout`; B is 1."""
        if self.cache:
            self.cached[layer] = (key, value)
        queries, keys, values = (torch.split(heads, self.lengths, dim=2) for heads in (query, key, value))
        before = [past[layer] for past in self.past]
        attended = []
        for visible, own_query in zip(self.visible, queries, strict=True):
            path_keys = [*(pair[0] for pair in before), *(keys[index] for index in visible)]
            path_values = [*(pair[1] for pair in before), *(values[index] for index in visible)]
            attended.append(attend(own_query, _joined(path_keys), _joined(path_values), scale, window))
        return _joined(attended)


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=2)
