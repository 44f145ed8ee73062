"""Supervised fine-tuning on token trees: one update is `sum(w * nll) / sum(w)` over all its trajectories."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tltrain import model as models
from tltrain.config import SFTConfig
from tltrain.encode import Encoder, EncodingCounts, Step
from tltrain.engine.adapters import add_adapters, merged
from tltrain.engine.checkpoint import cut_metrics, load_checkpoint, save_checkpoint
from tltrain.engine.optimiser import Optimiser, cosine
from tltrain.engine.order import batches
from tltrain.engine.passes import backward, nll
from tltrain.engine.tree import TokenSequence
from tltrain.errors import DataError, RunError
from tltrain.files import append_json_line, discard, write_json
from tltrain.trajectory import Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def silent(what: str, done: int, total: int) -> None:
    """No progress shown."""


@dataclass(frozen=True, slots=True)
class Update:
    """One line of `metrics.jsonl`: `loss` is the mean over weights before the update, `tokens` went through the model,
    `separate_tokens` would have without trees."""

    step: int
    loss: float
    grad_norm: float
    learning_rate: float
    weight: float
    tokens: int
    separate_tokens: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As written."""
        return {name: getattr(self, name) for name in self.__slots__}


class SFTTrainer:
    """Fine-tunes a model on trajectories, in an order that does not depend on masks and weights.

    Args:
        model: trained in place (adapters are merged in the end).
        tokenizer: of the model; saved with it.
        trajectories: all there are; the configuration may take a part.
        encoder: says which tokens weigh what.
        config: see `SFTConfig`; `arms` is not looked at.
        folder: gets `model/`, `metrics.jsonl` and, until done, `checkpoint.pt`. A folder with a checkpoint is resumed.
        max_tree_tokens: bounds the memory of one pass.
        seed: of the order and the adapters.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        trajectories: Sequence[Trajectory],
        encoder: Encoder,
        config: SFTConfig,
        folder: Path,
        max_tree_tokens: int = 4096,
        seed: int = 0,
        progress: Progress = silent,
    ) -> None:
        self.tokenizer, self.encoder, self.config, self.folder = tokenizer, encoder, config, folder
        self.max_tree_tokens, self.seed, self.progress = max_tree_tokens, seed, progress
        self.order = self._order(trajectories)
        self.trajectories = {index: trajectories[index] for batch in self.order for index in batch}
        self.adapters = None if config.lora is None else add_adapters(model, config.lora, ("sft",), seed)
        self.model = model
        settings = config.optimiser
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimiser = Optimiser(
            [(trained, settings.learning_rate)],
            (settings.beta1, settings.beta2),
            settings.weight_decay,
            settings.clip_norm,
        )

    def _order(self, trajectories: Sequence[Trajectory]) -> list[list[int]]:
        """Indices of the trajectories of each update. A part of the data is its first batches, so that groups stay
        whole; later passes order that part anew."""
        config = self.config
        keys = [prefix_key(trajectory) for trajectory in trajectories]
        first = batches(keys, config.batch_size, config.group_size, self.seed)
        if config.trajectories is not None:
            first = first[: -(-config.trajectories // config.batch_size)]
        chosen = [index for batch in first for index in batch]
        order = first
        for epoch in range(1, config.epochs):
            again = batches([keys[index] for index in chosen], config.batch_size, config.group_size, self.seed + epoch)
            order = order + [[chosen[place] for place in batch] for batch in again]
        return order

    def train(self) -> EncodingCounts:
        """Train to the end and save; returns what became of the replies.

        Raises:
            DataError: no trajectory has anything to learn.
        """
        steps = {index: self.encoder.steps(trajectory) for index, trajectory in self.trajectories.items()}
        counts = self.encoder.counts
        if not counts.learned:
            raise DataError(
                f"nothing to learn: of {counts.replies} replies {counts.masked} failed, {counts.dropped} cut"
            )
        write_json(self.folder / "encoding.json", counts.to_json())
        checkpoint, metrics = self.folder / "checkpoint.pt", self.folder / "metrics.jsonl"
        state = load_checkpoint(checkpoint)
        done = 0 if state is None else int(state["done"])
        if state is not None:
            self.optimiser.load(state["optimiser"])
        cut_metrics(metrics, "step", done)
        self.model.eval()  # no dropout: a shared prefix stands for separate sequences, a resumed run for a whole one
        for number, batch in enumerate(self.order[done:], start=done + 1):
            update = self._update(number, [step for index in batch for step in steps[index] if not step.masked])
            append_json_line(metrics, update.to_json())
            self.progress(f"loss {update.loss:.3f}", number, len(self.order))
            if number % self.config.checkpoint_every == 0 and number < len(self.order):
                save_checkpoint(checkpoint, {"done": number, "optimiser": self.optimiser.state()})
        if self.adapters is not None:
            self.model = merged(self.adapters, "sft")
        models.save(self.model, self.tokenizer, self.folder / "model")
        discard(checkpoint)
        return counts

    def _update(self, number: int, steps: Sequence[Step]) -> Update:
        started = time.perf_counter()
        share = cosine(number - 1, len(self.order), self.config.optimiser.warmup)
        rate = self.config.optimiser.learning_rate * share
        sequences = [step_sequence(step) for step in steps]
        total = sum(weight for sequence in sequences for weight in sequence.weights)
        if not total:  # every reply of the batch failed: nothing to learn from, so no update and no decay either
            return Update(number, 0.0, 0.0, rate, 0.0, 0, 0, time.perf_counter() - started)
        done = backward(self.model, sequences, nll, self.max_tree_tokens, accumulate=self.optimiser.accumulate)
        if not math.isfinite(done.loss):
            raise RunError(f"{self.folder}: the loss of update {number} is {done.loss}; a lower learning rate may help")
        norm = self.optimiser.step(total, share)
        seconds = time.perf_counter() - started
        return Update(number, done.loss / total, norm, rate, total, done.tokens, done.separate_tokens, seconds)


def step_sequence(step: Step) -> TokenSequence:
    """The token sequence whose tail is the step's reply."""
    return TokenSequence(step.prompt_ids + step.reply_ids, len(step.prompt_ids), step.weights)


def prefix_key(trajectory: Trajectory) -> tuple[str, ...]:
    """Equal for trajectories whose prompts begin alike: their system text and the names of their tools."""
    system = [message.content or "" for message in trajectory.messages[:1] if message.role == "system"]
    return (*system, *(tool.name for tool in trajectory.tools))


def draw(trajectories: Sequence[Trajectory], count: int | None, seed: int) -> list[Trajectory]:
    """`count` trajectories without replacement, in their order; all where there are no more, or `count` is None."""
    if count is None or count >= len(trajectories):
        return list(trajectories)
    chosen = sorted(random.Random(seed).sample(range(len(trajectories)), count))
    return [trajectories[index] for index in chosen]


def torch_dtype(name: str) -> torch.dtype:
    """`bfloat16` or `float32` as torch has it."""
    return {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]
