"""PPO as pure functions of tensors. Shapes: N replies, L the longest reply's tokens; rows are padded on the right.

`mask` is (N, L), 1.0 on a reply's tokens and 0.0 on padding. A mean is over all tokens of all replies.
Sources: Schulman et al. 2016 (arXiv 1506.02438) for the advantages, 2017 (arXiv 1707.06347) for the clipped loss,
Ouyang et al. 2022 (arXiv 2203.02155) for the KL penalty inside the reward, Kool et al. 2019 ("Buy 4 REINFORCE samples,
get a baseline for free!") and Ahmadian et al. 2024 (arXiv 2402.14740) for the leave-one-out baseline, Yao et al. 2025
("Your efficient RL framework secretly brings you off-policy RL training", fengyao.notion.site/off-policy-rl) for the
truncated importance weights of replies that another engine sampled.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

LOG_RATIO_LIMIT = 20.0
"""Log-ratios are clipped to +- this, so that no ratio is infinite where the engine gave a token no probability."""


class Clipped(NamedTuple):
    """A clipped loss (scalar, mean over tokens) and the share of tokens for which the clipped term was used."""

    loss: torch.Tensor
    clip_fraction: torch.Tensor


def masked_mean(values: torch.Tensor, mask: torch.Tensor, total: float | torch.Tensor) -> torch.Tensor:
    """Sum over the masked tokens, divided by `total` (the number of tokens of the whole update)."""
    return (values * mask).sum() / total


def token_rewards(
    rewards: torch.Tensor, logprobs: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor, beta: float
) -> torch.Tensor:
    """(N, L) rewards: `-beta * (log p - log p_ref)` on each token, and the reply's reward (N,) on its last."""
    lengths = mask.sum(-1).long()
    each = -beta * (logprobs - reference) * mask
    return each.scatter_add(1, (lengths - 1)[:, None], rewards[:, None].to(each.dtype))


def advantages_and_returns(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalised advantage estimation, both (N, L), 0 on padding.

    `delta_t = r_t + gamma * V_{t+1} - V_t`, `A_t = delta_t + gamma * lam * A_{t+1}`; after the last token the value
    is 0, since the reply has ended. Returns are `A + V`.
    """
    values = values * mask
    advantages = torch.zeros_like(values)
    later = torch.zeros_like(values[:, 0])
    for step in range(values.shape[1] - 1, -1, -1):
        following = values[:, step + 1] if step + 1 < values.shape[1] else torch.zeros_like(later)
        delta = rewards[:, step] + gamma * following - values[:, step]
        later = (delta + gamma * lam * later) * mask[:, step]
        advantages[:, step] = later
    return advantages, (advantages + values) * mask


def leave_one_out(returns: torch.Tensor, samples: int, mask: torch.Tensor) -> torch.Tensor:
    """(N, L) advantages without a critic: each reply's return minus the mean return of its prompt's other replies, the
    same for every token, 0 on padding.

    The baseline does not depend on the reply, so the policy gradient stays unbiased. GRPO also subtracts a mean of the
    group, but one that includes the reply itself, and divides by the group's standard deviation, which is biased.

    Args:
        returns: (N,) each reply's reward minus `beta` times its KL estimate; the replies of a prompt are neighbours.
        samples: replies of each prompt, at least 2.
        mask: (N, L).
    """
    groups = returns.view(-1, samples)
    others = (groups.sum(-1, keepdim=True) - groups) / (samples - 1)
    return (groups - others).view(-1, 1) * mask


def policy_loss(
    logprobs: torch.Tensor,
    old: torch.Tensor,
    *,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    clip: float,
    total: float | torch.Tensor,
) -> Clipped:
    """Mean of `max(-A * ratio, -A * clip(ratio, 1 - clip, 1 + clip))`, all (N, L); `total` tokens in the update."""
    ratio = (logprobs - old).exp()
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip, 1 + clip)
    return Clipped(
        masked_mean(torch.maximum(plain, clipped), mask, total), masked_mean((clipped > plain).float(), mask, total)
    )


def importance_ratios(logprobs: torch.Tensor, sampled: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(N, L) probability of each token under the policy over that under the engine that sampled it, 1 on padding.

    Two engines compute different log-probabilities from the same weights. The policy gradient of a token is therefore
    weighted by `min(ratio, limit)`: truncated importance sampling, as in TRL and verl. The limit bounds the variance.

    Args:
        logprobs: of the policy before the update.
        sampled: of the engine, at the same temperature.
        mask: (N, L).
    """
    return (((logprobs - sampled) * mask).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)).exp()


def value_loss(
    values: torch.Tensor,
    old: torch.Tensor,
    *,
    returns: torch.Tensor,
    mask: torch.Tensor,
    clip: float,
    total: float | torch.Tensor,
) -> Clipped:
    """Half the mean of `max((V - R)^2, (V_clipped - R)^2)` with V kept within `clip` of its old value, all (N, L)."""
    kept = old + (values - old).clamp(-clip, clip)
    plain, clipped = (values - returns) ** 2, (kept - returns) ** 2
    return Clipped(
        0.5 * masked_mean(torch.maximum(plain, clipped), mask, total),
        masked_mean((clipped > plain).float(), mask, total),
    )


def kl_per_reply(logprobs: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(N,) estimate of KL(policy || reference) of each reply: the sum over its sampled tokens of log p - log p_ref."""
    return ((logprobs - reference) * mask).sum(-1)
