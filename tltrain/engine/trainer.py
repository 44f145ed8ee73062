"""`transformers.Trainer` on token trees: a sample is a whole optimiser step, whose loss is `sum(w * nll) / sum(w)`.

`TreeTrainer` implements the passes, the loss over all ranks, `metrics.jsonl` and the checkpoints. The loop, the
trackers and the schedule are those of the Trainer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from tltrain.engine import ranks, sharding
from tltrain.engine.checkpoint import STATE, cut_metrics, load_checkpoint, numbered, save_checkpoint, save_numbered
from tltrain.engine.layers import compiled_layers, gradient_checkpointing
from tltrain.engine.optimiser import Optimiser, rate_share
from tltrain.engine.outputs import LogProbs
from tltrain.engine.passes import BackwardResult, backward, build_trees, measure, nll
from tltrain.engine.prefetch import Prefetch
from tltrain.engine.tree import TokenSequence, TokenTree
from tltrain.errors import RunError
from tltrain.files import append_json_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tltrain.config import OptimiserConfig


@dataclass(slots=True, kw_only=True)
class Update:
    """A line of `metrics.jsonl`; sums are over all ranks."""

    step: int
    """Number of the update, from 1."""
    loss: float
    """Weighted mean negative log-likelihood before the update."""
    grad_norm: float
    """Norm of the gradients before clipping."""
    learning_rate: float
    weight: float
    """Sum of the loss weights; where each reply's are divided by their sum, the number of replies."""
    tokens: int
    """Tokens that the model processed."""
    separate_tokens: int
    """Tokens that it would have processed without token trees."""
    seconds: float
    eval_loss: float | None = None
    """Loss on the held-out steps, if it was evaluated after this update."""

    def to_json(self) -> dict[str, Any]:
        """The fields that are not None."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Number of updates, intervals and limits of a training."""

    updates: int
    learning_rate: OptimiserConfig
    """Warm-up and decay of the learning rate."""
    checkpoint_every: int
    """Updates between checkpoints."""
    evaluate_every: int | None = None
    """Updates between evaluations; None if no steps are held out."""
    patience: int | None = None
    """Stop after this many evaluations without improvement; None to train to the end."""
    recompute_layers: bool = False
    """Use gradient checkpointing."""
    compile_layers: bool = False
    """Compile norms and feed-forward networks."""
    max_tree_tokens: int = 4096
    """Most tokens of a pass."""
    report_to: Sequence[str] = ()
    """The Trainer's `report_to`: names of experiment trackers."""


class TreeTrainer(Trainer):  # type: ignore[misc]
    """Trains on token sequences, which are to be assigned to `steps` and `held_out` before `train_on_trees`.

    Args:
        model: the model on its device, sharded if required, without `peft`'s wrapper.
        wrapped: the model to pass to the Trainer: `model`, or `peft`'s wrapper around it.
        optimiser: of the trained weights.
        schedule: number of updates, intervals and limits.
        folder: output folder for `metrics.jsonl` and, until training ends, checkpoints.
        on_update: called on rank 0 after each update with all updates of this process so far.

    Attributes:
        steps: the sequences of this rank in each optimiser step.
        held_out: the sequences of this rank that are evaluated.
        updates: all updates of this process.
    """

    control: Any
    """The Trainer's `TrainerControl`."""

    def __init__(
        self,
        model: PreTrainedModel,
        wrapped: Any,
        *,
        optimiser: Optimiser,
        schedule: Schedule,
        folder: Path,
        on_update: Callable[[Sequence[Update]], None],
    ) -> None:
        self.network, self.optimiser, self.schedule = model, optimiser, schedule
        self.folder, self.on_update = folder, on_update
        self.steps: Sequence[list[TokenSequence]] = []
        self.held_out: list[TokenSequence] = []
        self.updates: list[Update] = []
        self.sharded = any(ranks.is_sharded(weight) for weight in optimiser.weights)
        self._trees = Prefetch(self._build_trees)
        super().__init__(wrapped, _arguments(model, optimiser, schedule, folder), eval_dataset=())
        self.remove_callback(PrinterCallback)

    def train_on_trees(self) -> None:
        """Train to the end, resuming from the last checkpoint if there is any.

        Raises:
            RunError: the loss or a gradient is not finite.
        """
        last = ranks.shared(next(reversed(numbered(self.folder)), None))
        if ranks.rank() == 0:
            cut_metrics(self.metrics, "step", 0 if last is None else int(last.name.split("-")[1]))
        self.network.eval()  # dropout would differ between shared and separate prefixes, and after resuming
        schedule = self.schedule
        with (
            compiled_layers(self.network) if schedule.compile_layers else nullcontext(),
            gradient_checkpointing(self.network) if schedule.recompute_layers else nullcontext(),
        ):
            super().train(None if last is None else str(last))
        if self.schedule.patience:
            ranks.wait()
            best = load_checkpoint(self.folder / "best.pt")
            assert best is not None, "the last update is followed by an evaluation"
            self.optimiser.load_weights(best["weights"])

    @property
    def metrics(self) -> Path:
        """Path of the file of metrics."""
        return self.folder / "metrics.jsonl"

    # The passes

    def backward(self, sequences: Sequence[TokenSequence]) -> BackwardResult:
        """Run this rank's passes of an optimiser step and accumulate their gradients."""
        max_tokens, accumulate = self.schedule.max_tree_tokens, self.optimiser.accumulate
        trees = self._trees.take(sequences)
        following = self.state.global_step + 1
        if following < len(self.steps):
            self._trees.prepare(self.steps[following])
        if self.sharded:
            return sharding.backward(self.network, trees, nll, accumulate=accumulate)
        if not sequences:
            return BackwardResult(0.0, 0, 0)
        return backward(self.network, sequences, nll, max_tokens, accumulate=accumulate, trees=trees)

    def _build_trees(self, sequences: Sequence[TokenSequence]) -> list[TokenTree]:
        if self.sharded:
            return sharding.build_trees(sequences, self.schedule.max_tree_tokens)
        return build_trees(self.network, sequences)

    def held_out_loss(self) -> float:
        """The loss over the held-out sequences of all ranks."""
        max_tokens, held_out = self.schedule.max_tree_tokens, self.held_out
        if self.sharded:
            loss = sharding.measured_nll(self.network, sharding.build_trees(held_out, max_tokens))
        else:
            logprobs = measure(self.network, held_out, LogProbs(), max_tokens) if held_out else []
            loss = -sum(
                float(torch.tensor(sequence.weights) @ values)
                for sequence, values in zip(held_out, logprobs, strict=True)
            )
        loss, weight = ranks.summed([loss, _weight(held_out)], self.network.device)
        return loss / weight

    # Methods that the Trainer calls

    def training_step(self, model: Any, inputs: list[TokenSequence], num_items_in_batch: Any = None) -> torch.Tensor:
        """Run all passes of an optimiser step; returns its loss over all ranks, a scalar."""
        self._started = time.perf_counter()
        device = self.network.device
        (weight,) = ranks.summed([_weight(inputs)], device)
        loss, tokens, separate = 0.0, 0.0, 0.0
        if weight:  # otherwise every reply of the batch failed: without gradients AdamW does not change its moments
            result = self.backward(inputs)
            loss, tokens, separate = ranks.summed([result.loss, result.tokens, result.separate_tokens], device)
            loss /= weight
        number = self.state.global_step + 1
        if not math.isfinite(loss):
            raise RunError(f"{self.folder}: the loss of update {number} is {loss}; a lower learning rate may help")
        self.updates.append(
            Update(
                step=number,
                loss=loss,
                grad_norm=0.0,
                learning_rate=self._get_learning_rate(),
                weight=weight,
                tokens=int(tokens),
                separate_tokens=int(separate),
                seconds=0.0,
            )
        )
        return torch.tensor(loss, device=self.args.device)

    def _clip_grad_norm(self, model: Any) -> float:
        update = self.updates[-1]
        if update.weight:
            update.grad_norm = self.optimiser.clip(update.weight, f"update {update.step} in {self.folder}")
        return update.grad_norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the fields of an update to the Trainer's logs for the trackers, and write its line of `metrics.jsonl`."""
        if "loss" in logs:
            update = self.updates[-1]
            update.seconds = time.perf_counter() - self._started
            fields = {name: value for name, value in update.to_json().items() if name not in ("step", "seconds")}
            logs.update(fields)
            logs["tokens_per_second"] = update.separate_tokens / update.seconds
            logs["distinct_tokens_per_second"] = update.tokens / update.seconds
        super().log(logs, start_time)
        if ("loss" in logs and not self.control.should_evaluate) or "eval_loss" in logs:
            self._write_line()

    def _write_line(self) -> None:
        if ranks.rank() == 0:
            append_json_line(self.metrics, self.updates[-1].to_json())
            self.on_update(self.updates)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Evaluate the held-out steps; with `patience`, save the best weights and stop early."""
        loss = self.updates[-1].eval_loss = self.held_out_loss()
        earlier = [line["eval_loss"] for line in self.state.log_history if "eval_loss" in line]
        metrics = {"eval_loss": loss}
        self.log(metrics)
        if self.schedule.patience:
            if loss < min(earlier, default=math.inf):
                weights = self.optimiser.whole_weights()
                if ranks.rank() == 0:
                    save_checkpoint(self.folder / "best.pt", {"done": self.state.global_step, "weights": weights})
            elif len(earlier) - earlier.index(min(earlier)) >= self.schedule.patience:
                self.control.should_training_stop = True
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def get_train_dataloader(self) -> DataLoader[list[TokenSequence]]:
        """`steps`, in order."""
        return DataLoader(self.steps, batch_size=1, collate_fn=_only)  # type: ignore[arg-type]

    def _prepare_for_training(
        self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: str | None
    ) -> tuple[Any, Any]:
        """Set up optimiser and schedule, resuming from the checkpoint if given.

        The model is not wrapped: gradients are summed over the ranks once per update, and a sharded model is already
        sharded.
        """
        done = self.state.global_step
        if resume_from_checkpoint is not None:
            state = load_checkpoint(Path(resume_from_checkpoint) / STATE)
            assert state is not None and state["done"] == done
            self.optimiser.load(state["optimiser"])
        self.optimizer = self.optimiser.adam
        for group in self.optimizer.param_groups:
            group["initial_lr"] = group["peak"]
        self.lr_scheduler = LambdaLR(
            self.optimizer,
            lambda step: rate_share(self.schedule.learning_rate, step, self.schedule.updates),
            done - 1,
        )
        for name in ("model", "optimizer", "lr_scheduler"):
            setattr(self.callback_handler, name, getattr(self, name))
        return self.model, train_dataloader

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save a checkpoint, except after the last update: the model is saved next, and training that was stopped early
        must not be resumed."""
        if self.control.should_training_stop:
            return
        done = self.state.global_step
        state = {"done": done, "optimiser": self.optimiser.state()}
        if ranks.rank() == 0:
            save_numbered(
                self.folder, done, state, lambda folder: self.state.save_to_json(str(folder / TRAINER_STATE_NAME))
            )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Does nothing: the weights are restored with the optimiser's state."""

    def _move_model_to_device(self, model: Any, device: torch.device) -> None:
        """Does nothing: the model is already on its device."""

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted."""
        return 0


def _arguments(model: PreTrainedModel, optimiser: Optimiser, schedule: Schedule, folder: Path) -> TrainingArguments:
    evaluate_every = schedule.evaluate_every
    return TrainingArguments(
        output_dir=str(folder),
        run_name=str(folder),
        report_to=list(schedule.report_to),
        num_train_epochs=1,
        per_device_train_batch_size=1,
        max_grad_norm=optimiser.clip_norm,
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if evaluate_every else "no",
        eval_steps=evaluate_every,
        save_steps=schedule.checkpoint_every,
        use_cpu=model.device.type == "cpu",
        # The Trainer writes it to the configuration that is saved.
        use_cache=getattr(model.config, "use_cache", True),
        disable_tqdm=True,
        remove_unused_columns=False,
    )


def _weight(sequences: Sequence[TokenSequence]) -> float:
    return float(sum(weight for sequence in sequences for weight in sequence.weights))


def _only(items: list[list[TokenSequence]]) -> list[TokenSequence]:
    (item,) = items
    return item
