"""Linear layers with adapters, and gated feed-forward networks, as single autograd functions.

`peft` adds an adapter's part of an output as further operations, each of which writes a tensor of the output's size.
Here it is added by the matrix product itself, and the gradient of the input likewise. A gated network saves its input
and the outputs of its two first products, and no activation.

Shapes: T tokens, K input size, N output size, R rank of the adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
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
    layer: Any = module
    if type(layer) is not LoraLinear or type(layer.base_layer) is not torch.nn.Linear or layer.fan_in_fan_out:
        return None
    base = Weights(layer.base_layer.weight, layer.base_layer.bias)
    names = [name for name in layer.active_adapters if name in layer.lora_A]
    if layer.disable_adapters or layer.merged or not names:
        return base
    name, down, up = names[0], layer.lora_A[names[0]], layer.lora_B[names[0]]
    plain = type(layer.lora_dropout[name]) is torch.nn.Identity and up.bias is None
    if len(names) > 1 or not plain or name in layer.lora_variant or down.weight.dtype != base.weight.dtype:
        return None
    return base._replace(down=down.weight, up=up.weight, scale=float(layer.scaling[name]))


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
    inner = None
    if weights.up is not None and (needed[0] or needed[3]):
        inner = (gradient @ weights.up) * weights.scale
    of_rows = None
    if needed[0]:
        of_rows = gradient @ weights.weight if into is None else into.addmm_(gradient, weights.weight)
        if inner is not None and weights.down is not None:
            of_rows.addmm_(inner, weights.down)
    return (
        of_rows,
        gradient.t() @ rows if needed[1] else None,
        gradient.sum(0) if needed[2] else None,
        inner.t() @ rows if needed[3] and inner is not None else None,
        (gradient.t() @ hidden) * weights.scale if needed[4] and hidden is not None else None,
    )


class _Linear(torch.autograd.Function):
    """See `linear`."""

    @staticmethod
    def forward(context: Any, inputs: torch.Tensor, scale: float, *parts: torch.Tensor | None) -> torch.Tensor:
        """Saves the input and the adapter's hidden states."""
        weights, rows = _weights(parts, scale), inputs.flatten(0, -2)
        output, hidden = _product(rows, weights)
        context.save_for_backward(rows, hidden, *parts)
        context.scale, context.shape = scale, inputs.shape
        return output.view(*inputs.shape[:-1], -1)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of the input and of the parts."""
        rows, hidden, *parts = context.saved_tensors
        needed = (context.needs_input_grad[0], *context.needs_input_grad[2:])
        own, *others = _gradients(gradient.flatten(0, -2), rows, hidden, _weights(parts, context.scale), needed)
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


def _weights(parts: Sequence[Any], scale: float) -> Weights:
    """Weights from the first four fields."""
    weight, bias, down, up = parts
    return Weights(weight, bias, down, up, scale)


def _three(parts: Sequence[Any], scales: tuple[float, float, float]) -> tuple[Weights, Weights, Weights]:
    """The weights of gate, up and down from their parts in turn."""
    return _weights(parts[:4], scales[0]), _weights(parts[4:8], scales[1]), _weights(parts[8:], scales[2])
