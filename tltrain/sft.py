"""Supervised fine-tuning on token trees: one update is `sum(w * nll) / sum(w)` over all its trajectories or replies."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from tltrain import model as models
from tltrain.config import SFTConfig
from tltrain.data import held_openings, opening
from tltrain.encode import Encoder, EncodingCounts, Step
from tltrain.engine import ranks, sharding
from tltrain.engine.adapters import add_adapters, merged, save_adapter
from tltrain.engine.checkpoint import discard_checkpoints
from tltrain.engine.optimiser import Optimiser
from tltrain.engine.order import batches, share
from tltrain.engine.trainer import Schedule, TreeTrainer, Update
from tltrain.engine.tree import TokenSequence
from tltrain.errors import ConfigError, DataError
from tltrain.files import write_json
from tltrain.progress import Progress, counted, no_progress, quantity
from tltrain.trajectory import Trajectory

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class SFTTrainer(TreeTrainer):
    """Fine-tunes a model on trajectories, in an order that does not depend on masks and weights.

    With several processes, each computes a share of every update, and rank 0 writes the files.

    Args:
        model: the model to train, changed in place; adapters are merged when training ends.
        tokenizer: the model's tokenizer; saved with it.
        trajectories: the training split; `config.trajectories` and `config.held_out` select from it.
        encoder: tokenizes trajectories and assigns loss weights.
        config: see `SFTConfig`; `arms` is not used.
        folder: receives `model/`, `metrics.jsonl`, `adapter/` if adapters are trained and, until training is complete,
            `checkpoint-*`. A folder with a checkpoint is resumed.
        max_tree_tokens: most tokens in one pass through the model; bounds memory, changes no result.
        seed: random seed of the order, the held-out part and the adapters.
        progress: called after each update.
        encoding_progress: called after each trajectory that has been encoded.
        reload: loads the initial model again, on the CPU; called if the trained model is sharded or quantised and so
            cannot be saved directly.
        base: name of the model for `adapter/`; by default the name it was loaded under.

    Raises:
        ConfigError: a tracker is not installed, or nothing or everything would be held out.
        DataError: with `batch_unit: step`, no trajectory has a reply to learn.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        trajectories: Sequence[Trajectory],
        encoder: Encoder,
        config: SFTConfig,
        folder: Path,
        max_tree_tokens: int = 4096,
        seed: int = 0,
        progress: Progress = no_progress,
        encoding_progress: Progress = no_progress,
        reload: Callable[[], PreTrainedModel] | None = None,
        base: str | None = None,
    ) -> None:
        _check_trackers(config.report_to)
        ranks.join(str(model.device))
        self.tokenizer, self.encoder, self.config, self.seed = tokenizer, encoder, config, seed
        self.encoding_progress = encoding_progress
        self.progress, self.reload, self.base = progress, reload, base
        self.held, kept = hold_out(trajectories, config, seed)
        self.counts, self.samples = EncodingCounts(), dict[int, list[TokenSequence]]()
        self.trajectories = {index: trajectories[index] for index in (*kept, *self.held)}
        self.order = self._order_of_replies(kept) if config.batch_unit == "step" else self._order(kept)
        dtype = model.dtype
        self.adapters = None if config.lora is None else add_adapters(model, config.lora, ("sft",), seed)
        if config.fsdp and ranks.count() > 1:
            sharding.shard(model, dtype)
        held_out = config.held_out
        schedule = Schedule(
            updates=len(self.order),
            learning_rate=config.optimiser,
            checkpoint_every=config.checkpoint_every,
            evaluate_every=held_out.every if held_out else None,
            patience=held_out.patience if held_out else None,
            recompute_layers=config.gradient_checkpointing,
            compile_layers=config.compile_layers,
            max_tree_tokens=max_tree_tokens,
            report_to=config.report_to,
        )
        super().__init__(
            model,
            self.adapters or model,
            optimiser=_optimiser(model, config),
            schedule=schedule,
            folder=folder,
            on_update=self._report,
        )

    def _order(self, kept: Sequence[int]) -> list[list[int]]:
        """Indices of the trajectories of each update, which are the samples. A subset of the data consists of the first
        batches, so that groups stay together; later epochs shuffle that subset again."""
        order = self._drawn(kept, 0)
        chosen = [index for batch in order for index in batch]
        for epoch in range(1, self.config.epochs):
            order = order + self._drawn(chosen, epoch)
        return order

    def _drawn(self, indices: Sequence[int], epoch: int) -> list[list[int]]:
        """Batches of the trajectories with these indices."""
        found = epoch_batches([self.trajectories[index] for index in indices], self.config, self.seed + epoch)
        return [[indices[position] for position in batch] for batch in found]

    def _order_of_replies(self, kept: Sequence[int]) -> list[list[int]]:
        """Indices of the replies of each update. Each reply that is not masked is a sample, so they have to be encoded
        before the number of updates is known."""
        config = self.config
        chosen = [index for batch in self._drawn(kept, 0) for index in batch][: config.trajectories]
        encoded = self._encoded(sorted(chosen))
        owners = [index for index, sequences in encoded.items() for _ in sequences]
        self.samples = {number: [sequence] for number, sequence in enumerate(chain(*encoded.values()))}
        keys = [prefix_key(self.trajectories[index]) for index in owners]
        epochs = range(self.seed, self.seed + config.epochs)
        return list(chain(*(batches(keys, config.batch_size, config.group_size, seed) for seed in epochs)))

    def train(self) -> EncodingCounts:
        """Train to the end and save; returns the counts of encoded replies.

        Raises:
            DataError: no trajectory has a reply to learn, or no held-out trajectory has a reply to measure.
        """
        counts = self._encode()
        self.train_on_trees()
        trained = self._trained_model()
        if trained is not None:
            models.save(trained, self.tokenizer, self.folder / "model")
            discard_checkpoints(self.folder)
            self.model = self.network = trained
        ranks.wait()
        return counts

    def _encode(self) -> EncodingCounts:
        """Set this rank's share of every step and of the held-out sequences; returns the counts of encoded replies."""
        if self.config.batch_unit == "trajectory":
            self.samples = self._encoded(list(dict.fromkeys(index for batch in self.order for index in batch)))
        counts, sequences = self.counts, self.samples
        if ranks.rank() == 0:
            write_json(self.folder / "encoding.json", counts.to_json())
        tokens = {index: sum(len(sequence.ids) for sequence in own) for index, own in sequences.items()}
        rank, count = ranks.rank(), ranks.count()
        self.steps = [
            [
                sequence
                for index in share(batch, [tokens[index] for index in batch], rank, count)
                for sequence in sequences[index]
            ]
            for batch in self.order
        ]
        self.held_out = self._held_out_sequences()[rank::count]
        return counts

    def _encoded(self, indices: Sequence[int]) -> dict[int, list[TokenSequence]]:
        """The sequences of each of these trajectories; sets `counts`."""
        shown = counted(indices, self.encoding_progress, "trajectories")
        encoded = {index: self.encoder.encode(self.trajectories[index]) for index in shown}
        self.counts = counts = sum((encoding.counts for encoding in encoded.values()), EncodingCounts())
        check_learned(counts, self.encoder.max_length)
        return {index: self._sequences(encoding.steps) for index, encoding in encoded.items()}

    def _sequences(self, steps: Sequence[Step]) -> list[TokenSequence]:
        """The sequences of the steps that are not masked."""
        return [step_sequence(step, self.config.normaliser) for step in steps if not step.masked]

    def _held_out_sequences(self) -> list[TokenSequence]:
        """The held-out sequences, encoded as the training data are."""
        held = (self.encoder.steps(self.trajectories[index]) for index in self.held)
        measured = list(chain(*map(self._sequences, held)))
        if self.held and not measured:
            raise DataError(f"nothing to evaluate: no reply of the {len(self.held)} held-out trajectories is left")
        return measured

    def _trained_model(self) -> PreTrainedModel | None:
        """The trained model, without adapters and sharding, on rank 0; None on others. Every rank has to call this."""
        lora = self.config.lora
        if self.sharded or (lora and lora.base):
            weights = self.optimiser.whole_weights()
            return self._rebuilt(weights) if ranks.rank() == 0 else None
        if ranks.rank() > 0:
            return None
        return self.network if self.adapters is None else self._merged(self.adapters)

    @torch.no_grad()
    def _rebuilt(self, weights: Sequence[torch.Tensor | None]) -> PreTrainedModel:
        assert self.reload is not None, "a sharded or quantised model cannot be saved as it is: `reload` is needed"
        model = self.reload()
        adapters = self.config.lora and add_adapters(model, self.config.lora, ("sft",), self.seed)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        for parameter, weight in zip(trained, weights, strict=True):
            parameter.copy_(weight)
        return self._merged(adapters) if adapters else model

    def _merged(self, adapters: PeftModel) -> PreTrainedModel:
        """Save the adapter, then merge it: `adapter/` is complete before `model/`, which marks a finished stage."""
        save_adapter(adapters, "sft", self.base, self.folder / "adapter")
        return merged(adapters, "sft", self.seed)

    def _report(self, updates: Sequence[Update]) -> None:
        """Report the last update and the mean speed of this process."""
        last, seconds = updates[-1], sum(update.seconds for update in updates)
        separate = sum(update.separate_tokens for update in updates)
        distinct = sum(update.tokens for update in updates)
        held = "" if last.eval_loss is None else f", held out {last.eval_loss:.3f}"
        speed = f"{separate / seconds:,.0f} tokens/s, {distinct / seconds:,.0f} distinct tokens/s"
        self.progress(f"loss {last.loss:.3f}{held}, {speed}", last.step, len(self.order))


def _optimiser(model: PreTrainedModel, config: SFTConfig) -> Optimiser:
    settings = config.optimiser
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    betas = (settings.beta1, settings.beta2)
    return Optimiser([(trained, settings.learning_rate)], betas, settings.weight_decay, settings.clip_norm)


def hold_out(trajectories: Sequence[Trajectory], config: SFTConfig, seed: int) -> tuple[list[int], list[int]]:
    """Indices of the held-out trajectories and of the others.

    Raises:
        ConfigError: one of the two would be empty.
    """
    if config.held_out is None:
        return [], list(range(len(trajectories)))
    openings = held_openings(trajectories, config.held_out.share, seed)
    held = [index for index, trajectory in enumerate(trajectories) if opening(trajectory) in openings]
    if not 0 < len(held) < len(trajectories):
        raise ConfigError(
            f"sft.held_out.share {config.held_out.share}: holds out {len(held)} of {len(trajectories)} trajectories"
        )
    return held, sorted(set(range(len(trajectories))) - set(held))


def _check_trackers(names: Sequence[str]) -> None:
    for name in names:
        if find_spec(name) is None:
            raise ConfigError(f"sft.report_to: {name} is not installed; run `pip install {name}`")


def check_learned(counts: EncodingCounts, max_length: int | None) -> None:
    """Refuse data without a reply to learn, which were encoded with this length limit.

    Raises:
        DataError: all replies are masked, or have prompts that leave them no room.
    """
    if not counts.learned:
        long = f", {counts.dropped:,} have prompts that reach max_length {max_length}" if counts.dropped else ""
        hint = "; an arm without MAE (`sft.arms: [sft]`) learns failed calls too" if counts.masked and not long else ""
        raise DataError(
            f"nothing to learn: of {quantity(counts.replies, 'reply')} {counts.masked:,} failed{long}{hint}"
        )


def epoch_batches(trajectories: Sequence[Trajectory], config: SFTConfig, seed: int) -> list[list[int]]:
    """Positions of the trajectories of each update of an epoch, as many as `config.trajectories` asks for."""
    found = batches(list(map(prefix_key, trajectories)), config.batch_size, config.group_size, seed)
    return found if config.trajectories is None else found[: -(-config.trajectories // config.batch_size)]


def step_sequence(step: Step, normaliser: Literal["update", "sample"] = "update") -> TokenSequence:
    """The token sequence whose tail is the step's reply. With the normaliser `sample` the weights are divided by their
    sum, so that the weighted mean over an update is the mean over its replies of each reply's weighted mean."""
    total = sum(step.weights) if normaliser == "sample" else 1.0
    weights = step.weights if total == 1.0 else [weight / total for weight in step.weights]
    return TokenSequence(step.prompt_ids + step.reply_ids, len(step.prompt_ids), weights)


def prefix_key(trajectory: Trajectory) -> tuple[str, ...]:
    """A key that is equal for trajectories whose prompts share a prefix: the system message and the names of tools."""
    system = [message.content or "" for message in trajectory.messages[:1] if message.role == "system"]
    return (*system, *(tool.name for tool in trajectory.tools))


def draw(trajectories: Sequence[Trajectory], count: int | None, seed: int) -> list[Trajectory]:
    """A random sample of `count` trajectories, in their original order; all of them if `count` is None or larger."""
    if count is None or count >= len(trajectories):
        return list(trajectories)
    chosen = sorted(random.Random(seed).sample(range(len(trajectories)), count))
    return [trajectories[index] for index in chosen]
