"""Attention over token trees, plugged into `transformers` models by their attention interface.

A model loaded normally is switched by `tree_attention(model, layout)`: inside the block every attention layer asks
`layout.attend`. Shapes: B sequences, H query heads, G key-value heads, T tokens of this pass, E head size.
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
from transformers.masking_utils import AttentionMaskInterface

from tltrain.engine.tree import TokenTree
from tltrain.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "tltrain_tree"
UNSUPPORTED = ("softcap", "s_aux")
"""Arguments by which some models change the attention formula; we refuse rather than ignore them."""


class Layout(Protocol):
    """How the tokens of one pass see each other."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        """Query (B, H, T, E), key and value (B, G, T, E) -> (B, H, T, E)."""
        ...


_current: list[Layout] = []


@contextmanager
def tree_attention(model: PreTrainedModel, layout: Layout) -> Iterator[None]:
    """Inside the block, the model's attention follows `layout`.

    Raises:
        ModelError: the model cannot change its attention (it is recurrent, or has code of its own).
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
    mixed = _current[-1].attend(layer, query, key, value, scale, sliding_window)
    return mixed.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, _attention)
# No mask is built outside: the layout knows who sees whom.
AttentionMaskInterface.register(NAME, lambda *_, **__: None)


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None = None
) -> torch.Tensor:
    """Query (1, H, L, E), key and value (1, G, N, E) -> (1, H, L, E): the L queries are the last of N tokens in a row;
    each sees itself and what is before it, the last `window` of these where one is given."""
    if window is not None and key.shape[2] <= window:
        window = None
    if query.device.type != "cpu":
        return fused_attention(query, key, value, scale, window)
    mixed: torch.Tensor = _RecomputedAttention.apply(query, key, value, scale, window)  # type: ignore[no-untyped-call]
    return mixed


def fused_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None
) -> torch.Tensor:
    """As `attend`, by torch's fused kernels: without a window no mask of L x N is built on devices that have them."""
    mask: torch.Tensor = causal_lower_right(query.shape[2], key.shape[2])
    if window is not None:
        mask = ~_hidden(0, query.shape[2], query.shape[2], key.shape[2], window, query.device)
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=scale, enable_gqa=query.shape[1] > key.shape[1]
    )


BLOCK = 256
"""Queries whose attention weights are in memory at once: tokens after them cost nothing."""


def _hidden(start: int, stop: int, length: int, known: int, window: int | None, device: torch.device) -> torch.Tensor:
    """(stop - start, keys before `stop`) True where queries `start:stop` of `length`, the last of `known` tokens, do
    not see a key."""
    before = known - length
    keys = torch.arange(before + stop, device=device)[None, :]
    queries = torch.arange(before + start, before + stop, device=device)[:, None]
    return keys > queries if window is None else (keys > queries) | (keys <= queries - window)


class _RecomputedAttention(torch.autograd.Function):
    """Attention that keeps only its inputs, and recomputes the attention weights in the backward pass.

    On CPUs torch's fused kernel spends many times the forward pass on its backward; plain matrix products, with the
    query heads of a group folded into rows, take a fifth of that. Queries go by blocks, each against the keys it sees.
    """

    @staticmethod
    def forward(
        context: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        """See `attend`."""
        context.save_for_backward(query, key, value)
        context.scale, context.window = scale, window
        mixed = torch.empty_like(query)
        for start, stop, seen in _blocks(query.shape[2], key.shape[2]):
            folded = _fold(query[:, :, start:stop], key.shape[1]) * scale
            weights = _attention_weights(folded, key[0, :, :seen], start, stop, query.shape[2], key.shape[2], window)
            mixed[:, :, start:stop] = (weights @ value[0, :, :seen]).view(1, query.shape[1], stop - start, -1)
        return mixed

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of query, key and value."""
        query, key, value = context.saved_tensors
        query_gradient, key_gradient, value_gradient = torch.empty_like(query), *map(torch.zeros_like, (key, value))
        for start, stop, seen in _blocks(query.shape[2], key.shape[2]):
            folded = _fold(query[:, :, start:stop], key.shape[1]) * context.scale
            out = _fold(gradient[:, :, start:stop], key.shape[1])
            keys, values = key[0, :, :seen], value[0, :, :seen]
            weights = _attention_weights(folded, keys, start, stop, query.shape[2], key.shape[2], context.window)
            value_gradient[0, :, :seen] += weights.transpose(1, 2) @ out
            scores = torch.ops.aten._softmax_backward_data(out @ values.transpose(1, 2), weights, -1, weights.dtype)
            rows = (scores @ keys).view(1, query.shape[1], stop - start, -1)
            query_gradient[:, :, start:stop] = rows * context.scale
            key_gradient[0, :, :seen] += scores.transpose(1, 2) @ folded
        return query_gradient, key_gradient, value_gradient, None, None


def _blocks(length: int, known: int) -> Iterator[tuple[int, int, int]]:
    """Of `length` queries, the last of `known` tokens: begin and end of each block, and how many keys it sees."""
    for start in range(0, length, BLOCK):
        stop = min(start + BLOCK, length)
        yield start, stop, known - length + stop


def _fold(heads: torch.Tensor, groups: int) -> torch.Tensor:
    """(1, H, L, E) -> (G, H/G * L, E): the query heads that share a key head, as rows of one matrix."""
    return heads.reshape(groups, -1, heads.shape[-1])


def _attention_weights(
    folded: torch.Tensor, key: torch.Tensor, start: int, stop: int, length: int, known: int, window: int | None
) -> torch.Tensor:
    """(G, H/G * (stop - start), seen) attention weights of a block, 0 where hidden."""
    scores = folded @ key.transpose(1, 2)
    if stop - start > 1 or window is not None:
        hidden = _hidden(start, stop, length, known, window, key.device)
        if window is None:  # only the block's own tokens can be hidden from it
            hidden = hidden[:, start - stop :]
        rows = scores.view(key.shape[0], -1, stop - start, key.shape[1])
        rows[..., -hidden.shape[1] :].masked_fill_(hidden, -torch.inf)
    return scores.softmax(-1)


Past = dict[int, tuple[torch.Tensor, torch.Tensor]]
"""Keys and values (1, G, T, E) of some tokens, by layer."""


class TreeLayout:
    """One pass over some segments of a tree (B = 1): a token sees its own segment up to itself, and all its ancestors.

    Args:
        tree: the whole tree.
        begin: first segment of the pass.
        end: the segment after the last.
        past: keys and values of the path that leads to the segments from the root, from earlier passes.
        keep: leave each layer's key and value in `kept`, for later passes and for generation to go on from.
    """

    def __init__(
        self, tree: TokenTree, begin: int = 0, end: int | None = None, past: Sequence[Past] = (), keep: bool = False
    ) -> None:
        segments = tree.segments[begin:end]
        self.lengths = [segment.end - segment.begin for segment in segments]
        self.seen = [
            (*(other - begin for other in segment.ancestors if other >= begin), index)
            for index, segment in enumerate(segments)
        ]
        self.past, self.keep = past, keep
        self.kept: Past = {}

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        """See `Layout`; B is 1."""
        if self.keep:
            self.kept[layer] = (key, value)
        queries, keys, values = (torch.split(heads, self.lengths, dim=2) for heads in (query, key, value))
        before = [past[layer] for past in self.past]
        mixed = []
        for seen, own in zip(self.seen, queries, strict=True):
            path_keys = [*(pair[0] for pair in before), *(keys[index] for index in seen)]
            path_values = [*(pair[1] for pair in before), *(values[index] for index in seen)]
            mixed.append(attend(own, _joined(path_keys), _joined(path_values), scale, window))
        return _joined(mixed)


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=2)
