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

from tltrain.engine.cpu_kernels import hidden_keys
from tltrain.engine.stretches import attend_stretches, stretches
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


def fused_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None
) -> torch.Tensor:
    """Causal attention of the last L of N consecutive tokens with torch's fused kernels, which need an (L, N) mask in
    memory only on CPUs or if there is a window.

    Args:
        query: (1, H, L, E).
        key: (1, G, N, E).
        value: (1, G, N, E).
        scale: factor of the attention scores.
        window: if given, a token attends only to the last `window` tokens up to and including itself.

    Returns:
        (1, H, L, E).
    """
    mask: torch.Tensor = causal_lower_right(query.shape[2], key.shape[2])
    if window is not None and key.shape[2] > window:
        mask = ~hidden_keys(query.shape[2], key.shape[2], window, query.device)
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=scale, enable_gqa=query.shape[1] > key.shape[1]
    )


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
        stretches: of the pass's tokens.
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
        self._inputs = tree.inputs(begin, end)
        self.stretches = stretches(tree, begin, end)
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
        past = [heads for earlier in self.past for heads in earlier[layer]]
        if query.device.type == "cpu":
            return attend_stretches(self.stretches, query, key, value, past, scale=scale, window=window)
        lengths = [stretch.end - stretch.begin for stretch in self.stretches]
        queries, keys, values = (torch.split(heads, lengths, dim=2) for heads in (query, key, value))
        parts = []
        for stretch, own_query in zip(self.stretches, queries, strict=True):
            path_keys = [*past[0::2], *(keys[index] for index in stretch.path)]
            path_values = [*past[1::2], *(values[index] for index in stretch.path)]
            parts.append(fused_attention(own_query, _joined(path_keys), _joined(path_values), scale, window))
        return _joined(parts)


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=2)
