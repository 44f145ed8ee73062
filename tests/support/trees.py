"""Sequences with shared prefixes, small models of several architectures, and losses and gradients without trees."""

from __future__ import annotations

import random
from typing import Any

import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from support.micro import micro_model
from tltrain.engine.tree import TokenSequence


def logs(seed: int = 0, count: int = 12) -> list[TokenSequence]:
    """Sequences with a shared prefix and branches: some are prefixes of others, the first is repeated, the last shares
    nothing."""
    rng = random.Random(seed)
    text = lambda length: [rng.randrange(400) for _ in range(length)]  # noqa: E731
    root, sequences = text(40), []
    for index in range(count):
        start = root + text(2) * (index % 2) + text(10)
        for _ in range(2):  # the second step's sequence starts with the first step's
            reply = text(7)
            weights = [rng.choice([0.0, 1.0, 3.5]) for _ in reply]
            sequences.append(TokenSequence(start + reply, len(start), weights))
            start = start + reply + text(5)
    return [*sequences, sequences[0], TokenSequence(text(9), 1, [1.0] * 8)]


def separate_nll(model: torch.nn.Module, sequences: list[TokenSequence]) -> torch.Tensor:
    """The same loss without trees: each sequence separately, with the model's own attention."""
    total = torch.zeros(())
    for sequence in sequences:
        logits = model(input_ids=torch.tensor([sequence.ids])).logits[0].log_softmax(-1)
        for offset, weight in enumerate(sequence.weights):
            position = sequence.start + offset
            total = total - weight * logits[position - 1, sequence.ids[position]]
    return total


SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"vocab_size": 400, "num_key_value_heads": 2, "initializer_range": 0.15}
GEMMA = SIZES | {"head_dim": 16, "pad_token_id": 0, "sliding_window": 16, "num_hidden_layers": 3}


def models() -> dict[str, Any]:
    torch.manual_seed(1)
    layers = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
    return {
        "llama": micro_model(),
        "qwen3": Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=16)).eval(),
        "mistral, sliding window": MistralForCausalLM(MistralConfig(**SIZES, sliding_window=16)).eval(),
        "gemma3": Gemma3ForCausalLM(Gemma3TextConfig(**GEMMA, **layers)).eval(),
        "gemma3, capped logits": Gemma3ForCausalLM(
            Gemma3TextConfig(**GEMMA, **layers, final_logit_softcapping=2.0)
        ).eval(),
        "gpt2, learned positions": GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=4)).eval(),
    }


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = {key: value.grad for key, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    return found


def assert_same_gradients(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Equal to 1e-5 of each parameter's largest gradient."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        scale = value.abs().max().clamp(min=1e-3)
        assert ((found[key] - value).abs().max() / scale).item() < 1e-5, key


def mamba() -> MambaForCausalLM:
    """A recurrent model, which cannot share prefixes."""
    torch.manual_seed(0)
    return MambaForCausalLM(MambaConfig(vocab_size=400, hidden_size=16, state_size=4, num_hidden_layers=2)).eval()
