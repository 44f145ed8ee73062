"""SFT of the micro model: a trainer, its results, a kill between two updates, and the loss computed step by step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from support.micro import micro_model, micro_tokenizer, micro_trajectories
from tltrain.config import LoraConfig, OptimiserConfig, SFTConfig
from tltrain.encode import Encoder, Step
from tltrain.progress import no_progress
from tltrain.sft import SFTTrainer
from tltrain.trajectory import Trajectory

TOKENIZER = micro_tokenizer()
LORA = LoraConfig(rank=4, alpha=8)
ARMS = {"sft": (False, False), "mae": (True, False), "pkt": (False, True), "mae+pkt": (True, True)}


class KilledError(Exception):
    """Raised by the progress callback in place of a kill."""


def kill_at(number: int) -> Callable[[str, int, int], None]:
    """A progress callback that raises KilledError after update `number`."""

    def progress(what: str, done: int, total: int) -> None:
        if done == number:
            raise KilledError

    return progress


def trainer(
    folder: Path,
    trajectories: list[Trajectory] | None = None,
    arm: str = "mae+pkt",
    model: torch.nn.Module | None = None,
    dtype: torch.dtype = torch.float32,
    max_tree_tokens: int = 4096,
    max_length: int | None = None,
    progress: Any = no_progress,
    seed: int = 5,
    **config: Any,
) -> SFTTrainer:
    """Of the micro model, two trajectories an update, a checkpoint every two updates."""
    mae, pkt = ARMS[arm]
    settings = {"batch_size": 2, "group_size": 2, "checkpoint_every": 2}
    settings |= {"optimiser": OptimiserConfig(learning_rate=1e-2), **config}
    return SFTTrainer(
        model or micro_model(len(TOKENIZER), dtype=dtype),
        TOKENIZER,
        trajectories=trajectories or micro_trajectories(),
        encoder=Encoder(TOKENIZER, mae=mae, pkt=pkt, max_length=max_length),
        config=SFTConfig(**settings),
        folder=folder,
        max_tree_tokens=max_tree_tokens,
        seed=seed,
        progress=progress,
    )


def lines(folder: Path) -> list[dict[str, Any]]:
    """The metrics, without the time that an update took."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def naive_loss(model: torch.nn.Module, steps: list[Step]) -> torch.Tensor:
    """`sum(w * nll) / sum(w)`, one sequence after another through the model as it is."""
    total, weight_sum = torch.zeros(()), 0.0
    for step in steps:
        logits = model(input_ids=torch.tensor([step.prompt_ids + step.reply_ids])).logits[0].log_softmax(-1)
        for offset, (token, weight) in enumerate(zip(step.reply_ids, step.weights, strict=True)):
            total = total - weight * logits[len(step.prompt_ids) + offset - 1, token]
            weight_sum += weight
    return total / weight_sum
