"""Capabilities of a model: sharing prefixes between sequences, and computing logits from selected hidden states; the
heads of its attention layers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch.distributed.tensor import DTensor

from tltrain.engine.attention import tree_attention
from tltrain.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

SHARED_LAYERS = {"full_attention", "sliding_attention"}
"""Layer types, as in `config.layer_types`, whose state is a set of keys and values."""
LENGTH_DEPENDENT_ROPE = {"dynamic", "longrope"}
"""Values of `rope_type` whose frequencies depend on the largest position of a pass. The tokens of a separate sequence
would be rotated by other frequencies than those of a tree."""
_TRIED: WeakKeyDictionary[Any, str | None] = WeakKeyDictionary()
"""Results of `_obstacle_of_a_pass`, by model."""
_LINEAR: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
"""Results of `linear_output`, by model."""


def prefix_sharing_obstacle(model: PreTrainedModel) -> str | None:
    """Why token trees would not give this model the results of separate sequences; None if they would.

    Determined by its configuration and, once per model, by a forward pass over two tokens."""
    config = model.config.get_text_config()
    name = type(model).__name__
    other = set(getattr(config, "layer_types", None) or ()) - SHARED_LAYERS
    if other:
        return f"{name} has layers of kind {', '.join(sorted(other))}"
    if not model._supports_attention_backend:
        return f"{name} does not use the attention interface of transformers"
    for field, reason in (
        ("attn_logit_softcapping", "caps its attention scores"),
        ("attention_chunk_size", "uses chunked attention"),
    ):
        if getattr(config, field, None):
            return f"{name} {reason} ({field})"
    for rope in sorted(_rope_types(config) & LENGTH_DEPENDENT_ROPE):
        return f"{name} scales its rotary position embeddings with the sequence length (rope_type {rope})"
    if any(hasattr(module, "sinks") for module in model.modules()):
        return f"{name} has attention sinks"
    if model not in _TRIED:
        _TRIED[model] = _obstacle_of_a_pass(model)
    return _TRIED[model]


class _Calls:
    """A layout in which no token attends to any; counts the calls of each layer.

    Attributes:
        layers: number of calls, by index of the layer.
        equal_sizes: whether the values' heads have the size of the keys' everywhere.
    """

    def __init__(self) -> None:
        self.layers: Counter[int] = Counter()
        self.equal_sizes = True

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float,
        window: int | None,
    ) -> torch.Tensor:
        """See `Layout`."""
        self.layers[layer] += 1
        self.equal_sizes = self.equal_sizes and key.shape[-1] == value.shape[-1]
        return query.new_zeros(*query.shape[:-1], value.shape[-1])


@torch.no_grad()
def _obstacle_of_a_pass(model: PreTrainedModel) -> str | None:
    """What the calls of a model's attention in a forward pass say about `prefix_sharing_obstacle`."""
    calls = _Calls()
    try:
        with tree_attention(model, calls):
            model(input_ids=torch.tensor([[1, 2]], device=model.device), use_cache=False)
    except ModelError as error:
        return str(error)
    most = max(calls.layers.values(), default=0)
    if most > 1:  # keys and values are kept by layer
        return f"{type(model).__name__} calls attention {most} times in a layer"
    return None if calls.equal_sizes else f"{type(model).__name__} has values of another head size than its keys"


class Heads(NamedTuple):
    """The attention heads of a layer."""

    queries: int
    key_values: int
    size: int


def layer_heads(config: PreTrainedConfig) -> list[Heads]:
    """The attention heads of each layer, by a model's text configuration: those of some models differ."""
    return [_heads(layer) for layer in getattr(config, "per_layer_config", [config] * config.num_hidden_layers)]


def _heads(layer: PreTrainedConfig) -> Heads:
    queries = int(getattr(layer, "num_attention_heads", 0) or 1)
    key_values = int(getattr(layer, "num_key_value_heads", None) or queries)
    return Heads(queries, key_values, int(getattr(layer, "head_dim", None) or layer.hidden_size // queries))


def _rope_types(config: PreTrainedConfig) -> set[str]:
    """RoPE types of all layers. `rope_parameters` holds parameters, or a dict of them for each layer type."""
    parameters = getattr(config, "rope_parameters", None) or {}
    settings = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    return {str(kind) for setting in settings if (kind := setting.get("rope_type", setting.get("type")))}


def linear_output(model: PreTrainedModel) -> bool:
    """Whether the logits are exactly the output matrix times the base model's last hidden state.

    Some models cap or scale them, some have no base model of their own. Determined by a forward pass over two tokens,
    once per model; False for sharded models."""
    if any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return False  # sharded weights are gathered only inside the model's own forward method
    if model not in _LINEAR:
        _LINEAR[model] = _has_linear_output(model)
    return _LINEAR[model]


@torch.no_grad()
def _has_linear_output(model: PreTrainedModel) -> bool:
    head = model.get_output_embeddings()
    if head is None or model.base_model is model:
        return False
    ids = torch.tensor([[1, 2]], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits
    computed = head(model.base_model(input_ids=ids, use_cache=False).last_hidden_state)
    return computed.shape == logits.shape and torch.allclose(computed.float(), logits.float(), rtol=1e-3, atol=1e-4)
