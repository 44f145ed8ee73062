"""Log-probabilities and values of the predicted tokens of a token tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

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
    logits = logits.float() if temperature == 1 else logits.float() / temperature
    if len(tree.row_of) != len(tree.rows):
        logits = logits[tree.row_of.to(device)]  # two sequences predict from one position
    return -cross_entropy(logits, tree.targets.to(device), reduction="none")


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
    values: torch.Tensor = head(hidden[tree.rows.to(device)].to(head.weight.dtype))[:, 0]
    return values.float()[tree.row_of.to(device)]
