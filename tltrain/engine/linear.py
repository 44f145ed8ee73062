"""Linear layers with adapters, and gated feed-forward networks, as single autograd functions.

`peft` adds an adapter's part of an output as further operations, each of which writes a tensor of the output's size.
Here it is added by the matrix product itself, and the gradient of the input likewise. A gated network saves its input
and the outputs of its two first products, and no activation.

Shapes: T tokens, K input size, N output size, R rank of the adapter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora import Linear as LoraLinear

Activation = Callable[[torch.Tensor], torch.Tensor]


class Weights(NamedTuple):
    """A linear layer: `x @ (weight + scale * up @ down).T + bias`, where bias and adapter may be None."""

    weight: torch.Tensor
    """(N, K)."""
    bias: torch.Tensor | None = None
    """(N,)."""
    down: torch.Tensor | None = None
    """(R, K), which `peft` calls `lora_A`."""
    up: torch.Tensor | None = None
    """(N, R), which `peft` calls `lora_B`."""
    scale: float = 1.0


def weights_of(module: torch.nn.Module) -> Weights | None:
    """The weights of a linear layer with the adapter that is active at the moment, if any; None for other modules and
    for variants of adapters that compute something else."""
    if type(module) is torch.nn.Linear:
        return Weights(module.weight, module.bias)
    if type(module) is not LoraLinear or type(module.base_layer) is not torch.nn.Linear or module.fan_in_fan_out:
        return None
    base = module.base_layer
    names = [name for name in module.active_adapters if name in module.lora_A]
    if module.disable_adapters or module.merged or not names:
        return Weights(base.weight, base.bias)
    (name,), others = names[:1], names[1:]
    down, up = module.lora_A[name], module.lora_B[name]
    plain = type(module.lora_dropout[name]) is torch.nn.Identity and up.bias is None
    if others or not plain or name in module.lora_variant or down.weight.dtype != base.weight.dtype:
        return None
    return Weights(base.weight, base.bias, down.weight, up.weight, module.scaling[name])


def is_adapted(module: torch.nn.Module) -> bool:
    """Whether a module is a linear layer with adapters."""
    return isinstance(module, LoraLayer)


def linear(inputs: torch.Tensor, weights: Weights) -> torch.Tensor:
    """The output (..., N) of a linear layer for inputs (..., K)."""
    output: torch.Tensor = _Linear.apply(inputs, weights.scale, *weights[:4])  # type: ignore[no-untyped-call]
    return output


def gated_network(
    inputs: torch.Tensor, activation: Activation, gate: Weights, up: Weights, down: Weights
) -> torch.Tensor:
    """`down(activation(gate(x)) * up(x))` for inputs (..., K)."""
    scales, parts = (gate.scale, up.scale, down.scale), (*gate[:4], *up[:4], *down[:4])
    output: torch.Tensor = _Gated.apply(inputs, activation, scales, *parts)  # type: ignore[no-untyped-call]
    return output


def _product(rows: torch.Tensor, weights: Weights) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Output (T, N) for rows (T, K), and the adapter's hidden states (T, R)."""
    weight = weights.weight.t()
    output = rows @ weight if weights.bias is None else torch.addmm(weights.bias, rows, weight)
    if weights.down is None or weights.up is None:
        return output, None
    hidden = rows @ weights.down.t()
    return output.addmm_(hidden, weights.up.t(), alpha=weights.scale), hidden


def _gradients(
    gradient: torch.Tensor,
    rows: torch.Tensor,
    hidden: torch.Tensor | None,
    weights: Weights,
    needed: tuple[bool, ...],
    into: torch.Tensor | None = None,
) -> tuple[torch.Tensor | None, ...]:
    """Gradients of rows, weight, bias, down and up; None where they are not needed.

    Args:
        gradient: (T, N) of the output.
        rows: (T, K) the input.
        hidden: result of `_product`.
        weights: of the layer.
        needed: which of the five gradients are needed.
        into: (T, K); if given, the gradient of the rows is added to it.
    """
    found: list[torch.Tensor | None] = [None] * 5
    inner = None
    if hidden is not None and weights.up is not None and (needed[0] or needed[3]):
        inner = (gradient @ weights.up) * weights.scale
    if needed[0]:
        found[0] = gradient @ weights.weight if into is None else into.addmm_(gradient, weights.weight)
        if inner is not None and weights.down is not None:
            found[0].addmm_(inner, weights.down)
    if needed[1]:
        found[1] = gradient.t() @ rows
    if needed[2]:
        found[2] = gradient.sum(0)
    if needed[3] and inner is not None:
        found[3] = inner.t() @ rows
    if needed[4] and hidden is not None:
        found[4] = (gradient.t() @ hidden) * weights.scale
    return tuple(found)


class _Linear(torch.autograd.Function):
    """See `linear`."""

    @staticmethod
    def forward(context: Any, inputs: torch.Tensor, scale: float, *parts: torch.Tensor | None) -> torch.Tensor:
        """Saves the input and the adapter's hidden states."""
        weights, rows = Weights(*parts, scale), inputs.flatten(0, -2)
        output, hidden = _product(rows, weights)
        context.save_for_backward(rows, hidden, *parts)
        context.scale, context.shape = scale, inputs.shape
        return output.view(*inputs.shape[:-1], -1)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of the input and of the parts."""
        rows, hidden, *parts = context.saved_tensors
        needed = (context.needs_input_grad[0], *context.needs_input_grad[2:])
        own, *others = _gradients(gradient.flatten(0, -2), rows, hidden, Weights(*parts, context.scale), needed)
        return None if own is None else own.view(context.shape), None, *others


class _Gated(torch.autograd.Function):
    """See `gated_network`."""

    @staticmethod
    def forward(
        context: Any,
        inputs: torch.Tensor,
        activation: Activation,
        scales: tuple[float, float, float],
        *parts: torch.Tensor | None,
    ) -> torch.Tensor:
        """Saves the input, the outputs of the two first products, and the adapters' hidden states."""
        rows = inputs.flatten(0, -2)
        gate, up, down = _three(parts, scales)
        gated, gate_hidden = _product(rows, gate)
        upper, up_hidden = _product(rows, up)
        output, down_hidden = _product(activation(gated) * upper, down)
        context.save_for_backward(rows, gated, upper, gate_hidden, up_hidden, down_hidden, *parts)
        context.activation, context.scales, context.shape = activation, scales, inputs.shape
        return output.view(*inputs.shape[:-1], -1)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of the input and of the parts."""
        rows, gated, upper, gate_hidden, up_hidden, down_hidden, *parts = context.saved_tensors
        gate, up, down = _three(parts, context.scales)
        needs = context.needs_input_grad
        with torch.enable_grad():
            leaf = gated.detach().requires_grad_()
            activated = context.activation(leaf)
        product = activated.detach() * upper
        inner, *of_down = _gradients(gradient.flatten(0, -2), product, down_hidden, down, (True, *needs[11:15]))
        assert inner is not None, "needed"
        (of_gated,) = torch.autograd.grad(activated, leaf, inner * upper)
        of_upper = inner.mul_(activated.detach())
        own, *of_gate = _gradients(of_gated, rows, gate_hidden, gate, (needs[0], *needs[3:7]))
        own, *of_up = _gradients(of_upper, rows, up_hidden, up, (needs[0], *needs[7:11]), own)
        return None if own is None else own.view(context.shape), None, None, *of_gate, *of_up, *of_down


def _three(
    parts: tuple[torch.Tensor | None, ...] | list[torch.Tensor | None], scales: tuple[float, float, float]
) -> tuple[Weights, Weights, Weights]:
    """The weights of gate, up and down from their parts in turn."""
    gate, up, down = (Weights(*parts[start : start + 4], scale) for start, scale in zip((0, 4, 8), scales, strict=True))
    return gate, up, down
