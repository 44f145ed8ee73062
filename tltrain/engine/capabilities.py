"""What a model can do: share prefixes between sequences, and compute logits from chosen states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch.distributed.tensor import DTensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SHARED_LAYERS = {"full_attention", "sliding_attention"}
"""Kinds of layers, as configurations name them, whose past is a set of keys and values."""
_LINEAR: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def why_not_shared(model: PreTrainedModel) -> str | None:
    """Why token trees cannot stand for separate sequences with this model; None where they can."""
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
    if any(hasattr(module, "sinks") for module in model.modules()):
        return f"{name} has attention sinks"
    return None


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
