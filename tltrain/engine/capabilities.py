"""Capabilities of a model: sharing prefixes between sequences, and computing logits from selected hidden states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch.distributed.tensor import DTensor

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

SHARED_LAYERS = {"full_attention", "sliding_attention"}
"""Layer types, as in `config.layer_types`, whose state is a set of keys and values."""
LENGTH_DEPENDENT_ROPE = {"dynamic", "longrope"}
"""Values of `rope_type` whose frequencies depend on the largest position of a pass. The tokens of a separate sequence
would be rotated by other frequencies than those of a tree."""
_LINEAR: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
"""Results of `linear_output`, by model."""


def prefix_sharing_obstacle(model: PreTrainedModel) -> str | None:
    """Why token trees would not give this model the results of separate sequences; None if they would."""
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
    return None


def _rope_types(config: PreTrainedConfig) -> set[str]:
    """RoPE types of all layers. `rope_parameters` holds parameters, or a dict of them for each layer type."""
    parameters = getattr(config, "rope_parameters", None) or {}
    settings = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    return {str(kind) for setting in settings if (kind := setting.get("rope_type", setting.get("type")))}


def linear_output(model: PreTrainedModel) -> bool:
    """Whether the logits are exactly the output matrix times the base model's last hidden state.

    Some models cap or scale them. Determined by a forward pass over two tokens, once per model; False for sharded
    models."""
    if any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return False  # sharded weights are gathered only inside the model's own forward method
    if model not in _LINEAR:
        _LINEAR[model] = _has_linear_output(model)
    return _LINEAR[model]


@torch.no_grad()
def _has_linear_output(model: PreTrainedModel) -> bool:
    head = model.get_output_embeddings()
    if head is None:
        return False
    ids = torch.tensor([[1, 2]], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits
    computed = head(model.base_model(input_ids=ids, use_cache=False).last_hidden_state)
    return computed.shape == logits.shape and torch.allclose(computed.float(), logits.float(), rtol=1e-3, atol=1e-4)
