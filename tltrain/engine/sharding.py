"""Weights, gradients and moments sharded over the ranks (FSDP2), and the passes through a sharded model.

Sharded weights are gathered layer by layer inside the model's own forward method, which all ranks must call equally
often. So each pass computes a whole tree, and a rank with fewer trees runs additional passes over a tree of weight 0.
Generation, whose number of steps depends on the replies, gathers the whole model first (`gathered`). Gradients are
reduced after the last pass of an update if there is memory for those of whole weights, otherwise after every pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from tltrain.engine import ranks
from tltrain.engine.attention import tree_attention
from tltrain.engine.capabilities import prefix_sharing_obstacle
from tltrain.engine.flex import tree_layout
from tltrain.engine.layers import layers_of
from tltrain.engine.outputs import LogProbs, TokenOutput
from tltrain.engine.passes import BackwardResult, Loss, Measurements, tree_nll
from tltrain.engine.tree import TokenSequence, TokenTree, group_by_budget
from tltrain.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PADDING = TokenSequence((0, 0), 1, (0.0,))
"""A sequence whose loss and gradients are zero."""
GRADIENT_SHARE = 0.25
"""Gradients of whole weights are kept until the end of an update if they take at most this share of a GPU's memory."""


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
    trees: Sequence[TokenTree],
    loss: Loss,
    *,
    output: TokenOutput | None = None,
    accumulate: Callable[[], None] = lambda: None,
) -> BackwardResult:
    """Add the gradient of the loss over this rank's sequences to the model's parameters.

    All ranks must call this.

    Args:
        model: a sharded model.
        trees: of this rank's sequences, see `build_trees`.
        loss: is called for each tree with the outputs at its predicted tokens.
        output: is computed at the predicted tokens; by default log-probabilities at temperature 1.
        accumulate: is called after each backward pass.

    Returns:
        Loss and token counts, without those of the padding passes.
    """
    output, passes, losses = output or LogProbs(), _equally_many(model, trees), []
    keep = not ranks.largest(int(not keeps_whole_gradients(model)), model.device)
    for number, tree in enumerate(passes, 1):
        model.set_requires_gradient_sync(number == len(passes) or not keep)
        predicted, layout = tree.predicted(), tree_layout(model, tree)
        with tree_attention(model, layout):  # includes the backward pass, in which layers may be recomputed
            values = output(model, *layout.inputs(), predicted)
            part = loss(values, predicted) if number <= len(trees) else (values * 0.0).sum()
            part.backward()  # type: ignore[no-untyped-call]
        accumulate()
        losses.append(part.detach())
    total = sum(part.item() for part in losses)  # at the end, since the first of these waits for a GPU
    return BackwardResult(total, sum(map(len, trees)), sum(tree.separate_tokens for tree in trees))


def keeps_whole_gradients(model: PreTrainedModel) -> bool:
    """Whether each rank keeps the gradients of whole weights, in fp32, until they are reduced at the end of an update.

    That saves a reduction per pass but needs the memory that sharding is meant to save, so on GPUs the gradients have
    to be small: those of adapters, or of a model that is small for the GPU."""
    if model.device.type != "cuda":
        return True
    whole = 4 * sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    memory: int = torch.cuda.get_device_properties(model.device).total_memory
    return bool(whole <= GRADIENT_SHARE * memory)


@torch.no_grad()
def measure(
    model: PreTrainedModel, sequences: Sequence[TokenSequence], output: TokenOutput, max_tokens: int
) -> list[torch.Tensor]:
    """Compute an output at every predicted token of this rank's sequences, without gradients.

    All ranks must call this. Arguments and result are those of `tltrain.engine.passes.measure`.
    """
    measured = Measurements(sequences)
    trees = build_trees(sequences, max_tokens, keep_all=True)
    for number, tree in enumerate(_equally_many(model, trees), 1):
        predicted, layout = tree.predicted(), tree_layout(model, tree)
        with tree_attention(model, layout):
            values = output(model, *layout.inputs(), predicted)
        if number <= len(trees):
            measured.add(predicted, values)
    _reshard(model)
    return measured.rows()


@torch.no_grad()
def measured_nll(model: PreTrainedModel, trees: Sequence[TokenTree]) -> float:
    """Sum of weight times negative log-likelihood over this rank's trees. All ranks must call this."""
    return sum(tree_nll(model, tree).item() for tree in _equally_many(model, trees))


def build_trees(sequences: Sequence[TokenSequence], max_tokens: int, keep_all: bool = False) -> list[TokenTree]:
    """The trees of some sequences, each for a pass of its own of at most `max_tokens` tokens, or a single sequence."""
    groups = group_by_budget(sequences, max_tokens)
    return [TokenTree([sequences[index] for index in group], keep_all, group) for group in groups]


def _equally_many(model: PreTrainedModel, trees: Sequence[TokenTree]) -> list[TokenTree]:
    """The trees of this rank, padded to the largest number of any rank."""
    missing = ranks.largest(len(trees), model.device) - len(trees)  # a collective call: before any pass
    return [*trees, *(TokenTree([PADDING], keep_all=True) for _ in range(missing))]


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
