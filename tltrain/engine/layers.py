"""A model's transformer layers: the units of sharding and of gradient checkpointing."""

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
    """The transformer layers of a model: its `GradientCheckpointingLayer` modules.

    Raises:
        ModelError: there are none.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ModelError(f"{type(model).__name__} has no layers that can be sharded or recomputed")
    return layers


@contextmanager
def gradient_checkpointing(model: PreTrainedModel) -> Iterator[None]:
    """Inside the block, layers save only their inputs and recompute their activations in the backward pass.

    The model's own `gradient_checkpointing_enable` has an effect in training mode only, where dropout would be active.
    """
    layers = layers_of(model)
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
