"""The benchmarked models: their folders, and the number of parameters that process a token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

from speed.figures import Size
from tltrain import model as models

RANDOM: dict[str, dict[str, Any]] = {
    "llama-7b-random": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 8192,
    },
}
"""Configurations of models with random weights, which use the tokenizer of the built-in model."""


def model_folder(name: str, scratch: Path) -> str:
    """The folder of a model. For a name in `RANDOM`, a new folder without weights in `scratch`."""
    if name not in RANDOM:
        return models.resolve(name)
    tokenizer = models.load_tokenizer(models.BUILTIN)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    folder = scratch / name
    LlamaConfig(vocab_size=len(tokenizer), architectures=["LlamaForCausalLM"], **ends, **RANDOM[name]).save_pretrained(
        folder
    )
    tokenizer.save_pretrained(folder)
    return str(folder)


def model_size(folder: str) -> Size:
    """Number of parameters, counted on the meta device."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    inputs, outputs = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    embeddings = inputs.numel() + (0 if outputs is inputs else outputs.numel())
    return Size(sum(parameter.numel() for parameter in model.parameters()) - embeddings, outputs.numel())
