"""The PPO loop: sample replies, judge them, update policy and critic on the very tokens sampled."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import pad_sequence

from tltrain import dialects
from tltrain import model as models
from tltrain.config import OptimiserConfig, PPOConfig
from tltrain.encode import Prompt
from tltrain.encode.decoding import decode_reply
from tltrain.engine.checkpoint import cut_metrics, load_checkpoint, save_checkpoint
from tltrain.engine.generate import Generated, generate
from tltrain.engine.optimiser import Optimiser, cosine
from tltrain.engine.order import batches
from tltrain.engine.outputs import LogProbs, TokenOutput, Values
from tltrain.engine.passes import backward, measure
from tltrain.engine.tree import Predicted, TokenSequence
from tltrain.errors import DataError
from tltrain.files import append_json_line, discard
from tltrain.judging import Verdict
from tltrain.judging.replies import judge_reply
from tltrain.ppo import maths
from tltrain.ppo.actors import Actors, AdapterActors, FullActors
from tltrain.progress import Progress, no_progress
from tltrain.sft import prefix_key

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

HEAD_RATE = 10.0
"""The value head starts from zero, the backbone from the SFT model: the head learns this many times as fast."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """N sampled replies, with what the update needs; tensors are (N, L), rewards (N,).

    `old`, `reference` are log-probabilities at the sampling temperature, `values` the critic's, all before the update;
    each is None where the configuration does not need it. `returns` is None without a critic. `used` are the indices of
    the replies that the update trains on; every prompt has `samples` replies, one after another.
    """

    prompts: list[Prompt]
    replies: list[Generated]
    verdicts: list[Verdict]
    rewards: torch.Tensor
    mask: torch.Tensor
    old: torch.Tensor | None
    reference: torch.Tensor | None
    values: torch.Tensor | None
    advantages: torch.Tensor
    returns: torch.Tensor | None
    used: list[int]
    samples: int

    def sequences(self, chosen: Sequence[int]) -> list[TokenSequence]:
        """Prompt and reply, token for token as sampled."""
        return [reply_sequence(self.prompts[index], self.replies[index]) for index in chosen]


class PPOTrainer:
    """Trains a policy from an SFT model.

    Args:
        model: the SFT model; changed in place.
        tokenizer: decodes replies for the judge; saved with the policy.
        prompts: the unfailed steps of the training split.
        stop_ids: tokens that end a reply.
        config: see `PPOConfig`.
        folder: gets `model/`, `metrics.jsonl`, `rollouts.jsonl`, `adapter/` if adapters are trained and, until done,
            `checkpoint.pt` to resume from.
        dialect: in which replies are read.
        max_tree_tokens: bounds the memory of one pass.
        seed: random seed of prompts, sampling, adapters and their rounding.
        base: name of the SFT model, for `adapter/`; by default the name it was loaded under.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        prompts: Sequence[Prompt],
        stop_ids: Sequence[int],
        config: PPOConfig,
        folder: Path,
        dialect: str = "hermes",
        max_tree_tokens: int = 4096,
        seed: int = 0,
        progress: Progress = no_progress,
        base: str | None = None,
    ) -> None:
        if not prompts:
            raise DataError("nothing to sample from: the training split has no unfailed step within the length limit")
        self.tokenizer, self.prompts, self.stop_ids, self.config = tokenizer, prompts, stop_ids, config
        self.folder, self.max_tree_tokens, self.seed, self.progress = folder, max_tree_tokens, seed, progress
        self.base = base
        self.dialect = dialects.get(dialect, tokenizer)
        model.eval()  # no dropout: log-probabilities before and after an update must be comparable
        self.with_critic = config.advantage == "gae"
        self.with_reference = config.beta > 0 or config.max_kl is not None
        self.actors: Actors = (
            FullActors(model, self.with_critic, self.with_reference)
            if config.lora is None
            else AdapterActors(model, config.lora, seed, self.with_critic)
        )
        self.policy_optimiser = _optimiser(config.policy, self.actors.policy_parameters(), [])
        if self.with_critic:
            self.critic_optimiser = _optimiser(
                config.critic, self.actors.critic_parameters(), list(self.actors.head.parameters())
            )

    def train(self) -> PreTrainedModel:
        """All rollouts; saves and returns the policy."""
        checkpoint, metrics = self.folder / "checkpoint.pt", self.folder / "metrics.jsonl"
        samples = self.folder / "rollouts.jsonl"
        done = self._resume(load_checkpoint(checkpoint))
        cut_metrics(metrics, "rollout", done)
        cut_metrics(samples, "rollout", done)
        for number in range(done + 1, self.config.rollouts + 1):
            started = time.perf_counter()
            rollout = self.collect(number)
            losses = self.update(rollout, number)
            seconds = time.perf_counter() - started
            speed = {"seconds": seconds, "replies_per_second": len(rollout.replies) / seconds}
            line = {"rollout": number, **summary(rollout), **losses, **speed}
            append_json_line(samples, {"rollout": number, "replies": self._readable(rollout)})
            append_json_line(metrics, line)
            kl = line["kl"]
            shown = "" if kl is None else f", KL {kl:.3f}"
            self.progress(f"reward {line['reward']:.2f}{shown}", number, self.config.rollouts)
            if self.config.max_kl is not None and kl is not None and kl > self.config.max_kl:
                break
            if number % self.config.checkpoint_every == 0 and number < self.config.rollouts:
                save_checkpoint(checkpoint, self._state(number))
        policy = self.actors.finish(self.folder, self.base, self.seed)
        models.save(policy, self.tokenizer, self.folder / "model")
        discard(checkpoint)
        return policy

    def collect(self, number: int) -> Rollout:
        """Sample, judge, and measure rollout `number` (from 1): everything before the update."""
        prompts = [self.prompts[index] for index in self._drawn(number) for _ in range(self.config.samples)]
        replies = generate(
            self.actors.policy(),
            [prompt.ids for prompt in prompts],
            self.stop_ids,
            self.config.max_new_tokens,
            temperature=self.config.temperature,
            seed=mixed_seed(self.seed, number),
            batch_size=len(prompts),
        )
        verdicts = [
            judge_reply(
                decode_reply(self.tokenizer, reply.ids, self.stop_ids),
                reply.finished,
                self.dialect,
                [prompt.gold],
                prompt.tools,
            )
            for prompt, reply in zip(prompts, replies, strict=True)
        ]
        limit = self.config.reward_clip
        rewards = torch.tensor([verdict.reward for verdict in verdicts]).clamp(-limit, limit)
        return self._rollout(prompts, replies, verdicts, rewards)

    def _rollout(
        self, prompts: list[Prompt], replies: list[Generated], verdicts: list[Verdict], rewards: torch.Tensor
    ) -> Rollout:
        """Everything that the update needs beside the replies and their rewards (N,)."""
        config = self.config
        old, reference, values, mask = self._measure(prompts, replies)
        returns = None
        if values is None:
            penalty = torch.zeros_like(rewards)
            if config.beta and old is not None and reference is not None:
                penalty = config.beta * maths.kl_per_reply(old, reference, mask)
            advantages = maths.leave_one_out(rewards - penalty, config.samples, mask)
        else:
            per_token = maths.token_rewards(rewards, mask, mask, mask, 0.0)
            if old is not None and reference is not None:
                per_token = maths.token_rewards(rewards, old, reference, mask, config.beta)
            advantages, returns = maths.advantages_and_returns(per_token, values, mask, config.gamma, config.lam)
        varied = _varied(rewards, config.samples)
        used = [
            index for index in range(len(replies)) if varied[index // config.samples] or not config.dynamic_sampling
        ]
        return Rollout(
            prompts, replies, verdicts, rewards, mask, old, reference, values, advantages, returns, used, config.samples
        )

    def update(self, rollout: Rollout, number: int) -> dict[str, float]:
        """All passes over one rollout; returns the means of its losses."""
        config = self.config
        updates = config.epochs * config.minibatches
        train_policy = number > config.critic_warmup
        totals: defaultdict[str, float] = defaultdict(float)
        for index in range(updates):
            epoch, part = divmod(index, config.minibatches)
            rng = torch.Generator().manual_seed(mixed_seed(self.seed, number, epoch))
            order = torch.randperm(len(rollout.used), generator=rng)
            chosen = [rollout.used[row] for row in order[part :: config.minibatches].tolist()]
            for name, value in self._backward(rollout, chosen, train_policy).items():
                totals[name] += value
            before = (number - 1 - config.critic_warmup) * updates + index
            share = cosine(before, (config.rollouts - config.critic_warmup) * updates, config.policy.warmup)
            totals["policy_grad_norm"] += self.policy_optimiser.step(1.0, share) if train_policy else 0.0
            if self.with_critic:
                share = cosine((number - 1) * updates + index, config.rollouts * updates, config.critic.warmup)
                totals["value_grad_norm"] += self.critic_optimiser.step(1.0, share)
        return {name: value / updates for name, value in totals.items()}

    def _backward(self, rollout: Rollout, chosen: list[int], with_policy: bool = True) -> dict[str, float]:
        """Gradients of one update over the chosen replies, summed over trees."""
        losses = {"policy_loss": 0.0, "clip_fraction": 0.0}
        if with_policy:
            losses = self._policy_backward(rollout, chosen)
        if self.with_critic:
            losses["value_loss"] = self._value_backward(rollout, chosen) if chosen else 0.0
        return losses

    def _policy_backward(self, rollout: Rollout, chosen: list[int]) -> dict[str, float]:
        """The clipped policy loss, as the mean over the tokens of the chosen replies. A reply whose advantages are all
        zero has no gradient and is skipped."""
        config, total = self.config, rollout.mask[chosen].sum()
        trained = [index for index in chosen if rollout.advantages[index].any()]
        clip_fraction = 0.0

        def loss(logprobs: torch.Tensor, predicted: Predicted) -> torch.Tensor:
            nonlocal clip_fraction
            now = logprobs.cpu()[None]
            old = now.detach() if rollout.old is None else _at(rollout.old, trained, predicted)
            advantages, mask = (_at(values, trained, predicted) for values in (rollout.advantages, rollout.mask))
            clipped = maths.policy_loss(now, old, advantages, mask, config.clip, total)
            clip_fraction += clipped.clip_fraction.item()
            return clipped.loss

        if not trained:
            return {"policy_loss": 0.0, "clip_fraction": 0.0}
        passed = backward(
            self.actors.policy(),
            rollout.sequences(trained),
            loss,
            self.max_tree_tokens,
            LogProbs(config.temperature),
            self.policy_optimiser.accumulate,
        )
        return {"policy_loss": passed.loss, "clip_fraction": clip_fraction}

    def _value_backward(self, rollout: Rollout, chosen: list[int]) -> float:
        """The clipped value loss, as the mean over the tokens of the chosen replies."""
        assert rollout.values is not None and rollout.returns is not None, "only called with a critic"
        tensors, total = (rollout.values, rollout.returns, rollout.mask), rollout.mask[chosen].sum()

        def loss(values: torch.Tensor, predicted: Predicted) -> torch.Tensor:
            old, returns, mask = (_at(tensor, chosen, predicted) for tensor in tensors)
            return maths.value_loss(values.cpu()[None], old, returns, mask, self.config.value_clip, total).loss

        return backward(
            self.actors.critic(),
            rollout.sequences(chosen),
            loss,
            self.max_tree_tokens,
            Values(self.actors.head),
            self.critic_optimiser.accumulate,
        ).loss

    @torch.no_grad()
    def _measure(
        self, prompts: list[Prompt], replies: list[Generated]
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None, torch.Tensor]:
        """Old and reference log-probabilities, values, and the mask, all (N, L) on the CPU.

        What is not needed is not measured: the reference without KL penalty and limit, values without a critic, and the
        old log-probabilities where a rollout has one update, at which the policy is still the one that sampled.
        """
        sequences = [reply_sequence(prompt, reply) for prompt, reply in zip(prompts, replies, strict=True)]

        def read(model: PreTrainedModel, reader: TokenOutput) -> torch.Tensor:
            return pad_sequence(measure(model, sequences, reader, self.max_tree_tokens), batch_first=True)

        logprobs = LogProbs(self.config.temperature)
        old = reference = values = None
        if self.with_reference or self.config.epochs * self.config.minibatches > 1:
            old = read(self.actors.policy(), logprobs)
        if self.with_reference:
            with self.actors.reference() as model:
                reference = read(model, logprobs)
        if self.with_critic:
            values = read(self.actors.critic(), Values(self.actors.head))
        mask = pad_sequence([torch.ones(len(reply.ids)) for reply in replies], batch_first=True)
        return old, reference, values, mask

    def _drawn(self, number: int) -> list[int]:
        """The prompts of rollout `number`: the order goes on through passes over all prompts."""
        keys = [prefix_key(prompt.trajectory) for prompt in self.prompts]
        size, place = self.config.prompts, (number - 1) * self.config.prompts
        drawn: list[int] = []
        while len(drawn) < size:
            epoch, offset = divmod(place + len(drawn), len(keys))
            order = list(chain(*batches(keys, size, self.config.group_size, self.seed + epoch)))
            drawn += order[offset : offset + size - len(drawn)]
        return drawn

    def _readable(self, rollout: Rollout) -> list[dict[str, Any]]:
        return [
            {
                "prompt": prompt.name,
                "text": self.tokenizer.decode(reply.ids),
                "ids": list(reply.ids),
                "reward": verdict.reward,
                "finding": verdict.finding,
            }
            for prompt, reply, verdict in zip(rollout.prompts, rollout.replies, rollout.verdicts, strict=True)
        ]

    def _state(self, done: int) -> dict[str, Any]:
        critic = {"critic": self.critic_optimiser.state()} if self.with_critic else {}
        return {"done": done, "policy": self.policy_optimiser.state(), **critic}

    def _resume(self, state: dict[str, Any] | None) -> int:
        if state is None:
            return 0
        self.policy_optimiser.load(state["policy"])
        if self.with_critic:
            self.critic_optimiser.load(state["critic"])
        return int(state["done"])


def reply_sequence(prompt: Prompt, reply: Generated) -> TokenSequence:
    """Prompt and reply as one token sequence, every reply token predicted."""
    return TokenSequence([*prompt.ids, *reply.ids], len(prompt.ids), [1.0] * len(reply.ids))


def mixed_seed(*numbers: int) -> int:
    """A stable seed below 2**43 from integers of any size, small enough for `generate` to derive its own from."""
    digest = hashlib.sha256(" ".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:8], "big") % 2**43


def summary(rollout: Rollout) -> dict[str, Any]:
    """Statistics of a rollout for `metrics.jsonl`.

    `kl` is per reply (None where it was not measured), `call_rate` the share of replies with a readable call where the
    gold has a call, `text_for_call` the share of replies without any call there, `right` the share of rewards of 1,
    `varied` the share of prompts whose samples differ in reward, `unparseable` the share of broken or truncated calls,
    `explained` the share of the returns' variance that the critic explains.
    """
    findings, count = Counter(verdict.finding for verdict in rollout.verdicts), len(rollout.verdicts)
    wanted = [index for index, prompt in enumerate(rollout.prompts) if prompt.gold]
    called = sum(rollout.verdicts[index].finding not in ("not_a_call", "format") for index in wanted)
    kl = None
    if rollout.old is not None and rollout.reference is not None:
        kl = maths.kl_per_reply(rollout.old, rollout.reference, rollout.mask).mean().item()
    return {
        "reward": rollout.rewards.mean().item(),
        "right": findings["right"] / count,
        "kl": kl,
        "call_rate": called / len(wanted) if wanted else None,
        "text_for_call": findings["not_a_call"] / len(wanted) if wanted else None,
        "unparseable": findings["format"] / count,
        "varied": _varied(rollout.rewards, rollout.samples).float().mean().item(),
        "reply_length": rollout.mask.sum(-1).mean().item(),
        "cut": sum(not reply.finished for reply in rollout.replies),
        "replies": len(rollout.replies),
        **_critic_summary(rollout),
        "findings": dict(findings),
    }


def _critic_summary(rollout: Rollout) -> dict[str, float]:
    """`value` and `explained`; empty without a critic."""
    if rollout.values is None or rollout.returns is None:
        return {}
    tokens = rollout.mask.bool()
    returns, residual = rollout.returns[tokens], (rollout.returns - rollout.values)[tokens]
    variance = returns.var(correction=0).item()
    explained = 1 - residual.var(correction=0).item() / variance if variance else 0.0
    return {"value": rollout.values[tokens].mean().item(), "explained": explained}


def _varied(rewards: torch.Tensor, samples: int) -> torch.Tensor:
    """(N,) rewards -> (N / samples,) whether the samples of each prompt differ in reward."""
    groups = rewards.view(-1, samples)
    return (groups != groups[:, :1]).any(-1)


def _at(values: torch.Tensor, chosen: Sequence[int], predicted: Predicted) -> torch.Tensor:
    """Of (N, L), the values at the predicted tokens of the chosen rows, as (1, R')."""
    return values[torch.tensor(chosen)[predicted.owner], predicted.offset][None]


def _optimiser(
    settings: OptimiserConfig, parameters: list[torch.nn.Parameter], head: list[torch.nn.Parameter]
) -> Optimiser:
    groups = [(parameters, settings.learning_rate), (head, settings.learning_rate * HEAD_RATE)]
    betas = (settings.beta1, settings.beta2)
    return Optimiser([group for group in groups if group[0]], betas, settings.weight_decay, settings.clip_norm)
