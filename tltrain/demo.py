"""The built-in demonstration: the whole pipeline on toolworld and the built-in model, sized for two CPU cores."""

from __future__ import annotations

from tltrain.config import (
    DataConfig,
    EvalConfig,
    LoraConfig,
    OptimiserConfig,
    PPOConfig,
    RunConfig,
    SFTConfig,
)


def demo_config(size: float = 1.0, seed: int = 0) -> RunConfig:
    """The demo's configuration. `size` scales the training and evaluation data and the number of rollouts; below 1 also
    the prompts of a rollout. How PPO was chosen: docs/LOG.md, 2026-11-26."""

    def scaled(count: int) -> int:
        return max(1, round(count * size))

    return RunConfig(
        data=DataConfig(train="toolworld", size=max(scaled(1217), 1217)),
        seed=seed,
        max_length=2048,
        max_tree_tokens=2000,
        sft=SFTConfig(
            trajectories=scaled(480),
            batch_size=4,
            group_size=4,
            optimiser=OptimiserConfig(learning_rate=1e-3, warmup=0.1),
            lora=LoraConfig(rank=32, alpha=32),
            checkpoint_every=30,
        ),
        ppo=PPOConfig(
            rollouts=max(scaled(5), 2),
            prompts=min(max(scaled(16), 4), 16),
            group_size=4,
            samples=4,
            temperature=1.0,
            beta=0.04,
            max_new_tokens=160,
            critic_warmup=1,
            policy=OptimiserConfig(learning_rate=2e-4, weight_decay=0.0),
            critic=OptimiserConfig(learning_rate=2e-4, weight_decay=0.0),
            checkpoint_every=1,
        ),
        eval=EvalConfig(trajectories=scaled(60), max_new_tokens=128),
    )
