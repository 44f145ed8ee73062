"""A rollout: sampled replies with what the update needs, and its statistics for `metrics.jsonl`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence

from tltrain.config import PPOConfig
from tltrain.encode import Prompt
from tltrain.engine.generate import Generated
from tltrain.engine.tree import TokenSequence
from tltrain.judging import Verdict
from tltrain.ppo import maths

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Measured(NamedTuple):
    """What was measured for each token of a reply before the update, (L',) for its L' tokens; None: not needed."""

    old: torch.Tensor | None
    reference: torch.Tensor | None
    values: torch.Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """N sampled replies, with what the update needs; tensors are (N, L), rewards (N,).

    `old` and `reference` are log-probabilities at the sampling temperature, `values` the critic's, all before the
    update; each is None where the configuration does not need it. `returns` is None without a critic. `used` are the
    indices of the replies that the update trains on, `own` those that this process computes. `importance` holds the
    importance ratios of replies that a server sampled; None: the policy itself did. The `samples` replies of a prompt
    are neighbours.
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
    importance: torch.Tensor | None
    used: list[int]
    own: range
    samples: int

    def sequences(self, chosen: Sequence[int]) -> list[TokenSequence]:
        """Prompt and reply, token for token as sampled."""
        return [reply_sequence(self.prompts[index], self.replies[index]) for index in chosen]


def make_rollout(
    config: PPOConfig,
    prompts: list[Prompt],
    replies: list[Generated],
    *,
    verdicts: list[Verdict],
    measured: Sequence[Measured],
    own: range,
) -> Rollout:
    """The rollout of all processes' replies, with advantages and, with a critic, returns."""
    rewards = rewards_of(verdicts, config)
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
    importance = None
    if config.sampler is not None:
        sampled = padded_rows([sampled_logprobs(reply) for reply in replies])
        assert old is not None and sampled is not None, "measured, and recorded by the server"
        importance = maths.importance_ratios(old, sampled, mask)
    differ = rewards_differ(rewards, config.samples)
    used = [index for index in range(len(replies)) if differ[index // config.samples] or not config.dynamic_sampling]
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
        importance=importance,
        used=used,
        own=own,
        samples=config.samples,
    )


def rewards_of(verdicts: Sequence[Verdict], config: PPOConfig) -> torch.Tensor:
    """(N,) rewards as `config.reward` says, clipped to +- `config.reward_clip`."""
    exact = config.reward == "exact"
    rewards = [(1.0 if verdict.CF else -1.0) if exact else verdict.reward for verdict in verdicts]
    return torch.tensor(rewards).clamp(-config.reward_clip, config.reward_clip)


def sampled_logprobs(reply: Generated) -> torch.Tensor | None:
    """(L',) log-probabilities with which the tokens were sampled; None if they were not recorded."""
    return None if reply.logprobs is None else torch.tensor(reply.logprobs)


def reply_sequence(prompt: Prompt, reply: Generated) -> TokenSequence:
    """Prompt and reply as one token sequence, every reply token predicted."""
    return TokenSequence([*prompt.ids, *reply.ids], len(prompt.ids), [1.0] * len(reply.ids))


def padded_rows(rows: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    """N rows of any length -> (N, L); None if they were not measured."""
    measured = [row for row in rows if row is not None]
    return pad_sequence(measured, batch_first=True) if measured else None


def readable_replies(rollout: Rollout, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
    """The sampled replies with the judge's rewards, for `rollouts.jsonl`."""
    return [
        {
            "prompt": prompt.name,
            "text": tokenizer.decode(reply.ids),
            "ids": list(reply.ids),
            "reward": verdict.reward,
            "finding": verdict.finding,
        }
        for prompt, reply, verdict in zip(rollout.prompts, rollout.replies, rollout.verdicts, strict=True)
    ]


def mixed_seed(*numbers: int) -> int:
    """A random seed of 32 bits, all that torch's generator on CPUs uses, from integers of any size."""
    digest = hashlib.sha256(" ".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def rewards_differ(rewards: torch.Tensor, samples: int) -> torch.Tensor:
    """(N,) rewards -> (N / samples,) whether the samples of each prompt differ in reward."""
    groups = rewards.view(-1, samples)
    return (groups != groups[:, :1]).any(-1)


def summary(rollout: Rollout) -> dict[str, Any]:
    """Statistics of a rollout for `metrics.jsonl`.

    `kl` is per reply (None where it was not measured), `call_share` the share of all replies with a readable call,
    `call_rate` the same over the prompts whose gold is a call, `text_for_call` the share of replies without any call
    there, `right` the share of replies with CF, `varied` the share of prompts whose samples differ in reward,
    `unparseable` the share of replies that cannot be parsed or were truncated, `cut` the number of truncated replies,
    `explained` the share of the returns' variance that the critic explains. If a server sampled the replies,
    `importance_mean` and `importance_max` are the mean and maximum of all tokens' importance ratios, not truncated.
    """
    findings, count = Counter(verdict.finding for verdict in rollout.verdicts), len(rollout.verdicts)
    wanted = [index for index, prompt in enumerate(rollout.prompts) if prompt.gold]
    called = [_calls(verdict) for verdict in rollout.verdicts]
    kl = None
    if rollout.old is not None and rollout.reference is not None:
        kl = maths.kl_per_reply(rollout.old, rollout.reference, rollout.mask).mean().item()
    return {
        "reward": rollout.rewards.mean().item(),
        "right": findings["right"] / count,
        "kl": kl,
        "call_share": sum(called) / count,
        "call_rate": sum(called[index] for index in wanted) / len(wanted) if wanted else None,
        "text_for_call": findings["not_a_call"] / len(wanted) if wanted else None,
        "unparseable": findings["format"] / count,
        "varied": rewards_differ(rollout.rewards, rollout.samples).float().mean().item(),
        "reply_length": rollout.mask.sum(-1).mean().item(),
        "cut": sum(not reply.finished for reply in rollout.replies),
        "replies": len(rollout.replies),
        **_critic_summary(rollout),
        **_importance_summary(rollout),
        "findings": dict(findings),
    }


def _calls(verdict: Verdict) -> bool:
    """Whether the reply has a readable call; neither a text where one is due nor a text where a call is due has any."""
    return bool(verdict.calls) and verdict.finding not in ("not_a_call", "format")


def _critic_summary(rollout: Rollout) -> dict[str, float]:
    """`value` and `explained`; empty without a critic."""
    if rollout.values is None or rollout.returns is None:
        return {}
    tokens = rollout.mask.bool()
    returns, residual = rollout.returns[tokens], (rollout.returns - rollout.values)[tokens]
    variance = returns.var(correction=0).item()
    explained = 1 - residual.var(correction=0).item() / variance if variance else 0.0
    return {"value": rollout.values[tokens].mean().item(), "explained": explained}


def _importance_summary(rollout: Rollout) -> dict[str, float]:
    """`importance_mean` and `importance_max`; empty without ratios."""
    if rollout.importance is None:
        return {}
    ratios = rollout.importance[rollout.mask.bool()]
    return {"importance_mean": ratios.mean().item(), "importance_max": ratios.max().item()}
