"""Log-probabilities and values of the predicted tokens of a token tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tltrain.engine.attention import TreeLayout, tree_attention
from tltrain.engine.tree import TokenTree

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def token_logprobs(model: PreTrainedModel, tree: TokenTree, temperature: float = 1.0) -> torch.Tensor:
    """(R',) fp32 log-probability of each predicted token, at a sampling temperature.

    Only the distinct predicting positions reach the output matrix.
    """
    device = model.device
    with tree_attention(model, TreeLayout(tree)):
        logits = model(
            input_ids=tree.ids.to(device),
            position_ids=tree.positions.to(device),
            logits_to_keep=tree.rows.to(device),
            use_cache=False,
        ).logits[0]
    logits = logits.float() / temperature
    normaliser = logits.logsumexp(-1)
    row_of, targets = tree.row_of.to(device), tree.targets.to(device)
    return logits[row_of, targets] - normaliser[row_of]


def weighted_nll(model: PreTrainedModel, tree: TokenTree) -> torch.Tensor:
    """Scalar: sum of weight times negative log-likelihood. The caller divides by the optimiser step's weights."""
    return -(token_logprobs(model, tree) * tree.weights.to(model.device)).sum()


def token_values(backbone: PreTrainedModel, head: torch.nn.Linear, tree: TokenTree) -> torch.Tensor:
    """(R',) fp32 value of the state before each predicted token: one linear output of the last hidden state."""
    device = backbone.device
    with tree_attention(backbone, TreeLayout(tree)):
        hidden = backbone(
            input_ids=tree.ids.to(device), position_ids=tree.positions.to(device), use_cache=False
        ).last_hidden_state[0]
    values = head(hidden[tree.rows.to(device)].to(head.weight.dtype))[:, 0]
    return values.float()[tree.row_of.to(device)]
