"""What adapters learned is what is saved: `adapter/` loads on its base, and the merged bf16 model keeps the change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from support.micro import micro_model, micro_tokenizer, micro_trajectories
from support.trees import models
from transformers import AutoModelForCausalLM

from tltrain.config import LoraConfig, OptimiserConfig, PPOConfig, SFTConfig
from tltrain.encode import Encoder
from tltrain.engine import adapters
from tltrain.engine.adapters import add_adapters, merged, merged_while, round_stochastically
from tltrain.engine.passes import token_logprobs
from tltrain.engine.tree import TokenSequence, TokenTree
from tltrain.ppo.trainer import PPOTrainer
from tltrain.sft import SFTTrainer, step_sequence

TOKENIZER = micro_tokenizer()
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
LORA = LoraConfig(rank=8, alpha=8)
SLOW = OptimiserConfig(learning_rate=1e-4, weight_decay=0.0)
"""A rate at which most changes of a weight are far below half a unit in the last place of bf16."""


def sequences() -> list[TokenSequence]:
    """Replies that were not trained on."""
    return [step_sequence(step) for one in micro_trajectories(40)[20:] for step in Encoder(TOKENIZER).steps(one)]


@torch.no_grad()
def logprobs(model: torch.nn.Module) -> torch.Tensor:
    """In fp32, so that what is measured is the weights and not the arithmetic."""
    return token_logprobs(model.float(), TokenTree(sequences()))


def adapted(folder: Path) -> PeftModel:
    """The base model with the saved adapter over it."""
    return PeftModel.from_pretrained(micro_model(len(TOKENIZER), dtype=torch.bfloat16), folder / "adapter")


def kept(folder: Path, models: list[torch.nn.Module]) -> float:
    """Slope of the models' changes in log-probabilities on the adapter's, as a mean over the models."""
    before = logprobs(micro_model(len(TOKENIZER), dtype=torch.bfloat16))
    change = logprobs(adapted(folder).float().get_base_model()) - before
    assert change.abs().mean() > 1e-4
    slopes = [((logprobs(model) - before) @ change) / (change @ change) for model in models]
    return float(torch.stack(slopes).mean())


def sft(folder: Path, model: torch.nn.Module) -> None:
    SFTTrainer(
        model,
        TOKENIZER,
        trajectories=micro_trajectories(20),
        encoder=Encoder(TOKENIZER),
        config=SFTConfig(batch_size=4, group_size=2, optimiser=SLOW, lora=LORA, epochs=3),
        folder=folder,
        seed=5,
        base="owner/base",
    ).train()


def ppo(folder: Path, model: torch.nn.Module) -> None:
    encoder = Encoder(TOKENIZER)
    prompts = [prompt for one in micro_trajectories(8) for prompt in encoder.prompts(one)]
    settings = {"rollouts": 10, "prompts": 4, "samples": 2, "group_size": 2, "max_new_tokens": 6}
    PPOTrainer(
        model,
        TOKENIZER,
        prompts=prompts,
        stop_ids=[TOKENIZER.eos_token_id],
        config=PPOConfig(lora=LORA, policy=SLOW, critic=SLOW, **settings),
        folder=folder,
        seed=5,
        base="owner/base",
    ).train()


@pytest.mark.parametrize("train", [sft, ppo])
def test_the_saved_bf16_model_keeps_the_trained_change(tmp_path: Path, train: object) -> None:
    train(tmp_path, micro_model(len(TOKENIZER), dtype=torch.bfloat16))  # type: ignore[operator]
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "owner/base"
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert saved.dtype == torch.bfloat16
    again = merged(adapted(tmp_path), "default", 5).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in saved.state_dict().items())
    # In a model of so few weights one rounding is noisy: what is kept is measured over several.
    assert 0.95 <= kept(tmp_path, [merged(adapted(tmp_path), "default", seed) for seed in range(16)]) <= 1.05


@pytest.mark.parametrize("train", [sft, ppo])
def test_rounding_to_nearest_would_lose_the_change(
    tmp_path: Path, train: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "round_stochastically", lambda values, rng: values.to(torch.bfloat16))
    train(tmp_path, micro_model(len(TOKENIZER), dtype=torch.bfloat16))  # type: ignore[operator]
    assert kept(tmp_path, [AutoModelForCausalLM.from_pretrained(tmp_path / "model")]) < 0.9


def test_the_same_seed_saves_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "again"):
        sft(tmp_path / name, micro_model(len(TOKENIZER), dtype=torch.bfloat16))
    one, again = ((tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("one", "again"))
    assert one == again


def test_stochastic_rounding_is_unbiased_between_the_two_neighbours() -> None:
    # bf16 has 7 bits after the point: the neighbours of 1 + 1/512 are 1 and 1 + 1/128, at a quarter of their distance.
    values = torch.full((40_000,), 1 + 1 / 512)
    found = round_stochastically(values, torch.Generator().manual_seed(0))
    assert set(found.tolist()) == {1.0, 1 + 1 / 128}
    assert (found > 1).float().mean().item() == pytest.approx(0.25, abs=0.01)
    below = round_stochastically(-values, torch.Generator().manual_seed(0))
    assert torch.equal(below, -found)


def test_stochastic_rounding_keeps_what_bf16_represents() -> None:
    values = torch.tensor([0.0, -0.0, 1.5, -3.0, float("inf"), -float("inf"), float("nan")])
    found = round_stochastically(values, torch.Generator().manual_seed(0)).float()
    assert torch.equal(found[:-1], values[:-1])
    assert found[-1].isnan()


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize(
    ("name", "layer"),
    [("llama", "model.layers.0.self_attn.q_proj"), ("gpt2, learned positions", "transformer.h.0.attn.c_proj")],
)
def test_an_adapter_is_merged_for_a_while_without_a_trace(name: str, layer: str) -> None:
    """Also where weights are transposed, as in GPT-2, whose `c_proj` is square."""
    model = models()[name]
    wrapped = add_adapters(model, LoraConfig(rank=4, alpha=8), ("one", "two"), 0)
    for key, value in model.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(value, std=0.1)
    wrapped.set_adapter("two")
    ids = torch.arange(20)[None]
    with torch.no_grad():
        expected, before = (
            model(input_ids=ids).logits,
            {key: value.clone() for key, value in model.state_dict().items()},
        )
        with merged_while(wrapped, "two"):
            torch.testing.assert_close(model(input_ids=ids).logits, expected, rtol=0, atol=1e-5)
            weight = f"{layer}.base_layer.weight"
            assert not torch.equal(model.state_dict()[weight], before[weight])
        assert torch.equal(model(input_ids=ids).logits, expected)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    trained = {key for key, value in model.named_parameters() if value.requires_grad}
    assert trained
    assert all(".two." in key for key in trained)
