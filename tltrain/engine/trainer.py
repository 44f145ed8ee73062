"""`transformers.Trainer` on token trees: its sample is one optimiser step, its loss `sum(w * nll) / sum(w)` over it.

What is ours: the passes, the loss over all ranks, the lines of metrics, checkpoints written aside. The loop, the
trackers and the schedule are the Trainer's.
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
from tltrain.engine.layers import recomputed
from tltrain.engine.optimiser import Optimiser, cosine
from tltrain.engine.outputs import LogProbs
from tltrain.engine.passes import Passed, backward, measure, nll
from tltrain.engine.tree import TokenSequence
from tltrain.errors import RunError
from tltrain.files import append_json_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(slots=True)
class Update:
    """One line of `metrics.jsonl`: `loss` is the mean over weights before the update, `tokens` went through the model,
    `separate_tokens` would have without trees, all over every rank; `eval_loss` is there where it was measured."""

    step: int
    loss: float
    grad_norm: float
    learning_rate: float
    weight: float
    tokens: int
    separate_tokens: int
    seconds: float
    eval_loss: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As written."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Schedule:
    """How to train. `evaluate_every` is None where nothing is held out, `patience` where nothing stops early."""

    updates: int
    warmup: float
    checkpoint_every: int
    evaluate_every: int | None = None
    patience: int | None = None
    recompute_layers: bool = False
    max_tree_tokens: int = 4096
    report_to: Sequence[str] = ()


class TreeTrainer(Trainer):  # type: ignore[misc]
    """Trains on what `steps` and `held_out` hold, which are to be set before `train_on_trees`.

    Args:
        model: the model without any wrapper, on its device and already sharded where it is to be.
        wrapped: the model that the Trainer is given: `model` itself, or `peft`'s wrapper around it.
        optimiser: updates the trained weights.
        schedule: when to evaluate, checkpoint and stop.
        folder: gets `metrics.jsonl` and, until training ends, checkpoints.
        report: called after each update with all updates of this process so far.
    """

    control: Any
    """The Trainer's: what it is about to do."""

    def __init__(
        self,
        model: PreTrainedModel,
        wrapped: Any,
        *,
        optimiser: Optimiser,
        schedule: Schedule,
        folder: Path,
        report: Callable[[Sequence[Update]], None],
    ) -> None:
        self.network, self.optimiser, self.schedule, self.folder = model, optimiser, schedule, folder
        self.report = report
        self.steps: Sequence[list[TokenSequence]] = []
        self.held_out: list[TokenSequence] = []
        self.updates: list[Update] = []
        self.sharded = any(ranks.is_sharded(weight) for weight in optimiser.weights)
        super().__init__(wrapped, _arguments(model, optimiser, schedule, folder), eval_dataset=())
        self.remove_callback(PrinterCallback)

    def train_on_trees(self) -> None:
        """Train to the end, from the last checkpoint if there is one."""
        last = ranks.shared(next(reversed(numbered(self.folder)), None))
        if ranks.rank() == 0:
            cut_metrics(self.metrics, "step", 0 if last is None else int(last.name.split("-")[1]))
        self.network.eval()  # no dropout: a shared prefix stands for separate sequences, a resumed run for a whole one
        with recomputed(self.network) if self.schedule.recompute_layers else nullcontext():
            super().train(None if last is None else str(last))
        if self.schedule.patience:
            ranks.wait()
            best = load_checkpoint(self.folder / "best.pt")
            assert best is not None, "the last update is followed by an evaluation"
            self.optimiser.load_weights(best["weights"])

    @property
    def metrics(self) -> Path:
        """The file of metrics."""
        return self.folder / "metrics.jsonl"

    # The passes

    def backward(self, sequences: Sequence[TokenSequence]) -> Passed:
        """All passes of this rank in one optimiser step, their gradients into the optimiser."""
        room, accumulate = self.schedule.max_tree_tokens, self.optimiser.accumulate
        if self.sharded:
            return sharding.backward(self.network, sequences, room, accumulate)
        return backward(self.network, sequences, nll, room, accumulate=accumulate) if sequences else Passed(0.0, 0, 0)

    def held_out_loss(self) -> float:
        """The loss over all that is held out."""
        room, own = self.schedule.max_tree_tokens, self.held_out
        if self.sharded:
            loss = sharding.measured_nll(self.network, own, room)
        else:
            read = measure(self.network, own, LogProbs(), room) if own else []
            loss = -sum(float(torch.tensor(one.weights) @ row) for one, row in zip(own, read, strict=True))
        loss, weight = ranks.summed([loss, _weight(own)], self.network.device)
        return loss / weight

    # What the Trainer asks for

    def training_step(self, model: Any, inputs: list[TokenSequence], num_items_in_batch: Any = None) -> torch.Tensor:
        """All passes of one optimiser step; the loss is the same on every rank."""
        self._started = time.perf_counter()
        device = self.network.device
        (weight,) = ranks.summed([_weight(inputs)], device)
        loss, tokens, separate = 0.0, 0.0, 0.0
        if weight:  # else every reply of the batch failed: without gradients AdamW leaves even its moments as they are
            done = self.backward(inputs)
            loss, tokens, separate = ranks.summed([done.loss, done.tokens, done.separate_tokens], device)
            loss /= weight
        number = self.state.global_step + 1
        if not math.isfinite(loss):
            raise RunError(f"{self.folder}: the loss of update {number} is {loss}; a lower learning rate may help")
        self.updates.append(
            Update(number, loss, 0.0, self._get_learning_rate(), weight, int(tokens), int(separate), 0.0)
        )
        return torch.tensor(loss, device=self.args.device)

    def _clip_grad_norm(self, model: Any) -> float:
        update = self.updates[-1]
        update.grad_norm = self.optimiser.clip(update.weight) if update.weight else 0.0
        return update.grad_norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Give trackers the Trainer's logs, those of an update in our own words, and write its line."""
        if "loss" in logs:
            update = self.updates[-1]
            update.seconds = time.perf_counter() - self._started
            said = {name: value for name, value in update.to_json().items() if name not in ("step", "seconds")}
            logs.update(said)
            logs["tokens_per_second"] = update.separate_tokens / update.seconds
            logs["distinct_tokens_per_second"] = update.tokens / update.seconds
        super().log(logs, start_time)
        if ("loss" in logs and not self.control.should_evaluate) or "eval_loss" in logs:
            self._write_line()

    def _write_line(self) -> None:
        if ranks.rank() == 0:
            append_json_line(self.metrics, self.updates[-1].to_json())
            self.report(self.updates)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The loss on held-out steps; keeps the best weights and stops early where the schedule says so."""
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
        """This rank's share of every step, in order."""
        return DataLoader(self.steps, batch_size=1, collate_fn=_only)  # type: ignore[arg-type]

    def _prepare_for_training(
        self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: str | None
    ) -> tuple[Any, Any]:
        """Optimiser and schedule, from the checkpoint if one is given. Nothing is wrapped: ranks sum their gradients
        once an update, and a sharded model is sharded already."""
        done = self.state.global_step
        if resume_from_checkpoint is not None:
            state = load_checkpoint(Path(resume_from_checkpoint) / STATE)
            assert state is not None and state["done"] == done
            self.optimiser.load(state["optimiser"])
        self.optimizer = self.optimiser.adam
        for group in self.optimizer.param_groups:
            group["initial_lr"] = group["peak"]
        self.lr_scheduler = LambdaLR(
            self.optimizer, lambda step: cosine(step, self.schedule.updates, self.schedule.warmup), done - 1
        )
        for name in ("model", "optimizer", "lr_scheduler"):
            setattr(self.callback_handler, name, getattr(self, name))
        return self.model, train_dataloader

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Not after the last update: the model itself comes next, and an early stop must not be gone on from."""
        if self.control.should_training_stop:
            return
        done = self.state.global_step
        state = {"done": done, "optimiser": self.optimiser.state()}
        if ranks.rank() == 0:
            save_numbered(
                self.folder, done, state, lambda folder: self.state.save_to_json(str(folder / TRAINER_STATE_NAME))
            )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Nothing: the weights are the optimiser's."""

    def _move_model_to_device(self, model: Any, device: torch.device) -> None:
        """Nothing: it is where it belongs."""

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted."""
        return 0


def _arguments(model: PreTrainedModel, optimiser: Optimiser, schedule: Schedule, folder: Path) -> TrainingArguments:
    every = schedule.evaluate_every
    return TrainingArguments(
        output_dir=str(folder),
        run_name=str(folder),
        report_to=list(schedule.report_to),
        num_train_epochs=1,
        per_device_train_batch_size=1,
        max_grad_norm=optimiser.clip_norm,
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if every else "no",
        eval_steps=every,
        save_steps=schedule.checkpoint_every,
        use_cpu=model.device.type == "cpu",
        use_cache=getattr(
            model.config, "use_cache", True
        ),  # the Trainer writes it into the configuration that is saved
        disable_tqdm=True,
        remove_unused_columns=False,
    )


def _weight(sequences: Sequence[TokenSequence]) -> float:
    return float(sum(weight for sequence in sequences for weight in sequence.weights))


def _only(items: list[list[TokenSequence]]) -> list[TokenSequence]:
    (item,) = items
    return item
