"""AdamW over fp32 copies of the trained weights, and learning rate schedules with linear warm-up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from tltrain.engine import ranks
from tltrain.errors import RunError

if TYPE_CHECKING:
    from tltrain.config import OptimiserConfig


def rate_share(settings: OptimiserConfig, step: int, steps: int) -> float:
    """Learning rate of update `step` (from 0) of `steps` as a fraction of the peak: a linear rise, then the peak or,
    by schedule, a cosine that reaches zero after the last update."""
    rising = math.ceil(settings.warmup * steps) if settings.warmup_updates is None else settings.warmup_updates
    if step < rising:
        return (step + 1) / (rising + 1)
    if settings.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1)))


class Optimiser:
    """AdamW with fp32 weights and moments, whatever the model's dtype.

    `accumulate` sums the gradients of micro-batches in fp32. `clip` sums them over all ranks, divides them by the sum
    of the loss weights and clips their norm. A step of `adam`, which is a plain torch optimiser, then updates the fp32
    weights and rounds them into the model's.

    Args:
        groups: pairs of parameters and their peak learning rate.
        betas: decay rates of Adam's moments.
        weight_decay: for matrices; vectors are not decayed.
        clip_norm: largest gradient norm over all parameters.

    Attributes:
        parameters: the model's parameters.
        weights: their fp32 copies; a parameter that is fp32 is its own copy.
        adam: the torch optimiser over `weights`; each parameter group has its peak learning rate in `peak`.
    """

    def __init__(
        self,
        groups: Sequence[tuple[Sequence[torch.nn.Parameter], float]],
        betas: tuple[float, float],
        weight_decay: float,
        clip_norm: float,
    ) -> None:
        self.parameters = [parameter for group, _ in groups for parameter in group]
        self.weights = [
            torch.nn.Parameter(parameter.detach().float().clone()) if parameter.dtype != torch.float32 else parameter
            for parameter in self.parameters
        ]
        self.clip_norm = clip_norm
        remaining = iter(self.weights)
        param_groups: list[dict[str, Any]] = []
        for group, rate in groups:
            weights = [next(remaining) for _ in group]
            for decay, chosen in (
                (weight_decay, [w for w in weights if w.ndim > 1]),
                (0.0, [w for w in weights if w.ndim < 2]),
            ):
                if chosen:
                    param_groups.append({"params": chosen, "weight_decay": decay, "lr": rate, "peak": rate})
        self.adam = torch.optim.AdamW(param_groups, betas=betas, fused=True)
        self.adam.register_step_post_hook(lambda *_: self._after_step())

    def accumulate(self) -> None:
        """Add the model's gradients to the fp32 sums and clear them."""
        for parameter, weight in zip(self.parameters, self.weights, strict=True):
            if parameter is weight or parameter.grad is None:
                continue
            if weight.grad is None:
                weight.grad = parameter.grad.float()
            else:
                weight.grad += parameter.grad
            parameter.grad = None

    def clip(self, normaliser: float, update: str = "an update") -> float:
        """Sum the gradients over all ranks, divide by `normaliser` and clip; returns their norm before clipping.

        Args:
            normaliser: divisor of the gradients.
            update: what an error calls this update.

        Raises:
            RunError: the norm is not finite.
        """
        ranks.sum_gradients(self.weights)
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        if not gradients:
            return 0.0
        sharded = [gradient for gradient in gradients if ranks.is_sharded(gradient)]
        kinds = [sharded, [gradient for gradient in gradients if not ranks.is_sharded(gradient)]]
        if not all(kinds):
            torch._foreach_mul_(gradients, 1 / normaliser)
            found = torch.nn.utils.clip_grad_norm_(self.weights, self.clip_norm)
            norm = float(found.full_tensor() if ranks.is_sharded(found) else found)  # type: ignore[attr-defined]
        else:
            norm = self._clip_separately(kinds, normaliser)  # torch's functions accept either kind alone
        if not math.isfinite(norm):
            raise RunError(f"the gradients of {update} have norm {norm}; a lower learning rate may help")
        return norm

    def _clip_separately(self, kinds: Sequence[list[torch.Tensor]], normaliser: float) -> float:
        """Divide sharded and unsharded gradients by `normaliser` and clip them by their common norm, which is
        returned."""
        norms = []
        for gradients in kinds:
            torch._foreach_mul_(gradients, 1 / normaliser)
            norm = torch.nn.utils.get_total_norm(gradients)
            norms.append(float(norm.full_tensor() if ranks.is_sharded(norm) else norm))  # type: ignore[attr-defined]
        total = math.hypot(*norms)
        for gradients in kinds:
            torch._foreach_mul_(gradients, min(self.clip_norm / (total + 1e-6), 1.0))  # as clip_grad_norm_ does
        return total

    def step(self, normaliser: float, share: float, update: str = "an update") -> float:
        """Clip the gradients and update the weights.

        Args:
            normaliser: divisor of the gradients.
            share: learning rate as a fraction of the peak.
            update: what an error calls this update.

        Returns:
            The norm of the gradients before clipping.

        Raises:
            RunError: the norm is not finite.
        """
        norm = self.clip(normaliser, update)
        for group in self.adam.param_groups:
            group["lr"] = group["peak"] * share
        self.adam.step()
        return norm

    def _after_step(self) -> None:
        self.adam.zero_grad(set_to_none=True)
        self.write_back()

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy the fp32 weights into the model, rounded to its dtype."""
        for parameter, weight in zip(self.parameters, self.weights, strict=True):
            if parameter is not weight:
                parameter.copy_(weight)

    def state(self) -> dict[str, Any]:
        """Weights and moments for `load`: complete on rank 0, independent of the number of ranks, None elsewhere.

        All ranks must call this."""
        adam = self.adam.state_dict()
        moments = {
            index: {name: ranks.gathered(value) for name, value in values.items()}
            for index, values in adam["state"].items()
        }
        return {"weights": self.whole_weights(), "adam": {**adam, "state": moments}}

    def whole_weights(self) -> list[torch.Tensor | None]:
        """The complete fp32 weights on rank 0, None elsewhere. All ranks must call this."""
        return [ranks.gathered(weight) for weight in self.weights]

    def copied_weights(self) -> list[torch.Tensor | None]:
        """Copies of the complete fp32 weights on the CPU, which later updates do not change: on every rank if they are
        not sharded, otherwise on rank 0, None elsewhere. All ranks must call this."""
        if any(ranks.is_sharded(weight) for weight in self.weights):
            return self.whole_weights()
        return [weight.detach().cpu().clone() for weight in self.weights]

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        """Resume from a result of `state`, which every rank passes in full."""
        weights = [weight for group in self.adam.param_groups for weight in group["params"]]
        moments = {
            index: {name: ranks.sharded_like(value, weights[index]) for name, value in values.items()}
            for index, values in state["adam"]["state"].items()
        }
        self.adam.load_state_dict({**state["adam"], "state": moments})
        self.load_weights(state["weights"])

    @torch.no_grad()
    def load_weights(self, saved: Sequence[torch.Tensor]) -> None:
        """Set the fp32 weights, which every rank passes in full, and copy them into the model."""
        for weight, value in zip(self.weights, saved, strict=True):
            weight.copy_(ranks.sharded_like(value, weight))
        self.write_back()
