"""Trains the micro model, or runs the command line, as one of several processes: what `test_ranks.py` starts."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from support.micro import micro_model, micro_tokenizer, micro_trajectories
from tltrain.cli import main
from tltrain.config import HeldOutConfig, LoraConfig, OptimiserConfig, SFTConfig
from tltrain.encode import Encoder
from tltrain.sft import SFTTrainer

LORA = LoraConfig(rank=4, alpha=8)
FEW = {"batch_size": 1, "group_size": 1, "trajectories": 3}
"""Fewer trajectories an update than processes."""
JOBS: dict[str, dict[str, Any]] = {
    "plain": {},
    "lora": {"lora": LORA},
    "held-out": {"held_out": HeldOutConfig(share=0.3, every=1, patience=1), "epochs": 3},
    "few": FEW,
    "bf16": {"dtype": torch.bfloat16},
    "lora-bf16": {"lora": LORA, "dtype": torch.bfloat16},
    "fsdp": {"fsdp": True},
    "fsdp-lora": {"fsdp": True, "lora": LORA},
    "fsdp-held-out": {"fsdp": True, "held_out": HeldOutConfig(share=0.3, every=1, patience=1), "epochs": 3},
    "fsdp-few": {"fsdp": True, **FEW},
    "fsdp-bf16": {"fsdp": True, "dtype": torch.bfloat16},
    "fsdp-lora-bf16": {"fsdp": True, "lora": LORA, "dtype": torch.bfloat16},
    "fsdp-checkpointing": {"fsdp": True, "gradient_checkpointing": True},
}


def train(folder: Path, dtype: torch.dtype = torch.float32, **config: Any) -> SFTTrainer:
    """Sixteen trajectories, eight an update, two passes, a checkpoint after each update."""
    tokenizer = micro_tokenizer()
    settings = {"batch_size": 8, "group_size": 2, "epochs": 2, "checkpoint_every": 1}
    settings |= {"optimiser": OptimiserConfig(learning_rate=1e-2), **config}
    trainer = SFTTrainer(
        micro_model(len(tokenizer), dtype=dtype),
        tokenizer,
        trajectories=micro_trajectories(16),
        encoder=Encoder(tokenizer),
        config=SFTConfig(**settings),
        folder=folder,
        seed=5,
        reload=lambda: micro_model(len(tokenizer), dtype=dtype),
    )
    trainer.train()
    return trainer


def train_as(environment: dict[str, str], folder: Path, jobs: list[str]) -> None:
    """In a process of its own, with the environment that a launcher gives; what it says goes to a file."""
    warnings.simplefilter("error")
    with _launched(environment, folder):
        for job in jobs:
            train(folder / job, **JOBS[job])


def call_as(environment: dict[str, str], folder: Path, arguments: list[str]) -> None:
    """The command line in a process of its own."""
    with _launched(environment, folder):
        main(arguments)


@contextmanager
def _launched(environment: dict[str, str], folder: Path) -> Iterator[None]:
    os.environ.update(environment)
    folder.mkdir(parents=True, exist_ok=True)
    said = folder / f"said.{environment.get('RANK', '0')}"
    with said.open("w", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        try:
            yield
        except Exception:
            traceback.print_exc()
            raise


if __name__ == "__main__":
    train_as({}, Path(sys.argv[1]), sys.argv[2:])
