"""AdamW over fp32 copies of the trained weights, with warm-up and cosine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from tltrain.engine import ranks


def cosine(step: int, steps: int, warmup: float) -> float:
    """Learning rate of update `step` (from 0) of `steps`, as a share of the peak: a linear rise over the first
    `warmup` share, then a cosine that reaches zero after the last update."""
    rising = math.ceil(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1)))


class Optimiser:
    """AdamW whose state and weights are fp32 whatever the model's dtype.

    Gradients of several micro-batches are summed in fp32 by `accumulate`; `clip` sums them over all ranks, divides by
    the sum of the loss weights, and clips; then `adam`, a plain torch optimiser, may step, which writes the weights
    back. Matrices are decayed, vectors are not.

    Args:
        groups: (parameters, peak learning rate) pairs.
        betas: Adam's decay rates.
        weight_decay: of matrices.
        clip_norm: largest gradient norm over all parameters.
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
        own = iter(self.weights)
        rows: list[dict[str, Any]] = []
        for group, rate in groups:
            weights = [next(own) for _ in group]
            for decay, chosen in (
                (weight_decay, [w for w in weights if w.ndim > 1]),
                (0.0, [w for w in weights if w.ndim < 2]),
            ):
                if chosen:
                    rows.append({"params": chosen, "weight_decay": decay, "lr": rate, "peak": rate})
        self.adam = torch.optim.AdamW(rows, betas=betas, fused=True)
        self.adam.register_step_post_hook(lambda *_: self._after_step())

    def accumulate(self) -> None:
        """Move the model's gradients into the fp32 sums."""
        for parameter, weight in zip(self.parameters, self.weights, strict=True):
            if parameter is weight or parameter.grad is None:
                continue
            if weight.grad is None:
                weight.grad = parameter.grad.float()
            else:
                weight.grad += parameter.grad
            parameter.grad = None

    def clip(self, normaliser: float) -> float:
        """Sum the gradients over all ranks, divide by `normaliser` and clip; returns the norm before clipping."""
        ranks.sum_gradients(self.weights)
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        if not gradients:
            return 0.0
        torch._foreach_mul_(gradients, 1 / normaliser)
        norm = torch.nn.utils.clip_grad_norm_(self.weights, self.clip_norm)
        return float(norm.full_tensor() if ranks.is_sharded(norm) else norm)  # type: ignore[attr-defined]

    def step(self, normaliser: float, share: float) -> float:
        """One update with the gradients divided by `normaliser`, at `share` of the peak rates; returns the norm."""
        norm = self.clip(normaliser)
        for group in self.adam.param_groups:
            group["lr"] = group["peak"] * share
        self.adam.step()
        return norm

    def _after_step(self) -> None:
        self.adam.zero_grad(set_to_none=True)
        self.write_back()

    @torch.no_grad()
    def write_back(self) -> None:
        """Round the fp32 weights into the model's."""
        for parameter, weight in zip(self.parameters, self.weights, strict=True):
            if parameter is not weight:
                parameter.copy_(weight)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs: weights and moments, whole on rank 0, whatever the number of ranks."""
        adam = self.adam.state_dict()
        moments = {
            index: {name: ranks.whole(value) for name, value in own.items()} for index, own in adam["state"].items()
        }
        return {"weights": self.whole_weights(), "adam": {**adam, "state": moments}}

    def whole_weights(self) -> list[torch.Tensor | None]:
        """The fp32 weights, on rank 0."""
        return [ranks.whole(weight) for weight in self.weights]

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`, which every rank has."""
        numbered = [weight for group in self.adam.param_groups for weight in group["params"]]
        moments = {
            index: {name: ranks.placed_like(value, numbered[index]) for name, value in own.items()}
            for index, own in state["adam"]["state"].items()
        }
        self.adam.load_state_dict({**state["adam"], "state": moments})
        self.load_weights(state["weights"])

    @torch.no_grad()
    def load_weights(self, saved: Sequence[torch.Tensor]) -> None:
        """Take over fp32 weights, and write them into the model."""
        for weight, value in zip(self.weights, saved, strict=True):
            weight.copy_(ranks.placed_like(value, weight))
        self.write_back()
