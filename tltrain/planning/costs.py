"""Time and memory of each stage, from its work and a machine's rates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tltrain.config import LoraConfig, PPOConfig, RunConfig, SFTConfig
from tltrain.engine.generate import GPU_PREFILL_TOKENS, PREFILL_TOKENS
from tltrain.engine.memory import CACHE_BYTES, OWN_BYTES
from tltrain.engine.outputs import GPU_MAX_LOGITS, MAX_LOGITS
from tltrain.engine.passes import BRANCH_DIVISOR
from tltrain.planning.model_size import ModelSize
from tltrain.planning.rates import Inference, Rates
from tltrain.planning.work import ArmWork, Decoding, EvalWork, PPOWork, Work

ADAM_BYTES = 12
"""Per trained weight: gradient and both moments, in fp32."""
LOGIT_BYTES = 12
"""Per logit in memory: the logits, their softmax and their gradient, in fp32."""
PAGE_SECONDS = 0.5
"""Assumed time of writing scores and pages of an evaluation."""


@dataclass(frozen=True, slots=True)
class StageCost:
    """Estimated time and peak memory of a stage, named as in `stages.json`."""

    stage: str
    seconds: float
    peak_memory_mb: float

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return {
            "stage": self.stage,
            "seconds": round(self.seconds, 1),
            "peak_memory_mb": round(self.peak_memory_mb),
        }


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine with a model."""

    rates: Rates
    size: ModelSize

    def sft(self, arm: str, work: ArmWork, config: RunConfig) -> StageCost:
        """SFT of an arm."""
        assert config.sft is not None
        rates, training = self.rates, self.rates.training(config.sft.lora is not None)
        seconds = rates.load_seconds + work.encode_seconds + rates.save_seconds
        seconds += self._flops(work.work) / training.flops + work.updates * training.step_seconds
        seconds += work.evaluations * self._flops(work.held_out) / rates.plain.flops
        return StageCost(f"sft {arm}", seconds, self.sft_memory(work.work, config))

    def sft_memory(self, work: Work, config: RunConfig) -> float:
        """Peak memory of SFT in MB."""
        assert isinstance(config.sft, SFTConfig)
        token = self.rates.training(config.sft.lora is not None).token_bytes
        tokens = min(work.largest_pass, _most_tokens(config))
        passes = token * tokens + self._logits(work.largest_predicted)
        return self._peak(self._optimiser(config.sft.lora), passes)

    def ppo(self, work: PPOWork, config: RunConfig) -> StageCost:
        """PPO."""
        settings = config.ppo
        assert settings is not None
        rates, lora = self.rates, settings.lora is not None
        training, inference = rates.training(lora), rates.inference(lora)
        critic = settings.advantage == "gae"
        reference = settings.needs_reference
        old = not settings.on_policy or (reference and not rates.shares_prefixes)  # else decoding records them
        seconds = rates.load_seconds + work.encode_seconds + rates.save_seconds
        for times, parts in ((work.factor, work.decoding), (work.validations, work.validation)):
            seconds += times * sum(self._decoding(one, one.lengths, inference) for one in parts)
        seconds += (old + reference + critic) * self._flops(work.measured) / inference.flops
        networks = work.policy_share + critic
        seconds += networks * self._flops(work.update) / training.flops
        seconds += networks * work.updates * training.step_seconds
        return StageCost("ppo", seconds, self.ppo_memory(work, config))

    def ppo_memory(self, work: PPOWork, config: RunConfig) -> float:
        """Peak memory of PPO in MB."""
        assert isinstance(config.ppo, PPOConfig)
        networks = 2 if config.ppo.advantage == "gae" else 1
        held = networks * self._optimiser(config.ppo.lora)
        if config.ppo.lora is None:
            held += networks * self.size.parameters * self.rates.item_bytes
        elif config.ppo.critic_start == "random":
            held += self.size.parameters * self.rates.item_bytes
        token = self.rates.training(config.ppo.lora is not None).token_bytes
        passes = token * min(work.update.largest_pass, _most_tokens(config))
        passes += self._logits(work.update.largest_predicted)
        decoding = max((self._decoding_bytes(one) for one in [*work.decoding, *work.validation]), default=0.0)
        return self._peak(held, max(passes, decoding))

    def evaluation(self, name: str, work: EvalWork, trained: bool) -> StageCost:
        """Evaluation of one model. A model that is not trained yet is taken to write replies between the golds' lengths
        and the limit."""
        seconds = self.rates.load_seconds + work.encode_seconds + PAGE_SECONDS
        for one in work.decoding:
            lengths = one.lengths if trained else [(length + one.limit) // 2 for length in one.lengths]
            seconds += work.factor * self._decoding(one, lengths, self.rates.plain)
        memory = max((self._decoding_bytes(one) for one in work.decoding), default=0.0)
        return StageCost(f"eval {name}", seconds, self._peak(0.0, memory))

    def _flops(self, work: Work) -> float:
        """Operations of the forward passes that the model needs."""
        if not self.rates.shares_prefixes:
            work = replace(work, tokens=work.separate_tokens)
        return work.flops(self.size)

    def _decoding(self, one: Decoding, lengths: Sequence[int], inference: Inference) -> float:
        """Seconds of prefill and of all steps; some reply runs to the limit."""
        active = _active(lengths, one.limit)
        context = 4 * self.size.layers * self.size.attention * one.context
        per_token = 2 * self.size.body + 2 * self.size.vocabulary * self.size.hidden
        attention = 1 + context / per_token
        steps = len(active) * inference.step_seconds + sum(active) * inference.reply_seconds * attention
        return self._flops(one.prefill) / inference.flops + steps

    def _decoding_bytes(self, one: Decoding) -> float:
        """Bytes beside the model while the replies of a batch are generated."""
        pair = 2 * self.size.layers * self.size.key_value * self.rates.item_bytes
        prompts = min(one.prefill.tokens * pair, CACHE_BYTES)
        own = one.replies * one.own_tokens * pair
        own = own if self.rates.gpu else min(own, OWN_BYTES)
        most = GPU_PREFILL_TOKENS if self.rates.gpu else PREFILL_TOKENS
        prefill = min(one.prefill.largest_pass, most) * self.rates.plain.token_bytes
        logits = one.replies * self.size.vocabulary * LOGIT_BYTES
        return prompts + max(prefill, own + logits)

    def _optimiser(self, lora: LoraConfig | None) -> float:
        """Bytes of the trained weights' gradients, moments and fp32 copies."""
        trained = self.size.parameters if lora is None else lora_parameters(self.size, lora.rank)
        copies = 4 if self.rates.item_bytes < 4 else 0
        return float(trained * (ADAM_BYTES + copies + (4 if lora else 0)))

    def _logits(self, predicted: int) -> float:
        most = GPU_MAX_LOGITS if self.rates.gpu else MAX_LOGITS
        return float(min(predicted * self.size.vocabulary, most) * LOGIT_BYTES)

    def _peak(self, held: float, passes: float) -> float:
        """MB of a process with the model, `held` bytes for the whole stage and `passes` bytes at its peak."""
        model = self.size.parameters * self.rates.item_bytes / 1e6
        return self.rates.base_mb + max(self.rates.load_mb, model + (held + passes) / 1e6)


def lora_parameters(size: ModelSize, rank: int) -> int:
    """Weights of adapters over all linear layers but the output matrix."""
    attention = 2 * (size.hidden + size.attention) + 2 * (size.hidden + size.key_value)
    return rank * size.layers * (attention + 3 * (size.hidden + size.feed_forward))


def _most_tokens(config: RunConfig) -> int:
    """Most tokens of a pass with its prefixes, whatever the data, except for a longer sequence: the budget, and a part
    of it for branches beside a longer prefix (`plan_passes`)."""
    return config.max_tree_tokens + config.max_tree_tokens // BRANCH_DIVISOR + (config.max_length or 1 << 30)


def _active(lengths: Iterable[int], limit: int) -> list[int]:
    """For each step of decoding, the number of unfinished replies; the longest reply runs to the limit."""
    ordered = sorted(lengths)
    if not ordered:
        return []
    ordered[-1] = limit
    active, finished = [], 0
    for step in range(limit):
        while finished < len(ordered) and ordered[finished] <= step:
            finished += 1
        active.append(len(ordered) - finished)
    return active
