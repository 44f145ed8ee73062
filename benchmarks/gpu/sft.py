"""Speed and memory of SFT on token trees: the passes and the optimiser of `tltrain.SFTTrainer`, without its files."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from speed.figures import Size
from speed.process import peak_memory_mb
from speed.size import model_size
from speed.workload import NAMES, Name, make_row

from gpu.data import encoder, joined, logs, sequences
from gpu.part import Job, Row, timed
from gpu.shapes import make_model
from tltrain.engine.adapters import add_adapters
from tltrain.engine.layers import compiled_layers
from tltrain.engine.optimiser import Optimiser
from tltrain.engine.passes import backward, build_trees, nll
from tltrain.engine.prefetch import Prefetch
from tltrain.engine.tree import TokenSequence, TokenTree

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tltrain.config import LoraConfig

BATCH, TIMED = 16, 2
"""Logs of an update, and timed updates; one update before them is not timed."""
TINY_BATCH = 3
MAX_TREE_TOKENS = 8192
"""Tokens of a pass: the activations of 7B are 6 MB a token."""
LEARNING_RATE = 1e-5


@dataclass(frozen=True, slots=True)
class Lora:
    """Rank and scaling of adapters, as `tltrain.config.LoraConfig`, which needs pydantic."""

    rank: int
    alpha: float


def adapters(model: PreTrainedModel, rank: int, names: tuple[str, ...], seed: int) -> None:
    """Add adapters to a model."""
    lora: LoraConfig = Lora(rank, 2.0 * rank)  # type: ignore[assignment]
    add_adapters(model, lora, names, seed)


def batch_size(job: Job) -> int:
    """Logs of an update."""
    return TINY_BATCH if job.tiny else BATCH


def run(job: Job) -> list[Row]:
    """A row for each workload."""
    model = make_model(job)
    if job.rank is not None:
        adapters(model, job.rank, ("sft",), job.seed)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = Optimiser([(trained, LEARNING_RATE)], (0.9, 0.95), 0.01, 1.0)
    backend = "aot_eager" if job.tiny else "inductor"  # which takes a minute on a CPU
    with compiled_layers(model, backend) if job.compile else nullcontext():
        return [_measure(model, optimiser, name, job) for name in NAMES]


def _measure(model: PreTrainedModel, optimiser: Optimiser, name: Name, job: Job) -> Row:
    batch = batch_size(job)
    made = logs(name, batch * (1 + TIMED), job)
    own = sequences(made, job)
    updates = [joined(own[start : start + batch]) for start in range(0, len(own), batch)]
    _train(model, optimiser, updates[:1])
    if job.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds, tokens = timed(job.device, lambda: _train(model, optimiser, updates[1:]))
    scored = sum(len(one.weights) for update in updates[1:] for one in update)
    separate = sum(len(make_row(log, encoder(job.folder, job.model)).input_ids) for log in made[batch:])
    figures = {"tokens/s": separate / seconds, "distinct tokens/s": tokens / seconds, "MB": peak_memory_mb(job.device)}
    size = model_size(str(Path(job.folder) / job.model))
    setting = f"{name} tools, tltrain{', compiled layers' if job.compile else ''}"
    return Row(setting, figures | {"of peak": flops(size, tokens, scored, job.rank) / seconds / job.peak_flops})


def flops(size: Size, tokens: int, scored: int, rank: int | None) -> float:
    """Floating-point operations of training; of the weights that adapters are over, no gradients are computed."""
    return size.flops(tokens, scored) * (1 if rank is None else 4 / 6)


def _train(model: PreTrainedModel, optimiser: Optimiser, updates: list[list[TokenSequence]]) -> int:
    """Make an update with each list of sequences; returns the number of tokens that the model processed."""
    trees = Prefetch[list[TokenSequence], list[TokenTree]](lambda update: build_trees(model, update))
    tokens = 0
    for number, update in enumerate(updates):
        built = trees.take(update)
        if number + 1 < len(updates):
            trees.prepare(updates[number + 1])
        done = backward(model, update, nll, MAX_TREE_TOKENS, accumulate=optimiser.accumulate, trees=built)
        optimiser.step(sum(sum(one.weights) for one in update), 1.0)
        tokens += done.tokens
    return tokens
