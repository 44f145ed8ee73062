"""Attention over token trees, plugged into `transformers` models by their attention interface.

A model loaded normally is switched by `tree_attention(model, layout)`: inside the block every attention layer asks
`layout.attend`. Shapes: B sequences, H query heads, G key-value heads, T tokens of this pass, E head size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from tltrain.engine.tree import Segment, TokenTree
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
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, hidden: torch.Tensor, scale: float
) -> torch.Tensor:
    """Query (1, H, L, E), key and value (1, G, N, E) -> (1, H, L, E); `hidden` (L, K) covers the last K keys."""
    if query.device.type != "cpu":
        visible = pad(~hidden, (key.shape[2] - hidden.shape[1], 0), value=True)
        return scaled_dot_product_attention(
            query, key, value, attn_mask=visible, scale=scale, enable_gqa=query.shape[1] > key.shape[1]
        )
    mixed: torch.Tensor = _RecomputedAttention.apply(query, key, value, hidden, scale)  # type: ignore[no-untyped-call]
    return mixed


class _RecomputedAttention(torch.autograd.Function):
    """Attention that keeps only its inputs, and computes the chances again on the way back.

    On CPUs torch's fused kernel spends many times the forward pass on its backward; plain matrix products, with the
    query heads of a group folded into rows, take a fifth of that at the same memory.
    """

    @staticmethod
    def forward(
        context: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        hidden: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """See `attend`."""
        context.save_for_backward(query, key, value, hidden)
        context.scale = scale
        return (_chances(_fold(query, key.shape[1]) * scale, key[0], hidden) @ value[0]).view(query.shape)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of query, key and value."""
        query, key, value, hidden = context.saved_tensors
        folded, out = _fold(query, key.shape[1]) * context.scale, _fold(gradient, key.shape[1])
        chances = _chances(folded, key[0], hidden)
        value_gradient = chances.transpose(1, 2) @ out
        score_gradient = torch.ops.aten._softmax_backward_data(
            out @ value[0].transpose(1, 2), chances, -1, chances.dtype
        )
        query_gradient = (score_gradient @ key[0]).view(query.shape) * context.scale
        key_gradient = score_gradient.transpose(1, 2) @ folded
        return query_gradient, key_gradient[None], value_gradient[None], None, None


def _fold(heads: torch.Tensor, groups: int) -> torch.Tensor:
    """(1, H, L, E) -> (G, H/G * L, E): the query heads that share a key head, as rows of one matrix."""
    return heads.reshape(groups, -1, heads.shape[-1])


def _chances(folded: torch.Tensor, key: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """(G, H/G * L, N) attention weights, 0 where hidden; `hidden` (L, K) covers the last K of the N keys."""
    scores = folded @ key.transpose(1, 2)
    length, known = hidden.shape
    scores.view(key.shape[0], -1, length, key.shape[1])[..., -known:].masked_fill_(hidden, -torch.inf)
    return scores.softmax(-1)


class TreeLayout:
    """One pass over a whole tree (B = 1): a token sees its own segment up to itself, and all its ancestors.

    With `keep`, each layer's key and value (1, G, T, E) stay in `kept`, for generation to go on from.
    """

    def __init__(self, tree: TokenTree, keep: bool = False) -> None:
        self.segments = tree.segments
        self.lengths = [segment.end - segment.begin for segment in tree.segments]
        self.positions = tree.positions[0]
        self.keep = keep
        self.kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._masks: dict[tuple[int, int | None], torch.Tensor] = {}

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        """See `Layout`; B is 1."""
        if self.keep:
            self.kept[layer] = (key, value)
        queries = torch.split(query, self.lengths, dim=2)
        keys = torch.split(key, self.lengths, dim=2)
        values = torch.split(value, self.lengths, dim=2)
        mixed = []
        for index, segment in enumerate(self.segments):
            seen = (*segment.ancestors, index)
            path_keys = torch.cat([keys[other] for other in seen], dim=2) if segment.ancestors else keys[index]
            path_values = torch.cat([values[other] for other in seen], dim=2) if segment.ancestors else values[index]
            mask = self._mask(index, segment, window, query.device)
            mixed.append(attend(queries[index], path_keys, path_values, mask, scale))
        return torch.cat(mixed, dim=2)

    def _mask(self, index: int, segment: Segment, window: int | None, device: torch.device) -> torch.Tensor:
        """(own, own), or with a window (own, ancestors + own): True where a token is not visible."""
        if window is not None and int(self.positions[segment.end - 1]) < window:
            window = None
        if (index, window) not in self._masks:
            seen = (index,) if window is None else (*segment.ancestors, index)
            spans = [self.positions[self.segments[other].begin : self.segments[other].end] for other in seen]
            keys, queries = torch.cat(spans)[None, :], spans[-1][:, None]
            hidden = keys > queries if window is None else (keys > queries) | (keys <= queries - window)
            self._masks[index, window] = hidden.to(device)
        return self._masks[index, window]
