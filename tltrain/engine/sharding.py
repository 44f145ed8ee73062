"""Weights, gradients and moments sharded over the ranks (FSDP2), and the passes through a sharded model.

Sharded weights are gathered layer by layer inside the model's own forward method, which all ranks must call equally
often. So each pass computes a whole tree, and a rank with fewer trees runs additional passes over a tree of weight 0.
Generation, whose number of steps depends on the replies, gathers the whole model first (`gathered`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from tltrain.engine import ranks
from tltrain.engine.attention import TreeLayout, tree_attention
from tltrain.engine.capabilities import prefix_sharing_obstacle
from tltrain.engine.layers import layers_of
from tltrain.engine.outputs import LogProbs, TokenOutput
from tltrain.engine.passes import BackwardResult, Loss, tree_nll
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
    if obstacle := prefix_sharing_obstacle(model):
        raise ModelError(f"fsdp: {obstacle}: it cannot be trained sharded")
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for module in (*layers_of(model), model):  # in turn, so that only a single layer is unsharded in fp32
        float_trained(module)
        fully_shard(module, mp_policy=policy)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def float_trained(module: torch.nn.Module) -> None:
    """Convert the weights of a module that require gradients, and are not sharded yet, to fp32 in place."""
    for parameter in module.parameters():
        if parameter.requires_grad and not ranks.is_sharded(parameter):
            parameter.data = parameter.data.float()


def backward(
    model: PreTrainedModel,
    sequences: Sequence[TokenSequence],
    loss: Loss,
    max_tokens: int,
    *,
    output: TokenOutput | None = None,
    accumulate: Callable[[], None] = lambda: None,
) -> BackwardResult:
    """Add the gradient of the loss over this rank's sequences to the model's parameters.

    All ranks must call this. Arguments and result are those of `tltrain.engine.passes.backward`; padding passes are not
    counted.
    """
    output = output or LogProbs()
    total, tokens, separate = 0.0, 0, 0
    for group, tree in _trees(model, sequences, max_tokens):
        with tree_attention(model, TreeLayout(tree)):  # includes the backward pass, in which layers may be recomputed
            part = _tree_loss(model, group, tree, output, loss)
            part.backward()  # type: ignore[no-untyped-call]
        accumulate()
        if group:
            total, tokens, separate = total + part.item(), tokens + len(tree), separate + tree.separate_tokens
    return BackwardResult(total, tokens, separate)


def _tree_loss(
    model: PreTrainedModel, group: Sequence[int], tree: TokenTree, output: TokenOutput, loss: Loss
) -> torch.Tensor:
    """The loss of the sequences `group`, whose tree this is; zero, with zero gradients, for a padding pass."""
    predicted = tree.predicted()
    values = output(model, *tree.inputs(), predicted)
    if not group:
        return (values * 0.0).sum()
    return loss(values, replace(predicted, owner=torch.tensor(group)[predicted.owner]))


@torch.no_grad()
def measure(
    model: PreTrainedModel, sequences: Sequence[TokenSequence], output: TokenOutput, max_tokens: int
) -> list[torch.Tensor]:
    """Compute an output at every predicted token of this rank's sequences, without gradients.

    All ranks must call this. Arguments and result are those of `tltrain.engine.passes.measure`.
    """
    outputs = [torch.zeros(len(sequence.weights)) for sequence in sequences]
    for group, tree in _trees(model, sequences, max_tokens, keep_all=True):
        predicted = tree.predicted()
        with tree_attention(model, TreeLayout(tree)):
            values = output(model, *tree.inputs(), predicted)
        for owner, offset, value in zip(predicted.owner, predicted.offset, values.tolist(), strict=True):
            if group:
                outputs[group[owner]][offset] = value
    _reshard(model)
    return outputs


@torch.no_grad()
def measured_nll(model: PreTrainedModel, sequences: Sequence[TokenSequence], max_tokens: int) -> float:
    """Sum of weight times negative log-likelihood over this rank's sequences. All ranks must call this."""
    return sum(tree_nll(model, tree).item() for _, tree in _trees(model, sequences, max_tokens))


def _trees(
    model: PreTrainedModel, sequences: Sequence[TokenSequence], max_tokens: int, keep_all: bool = False
) -> Iterator[tuple[list[int], TokenTree]]:
    """Indices of the sequences of each tree, and the tree; no indices for a tree of padding."""
    groups = group_by_budget(sequences, max_tokens)
    missing = ranks.largest(len(groups), model.device) - len(groups)  # a collective call: before any pass
    for group in groups:
        yield group, TokenTree([sequences[index] for index in group], keep_all)
    for _ in range(missing):
        yield [], TokenTree([PADDING], keep_all=True)


@contextmanager
def gathered(model: PreTrainedModel) -> Iterator[None]:
    """Inside the block every rank holds the whole model, in the dtype of its passes, so that forward passes without
    gradients need no communication and each rank may run as many as it likes. All ranks must enter and leave."""
    assert isinstance(model, FSDPModule), "only called for a sharded model"
    model.set_reshard_after_forward(False)
    with torch.no_grad():
        tree_nll(model, TokenTree([PADDING], keep_all=True))  # a pass of two tokens gathers every layer
    try:
        yield
    finally:
        for layer in layers_of(model):
            assert isinstance(layer, FSDPModule), "each layer is sharded by itself"
            layer.set_reshard_after_forward(True, recurse=False)  # not the rest: the backward pass begins with it
        _reshard(model)


def _reshard(model: PreTrainedModel) -> None:
    """Free what passes without a backward pass have left gathered; it would be out of date after the next update."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
