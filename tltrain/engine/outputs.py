"""Outputs of a model at the predicted tokens of a pass: log-probabilities, or a critic's values.

Shapes are those of `tltrain.engine.tree`. Only the distinct positions that predict a token are multiplied by the output
matrix, in chunks whose logits are recomputed in the backward pass: the memory of the logits depends neither on the
number of tokens nor on the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.distributed.fsdp import FSDPModule
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from tltrain.engine.capabilities import linear_output
from tltrain.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tltrain.engine.tree import Predicted

MAX_LOGITS = 2**24
"""Most logits in memory at once."""
GPU_MAX_LOGITS = 2**27
"""The same on GPUs, 512 MB in fp32: 880 rows with a vocabulary of 152,000, where 110 rows would spend their time on
reading the output matrix."""


class TokenOutput(Protocol):
    """A number per predicted token, computed by a model."""

    def __call__(
        self, model: PreTrainedModel, ids: torch.Tensor, positions: torch.Tensor, predicted: Predicted
    ) -> torch.Tensor:
        """Run the model.

        Args:
            model: a causal language model.
            ids: (1, T) token ids.
            positions: (1, T) their positions.
            predicted: R' tokens to compute the output at.

        Returns:
            (R',) fp32, in the order of `predicted`.
        """
        ...


@dataclass(frozen=True, slots=True)
class LogProbs:
    """The log-probability of each predicted token under softmax(logits / temperature)."""

    temperature: float = 1.0

    def __call__(
        self, model: PreTrainedModel, ids: torch.Tensor, positions: torch.Tensor, predicted: Predicted
    ) -> torch.Tensor:
        """See `TokenOutput`."""
        if not linear_output(model):
            rows = predicted.rows.to(model.device)
            logits = model(
                input_ids=ids.to(model.device),
                position_ids=positions.to(model.device),
                logits_to_keep=rows,
                use_cache=False,
            ).logits[0]
            return self._logprobs(logits, predicted.row_of.to(rows.device), predicted.targets.to(rows.device))
        hidden = last_hidden(model, ids, positions, predicted)
        most = GPU_MAX_LOGITS if hidden.device.type == "cuda" else MAX_LOGITS
        size = max(most // model.get_output_embeddings().weight.shape[0], 1)
        parts = [
            self._chunk(model.get_output_embeddings(), hidden[start : start + size], predicted, start)
            for start in range(0, len(hidden), size)
        ]
        return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float32)

    def _chunk(self, head: torch.nn.Module, hidden: torch.Tensor, predicted: Predicted, start: int) -> torch.Tensor:
        """Log-probabilities of the tokens predicted from rows `start:start + len(hidden)`."""
        begin, end = torch.searchsorted(predicted.row_of, torch.tensor([start, start + len(hidden)])).tolist()
        row_of = (predicted.row_of[begin:end] - start).to(hidden.device)
        targets = predicted.targets[begin:end].to(hidden.device)

        def logprobs(states: torch.Tensor) -> torch.Tensor:
            return self._logprobs(head(states), row_of, targets)

        if len(hidden) == len(predicted.rows) or not torch.is_grad_enabled():
            return logprobs(hidden)
        recomputed: torch.Tensor = checkpoint(logprobs, hidden, use_reentrant=False)
        return recomputed

    def _logprobs(self, logits: torch.Tensor, row_of: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = logits.float() if self.temperature == 1 else logits.float() / self.temperature
        if len(row_of) != len(logits):
            logits = logits[row_of]  # several sequences may predict different tokens from the same position
        return -cross_entropy(logits, targets, reduction="none")


@dataclass(frozen=True, slots=True)
class Values:
    """A critic's value of the state before each predicted token: a linear function of the last hidden state."""

    head: torch.nn.Linear

    def __call__(
        self, model: PreTrainedModel, ids: torch.Tensor, positions: torch.Tensor, predicted: Predicted
    ) -> torch.Tensor:
        """See `TokenOutput`."""
        hidden = last_hidden(model, ids, positions, predicted)
        values: torch.Tensor = self.head(hidden.to(self.head.weight.dtype))[:, 0]
        return values.float()[predicted.row_of.to(values.device)]


def last_hidden(
    model: PreTrainedModel, ids: torch.Tensor, positions: torch.Tensor, predicted: Predicted
) -> torch.Tensor:
    """(D, hidden size) last hidden states at the distinct predicting positions.

    Raises:
        ModelError: the model does not give its hidden states.
    """
    if model.base_model is model:
        raise ModelError(
            f"{type(model).__name__} has no base model that gives hidden states, which a critic needs; "
            "`ppo.advantage: leave_one_out` has no critic"
        )
    inputs = {"input_ids": ids.to(model.device), "position_ids": positions.to(model.device), "use_cache": False}
    states: torch.Tensor
    if isinstance(model, FSDPModule):
        states = _hidden_of_sharded(model, inputs)
    else:
        states = model.base_model(**inputs).last_hidden_state[0]
    return states[predicted.rows.to(states.device)]


def _hidden_of_sharded(model: PreTrainedModel, inputs: dict[str, Any]) -> torch.Tensor:
    """(T, hidden size) last hidden states, taken from a pass through the whole model: sharded weights are gathered only
    inside its own forward method. Logits are computed at a single position."""
    states: list[torch.Tensor] = []
    hook = model.base_model.register_forward_hook(lambda _, __, output: states.append(output.last_hidden_state[0]))
    try:
        model(**inputs, logits_to_keep=1)
    finally:
        hook.remove()
    return states[0]
