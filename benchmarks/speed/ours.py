"""The process of tltrain: SFT of all weights by `tltrain.SFTTrainer`."""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from speed.process import Job, Outcome, load_model, peak_memory_mb, read_lines, run, versions, without_weights
from tltrain import SFTTrainer, Trajectory, read
from tltrain import model as models
from tltrain.config import OptimiserConfig, SFTConfig
from tltrain.encode import Encoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def ours(job: Job) -> Outcome:
    """Train on the warm-up logs and then, with a new trainer, on the timed logs."""
    load = load_model if without_weights(job.model) else models.load_model
    model = load(job.model, getattr(torch, job.dtype), job.device)
    logs = list(read(job.logs))
    trained = _train(model, logs[: job.warmup], job, "warmup")[0] if job.warmup else 0
    gc.collect()  # frees the optimiser of the first trainer
    learned, updates = _train(model, logs[job.warmup :], job, "timed")
    return Outcome(
        seconds=sum(update["seconds"] for update in updates),
        losses=[update["loss"] for update in updates],
        trained=trained + learned,
        tokens=sum(update["tokens"] for update in updates),
        scored=learned,
        peak_mb=peak_memory_mb(job.device),
        versions=versions(),
        settings={"max_tree_tokens": job.max_tree_tokens, **job.ours},
    )


def _train(model: PreTrainedModel, logs: Sequence[Trajectory], job: Job, name: str) -> tuple[int, list[dict[str, Any]]]:
    """Train; returns the number of tokens in the loss and the lines of `metrics.jsonl`."""
    folder = Path(job.folder) / name
    tokenizer = models.load_tokenizer(job.model, "hermes")
    encoder = Encoder(tokenizer, mae=False, pkt=False, stop_ids=models.end_ids(model))
    optimiser = OptimiserConfig(learning_rate=job.learning_rate, warmup=0)
    config = SFTConfig(**{"arms": ["sft"], "batch_size": job.batch, "optimiser": optimiser, **job.ours})
    trainer = SFTTrainer(
        model,
        tokenizer,
        trajectories=logs,
        encoder=encoder,
        config=config,
        folder=folder,
        max_tree_tokens=job.max_tree_tokens,
        seed=job.seed,
    )
    trainer.train()
    learned = json.loads((folder / "encoding.json").read_text(encoding="utf-8"))["learned"]
    return learned, read_lines(str(folder / "metrics.jsonl"))


if __name__ == "__main__":
    run(Job, ours)
