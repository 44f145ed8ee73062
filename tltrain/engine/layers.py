"""A model's transformer layers: the units of sharding, of gradient checkpointing and of compilation; faster and smaller
modules in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from peft.tuners.lora import LoraLayer
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from tltrain.engine.linear import gated_network, linear, weights_of
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


GATED = ("gate_proj", "up_proj", "down_proj")
"""Submodules of a gated feed-forward network: `down_proj(activation(gate_proj(x)) * up_proj(x))`."""
_KNOWN_GATED: WeakKeyDictionary[torch.nn.Module, bool] = WeakKeyDictionary()
"""Results of `_is_gated`, by module."""


@contextmanager
def fused_layers(model: PreTrainedModel) -> Iterator[None]:
    """Inside the block, linear layers with adapters and gated feed-forward networks are single autograd functions
    (`tltrain.engine.linear`), and norms recompute their activations in the backward pass.

    A norm saves its input, a network its input and the outputs of its two first matrix products; what is recomputed are
    cheap element-wise operations, and no matrix product. Other modules are unchanged.
    """
    wrapped: list[torch.nn.Module] = []

    def wrap(module: torch.nn.Module, forward: Callable[..., torch.Tensor]) -> None:
        module.forward = forward
        wrapped.append(module)

    for layer in (module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)):
        for module in layer.modules():
            if "forward" in vars(module):  # inside another such block, that of a pass over a prefix
                continue
            if (network := _gated(module)) is not None:
                wrap(module, network)
            elif isinstance(module, LoraLayer) and (weights := weights_of(module)) is not None:
                wrap(module, partial(linear, weights=weights))
            elif module in layer.children() and type(module).__name__.endswith("RMSNorm"):
                wrap(module, partial(checkpoint, module.forward, use_reentrant=False, preserve_rng_state=False))
    try:
        yield
    finally:
        for module in wrapped:
            del module.forward


def _gated(module: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """The same network as a single function, if the module is a gated network of linear layers."""
    parts = [weights_of(getattr(module, name)) for name in GATED if hasattr(module, name)]
    activation = getattr(module, "act_fn", None)
    if len(parts) < len(GATED) or None in parts or activation is None:
        return None
    gate, up, down = (part for part in parts if part is not None)
    network = partial(gated_network, activation=activation, gate=gate, up=up, down=down)
    return network if _is_gated(module, network) else None


@torch.no_grad()
def _is_gated(module: torch.nn.Module, network: Callable[[torch.Tensor], torch.Tensor]) -> bool:
    """Whether the module computes what the function does, tried on two tokens: some models clip or scale on the way."""
    if module not in _KNOWN_GATED:
        weight = next(module.parameters())
        inputs = torch.linspace(-2, 2, 2 * weight.shape[1], dtype=weight.dtype, device=weight.device).view(1, 2, -1)
        expected, found = module(inputs).float(), network(inputs).float()
        tolerance = 1e-4 if weight.dtype == torch.float32 else 3e-2
        _KNOWN_GATED[module] = torch.allclose(found, expected, rtol=tolerance, atol=tolerance * expected.abs().max())
    return _KNOWN_GATED[module]
