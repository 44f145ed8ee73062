"""Measures how fast this machine does each kind of work, for about a second each, on the real model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import psutil
import torch

from tltrain import model as models
from tltrain.config import LoraConfig, RunConfig
from tltrain.engine.adapters import add_adapters
from tltrain.engine.capabilities import prefix_sharing_obstacle
from tltrain.engine.generate import generate
from tltrain.engine.layers import gradient_checkpointing
from tltrain.engine.memory import peak_memory_mb, reset_peak, start_peak
from tltrain.engine.optimiser import Optimiser
from tltrain.engine.outputs import LogProbs
from tltrain.engine.passes import backward, measure, nll
from tltrain.engine.tree import TokenSequence
from tltrain.planning.model_size import ModelSize, model_size
from tltrain.planning.rates import Inference, Rates, Training, activation_bytes
from tltrain.planning.work import tree_work
from tltrain.progress import quantity

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WARM_UP_TOKENS = 8
"""Tokens of a pass that is not measured: it compiles kernels and allocates gradients."""
FIRST_TOKENS = 32
"""Tokens of the pass that decides how many tokens are measured."""
LEAST_TOKENS = 128
"""Fewest tokens of the measured pass: shorter ones take as long as their overhead. In less than a second, half of
them."""
MOST_OVERHEAD = 2.0
"""A speed without overhead is at most this multiple of the speed with it: a limit to the noise of short passes."""
FEWEST_STEPS, MOST_STEPS = 2, 12
"""Steps of decoding that are measured: more than the fewest if they take less than the time for each kind of work."""
MOST_REPLIES = 32
"""Most replies of a measured step of decoding. Larger batches are taken to cost as much more for each further reply as
these do: a step of hundreds of replies would take seconds."""
DISK = 1e9
"""Assumed bytes a second when a model is saved."""


def measured_rates(
    config: RunConfig, device: str, sample: Sequence[TokenSequence], replies: int, seconds: float = 1.0
) -> tuple[Rates, ModelSize]:
    """Rates of this machine with the model of a run, quantised if SFT quantises it. The random state of torch is left
    as it was.

    Args:
        config: of the run; the trainings of `sft` and `ppo` are measured unless they are None.
        device: where it runs.
        sample: sequences of a typical update.
        replies: most replies that are decoded together in the run.
        seconds: how long each kind of work is measured, at most; small models take less.
    """
    with torch.random.fork_rng():
        return _Measurement(config, device, sample, replies, seconds).rates()


class _Measurement:
    def __init__(
        self, config: RunConfig, device: str, sample: Sequence[TokenSequence], replies: int, seconds: float
    ) -> None:
        self.config, self.device, self.sample, self.replies, self.seconds = config, device, sample, replies, seconds

    def rates(self) -> tuple[Rates, ModelSize]:
        start_peak()
        self._reset_peak()
        base = self._used_mb()
        sft, ppo = self.config.sft, self.config.ppo
        started = time.perf_counter()
        self.model: PreTrainedModel = models.load_model(
            self.config.model,
            models.resolve_dtype(self.config.dtype, self.device),
            self.device,
            sft.lora.base if sft is not None and sft.lora is not None else None,
            self.config.allow_code,
        )
        load_seconds, load_mb = time.perf_counter() - started, self._peak_mb() - base
        self.size = model_size(self.config.model, self.config.allow_code)  # not of a quantised model's packed weights
        plain, pass_seconds = self._inference()
        full = (sft is not None and sft.lora is None) or (ppo is not None and ppo.lora is None)
        adapters = [section.lora for section in (sft, ppo) if section is not None and section.lora is not None]
        whole = self._training() if full else None
        lora, adapted = self._with_adapters(adapters[0], plain, pass_seconds) if adapters else (None, None)
        item, shares = self.model.dtype.itemsize, prefix_sharing_obstacle(self.model) is None
        del self.model
        start_peak()  # by now everything is loaded that a run loads
        base = max(base, self._used_mb())
        rates = Rates(
            device=self._name(),
            full=whole,
            lora=lora,
            plain=plain,
            adapted=adapted,
            load_seconds=load_seconds,
            save_seconds=item * self.size.parameters / DISK,
            base_mb=base,
            load_mb=load_mb,
            capacity_mb=capacity_mb(self.device),
            item_bytes=item,
            shares_prefixes=shares,
            gpu=self.device.startswith("cuda"),
        )
        return rates, self.size

    def _with_adapters(self, lora: LoraConfig, plain: Inference, short: float) -> tuple[Training, Inference | None]:
        """Rates with adapters; inference slows down as a short pass does, which takes `short` seconds without them."""
        add_adapters(self.model, lora, ("sft",), 0)
        training = self._training()
        if self.config.ppo is None:
            return training, None
        self._forward(self._cut(WARM_UP_TOKENS))
        slower = max(self._timed(lambda: self._forward(self._cut(FIRST_TOKENS))) / short, 1.0)
        return training, Inference(
            flops=plain.flops / slower,
            token_bytes=plain.token_bytes,
            step_seconds=plain.step_seconds * slower,
            reply_seconds=plain.reply_seconds * slower,
        )

    def _training(self) -> Training:
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        optimiser = Optimiser([(trained, 0.0)], (0.9, 0.95), 0.0, 1.0)

        def run(sequences: Sequence[TokenSequence]) -> None:
            backward(self.model, sequences, nll, self.config.max_tree_tokens, accumulate=optimiser.accumulate)

        section = self.config.sft or self.config.ppo
        recompute = section is not None and section.gradient_checkpointing
        with gradient_checkpointing(self.model) if recompute else nullcontext():
            run(self._cut(WARM_UP_TOKENS))
            optimiser.step(1.0, 0.0)  # allocates the moments
            flops, token_bytes, _ = self._passes(run)
        # A short pass may fit into memory that was freed before, and then seems to need less than it does.
        least = activation_bytes(self.size, self.model.dtype.itemsize, recompute)
        seconds = self._timed(lambda: optimiser.step(1.0, 0.0))
        optimiser.adam.zero_grad(set_to_none=True)
        for parameter in trained:
            parameter.grad = None
        return Training(flops, seconds, max(token_bytes, least))

    def _forward(self, sequences: Sequence[TokenSequence]) -> None:
        measure(self.model, sequences, LogProbs(), self.config.max_tree_tokens)

    def _inference(self) -> tuple[Inference, float]:
        """The rates, and the seconds of a pass over `FIRST_TOKENS` tokens."""
        self._forward(self._cut(WARM_UP_TOKENS))
        flops, token_bytes, short = self._passes(self._forward)
        many = min(self.replies, MOST_REPLIES if self.seconds >= 1 else MOST_REPLIES // 2)
        few = max(many // 4, 1)
        slow = self._decoding_step(many)
        fast = self._decoding_step(few) if few < many else slow
        each = max(slow - fast, 0.0) / max(many - few, 1)
        return Inference(flops, token_bytes, max(slow - each * many, 0.0), each), short

    def _passes(self, run: Callable[[Sequence[TokenSequence]], object]) -> tuple[float, float, float]:
        """Forward operations a second, and bytes per token, of passes over as many tokens of the sample as `seconds`
        allow; and the seconds of a short pass before, which tells how much time does not depend on the tokens."""
        first = self._cut(FIRST_TOKENS)
        short = self._timed(lambda: run(first))
        sequences = self._cut(
            max(int(FIRST_TOKENS * self.seconds / short), LEAST_TOKENS if self.seconds >= 1 else LEAST_TOKENS // 2)
        )
        self._reset_peak()
        before = self._used_mb()
        seconds = self._timed(lambda: run(sequences))
        bytes_used = max(self._peak_mb() - before, 0.0) * 1e6
        work, fewer = (tree_work(tokens, self.config.max_tree_tokens) for tokens in (sequences, first))
        flops = work.flops(self.size)
        mean = flops / seconds
        more = flops - fewer.flops(self.size)
        slope = more / (seconds - short) if more > 0 and seconds > short else mean
        return min(max(slope, mean), MOST_OVERHEAD * mean), bytes_used / work.largest_pass, short

    def _decoding_step(self, replies: int) -> float:
        """Seconds of a step of decoding."""
        ids = list(self.sample[0].ids)
        tail = ids[-min(len(ids), FIRST_TOKENS) :]
        prompts = [
            [*tail[: len(tail) // 2], *tail[len(tail) // 2 :][:: 1 if number % 2 else -1]] for number in range(replies)
        ]

        def step_seconds(steps: int) -> float:
            """Mean of the last `steps` steps; the first step warms up."""
            ends: list[float] = []

            def note(*_: object) -> None:
                self._synchronise()
                ends.append(time.perf_counter())

            hook = self.model.register_forward_hook(note)
            try:
                generate(self.model, prompts, (), steps + 2, batch_size=replies)
            finally:
                hook.remove()
            return max(ends[-1] - ends[-1 - steps], 1e-6) / steps

        seconds = step_seconds(FEWEST_STEPS)
        steps = min(int(self.seconds / seconds), MOST_STEPS)
        return step_seconds(steps) if steps > 2 * FEWEST_STEPS else seconds

    def _cut(self, tokens: int) -> list[TokenSequence]:
        """The sample, or if it has more tokens, the end of its longest sequence."""
        total = tree_work(self.sample, self.config.max_tree_tokens).tokens
        if total <= tokens:
            return list(self.sample)
        longest = max(self.sample, key=lambda sequence: len(sequence.ids))
        ids = list(longest.ids)[-tokens:]
        share = sum(len(sequence.weights) for sequence in self.sample) / total
        start = min(max(1, round(len(ids) * (1 - share))), len(ids) - 1)
        return [TokenSequence(ids, start, [1.0] * (len(ids) - start))]

    def _timed(self, run: Callable[[], object]) -> float:
        self._synchronise()
        started = time.perf_counter()
        run()
        self._synchronise()
        return max(time.perf_counter() - started, 1e-6)

    # The device

    @property
    def _on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    def _synchronise(self) -> None:
        if self._on_gpu:
            torch.cuda.synchronize()

    def _reset_peak(self) -> None:
        reset_peak()
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats()

    def _used_mb(self) -> float:
        if self._on_gpu:
            return torch.cuda.memory_allocated() / 1e6
        return float(psutil.Process().memory_info().rss) / 1e6

    def _peak_mb(self) -> float:
        return torch.cuda.max_memory_allocated() / 1e6 if self._on_gpu else peak_memory_mb()

    def _name(self) -> str:
        return (
            torch.cuda.get_device_name() if self._on_gpu else f"this CPU, {quantity(torch.get_num_threads(), 'thread')}"
        )


def capacity_mb(device: str) -> float:
    """Memory of a GPU, or what this process could have of the machine's."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / 1e6
    memory = psutil.virtual_memory()
    return float(memory.available + psutil.Process().memory_info().rss) / 1e6
