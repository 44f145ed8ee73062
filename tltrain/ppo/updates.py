"""Measuring a rollout's replies, and the updates of policy and critic on exactly the sampled tokens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch

from tltrain.config import PPOConfig
from tltrain.encode import Prompt
from tltrain.engine import ranks, sharding
from tltrain.engine.capabilities import prefix_sharing_obstacle
from tltrain.engine.generate import Generated
from tltrain.engine.layers import gradient_checkpointing
from tltrain.engine.optimiser import Optimiser, rate_share
from tltrain.engine.outputs import LogProbs, TokenOutput, Values
from tltrain.engine.passes import Loss, backward, measure
from tltrain.engine.tree import Predicted, TokenSequence
from tltrain.ppo import maths
from tltrain.ppo.actors import HEAD_RATE, Actors, make_optimiser
from tltrain.ppo.rollouts import Measured, Rollout, mixed_seed, reply_sequence, sampled_logprobs

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Updates:
    """The passes through policy, critic and reference, and the optimisers' steps.

    Args:
        actors: policy, critic and reference.
        config: see `PPOConfig`.
        rollouts: number of all rollouts, for the learning-rate schedules.
        seed: random seed of the minibatches.
        max_tree_tokens: most tokens in one pass through the model; bounds memory, changes no result.

    Attributes:
        policy: the optimiser of the policy.
        critic: the optimiser of the critic with its value head; None without a critic.
    """

    def __init__(self, actors: Actors, config: PPOConfig, *, rollouts: int, seed: int, max_tree_tokens: int) -> None:
        self.actors, self.config, self.rollouts = actors, config, rollouts
        self.seed, self.max_tree_tokens = seed, max_tree_tokens
        self.logprobs = LogProbs(config.temperature or 1.0)
        self.policy = make_optimiser(config.policy, actors.policy_parameters(), [])
        self.critic: Optimiser | None = None
        if config.advantage == "gae":
            rate = HEAD_RATE if config.critic_start == "sft" else 1.0
            head = list(actors.head.parameters())
            self.critic = make_optimiser(config.critic, actors.critic_parameters(), head, rate)

    @torch.no_grad()
    def measure_replies(self, prompts: Sequence[Prompt], replies: Sequence[Generated]) -> list[Measured]:
        """Log-probabilities and values of each of this process's replies, on the CPU.

        What is not needed is None: the reference without KL penalty and limit, values without a critic, and the old
        log-probabilities where a rollout has a single update, for which the policy is still the one that sampled and
        no server did. The KL penalty of such an update takes those that were recorded in sampling, if there are any:
        they differ from those of a pass by rounding only.
        """
        config = self.config
        sequences = [reply_sequence(prompt, reply) for prompt, reply in zip(prompts, replies, strict=True)]

        def read(model: PreTrainedModel, output: TokenOutput) -> Sequence[torch.Tensor | None]:
            passes = sharding.measure if self.actors.sharded else measure
            return passes(model, sequences, output, self.max_tree_tokens)

        old: Sequence[torch.Tensor | None] = [None] * len(replies)
        reference = values = old
        if not config.on_policy or (config.needs_reference and not self._recorded(replies)):
            old = read(self.actors.policy(), self.logprobs)
        elif config.needs_reference:
            old = [sampled_logprobs(reply) for reply in replies]
        if config.needs_reference:
            with self.actors.reference() as model:
                reference = read(model, self.logprobs)
        if self.critic is not None:
            values = read(self.actors.critic(), Values(self.actors.head))
        return [Measured(*row) for row in zip(old, reference, values, strict=True)]

    def _recorded(self, replies: Sequence[Generated]) -> bool:
        """Whether the replies' log-probabilities were recorded; the same on all ranks, also on one without replies."""
        recorded = all(reply.logprobs is not None for reply in replies)
        return recorded and prefix_sharing_obstacle(self.actors.policy()) is None

    def update(self, rollout: Rollout, number: int) -> dict[str, float]:
        """Run all epochs and minibatches on one rollout; returns the mean losses and gradient norms.

        Raises:
            RunError: a gradient is not finite.
        """
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
            share = rate_share(config.policy, before, (self.rollouts - config.critic_warmup) * updates)
            called = f"rollout {number} (ppo.policy)"
            totals["policy_grad_norm"] += self.policy.step(1.0, share, called) if train_policy else 0.0
            if self.critic is not None:
                share = rate_share(config.critic, (number - 1) * updates + index, self.rollouts * updates)
                totals["value_grad_norm"] += self.critic.step(1.0, share, f"rollout {number} (ppo.critic)")
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
        if self.critic is not None:
            losses["value_loss"] = self._value_backward(rollout, chosen, self.critic)
        return losses

    def _policy_backward(self, rollout: Rollout, chosen: list[int]) -> dict[str, float]:
        """The clipped policy loss, as the mean over the tokens of the chosen replies. A reply whose advantages are all
        zero has no gradient and is skipped."""
        config, total = self.config, rollout.mask[chosen].sum()
        trained = [index for index in chosen if index in rollout.own and rollout.advantages[index].any()]
        clip_fraction, weighted = 0.0, rollout.advantages
        if rollout.importance is not None:
            weighted = weighted * rollout.importance.clamp(max=config.importance_limit)

        def loss(logprobs: torch.Tensor, predicted: Predicted) -> torch.Tensor:
            nonlocal clip_fraction
            now = logprobs.cpu()[None]
            old = now.detach() if rollout.old is None or config.on_policy else _at(rollout.old, trained, predicted)
            advantages, mask = (_at(values, trained, predicted) for values in (weighted, rollout.mask))
            clipped = maths.policy_loss(now, old, advantages=advantages, mask=mask, clip=config.clip, total=total)
            clip_fraction += clipped.clip_fraction.item()
            return clipped.loss

        summed = self._backward(self.actors.policy(), rollout.sequences(trained), loss, self.logprobs, self.policy)
        return {"policy_loss": summed, "clip_fraction": clip_fraction}

    def _value_backward(self, rollout: Rollout, chosen: list[int], optimiser: Optimiser) -> float:
        """The clipped value loss, as the mean over the tokens of the chosen replies."""
        assert rollout.values is not None and rollout.returns is not None, "only called with a critic"
        tensors, total = (rollout.values, rollout.returns, rollout.mask), rollout.mask[chosen].sum()
        chosen = [index for index in chosen if index in rollout.own]

        def loss(values: torch.Tensor, predicted: Predicted) -> torch.Tensor:
            old, returns, mask = (_at(tensor, chosen, predicted) for tensor in tensors)
            clip = self.config.value_clip
            return maths.value_loss(values.cpu()[None], old, returns=returns, mask=mask, clip=clip, total=total).loss

        output = Values(self.actors.head)
        return self._backward(self.actors.critic(), rollout.sequences(chosen), loss, output, optimiser)

    def _backward(
        self,
        model: PreTrainedModel,
        sequences: Sequence[TokenSequence],
        loss: Loss,
        output: TokenOutput,
        optimiser: Optimiser,
    ) -> float:
        """Add the gradients of the loss over this process's sequences; returns the loss."""
        if not sequences and not self.actors.sharded:
            return 0.0
        most, accumulate = self.max_tree_tokens, optimiser.accumulate
        with gradient_checkpointing(model) if self.config.gradient_checkpointing else nullcontext():
            if self.actors.sharded:
                trees = sharding.build_trees(sequences, most)
                return sharding.backward(model, trees, loss, output=output, accumulate=accumulate).loss
            return backward(model, sequences, loss, most, output=output, accumulate=accumulate).loss


def _at(values: torch.Tensor, chosen: Sequence[int], predicted: Predicted) -> torch.Tensor:
    """Of (N, L), the values at the predicted tokens of the chosen rows, as (1, R')."""
    return values[torch.tensor(chosen)[predicted.owner], predicted.offset][None]
