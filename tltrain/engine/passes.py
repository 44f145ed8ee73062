"""Running a set of token sequences through a model: every distinct token once, within a budget of memory.

A tree that fits the budget takes a single pass. In a larger tree a shared prefix is computed first and its keys and
values become leaf tensors; the groups of branches follow, and each group's backward pass adds to the gradients of the
leaves; a backward pass through the prefix comes last. Memory holds a prefix and one group of its branches, whatever
their number, and loss and gradients equal those of the separate sequences.

A `TokenOutput` computes a number, such as a log-probability or a value, at each predicted token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tltrain.engine.attention import Past, TreeLayout, tree_attention
from tltrain.engine.capabilities import linear_output, prefix_sharing_obstacle
from tltrain.engine.outputs import LogProbs, TokenOutput
from tltrain.engine.tree import Predicted, TokenSequence, TokenTree

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LEAST_SHARE = 4
"""Branches get at least this part of the budget, however long their prefix is."""
Loss = Callable[[torch.Tensor, Predicted], torch.Tensor]
"""What was read at R' predicted tokens, and which they are -> a scalar; the losses of all passes add up."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Segments `begin:end` of a tree, run together; `children` run after them, on their keys and values. A pass with
    children is a single segment."""

    begin: int
    end: int
    children: tuple[Pass, ...] = ()


def nll(logprobs: torch.Tensor, predicted: Predicted) -> torch.Tensor:
    """Scalar: sum of weight times negative log-likelihood. The caller divides by the optimiser step's weights."""
    return -(logprobs * predicted.weights.to(logprobs.device)).sum()


def token_logprobs(model: PreTrainedModel, tree: TokenTree, temperature: float = 1.0) -> torch.Tensor:
    """(R',) fp32 log-probability of each predicted token of a whole tree in one pass, in the order of
    `tree.predicted()`."""
    linear_output(model)  # its trial pass must not run inside the tree's pass
    with tree_attention(model, TreeLayout(tree)):
        return LogProbs(temperature)(model, *tree.inputs(), tree.predicted())


def tree_nll(model: PreTrainedModel, tree: TokenTree) -> torch.Tensor:
    """Scalar: `nll` of a whole tree in one pass."""
    return nll(token_logprobs(model, tree), tree.predicted())


@dataclass(frozen=True, slots=True)
class Passed:
    """The loss, the tokens that went through the model, and those that would have without sharing."""

    loss: float
    tokens: int
    separate_tokens: int


def plan_passes(tree: TokenTree, max_tokens: int) -> list[Pass]:
    """Passes over the whole tree such that a pass and those it stands on hold at most `max_tokens` tokens, where
    segments are short enough for that; branches get a `LEAST_SHARE`-th of it in any case."""
    ends = tree.subtree_ends()

    def tokens(begin: int, end: int) -> int:
        return tree.segments[end - 1].end - tree.segments[begin].begin

    def siblings(begin: int, end: int, room: int) -> list[Pass]:
        passes: list[Pass] = []
        joined = False  # whether the last pass can take one more subtree
        while begin < end:
            last = ends[begin]
            if tokens(begin, last) > room and last > begin + 1:
                own = tokens(begin, begin + 1)
                below = siblings(begin + 1, last, max(room - own, max_tokens // LEAST_SHARE, 1))
                passes.append(Pass(begin, begin + 1, tuple(below)))
                joined = False
            elif joined and tokens(passes[-1].begin, last) <= room:
                passes[-1] = Pass(passes[-1].begin, last)
            else:
                passes.append(Pass(begin, last))
                joined = True
            begin = last
        return passes

    return siblings(0, len(tree.segments), max_tokens)


def backward(
    model: PreTrainedModel,
    sequences: Sequence[TokenSequence],
    loss: Loss,
    max_tokens: int,
    output: TokenOutput | None = None,
    accumulate: Callable[[], None] = lambda: None,
    keep_all: bool = False,
) -> Passed:
    """Add the gradient of the loss over all sequences to the model's parameters.

    Args:
        model: a causal language model. If it cannot share prefixes, each sequence is run separately.
        sequences: token sequences with the weights of their replies.
        loss: is given what was read at some of the predicted tokens, and which they are.
        max_tokens: bounds the memory of one pass; changes no result.
        output: what is read; log-probabilities at temperature 1 by default.
        accumulate: called after each backward pass.
        keep_all: read at predicted tokens of weight 0 too.
    """
    output = output or LogProbs()
    total, tokens, separate = 0.0, 0, 0
    for tree in _trees(model, sequences, keep_all):
        run = _Backward(model, tree, loss, output, accumulate)
        for one in plan_passes(tree, max_tokens):
            run.run(one, ())
        total, tokens, separate = total + run.loss, tokens + len(tree), separate + tree.separate_tokens
    return Passed(total, tokens, separate)


@torch.no_grad()
def measure(
    model: PreTrainedModel, sequences: Sequence[TokenSequence], output: TokenOutput, max_tokens: int
) -> list[torch.Tensor]:
    """What is read at every predicted token: a (reply length,) fp32 tensor for each sequence, on the CPU."""
    found = [torch.zeros(len(sequence.weights)) for sequence in sequences]

    def run(tree: TokenTree, one: Pass, past: tuple[Past, ...]) -> None:
        layout = TreeLayout(tree, one.begin, one.end, past, keep=bool(one.children))
        predicted = tree.predicted(one.begin, one.end)
        with _attention(model, layout):
            read = output(model, *tree.inputs(one.begin, one.end), predicted)
        for owner, offset, value in zip(predicted.owner, predicted.offset, read.tolist(), strict=True):
            found[owner][offset] = value
        for child in one.children:
            run(tree, child, (*past, layout.kept))

    for tree in _trees(model, sequences, keep_all=True):
        for one in plan_passes(tree, max_tokens):
            run(tree, one, ())
    return found


def _trees(model: PreTrainedModel, sequences: Sequence[TokenSequence], keep_all: bool) -> list[TokenTree]:
    """One tree; or a tree a sequence, for a model that cannot share."""
    linear_output(model)  # its trial pass must not run inside a tree's pass
    if prefix_sharing_obstacle(model) is None:
        return [TokenTree(sequences, keep_all)]
    return [TokenTree([sequence], keep_all, index) for index, sequence in enumerate(sequences)]


def _attention(model: PreTrainedModel, layout: TreeLayout) -> AbstractContextManager[None]:
    """Of a pass; a model that cannot share keeps its own."""
    return tree_attention(model, layout) if prefix_sharing_obstacle(model) is None else nullcontext()


class _Backward:
    """Forward and backward passes over one tree."""

    def __init__(
        self, model: PreTrainedModel, tree: TokenTree, loss: Loss, output: TokenOutput, accumulate: Callable[[], None]
    ) -> None:
        self.model, self.tree, self.criterion, self.output, self.accumulate = model, tree, loss, output, accumulate
        self.loss = 0.0

    def run(self, one: Pass, past: tuple[Past, ...]) -> None:
        """A pass and all that stand on it."""
        layout = TreeLayout(self.tree, one.begin, one.end, past, keep=bool(one.children))
        predicted = self.tree.predicted(one.begin, one.end)
        # The block stays open until the way back is over: checkpointed layers run again on it.
        with _attention(self.model, layout):
            read = self.output(self.model, *self.tree.inputs(one.begin, one.end), predicted)
            leaves = {layer: (_leaf(key), _leaf(value)) for layer, (key, value) in layout.kept.items()}
            for child in one.children:
                self.run(child, (*past, leaves))
            ends = _Ends()
            if len(predicted):
                loss = self.criterion(read, predicted)
                self.loss += loss.item()
                ends.add(loss, torch.ones_like(loss))
            for layer, pair in leaves.items():
                for heads, leaf in zip(layout.kept[layer], pair, strict=True):
                    ends.add(heads, leaf.grad)
            if ends.tensors:
                torch.autograd.backward(ends.tensors, ends.gradients)
                self.accumulate()


class _Ends:
    """Where a backward pass begins: tensors, and the gradient of the whole loss with respect to each."""

    def __init__(self) -> None:
        self.tensors: list[torch.Tensor] = []
        self.gradients: list[torch.Tensor] = []

    def add(self, tensor: torch.Tensor, gradient: torch.Tensor | None) -> None:
        """Nothing is added where nothing depends on the tensor, or it on no weight that is trained."""
        if gradient is not None and tensor.requires_grad:
            self.tensors.append(tensor)
            self.gradients.append(gradient)


def _leaf(heads: torch.Tensor) -> torch.Tensor:
    """The same keys or values, cut from what they were computed from."""
    return heads.detach().requires_grad_(heads.requires_grad)
