"""Log-probabilities of a whole token tree in one pass, through the model's own forward method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tltrain.engine.attention import TreeLayout, tree_attention
from tltrain.engine.capabilities import linear_output
from tltrain.engine.outputs import LogProbs
from tltrain.engine.tree import TokenTree

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def token_logprobs(model: PreTrainedModel, tree: TokenTree, temperature: float = 1.0) -> torch.Tensor:
    """(R',) fp32 log-probability of each predicted token, in the order of `tree.predicted()`."""
    linear_output(model)  # found out now, outside of the pass
    with tree_attention(model, TreeLayout(tree)):
        return LogProbs(temperature)(model, *tree.inputs(), tree.predicted())


def weighted_nll(model: PreTrainedModel, tree: TokenTree) -> torch.Tensor:
    """Scalar: sum of weight times negative log-likelihood. The caller divides by the optimiser step's weights."""
    return -(token_logprobs(model, tree) * tree.predicted().weights.to(model.device)).sum()
