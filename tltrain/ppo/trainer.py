"""The PPO loop: sample replies, judge them, and update policy and critic on exactly the sampled tokens."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tltrain import dialects
from tltrain import model as models
from tltrain.config import PPOConfig
from tltrain.encode import Prompt
from tltrain.encode.decoding import decode_reply
from tltrain.engine import ranks
from tltrain.engine.checkpoint import cut_metrics, load_checkpoint, save_checkpoint
from tltrain.engine.generate import Generated
from tltrain.errors import DataError
from tltrain.files import append_json_line, discard
from tltrain.judging import Verdict
from tltrain.judging.replies import judge_reply
from tltrain.ppo.actors import make_actors, rebuilt
from tltrain.ppo.prompts import draw_prompts, hold_back, number_of_rollouts, own_replies
from tltrain.ppo.rollouts import Rollout, make_rollout, mixed_seed, readable_replies, rewards_of, summary
from tltrain.ppo.sampling import LocalSampler, Sampler, ServerSampler
from tltrain.ppo.updates import Updates
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
        reload: loads the SFT model again, on the CPU; called to save a sharded policy.
        base: name of the SFT model for `adapter/`; by default the name it was loaded under.

    Raises:
        DataError: there are no prompts.
        ConfigError: the validation share leaves no prompts on one side, or `critic_warmup` leaves no rollout.
        ModelError: the server of `config.sampler` cannot be used.
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
        reload: Callable[[], PreTrainedModel] | None = None,
        base: str | None = None,
    ) -> None:
        if not prompts:
            raise DataError("nothing to sample from: the training split has no unfailed step within the length limit")
        ranks.join(model.device.type)
        self.tokenizer, self.prompts, self.stop_ids, self.config = tokenizer, prompts, stop_ids, config
        self.held: list[Prompt] = []
        if config.validation is not None:
            self.held, self.prompts = hold_back(prompts, config.validation.share, seed)
        self.rollouts = number_of_rollouts(config, len(self.prompts))
        self.best: dict[str, Any] | None = None
        self.folder, self.seed, self.progress = folder, seed, progress
        self.base, self.reload = base, reload
        self.dialect = dialects.get(dialect, tokenizer)
        model.eval()  # no dropout: log-probabilities before and after an update must be comparable
        self.actors = make_actors(model, config, seed)
        self.updates = Updates(self.actors, config, rollouts=self.rollouts, seed=seed, max_tree_tokens=max_tree_tokens)
        self.sampler = self._sampler(stop_ids, base or model.name_or_path)

    def _sampler(self, stop_ids: Sequence[int], base: str) -> Sampler:
        config = self.config
        if config.sampler is None:
            return LocalSampler(self.actors, stop_ids, config)
        return ServerSampler(
            config.sampler,
            self.actors,
            stop_ids=stop_ids,
            config=config,
            folder=self.folder / "sampler",
            base=base,
            prompt=self.prompts[0].ids,
        )

    def train(self) -> PreTrainedModel | None:
        """Run all rollouts that are not done yet and save the policy (the best one, with validation).

        Returns:
            The policy; None on ranks other than 0 if it was sharded.

        Raises:
            RunError: a gradient is not finite.
        """
        checkpoint = self.folder / "checkpoint.pt"
        done = self._resume(load_checkpoint(checkpoint))
        ranks.on_first(lambda: self._cut_lines(done))
        if self.held and not done:
            self.validate(0)
        for number in range(done + 1, self.rollouts + 1):
            started = time.perf_counter()
            rollout = self.collect(number)
            losses = self.update(rollout, number)
            speed = {"seconds": time.perf_counter() - started}
            speed["replies_per_second"] = len(rollout.replies) / speed["seconds"]
            line = {"rollout": number, **summary(rollout), **losses, **speed}
            ranks.on_first(partial(self._log, rollout, line))
            kl = line["kl"]
            stop = self.config.max_kl is not None and kl is not None and kl > self.config.max_kl
            if self._validation_is_due(number, last=stop or number == self.rollouts):
                self.validate(number)
            if stop:
                break
            if number % self.config.checkpoint_every == 0 and number < self.rollouts:
                state = self.state(number)
                ranks.on_first(partial(save_checkpoint, checkpoint, state))
        self.sampler.close()
        policy = self._save()
        ranks.on_first(lambda: discard(checkpoint))
        return policy

    def _save(self) -> PreTrainedModel | None:
        """Save the policy: `adapter/` is complete before `model/`, which marks a finished stage."""
        best = None if self.best is None else self.best["weights"]
        if self.actors.sharded:
            weights = self.updates.policy.whole_weights() if best is None else best
            return ranks.on_first(lambda: self._save_rebuilt(weights))
        if best is not None:
            self.updates.policy.load_weights(best)
        ranks.on_first(lambda: self.actors.save_adapter(self.folder / "adapter", self.base))
        policy = self.actors.finish(self.seed)
        ranks.on_first(lambda: models.save(policy, self.tokenizer, self.folder / "model"))
        return policy

    def _save_rebuilt(self, weights: Sequence[torch.Tensor | None]) -> PreTrainedModel:
        assert self.reload is not None, "a sharded policy cannot be saved as it is: `reload` is needed"
        actors = rebuilt(self.reload(), self.config, self.seed, weights)
        actors.save_adapter(self.folder / "adapter", self.base)
        policy = actors.finish(self.seed)
        models.save(policy, self.tokenizer, self.folder / "model")
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
        self.progress(f"reward {line['reward']:.2f}{shown}", line["rollout"], self.rollouts)

    def collect(self, number: int) -> Rollout:
        """Rollout `number` (from 1) before its update: sampled replies, verdicts, log-probabilities and advantages."""
        drawn = [self.prompts[index] for index in draw_prompts(self.prompts, number, self.config, self.seed)]
        own = own_replies(drawn, self.config.samples)
        prompts = [prompt for prompt in drawn for _ in range(self.config.samples)]
        seeds = [mixed_seed(self.seed, number, index) for index in own]
        replies, verdicts = self.reply([prompts[index] for index in own], self.config.temperature, seeds)
        measured = self.updates.measure_replies([prompts[index] for index in own], replies)
        replies, verdicts, measured = (ranks.concatenated(part) for part in (replies, verdicts, measured))
        return make_rollout(self.config, prompts, replies, verdicts=verdicts, measured=measured, own=own)

    def update(self, rollout: Rollout, number: int) -> dict[str, float]:
        """Train on rollout `number`; returns the mean losses and gradient norms."""
        losses = self.updates.update(rollout, number)
        self.sampler.changed()
        return losses

    def reply(
        self, prompts: Sequence[Prompt], temperature: float, seeds: Sequence[int] = ()
    ) -> tuple[list[Generated], list[Verdict]]:
        """The policy's replies to the prompts (greedy at temperature 0), and the judge's verdicts on them."""
        replies = self.sampler.sample(prompts, temperature, seeds)
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
        rewards = rewards_of(sampled, self.config).view(-1, samples)
        scores = validation_scores(greedy, rewards, right)
        ranks.on_first(lambda: append_json_line(self.folder / "validation.jsonl", {"rollout": number, **scores}))
        if self.best is None or (scores["CF"], scores["reward"]) > (self.best["CF"], self.best["reward"]):
            weights = self.updates.policy.copied_weights()
            self.best = {"rollout": number, "CF": scores["CF"], "reward": scores["reward"], "weights": weights}

    def state(self, done: int) -> dict[str, Any]:
        """What `checkpoint.pt` holds after `done` rollouts: trained weights, moments, and the best policy if any. It is
        complete on rank 0; all ranks must call this."""
        updates = self.updates
        critic = {"critic": updates.critic.state()} if updates.critic is not None else {}
        best = {"best": self.best} if self.best is not None else {}
        return {"done": done, "policy": updates.policy.state(), **critic, **best}

    def _resume(self, state: dict[str, Any] | None) -> int:
        if state is None:
            return 0
        self.updates.policy.load(state["policy"])
        if self.updates.critic is not None:
            self.updates.critic.load(state["critic"])
        self.sampler.changed()
        self.best = state.get("best")
        return int(state["done"])
