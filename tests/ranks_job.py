"""Trains the micro model as one of several processes; started by `torchrun` or as a child of a test."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from micro import micro_model, micro_tokenizer, micro_trajectories

from tltrain.config import LoraConfig, OptimiserConfig, SFTConfig
from tltrain.encode import Encoder
from tltrain.sft import SFTTrainer

LORA = LoraConfig(rank=4, alpha=8)


def train(folder: Path, dtype: torch.dtype = torch.float32, **config: Any) -> SFTTrainer:
    """Sixteen trajectories, eight an update, two passes."""
    tokenizer = micro_tokenizer()
    settings = {"batch_size": 8, "group_size": 2, "epochs": 2, "checkpoint_every": 1}
    settings |= {"optimiser": OptimiserConfig(learning_rate=1e-2), **config}
    trainer = SFTTrainer(
        micro_model(len(tokenizer), dtype=dtype),
        tokenizer,
        micro_trajectories(16),
        Encoder(tokenizer),
        SFTConfig(**settings),
        folder,
        seed=5,
        reload=lambda: micro_model(len(tokenizer), dtype=dtype),
    )
    trainer.train()
    return trainer


JOBS: dict[str, dict[str, Any]] = {
    "plain": {},
    "lora": {"lora": LORA},
    "fsdp": {"fsdp": True},
    "fsdp-lora": {"fsdp": True, "lora": LORA},
    "fsdp-bf16": {"fsdp": True, "dtype": torch.bfloat16},
    "fsdp-checkpointing": {"fsdp": True, "gradient_checkpointing": True},
    "bf16": {"dtype": torch.bfloat16},
    "one-a-rank": {"batch_size": 1, "group_size": 1, "trajectories": 3},
    "fsdp-one-a-rank": {"batch_size": 1, "group_size": 1, "trajectories": 3, "fsdp": True},
}


def main(folder: Path, jobs: list[str]) -> None:
    warnings.simplefilter("error")
    for job in jobs:
        train(folder / job, **JOBS[job])


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(Path(sys.argv[1]), sys.argv[2:])
