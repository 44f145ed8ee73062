"""What is refused because its weights alone exceed the memory; expected values are worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.small_run import mistake, write_run

from tltrain.config import LoraConfig, PPOConfig, RunConfig, SFTConfig
from tltrain.errors import ConfigError
from tltrain.planning import fit
from tltrain.planning.fit import check_fits
from tltrain.planning.model_size import ModelSize

SEVEN = ModelSize(
    parameters=6_738_000_000,
    output=131_000_000,
    layers=32,
    hidden=4096,
    attention=4096,
    key_value=4096,
    feed_forward=11008,
    vocabulary=32000,
    positions=4096,
)
FULL_PPO = PPOConfig(arm="sft", lora=None)
ONE_ARM = SFTConfig(arms=["sft"])


def check(stage: str, gigabytes: float, *, ranks: int = 1, **settings: Any) -> None:
    config = RunConfig(**{"sft": ONE_ARM, "ppo": FULL_PPO, **settings})
    check_fits(config, stage, size=SEVEN, item_bytes=2, capacity=gigabytes * 1e9, ranks=ranks)


@pytest.mark.parametrize(
    ("stage", "settings", "needed"),
    [
        ("ppo", {}, 38 * 6.738),
        ("ppo", {"ppo": PPOConfig(arm="sft", lora=None, advantage="leave_one_out")}, 20 * 6.738),
        ("ppo", {"ppo": PPOConfig(arm="sft", lora=None, advantage="leave_one_out", beta=0)}, 18 * 6.738),
        # Adapters of rank 16: 32 layers of (4 * 8192 + 3 * 15104) * 16 weights, 16 bytes each, for policy and critic.
        ("ppo", {"ppo": PPOConfig(arm="sft")}, 2 * 6.738 + 2 * 16 * 32 * 16 * (4 * 8192 + 3 * 15104) / 1e9),
        ("sft", {}, 18 * 6.738),
        # Shards: policy and critic 16 bytes each, the reference 2; the gathered policy 2.
        ("ppo", {"ppo": PPOConfig(arm="sft", lora=None, fsdp=True), "ranks": 8}, (34 / 8 + 2) * 6.738),
        ("ppo", {"ppo": PPOConfig(arm="sft", lora=None, fsdp=True)}, 38 * 6.738),
        (
            "ppo",
            {"ppo": PPOConfig(arm="sft", fsdp=True), "ranks": 8},
            (2 / 8 + 2) * 6.738 + 2 * 16 * 32 * 16 * (4 * 8192 + 3 * 15104) / 1e9 / 8,
        ),
        (
            "ppo",
            {"ppo": PPOConfig(arm="sft", fsdp=True, sampler="http://localhost:8000/v1"), "ranks": 8},
            2 / 8 * 6.738 + 2 * 16 * 32 * 16 * (4 * 8192 + 3 * 15104) / 1e9 / 8,
        ),
        ("sft", {"sft": SFTConfig(arms=["sft"], fsdp=True), "ranks": 8}, 16 * 6.738 / 8),
        ("sft", {"ranks": 8}, 18 * 6.738),
        (
            "sft",
            {"sft": SFTConfig(arms=["sft"], lora=LoraConfig(base="4bit"))},
            0.5 * 6.738 + 16 * 32 * 16 * (4 * 8192 + 3 * 15104) / 1e9,
        ),
    ],
)
def test_the_weights_are_counted(stage: str, settings: dict[str, Any], needed: float) -> None:
    check(stage, needed * 1.001, **settings)
    with pytest.raises(ConfigError, match=f"{stage}: each process needs {needed:.0f} GB for weights alone"):
        check(stage, needed * 0.999, **settings)


def test_the_arithmetic_and_the_remedy_are_named() -> None:
    with pytest.raises(ConfigError) as refused:
        check("ppo", 80)
    assert str(refused.value) == (
        "ppo: each process needs 256 GB for weights alone, and there are 80 GB: "
        "policy 6.74e9 x 18 bytes (weights 2, fp32 weights 4, gradients 4, Adam 8) + "
        "critic 6.74e9 x 18 bytes (weights 2, fp32 weights 4, gradients 4, Adam 8) + "
        "reference 6.74e9 x 2 bytes (frozen weights); "
        "set ppo.lora: {rank: 16} or use ppo.fsdp: true with several processes"
    )
    with pytest.raises(ConfigError, match=r"set sft.lora: \{rank: 16\} or use sft.fsdp: true with several processes"):
        check("sft", 80)
    with pytest.raises(ConfigError, match=r"use a smaller model or sft\.lora\.base: 4bit"):
        check("sft", 8, sft=SFTConfig(arms=["sft"], lora=LoraConfig()))


def test_sharded_ppo_of_7b_fits_where_there_are_enough_processes() -> None:
    sharded = PPOConfig(arm="sft", lora=None, fsdp=True)
    check("ppo", 80, ranks=8, ppo=sharded)  # 42 GB
    with pytest.raises(ConfigError) as refused:
        check("ppo", 80, ranks=2, ppo=sharded)
    assert str(refused.value) == (
        "ppo: each process needs 128 GB for weights alone, and there are 80 GB: "
        "policy 6.74e9 x 8 bytes (fp32 weights 4, gradients 4, Adam 8, over 2 processes) + "
        "critic 6.74e9 x 8 bytes (fp32 weights 4, gradients 4, Adam 8, over 2 processes) + "
        "reference 6.74e9 x 1 bytes (frozen weights, over 2 processes) + "
        "policy while it samples 6.74e9 x 2 bytes (gathered weights); set ppo.lora: {rank: 16} or use more processes"
    )


def test_a_policy_too_large_to_gather_needs_a_sampling_server() -> None:
    with pytest.raises(ConfigError, match=r"use a smaller model or sample with a server \(ppo\.sampler\)"):
        check("ppo", 12, ranks=8, ppo=PPOConfig(arm="sft", fsdp=True))
    check("ppo", 12, ranks=8, ppo=PPOConfig(arm="sft", fsdp=True, sampler="http://localhost:8000/v1"))


def test_a_run_is_refused_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path)
    monkeypatch.setattr(fit, "capacity_mb", lambda device: 0.01)
    assert "sft: each process needs 0 GB for weights alone" in mistake("sft", run, "--out", tmp_path / "run")
    assert not (tmp_path / "run" / "sft").exists()
