"""The PPO loop: sample replies, judge them, and update policy and critic on exactly the sampled tokens."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import pad_sequence

from tltrain import dialects
from tltrain import model as models
from tltrain.config import PPOConfig
from tltrain.encode import Prompt
from tltrain.encode.decoding import decode_reply
from tltrain.engine import ranks
from tltrain.engine.checkpoint import cut_metrics, load_checkpoint, save_checkpoint
from tltrain.engine.generate import Generated, generate
from tltrain.engine.optimiser import cosine
from tltrain.engine.outputs import LogProbs, TokenOutput, Values
from tltrain.engine.passes import backward, measure
from tltrain.engine.tree import Predicted
from tltrain.errors import DataError
from tltrain.files import append_json_line, discard
from tltrain.judging import Verdict
from tltrain.judging.replies import judge_reply
from tltrain.ppo import maths
from tltrain.ppo.actors import Actors, AdapterActors, FullActors, make_optimiser
from tltrain.ppo.prompts import draw_prompts, hold_back, own_replies
from tltrain.ppo.rollouts import (
    Measured,
    Rollout,
    mixed_seed,
    padded_rows,
    readable_replies,
    reply_sequence,
    rewards_differ,
    summary,
)
from tltrain.ppo.validation import validation_scores
from tltrain.progress import Progress, no_progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class PPOTrainer:
    """Trains a policy with PPO, starting from an SFT model.

    Launched as several processes, each samples, judges and measures the replies to its own prompts and computes their
    part of every gradient. Replies and the result are those of a single process, up to rounding errors.

    Args:
        model: the SFT model; changed in place.
        tokenizer: decodes replies for the judge; saved with the policy.
        prompts: the unfailed steps of the training split, of which `config.validation` holds some back.
        stop_ids: tokens that end a reply.
        config: see `PPOConfig`.
        folder: receives `model/`, `metrics.jsonl`, `rollouts.jsonl`, `adapter/` if adapters are trained,
            `validation.jsonl` if `config.validation` is set and, until training is complete, `checkpoint.pt`. A folder
            with a checkpoint is resumed.
        dialect: the dialect that replies are parsed in.
        max_tree_tokens: most tokens in one pass through the model; bounds memory, changes no result.
        seed: random seed of held-back prompts, their order, sampling, adapters and their rounding.
        progress: called after each rollout.
        base: name of the SFT model for `adapter/`; by default the name it was loaded under.

    Raises:
        DataError: there are no prompts.
        ConfigError: the validation share leaves no prompts on one side.
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
        ranks.join(model.device.type)
        self.tokenizer, self.prompts, self.stop_ids, self.config = tokenizer, prompts, stop_ids, config
        self.held: list[Prompt] = []
        if config.validation is not None:
            self.held, self.prompts = hold_back(prompts, config.validation.share, seed)
        self.best: dict[str, Any] | None = None
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
        self.policy_optimiser = make_optimiser(config.policy, self.actors.policy_parameters(), [])
        if self.with_critic:
            head = list(self.actors.head.parameters())
            self.critic_optimiser = make_optimiser(config.critic, self.actors.critic_parameters(), head)

    def train(self) -> PreTrainedModel:
        """Run all rollouts that are not done yet; saves and returns the policy (the best one, with validation)."""
        checkpoint = self.folder / "checkpoint.pt"
        done = self._resume(load_checkpoint(checkpoint))
        ranks.on_first(lambda: self._cut_lines(done))
        if self.held and not done:
            self.validate(0)
        for number in range(done + 1, self.config.rollouts + 1):
            started = time.perf_counter()
            rollout = self.collect(number)
            losses = self.update(rollout, number)
            speed = {"seconds": time.perf_counter() - started}
            speed["replies_per_second"] = len(rollout.replies) / speed["seconds"]
            line = {"rollout": number, **summary(rollout), **losses, **speed}
            ranks.on_first(partial(self._log, rollout, line))
            kl = line["kl"]
            stop = self.config.max_kl is not None and kl is not None and kl > self.config.max_kl
            if self._validation_is_due(number, last=stop or number == self.config.rollouts):
                self.validate(number)
            if stop:
                break
            if number % self.config.checkpoint_every == 0 and number < self.config.rollouts:
                state = self.state(number)
                ranks.on_first(partial(save_checkpoint, checkpoint, state))
        if self.best is not None:
            self.policy_optimiser.load_weights(self.best["weights"])
        policy = self.actors.finish(self.folder, self.base, self.seed)
        ranks.on_first(lambda: models.save(policy, self.tokenizer, self.folder / "model"))
        ranks.on_first(lambda: discard(checkpoint))
        return policy

    def _cut_lines(self, done: int) -> None:
        """Remove what was logged after the checkpoint that training resumes from."""
        for name in ("metrics.jsonl", "rollouts.jsonl"):
            cut_metrics(self.folder / name, "rollout", done)
        cut_metrics(self.folder / "validation.jsonl", "rollout", done if done else -1)

    def _log(self, rollout: Rollout, line: dict[str, Any]) -> None:
        replies = readable_replies(rollout, self.tokenizer)
        append_json_line(self.folder / "rollouts.jsonl", {"rollout": line["rollout"], "replies": replies})
        append_json_line(self.folder / "metrics.jsonl", line)
        shown = "" if line["kl"] is None else f", KL {line['kl']:.3f}"
        self.progress(f"reward {line['reward']:.2f}{shown}", line["rollout"], self.config.rollouts)

    def collect(self, number: int) -> Rollout:
        """Rollout `number` (from 1) before its update: sampled replies, verdicts, log-probabilities and advantages."""
        drawn = [self.prompts[index] for index in draw_prompts(self.prompts, number, self.config, self.seed)]
        own = own_replies(drawn, self.config.samples)
        prompts = [prompt for prompt in drawn for _ in range(self.config.samples)]
        seeds = [mixed_seed(self.seed, number, index) for index in own]
        replies, verdicts = self.reply([prompts[index] for index in own], self.config.temperature, seeds)
        measured = self.measure_replies([prompts[index] for index in own], replies)
        replies, verdicts, measured = (ranks.concatenated(part) for part in (replies, verdicts, measured))
        return self._rollout(prompts, replies, verdicts, measured, own)

    def reply(
        self, prompts: Sequence[Prompt], temperature: float, seeds: Sequence[int] = ()
    ) -> tuple[list[Generated], list[Verdict]]:
        """The policy's replies to the prompts (greedy at temperature 0), and the judge's verdicts on them."""
        replies = generate(
            self.actors.policy(),
            [prompt.ids for prompt in prompts],
            self.stop_ids,
            self.config.max_new_tokens,
            temperature=temperature,
            seeds=seeds,
            batch_size=self.config.prompts * self.config.samples,
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
        return replies, verdicts

    def _rewards(self, verdicts: Sequence[Verdict]) -> torch.Tensor:
        """(N,) clipped rewards."""
        limit = self.config.reward_clip
        return torch.tensor([verdict.reward for verdict in verdicts]).clamp(-limit, limit)

    def _validation_is_due(self, number: int, last: bool) -> bool:
        validation = self.config.validation
        return validation is not None and (last or number % validation.every == 0)

    def validate(self, number: int) -> None:
        """Score the policy after rollout `number` on the held-back prompts, and remember it if it is the best. Samples
        are drawn with the same random seeds each time, which rollouts, numbered from 1, do not use."""
        samples, own = self.config.samples, own_replies(self.held, self.config.samples)
        _, greedy = self.reply([self.held[index // samples] for index in own[::samples]], 0.0)
        seeds = [mixed_seed(self.seed, 0, index) for index in own]
        _, sampled = self.reply([self.held[index // samples] for index in own], self.config.temperature, seeds)
        greedy, sampled = ranks.concatenated(greedy), ranks.concatenated(sampled)
        right = torch.tensor([verdict.CF for verdict in sampled]).view(-1, samples)
        scores = validation_scores(greedy, self._rewards(sampled).view(-1, samples), right)
        ranks.on_first(lambda: append_json_line(self.folder / "validation.jsonl", {"rollout": number, **scores}))
        if self.best is None or (scores["CF"], scores["reward"]) > (self.best["CF"], self.best["reward"]):
            weights = [weight.detach().cpu().clone() for weight in self.policy_optimiser.weights]
            self.best = {"rollout": number, "CF": scores["CF"], "reward": scores["reward"], "weights": weights}

    def _rollout(
        self,
        prompts: list[Prompt],
        replies: list[Generated],
        verdicts: list[Verdict],
        measured: Sequence[Measured],
        own: range,
    ) -> Rollout:
        """Put the replies of all processes together, and add advantages and returns."""
        config, rewards = self.config, self._rewards(verdicts)
        old, reference, values = (padded_rows(column) for column in zip(*measured, strict=True))
        mask = pad_sequence([torch.ones(len(reply.ids)) for reply in replies], batch_first=True)
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
        differ = rewards_differ(rewards, config.samples)
        used = [
            index for index in range(len(replies)) if differ[index // config.samples] or not config.dynamic_sampling
        ]
        return Rollout(
            prompts=prompts,
            replies=replies,
            verdicts=verdicts,
            rewards=rewards,
            mask=mask,
            old=old,
            reference=reference,
            values=values,
            advantages=advantages,
            returns=returns,
            used=used,
            own=own,
            samples=config.samples,
        )

    def update(self, rollout: Rollout, number: int) -> dict[str, float]:
        """Run all epochs and minibatches on one rollout; returns the mean losses and gradient norms."""
        config = self.config
        updates = config.epochs * config.minibatches
        train_policy = number > config.critic_warmup
        totals: defaultdict[str, float] = defaultdict(float)
        for index in range(updates):
            epoch, part = divmod(index, config.minibatches)
            rng = torch.Generator().manual_seed(mixed_seed(self.seed, number, epoch))
            order = torch.randperm(len(rollout.used), generator=rng)
            chosen = [rollout.used[row] for row in order[part :: config.minibatches].tolist()]
            for name, value in self.accumulate_gradients(rollout, chosen, with_policy=train_policy).items():
                totals[name] += value
            before = (number - 1 - config.critic_warmup) * updates + index
            share = cosine(before, (config.rollouts - config.critic_warmup) * updates, config.policy.warmup)
            totals["policy_grad_norm"] += self.policy_optimiser.step(1.0, share) if train_policy else 0.0
            if self.with_critic:
                share = cosine((number - 1) * updates + index, config.rollouts * updates, config.critic.warmup)
                totals["value_grad_norm"] += self.critic_optimiser.step(1.0, share)
        summed = [name for name in totals if not name.endswith("_grad_norm")]  # the others are equal on all ranks
        values = ranks.summed([totals[name] for name in summed], self.actors.policy().device)
        totals.update(zip(summed, values, strict=True))
        return {name: value / updates for name, value in totals.items()}

    def accumulate_gradients(
        self, rollout: Rollout, chosen: list[int], *, with_policy: bool = True
    ) -> dict[str, float]:
        """Add this process's part of the gradients of one update over the chosen replies to policy and critic.

        Args:
            rollout: the replies, with log-probabilities, advantages and returns.
            chosen: indices of the replies of this update.
            with_policy: whether the policy has a part in the update, and not the critic alone.

        Returns:
            `policy_loss`, `clip_fraction` and, with a critic, `value_loss`: this process's part of the means
            over the chosen replies' tokens.
        """
        losses = {"policy_loss": 0.0, "clip_fraction": 0.0}
        if with_policy:
            losses = self._policy_backward(rollout, chosen)
        if self.with_critic:
            losses["value_loss"] = self._value_backward(rollout, chosen)
        return losses

    def _policy_backward(self, rollout: Rollout, chosen: list[int]) -> dict[str, float]:
        """The clipped policy loss, as the mean over the tokens of the chosen replies. A reply whose advantages are all
        zero has no gradient and is skipped."""
        config, total = self.config, rollout.mask[chosen].sum()
        trained = [index for index in chosen if index in rollout.own and rollout.advantages[index].any()]
        clip_fraction = 0.0

        def loss(logprobs: torch.Tensor, predicted: Predicted) -> torch.Tensor:
            nonlocal clip_fraction
            now = logprobs.cpu()[None]
            old = now.detach() if rollout.old is None else _at(rollout.old, trained, predicted)
            advantages, mask = (_at(values, trained, predicted) for values in (rollout.advantages, rollout.mask))
            clipped = maths.policy_loss(now, old, advantages=advantages, mask=mask, clip=config.clip, total=total)
            clip_fraction += clipped.clip_fraction.item()
            return clipped.loss

        if not trained:
            return {"policy_loss": 0.0, "clip_fraction": 0.0}
        passed = backward(
            self.actors.policy(),
            rollout.sequences(trained),
            loss,
            self.max_tree_tokens,
            output=LogProbs(config.temperature),
            accumulate=self.policy_optimiser.accumulate,
        )
        return {"policy_loss": passed.loss, "clip_fraction": clip_fraction}

    def _value_backward(self, rollout: Rollout, chosen: list[int]) -> float:
        """The clipped value loss, as the mean over the tokens of the chosen replies."""
        assert rollout.values is not None and rollout.returns is not None, "only called with a critic"
        tensors, total = (rollout.values, rollout.returns, rollout.mask), rollout.mask[chosen].sum()
        chosen = [index for index in chosen if index in rollout.own]
        if not chosen:
            return 0.0

        def loss(values: torch.Tensor, predicted: Predicted) -> torch.Tensor:
            old, returns, mask = (_at(tensor, chosen, predicted) for tensor in tensors)
            clip = self.config.value_clip
            return maths.value_loss(values.cpu()[None], old, returns=returns, mask=mask, clip=clip, total=total).loss

        return backward(
            self.actors.critic(),
            rollout.sequences(chosen),
            loss,
            self.max_tree_tokens,
            output=Values(self.actors.head),
            accumulate=self.critic_optimiser.accumulate,
        ).loss

    @torch.no_grad()
    def measure_replies(self, prompts: Sequence[Prompt], replies: Sequence[Generated]) -> list[Measured]:
        """Log-probabilities and values of each reply, on the CPU.

        What is not needed is None: the reference without KL penalty and limit, values without a critic, and the old
        log-probabilities where a rollout has a single update, for which the policy is still the one that sampled.
        """
        sequences = [reply_sequence(prompt, reply) for prompt, reply in zip(prompts, replies, strict=True)]

        def read(model: PreTrainedModel, output: TokenOutput) -> Sequence[torch.Tensor | None]:
            return measure(model, sequences, output, self.max_tree_tokens)

        logprobs = LogProbs(self.config.temperature)
        old: Sequence[torch.Tensor | None] = [None] * len(replies)
        reference = values = old
        if self.with_reference or self.config.epochs * self.config.minibatches > 1:
            old = read(self.actors.policy(), logprobs)
        if self.with_reference:
            with self.actors.reference() as model:
                reference = read(model, logprobs)
        if self.with_critic:
            values = read(self.actors.critic(), Values(self.actors.head))
        return [Measured(*row) for row in zip(old, reference, values, strict=True)]

    def state(self, done: int) -> dict[str, Any]:
        """What `checkpoint.pt` holds after `done` rollouts: trained weights, moments, and the best policy if any."""
        critic = {"critic": self.critic_optimiser.state()} if self.with_critic else {}
        best = {"best": self.best} if self.best is not None else {}
        return {"done": done, "policy": self.policy_optimiser.state(), **critic, **best}

    def _resume(self, state: dict[str, Any] | None) -> int:
        if state is None:
            return 0
        self.policy_optimiser.load(state["policy"])
        if self.with_critic:
            self.critic_optimiser.load(state["critic"])
        self.best = state.get("best")
        return int(state["done"])


def _at(values: torch.Tensor, chosen: Sequence[int], predicted: Predicted) -> torch.Tensor:
    """Of (N, L), the values at the predicted tokens of the chosen rows, as (1, R')."""
    return values[torch.tensor(chosen)[predicted.owner], predicted.offset][None]
