"""A model's transformer layers: the units of sharding, of gradient checkpointing and of compilation; recomputed
activations in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts
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


@contextmanager
def compiled_layers(model: PreTrainedModel, backend: str = "inductor") -> Iterator[None]:
    """Inside the block, the norms and feed-forward networks of the layers are compiled, for passes of any length.

    Compilation merges their small kernels, which are limited by memory bandwidth. Attention is left out: its masks
    change with every pass, and its kernel is compiled already (`tltrain.engine.flex`).

    Args:
        model: its layers are changed until the end of the block.
        backend: of `torch.compile`.
    """
    parts = [child for layer in layers_of(model) for child in layer.children() if not _attends(child)]
    for part in parts:
        part.forward = torch.compile(part.forward, dynamic=True, backend=backend)
    try:
        yield
    finally:
        for part in parts:
            del part.forward


def _attends(module: torch.nn.Module) -> bool:
    """Whether a module calls the attention interface, which needs to know the index of its layer."""
    return any("layer_idx" in vars(part) for part in module.modules())


GATED = {"gate_proj", "up_proj", "down_proj"}
"""Submodules of a gated feed-forward network: `down_proj(activation(gate_proj(x)) * up_proj(x))`."""
PRODUCTS = {torch.ops.aten.mm.default, torch.ops.aten.addmm.default}


@contextmanager
def recomputed_activations(model: PreTrainedModel) -> Iterator[None]:
    """Inside the block, the norms and gated feed-forward networks of a model's layers recompute their activations in
    the backward pass.

    A norm saves its input, a network its input and the outputs of its two first matrix products; what is recomputed are
    cheap element-wise operations, and no matrix product. Other modules are unchanged.
    """
    wrapped: list[torch.nn.Module] = []
    for layer in (module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)):
        for module in layer.children():
            options: dict[str, Any] = {}
            if "forward" in vars(module):  # inside another such block, that of a pass over a prefix
                continue
            if {name for name, _ in module.named_children()} >= GATED:
                options["context_fn"] = partial(create_selective_checkpoint_contexts, _policy)
            elif not type(module).__name__.endswith("RMSNorm"):
                continue
            forward = partial(checkpoint, module.forward, use_reentrant=False, preserve_rng_state=False, **options)
            module.forward = forward
            wrapped.append(module)
    try:
        yield
    finally:
        for module in wrapped:
            del module.forward


def _policy(_: Any, operator: Any, *arguments: Any, **__: Any) -> CheckpointPolicy:
    """Save the outputs of matrix products, except of those to a smaller size: nothing that is recomputed needs the last
    product of a feed-forward network."""
    if operator in PRODUCTS:
        inputs, outputs = arguments[-1].shape
        if outputs >= inputs:
            return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE
