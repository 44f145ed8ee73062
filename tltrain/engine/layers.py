"""A model's transformer layers: the units that are sharded, and recomputed on the way back (gradient checkpointing)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from tltrain.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def layers_of(model: PreTrainedModel) -> list[torch.nn.Module]:
    """The layers that `transformers` marks as such.

    Raises:
        ModelError: it marks none.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ModelError(f"{type(model).__name__} has no layers that can be sharded or recomputed")
    return layers


@contextmanager
def recomputed(model: PreTrainedModel) -> Iterator[None]:
    """Inside the block, layers keep their inputs alone and compute the rest again on the way back.

    Not by the model's own switch, which works in training mode only, where dropout would be on.
    """
    layers = layers_of(model)
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
