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
from torch.nn.functional import scaled_dot_product_attention
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
        self._masks: dict[tuple[int, int | None], torch.Tensor | None] = {}

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        """See `Layout`; B is 1."""
        if self.keep:
            self.kept[layer] = (key, value)
        groups = query.shape[1] // key.shape[1]
        queries = query.split(self.lengths, dim=2)
        keys = key.split(self.lengths, dim=2)
        values = value.split(self.lengths, dim=2)
        mixed = []
        for index, segment in enumerate(self.segments):
            seen = (*segment.ancestors, index)
            mask = self._mask(index, segment, window, query.device)
            mixed.append(
                scaled_dot_product_attention(
                    queries[index],
                    torch.cat([keys[other] for other in seen], dim=2) if segment.ancestors else keys[index],
                    torch.cat([values[other] for other in seen], dim=2) if segment.ancestors else values[index],
                    attn_mask=None if mask is None else mask.to(query.dtype),
                    is_causal=mask is None,
                    scale=scale,
                    enable_gqa=groups > 1,
                )
            )
        return torch.cat(mixed, dim=2)

    def _mask(self, index: int, segment: Segment, window: int | None, device: torch.device) -> torch.Tensor | None:
        """(own, ancestors + own) of 0 and -inf; None for a plain causal segment."""
        if window is not None and int(self.positions[segment.end - 1]) < window:
            window = None
        if not segment.ancestors and window is None:
            return None
        if (index, window) not in self._masks:
            seen = (*segment.ancestors, index)
            spans = [self.positions[self.segments[other].begin : self.segments[other].end] for other in seen]
            keys, queries = torch.cat(spans)[None, :], spans[-1][:, None]
            visible = keys <= queries if window is None else (keys <= queries) & (keys > queries - window)
            mask = torch.zeros(visible.shape).masked_fill(~visible, -torch.inf)
            self._masks[index, window] = mask.to(device)
        return self._masks[index, window]
