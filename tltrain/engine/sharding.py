"""Weights, gradients and moments sharded over the ranks (FSDP2), and the passes through a sharded model.

Sharded weights are gathered only inside the model's own forward method, which all ranks must call equally often. So
each pass computes a whole tree, and a rank with fewer trees runs additional passes over a tree of weight 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from tltrain.engine import ranks
from tltrain.engine.attention import TreeLayout, tree_attention
from tltrain.engine.capabilities import prefix_sharing_obstacle
from tltrain.engine.layers import layers_of
from tltrain.engine.passes import BackwardResult, tree_nll
from tltrain.engine.tree import TokenSequence, TokenTree, group_by_budget
from tltrain.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PADDING = TokenSequence((0, 0), 1, (0.0,))
"""A sequence whose loss and gradients are zero."""


def shard(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Shard a model over the ranks, layer by layer, in place.

    Trained weights become fp32. Gradients are summed, not averaged, in fp32.

    Args:
        model: is modified.
        dtype: in which the weights are gathered for each pass.

    Raises:
        ModelError: the model has no known layers, or cannot be used with token trees.
    """
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    if obstacle := prefix_sharing_obstacle(model):
        raise ModelError(f"sft.fsdp: {obstacle}: it cannot be trained sharded")
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for module in (*layers_of(model), model):  # in turn, so that only a single layer is unsharded in fp32
        for parameter in module.parameters():
            if parameter.requires_grad and not ranks.is_sharded(parameter):
                parameter.data = parameter.data.float()
        fully_shard(module, mp_policy=policy)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def backward(
    model: PreTrainedModel, sequences: Sequence[TokenSequence], max_tokens: int, accumulate: Callable[[], None]
) -> BackwardResult:
    """Add the gradient of the weighted negative log-likelihood of this rank's sequences to the model's parameters.

    All ranks must call this. Arguments and result are those of `tltrain.engine.passes.backward`; padding passes are not
    counted.
    """
    loss, tokens, separate = 0.0, 0, 0
    for tree in _trees(model, sequences, max_tokens):
        with tree_attention(model, TreeLayout(tree)):  # includes the backward pass, in which layers may be recomputed
            part = tree_nll(model, tree)
            part.backward()  # type: ignore[no-untyped-call]
        accumulate()
        if part.item():
            loss, tokens, separate = loss + part.item(), tokens + len(tree), separate + tree.separate_tokens
    return BackwardResult(loss, tokens, separate)


@torch.no_grad()
def measured_nll(model: PreTrainedModel, sequences: Sequence[TokenSequence], max_tokens: int) -> float:
    """Sum of weight times negative log-likelihood over this rank's sequences. All ranks must call this."""
    return sum(tree_nll(model, tree).item() for tree in _trees(model, sequences, max_tokens))


def _trees(model: PreTrainedModel, sequences: Sequence[TokenSequence], max_tokens: int) -> Iterator[TokenTree]:
    groups = group_by_budget(sequences, max_tokens)
    missing = ranks.largest(len(groups), model.device) - len(groups)  # a collective call: before any pass
    for group in groups:
        yield TokenTree([sequences[index] for index in group])
    for _ in range(missing):
        yield TokenTree([PADDING], keep_all=True)
