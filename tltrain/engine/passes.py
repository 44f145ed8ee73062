"""Forward and backward passes over token sequences: every distinct token is computed once, within a memory budget.

A tree that fits the budget takes a single pass. In a larger tree a shared prefix is computed first, and its keys and
values become leaf tensors. Its branches follow in groups, and the backward pass of each group adds to the gradients of
the leaves; the backward pass through the prefix comes last. Memory holds a prefix and a single group of its branches,
whatever their number. Loss and gradients equal those of the separate sequences.

A `TokenOutput` computes a number, such as a log-probability or a value, at each predicted token. Shapes are those of
`tltrain.engine.tree`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tltrain.engine.attention import KeyValues, TreeLayout, tree_attention
from tltrain.engine.capabilities import linear_output, prefix_sharing_obstacle
from tltrain.engine.flex import FlexLayout, tree_layout
from tltrain.engine.layers import fused_layers
from tltrain.engine.outputs import LogProbs, TokenOutput
from tltrain.engine.tree import Predicted, TokenSequence, TokenTree

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BRANCH_DIVISOR = 4
"""Branches get at least the budget divided by this, however long their prefix is."""
Loss = Callable[[torch.Tensor, Predicted], torch.Tensor]
"""Outputs (R',) at the predicted tokens of a pass, and these tokens -> a scalar. Losses of all passes are summed."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Segments `begin:end` of a tree, run together.

    `children` run after them and use their keys and values. A pass with children has a single segment.
    """

    begin: int
    end: int
    children: tuple[Pass, ...] = ()


def nll(logprobs: torch.Tensor, predicted: Predicted) -> torch.Tensor:
    """Sum of weight times negative log-likelihood.

    The caller divides by the sum of the weights of the optimiser step.

    Args:
        logprobs: (R',) log-probabilities of the predicted tokens.
        predicted: these tokens and their weights.

    Returns:
        A scalar.
    """
    return -(logprobs * predicted.weights.to(logprobs.device)).sum()


def token_logprobs(model: PreTrainedModel, tree: TokenTree, temperature: float = 1.0) -> torch.Tensor:
    """(R',) fp32 log-probabilities of all predicted tokens of a tree in a single pass, in the order of
    `tree.predicted()`."""
    linear_output(model)  # its trial pass must not run inside the tree's pass
    layout = tree_layout(model, tree)
    with tree_attention(model, layout):
        return LogProbs(temperature)(model, *layout.inputs(), tree.predicted())


def tree_nll(model: PreTrainedModel, tree: TokenTree) -> torch.Tensor:
    """`nll` of a tree in a single pass."""
    return nll(token_logprobs(model, tree), tree.predicted())


@dataclass(frozen=True, slots=True)
class BackwardResult:
    """Loss and token counts of the passes over some sequences."""

    loss: float
    tokens: int
    """Tokens that the model processed."""
    separate_tokens: int
    """Tokens that it would have processed without shared prefixes."""


def plan_passes(tree: TokenTree, max_tokens: int) -> list[Pass]:
    """Divide a tree into passes.

    A pass and the prefixes it depends on hold at most `max_tokens` tokens together, unless a single segment is longer
    or less than `max_tokens // BRANCH_DIVISOR` would be left for the branches of a prefix.
    """
    ends = tree.subtree_ends()

    def tokens(begin: int, end: int) -> int:
        return tree.segments[end - 1].end - tree.segments[begin].begin

    def siblings(begin: int, end: int, room: int) -> list[Pass]:
        passes: list[Pass] = []
        extensible = False  # whether another subtree may be added to the last pass
        while begin < end:
            last = ends[begin]
            if tokens(begin, last) > room and last > begin + 1:
                left = room - tokens(begin, begin + 1)
                children = siblings(begin + 1, last, max(left, max_tokens // BRANCH_DIVISOR, 1))
                passes.append(Pass(begin, begin + 1, tuple(children)))
                extensible = False
            elif extensible and tokens(passes[-1].begin, last) <= room:
                passes[-1] = Pass(passes[-1].begin, last)
            else:
                passes.append(Pass(begin, last))
                extensible = True
            begin = last
        return passes

    return siblings(0, len(tree.segments), max_tokens)


def backward(
    model: PreTrainedModel,
    sequences: Sequence[TokenSequence],
    loss: Loss,
    max_tokens: int,
    *,
    output: TokenOutput | None = None,
    accumulate: Callable[[], None] = lambda: None,
    keep_all: bool = False,
    trees: Sequence[TokenTree] | None = None,
) -> BackwardResult:
    """Add the gradient of the loss over all sequences to the model's parameters.

    Args:
        model: a causal language model. If it cannot share prefixes, each sequence is run separately.
        sequences: token sequences with the weights of their replies.
        loss: is called for each pass with the outputs at its predicted tokens.
        max_tokens: bounds the memory of a pass; does not affect results.
        output: is computed at the predicted tokens; by default log-probabilities at temperature 1.
        accumulate: is called after each backward pass.
        keep_all: include predicted tokens of weight 0.
        trees: the result of `build_trees` for these arguments, if it is known already.
    """
    output = output or LogProbs()
    losses: list[torch.Tensor] = []
    tokens, separate = 0, 0
    linear_output(model)  # its trial pass must not run inside a tree's pass
    for tree in build_trees(model, sequences, keep_all) if trees is None else trees:
        run = _Backward(model, tree, loss, output, accumulate)
        for node in plan_passes(tree, max_tokens):
            run.run(node, ())
        losses, tokens, separate = losses + run.losses, tokens + len(tree), separate + tree.separate_tokens
    total = sum(part.item() for part in losses)  # at the end, since the first of these waits for a GPU
    return BackwardResult(total, tokens, separate)


@torch.no_grad()
def measure(
    model: PreTrainedModel, sequences: Sequence[TokenSequence], output: TokenOutput, max_tokens: int
) -> list[torch.Tensor]:
    """Compute an output at every predicted token, without gradients.

    Args:
        model: a causal language model. If it cannot share prefixes, each sequence is run separately.
        sequences: token sequences; tokens of weight 0 are included.
        output: is computed at the predicted tokens.
        max_tokens: bounds the memory of a pass; does not affect results.

    Returns:
        A (reply length,) fp32 tensor on the CPU for each sequence.
    """
    measured = Measurements(sequences)

    def run(tree: TokenTree, node: Pass, past: tuple[KeyValues, ...]) -> None:
        layout = _layout(model, tree, node, past)
        predicted = tree.predicted(node.begin, node.end)
        with _attention(model, layout), _layers(model):
            values = output(model, *layout.inputs(), predicted)
        measured.add(predicted, values)
        for child in node.children:
            run(tree, child, (*past, layout.cached))

    linear_output(model)  # its trial pass must not run inside a tree's pass
    for tree in build_trees(model, sequences, keep_all=True):
        for node in plan_passes(tree, max_tokens):
            run(tree, node, ())
    return measured.rows()


class Measurements:
    """Outputs at the predicted tokens of some sequences, filled pass by pass, in fp32 on the CPU."""

    def __init__(self, sequences: Sequence[TokenSequence]) -> None:
        self._lengths = [len(sequence.weights) for sequence in sequences]
        self._starts = torch.tensor([0, *self._lengths]).cumsum(0)
        self._outputs = torch.zeros(sum(self._lengths))

    def add(self, predicted: Predicted, values: torch.Tensor) -> None:
        """Add the (R',) outputs of a pass."""
        self._outputs[self._starts[predicted.owner] + predicted.offset] = values.cpu()

    def rows(self) -> list[torch.Tensor]:
        """A (reply length,) tensor for each sequence."""
        return [row.clone() for row in torch.split(self._outputs, self._lengths)]  # views would be saved whole


def build_trees(model: PreTrainedModel, sequences: Sequence[TokenSequence], keep_all: bool = False) -> list[TokenTree]:
    """A tree of all sequences, or a tree per sequence if the model cannot share prefixes."""
    if prefix_sharing_obstacle(model) is None:
        return [TokenTree(sequences, keep_all)] if sequences else []
    return [TokenTree([sequence], keep_all, [index]) for index, sequence in enumerate(sequences)]


def _layout(
    model: PreTrainedModel, tree: TokenTree, node: Pass, past: tuple[KeyValues, ...]
) -> TreeLayout | FlexLayout:
    """The layout of a pass, which stores keys and values if passes follow that need them."""
    if prefix_sharing_obstacle(model) is not None:
        return TreeLayout(tree, node.begin, node.end)
    return tree_layout(model, tree, node.begin, node.end, past, cache=bool(node.children))


def _attention(model: PreTrainedModel, layout: TreeLayout | FlexLayout) -> AbstractContextManager[None]:
    """The attention of a pass; a model that cannot share prefixes uses its own."""
    return tree_attention(model, layout) if prefix_sharing_obstacle(model) is None else nullcontext()


def _layers(model: PreTrainedModel) -> AbstractContextManager[None]:
    """Fused layers on CPUs, where they take less time and a third less memory than the model's own."""
    return fused_layers(model) if model.device.type == "cpu" else nullcontext()


class _Backward:
    """Forward and backward passes over one tree."""

    def __init__(
        self, model: PreTrainedModel, tree: TokenTree, loss: Loss, output: TokenOutput, accumulate: Callable[[], None]
    ) -> None:
        self.model, self.tree, self.criterion, self.output, self.accumulate = model, tree, loss, output, accumulate
        self.losses: list[torch.Tensor] = []

    def run(self, node: Pass, past: tuple[KeyValues, ...]) -> None:
        """Run a pass and its children."""
        layout = _layout(self.model, self.tree, node, past)
        predicted = self.tree.predicted(node.begin, node.end)
        # Covers the backward pass too, in which checkpointed layers are recomputed.
        with _attention(self.model, layout), _layers(self.model):
            values = self.output(self.model, *layout.inputs(), predicted)
            leaves = {layer: (_leaf(key), _leaf(value)) for layer, (key, value) in layout.cached.items()}
            for child in node.children:
                self.run(child, (*past, leaves))
            roots = _Roots()
            if len(predicted):
                loss = self.criterion(values, predicted)
                self.losses.append(loss.detach())
                roots.add(loss, torch.ones_like(loss))
            for layer, pair in leaves.items():
                for heads, leaf in zip(layout.cached[layer], pair, strict=True):
                    roots.add(heads, leaf.grad)
            if roots.tensors:
                torch.autograd.backward(roots.tensors, roots.gradients)
                self.accumulate()


class _Roots:
    """The tensors from which a backward pass starts, and the gradient of the total loss with respect to each."""

    def __init__(self) -> None:
        self.tensors: list[torch.Tensor] = []
        self.gradients: list[torch.Tensor] = []

    def add(self, tensor: torch.Tensor, gradient: torch.Tensor | None) -> None:
        """Add a tensor, unless the loss does not depend on it or it depends on no trained weight."""
        if gradient is not None and tensor.requires_grad:
            self.tensors.append(tensor)
            self.gradients.append(gradient)


def _leaf(heads: torch.Tensor) -> torch.Tensor:
    """The same keys or values, detached from the graph that computed them."""
    return heads.detach().requires_grad_(heads.requires_grad)
