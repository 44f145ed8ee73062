"""Sizes of a model that are known without its weights: parameters, layers, widths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tltrain import model as models


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The sizes that work and memory depend on."""

    parameters: int
    """All parameters."""
    output: int
    """Those of the output matrix, which only predicting positions are multiplied by."""
    layers: int
    hidden: int
    """Width of the hidden states."""
    feed_forward: int
    """Inner width of the feed-forward layers, the largest if they differ."""
    attention: int
    """Width of all query heads, as the mean of the layers."""
    key_value: int
    """Width of all key heads, as the mean of the layers."""
    vocabulary: int
    positions: int | None
    """Most positions of a sequence; None: no limit known."""

    @property
    def body(self) -> int:
        """Parameters that every token is multiplied by: without embeddings and output matrix."""
        return max(self.parameters - self.output, self.layers * self.hidden)


def model_size(name: str, allow_code: bool = False) -> ModelSize:
    """The sizes of a model, from its configuration alone.

    Raises:
        ModelError: there is no such model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = models.load_pretrained(AutoConfig, name, allow_code)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=allow_code)
    return size_of(model)


def size_of(model: Any) -> ModelSize:
    """The sizes of a loaded model (a `PreTrainedModel`), without adapters."""
    from tltrain.engine.capabilities import layer_heads

    config = model.config.get_text_config()
    hidden, heads = int(config.hidden_size), layer_heads(config)
    inner = getattr(config, "intermediate_size", None) or 4 * hidden
    output = model.get_output_embeddings()
    tied = output is not None and output.weight is model.get_input_embeddings().weight
    embeddings = model.get_input_embeddings().weight.numel() * (1 if tied or output is None else 2)
    return ModelSize(
        parameters=sum(weight.numel() for weight in model.parameters()),
        output=embeddings,
        layers=len(heads),
        hidden=hidden,
        feed_forward=max(inner) if isinstance(inner, list) else int(inner),
        attention=sum(layer.queries * layer.size for layer in heads) // len(heads),
        key_value=sum(layer.key_values * layer.size for layer in heads) // len(heads),
        vocabulary=int(config.vocab_size),
        positions=getattr(config, "max_position_embeddings", None),
    )
