"""Weights, gradients and moments in parts, one on each rank (FSDP2), and the passes through such a model.

Sharded weights are whole only inside the model's own forward method, and every rank has to call it equally often. So
passes are whole trees, and a rank that has fewer makes up for it with passes that add nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from tltrain.engine import ranks
from tltrain.engine.attention import TreeLayout, tree_attention
from tltrain.engine.capabilities import prefix_sharing_obstacle
from tltrain.engine.layers import layers_of
from tltrain.engine.passes import Passed, tree_nll
from tltrain.engine.tree import TokenSequence, TokenTree, group_by_budget
from tltrain.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NOTHING = TokenSequence((0, 0), 1, (0.0,))
"""A pass that adds nothing."""


def shard(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Shard a model over the ranks, layer by layer. Trained weights become fp32 and are gathered in `dtype` for each
    pass; gradients are summed, not averaged, in fp32.

    Raises:
        ModelError: its layers are not known, or it cannot be used with token trees.
    """
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    if why := prefix_sharing_obstacle(model):
        raise ModelError(f"sft.fsdp: {why}: it cannot be trained sharded")
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for module in (*layers_of(model), model):  # one after another, so that a single layer is whole in fp32
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
) -> Passed:
    """Add the gradient of this rank's weighted negative log-likelihood to the sharded parameters'."""
    loss, tokens, separate = 0.0, 0, 0
    for tree in _trees(model, sequences, max_tokens):
        with tree_attention(model, TreeLayout(tree)):  # also for layers that are computed again on the way back
            part = tree_nll(model, tree)
            part.backward()  # type: ignore[no-untyped-call]
        accumulate()
        if part.item():
            loss, tokens, separate = loss + part.item(), tokens + len(tree), separate + tree.separate_tokens
    return Passed(loss, tokens, separate)


@torch.no_grad()
def measured_nll(model: PreTrainedModel, sequences: Sequence[TokenSequence], max_tokens: int) -> float:
    """This rank's sum of weight times negative log-likelihood."""
    return sum(tree_nll(model, tree).item() for tree in _trees(model, sequences, max_tokens))


def _trees(model: PreTrainedModel, sequences: Sequence[TokenSequence], max_tokens: int) -> Iterator[TokenTree]:
    groups = group_by_budget(sequences, max_tokens)
    lacking = ranks.largest(len(groups), model.device) - len(groups)  # before any pass: all ranks meet here
    for group in groups:
        yield TokenTree([sequences[index] for index in group])
    for _ in range(lacking):
        yield TokenTree([NOTHING], keep_all=True)
