"""The built-in demonstration: the whole pipeline on toolworld and the built-in model, sized for two CPU cores."""

from __future__ import annotations

from tltrain.config import (
    DataConfig,
    EvalConfig,
    LoraConfig,
    OptimiserConfig,
    RunConfig,
    SFTConfig,
)


def demo_config(size: float = 1.0, seed: int = 0) -> RunConfig:
    """The demo's configuration: arms and stages as `RunConfig` has them by default. `size` scales the data.

    PPO with settings chosen for this model is in recipes/evidence/toolworld.yaml.
    """

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
        eval=EvalConfig(trajectories=scaled(60), max_new_tokens=128),
    )
