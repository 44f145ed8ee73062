"""Low-rank adapters, put into a model in place by `peft`."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from peft import LoraConfig as PeftConfig
from peft import PeftModel, get_peft_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tltrain.config import LoraConfig


def add_adapters(model: PreTrainedModel, lora: LoraConfig, names: tuple[str, ...], seed: int) -> PeftModel:
    """Put one adapter for each name into every linear layer of `model`, which from then on computes with the active
    one; the adapters begin as the identity. They have the model's dtype: the optimiser keeps fp32 weights."""
    import torch

    torch.manual_seed(seed)
    settings = PeftConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    with warnings.catch_warnings():  # peft asks transformers for a property under its old name
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        wrapped = get_peft_model(model, settings, adapter_name=names[0], autocast_adapter_dtype=False)
    for name in names[1:]:
        wrapped.add_adapter(name, settings, autocast_adapter_dtype=False)
    return wrapped


def merged(wrapped: PeftModel, name: str) -> PreTrainedModel:
    """The model with one adapter added to its weights, and no adapter left."""
    wrapped.set_adapter(name)
    model: PreTrainedModel = wrapped.merge_and_unload(adapter_names=[name])
    return model
