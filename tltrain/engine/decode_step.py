"""A step of decoding: the next token of each reply of a batch through the model, on GPUs as a CUDA graph."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Protocol

import torch

from tltrain.engine.decode_layout import DecodeLayout

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class DecodeStep(Protocol):
    """Computes the logits of the tokens that follow."""

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B,) newest token of each reply -> (B, vocabulary) logits of the next, valid until the next call."""
        ...


def decode_step(model: PreTrainedModel, layout: DecodeLayout) -> DecodeStep:
    """The step that suits the model's device; to be called inside `tree_attention(model, layout)`."""
    eager = EagerStep(model, layout)
    return GraphStep(eager) if model.device.type == "cuda" else eager


class EagerStep:
    """A step that launches its kernels one by one."""

    def __init__(self, model: PreTrainedModel, layout: DecodeLayout) -> None:
        self.model, self.layout = model, layout

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """See `DecodeStep`."""
        logits = self.compute(tokens)
        self.layout.advance()
        return logits

    def compute(self, tokens: torch.Tensor) -> torch.Tensor:
        """The part of the step that a GPU does."""
        output = self.model(input_ids=tokens[:, None], position_ids=self.layout.positions(), use_cache=False)
        self.layout.lengths.add_(1)
        logits: torch.Tensor = output.logits[:, -1]
        return logits


class GraphStep:
    """A step whose kernels are launched at once, as a CUDA graph.

    Launching the thousand or more small kernels of a step one by one takes longer than they do. The first step of a
    shape (number of replies, used length of the buffers) runs uncaptured, which also sets up its kernels, the second
    one is captured, and later ones are replayed. If a model's step cannot be captured, all steps run uncaptured.
    """

    def __init__(self, eager: EagerStep) -> None:
        self.eager, self.layout = eager, eager.layout
        self.shape: tuple[int, int] | None = None
        self.graph: torch.cuda.CUDAGraph | None = None
        self.capturable = True

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """See `DecodeStep`."""
        shape = self.layout.shape()
        if shape != self.shape or not self.capturable:
            self.shape, self.graph = shape, None
            return self.eager(tokens)
        if self.graph is None and not self._capture(tokens):
            return self.eager(tokens)
        assert self.graph is not None
        self.tokens.copy_(tokens)
        self.graph.replay()
        self.layout.advance()
        return self.logits

    def _capture(self, tokens: torch.Tensor) -> bool:
        """Capture a step without executing it; returns whether that worked."""
        self.tokens, graph = tokens.clone(), torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self.logits = self.eager.compute(self.tokens)
        except RuntimeError as error:
            warnings.warn(f"decoding without CUDA graphs: {str(error).splitlines()[0]}", stacklevel=2)
            self.capturable = False
        else:
            self.graph = graph
        self.layout.forget_masks()  # those that the capture made have no values
        return self.capturable
