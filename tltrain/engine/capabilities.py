"""What a model can do: share prefixes between sequences, and compute logits from chosen states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch.distributed.tensor import DTensor

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

SHARED_LAYERS = {"full_attention", "sliding_attention"}
"""Kinds of layers, as configurations name them, whose past is a set of keys and values."""
_LINEAR: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


LENGTH_DEPENDENT_ROPE = {"dynamic", "longrope"}
"""RoPE types, as configurations name them, whose frequencies depend on the longest position of a pass. Prefix and reply
of a separate sequence would then be rotated by other frequencies than in a tree."""


def prefix_sharing_obstacle(model: PreTrainedModel) -> str | None:
    """Why token trees would not give this model the results of separate sequences; None if they do."""
    config = model.config.get_text_config()
    name = type(model).__name__
    other = set(getattr(config, "layer_types", None) or ()) - SHARED_LAYERS
    if other:
        return f"{name} has layers of kind {', '.join(sorted(other))}"
    if not model._supports_attention_backend:
        return f"{name} has an attention of its own"
    for field, said in (
        ("attn_logit_softcapping", "caps its attention"),
        ("attention_chunk_size", "attends by chunks"),
    ):
        if getattr(config, field, None):
            return f"{name} {said} ({field})"
    for rope in sorted(_rope_types(config) & LENGTH_DEPENDENT_ROPE):
        return f"{name} scales its rotary position embeddings by the sequence length (rope_type {rope})"
    if any(hasattr(module, "sinks") for module in model.modules()):
        return f"{name} has attention sinks"
    return None


def _rope_types(config: PreTrainedConfig) -> set[str]:
    """RoPE types of all layers: the parameters are a dict, or a dict for each type of layer."""
    parameters = getattr(config, "rope_parameters", None) or {}
    own = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    return {str(found) for each in own if (found := each.get("rope_type", each.get("type")))}


def linear_output(model: PreTrainedModel) -> bool:
    """Whether the logits are the output matrix times the base model's last state and nothing else, as tried once on two
    tokens. Some models cap or scale them."""
    if any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return False  # sharded weights are whole only inside the model's own forward method
    if model not in _LINEAR:
        _LINEAR[model] = _try_output(model)
    return _LINEAR[model]


@torch.no_grad()
def _try_output(model: PreTrainedModel) -> bool:
    head = model.get_output_embeddings()
    if head is None:
        return False
    ids = torch.tensor([[1, 2]], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits
    found = head(model.base_model(input_ids=ids, use_cache=False).last_hidden_state)
    return found.shape == logits.shape and torch.allclose(found.float(), logits.float(), rtol=1e-3, atol=1e-4)
