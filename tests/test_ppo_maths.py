"""PPO's tensor functions, against values derived by hand. Padding holds numbers that must not count."""

from __future__ import annotations

import pytest
import torch

from tltrain.ppo import maths

MASK = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])


def near(found: torch.Tensor, expected: list[list[float]] | list[float]) -> None:
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-6)


def test_masked_mean() -> None:
    values = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 99.0]])
    assert maths.masked_mean(values, MASK, 5).item() == pytest.approx(31 / 5, abs=1e-6)
    assert maths.masked_mean(values, MASK, torch.tensor(10.0)).item() == pytest.approx(3.1, abs=1e-6)


def test_token_rewards() -> None:
    # Row 1: log p - log p_ref = 0.5, -1, 0; times -0.4: -0.2, 0.4, 0; the reward 1 on the last: 1.
    # Row 2: -0.2, 0.5; times -0.4: 0.08, -0.2; the reward -2 on the second, its last: -2.2.
    logprobs = torch.tensor([[-1.0, -2.0, -0.5], [-0.3, -0.1, 9.0]])
    reference = torch.tensor([[-1.5, -1.0, -0.5], [-0.1, -0.6, 5.0]])
    found = maths.token_rewards(torch.tensor([1.0, -2.0]), logprobs, reference, MASK, beta=0.4)
    near(found, [[-0.2, 0.4, 1.0], [0.08, -2.2, 0.0]])


def test_advantages_and_returns() -> None:
    # gamma 0.9, lambda 0.5: A_t = delta_t + 0.45 A_{t+1}, delta_t = r_t + 0.9 V_{t+1} - V_t, returns A + V.
    # Row 1: delta_2 = 1 - (-0.1) = 1.1                    A_2 = 1.1                               return 1
    #        delta_1 = -0.2 + 0.9 * -0.1 - 0.4 = -0.69     A_1 = -0.69 + 0.45 * 1.1 = -0.195       return 0.205
    #        delta_0 = 0.1 + 0.9 * 0.4 - 0.5 = -0.04       A_0 = -0.04 + 0.45 * -0.195 = -0.12775  return 0.37225
    # Row 2: delta_1 = -2 - (-1) = -1                      A_1 = -1                                return -2
    #        delta_0 = 0 + 0.9 * -1 - 1 = -1.9             A_0 = -1.9 + 0.45 * -1 = -2.35          return -1.35
    rewards = torch.tensor([[0.1, -0.2, 1.0], [0.0, -2.0, 99.0]])
    values = torch.tensor([[0.5, 0.4, -0.1], [1.0, -1.0, 7.0]])
    advantages, returns = maths.advantages_and_returns(rewards, values, MASK, gamma=0.9, lam=0.5)
    near(advantages, [[-0.12775, -0.195, 1.1], [-2.35, -1.0, 0.0]])
    near(returns, [[0.37225, 0.205, 1.0], [-1.35, -2.0, 0.0]])


def test_advantages_without_discount_and_values_are_the_rewards_still_to_come() -> None:
    rewards = torch.tensor([[0.1, -0.2, 1.0], [0.0, -2.0, 0.0]])
    advantages, _ = maths.advantages_and_returns(rewards, torch.zeros(2, 3), MASK, gamma=1.0, lam=1.0)
    near(advantages, [[0.9, 0.8, 1.0], [-2.0, -2.0, 0.0]])


def test_leave_one_out() -> None:
    # Two prompts of three samples. Returns 1, -2, 4: 1 - (-2 + 4) / 2 = 0, -2 - (1 + 4) / 2 = -4.5,
    # 4 - (1 - 2) / 2 = 4.5. Returns 0.5, 0.5, -1: 0.5 - (0.5 - 1) / 2 = 0.75 twice, -1 - (0.5 + 0.5) / 2 = -1.5.
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    found = maths.leave_one_out(torch.tensor([1.0, -2.0, 4.0, 0.5, 0.5, -1.0]), 3, mask)
    near(found, [[0.0, 0.0], [-4.5, 0.0], [4.5, 4.5], [0.75, 0.75], [0.75, 0.75], [-1.5, 0.0]])


def test_policy_loss() -> None:
    # clip 0.2; max(-A ratio, -A clipped ratio):
    # ratio 1.5, A  2: max(-3, -2.4)   = -2.4  clipped    gradient 0
    # ratio 0.5, A  2: max(-1, -1.6)   = -1               gradient -A ratio / 6 = -1 / 6
    # ratio 1.1, A -2: max(2.2, 2.2)   =  2.2             2.2 / 6
    # ratio 0.7, A -2: max(1.4, 1.6)   =  1.6  clipped    0
    # ratio 1.5, A -1: max(1.5, 1.2)   =  1.5             0.25
    # ratio 0.5, A -1: max(0.5, 0.8)   =  0.8  clipped    0
    # Sum 2.7, mean over 6 tokens 0.45; 3 of 6 clipped.
    mask = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]])
    old = torch.tensor([[-1.0, -2.0, -3.0, -0.1], [-0.5, -0.7, 0.0, 0.0]])
    ratios = torch.tensor([[1.5, 0.5, 1.1, 0.7], [1.5, 0.5, 9.0, 0.1]])
    advantages = torch.tensor([[2.0, 2.0, -2.0, -2.0], [-1.0, -1.0, 5.0, 5.0]])
    logprobs = (old + ratios.log()).requires_grad_()
    loss, clip_fraction = maths.policy_loss(logprobs, old, advantages=advantages, mask=mask, clip=0.2, total=mask.sum())
    assert loss.item() == pytest.approx(0.45, abs=1e-6)
    assert clip_fraction.item() == pytest.approx(0.5, abs=1e-6)
    loss.backward()
    near(logprobs.grad, [[0.0, -1 / 6, 2.2 / 6, 0.0], [0.25, 0.0, 0.0, 0.0]])
    halved = maths.policy_loss(logprobs, old, advantages=advantages, mask=mask, clip=0.2, total=12)
    assert halved.loss.item() == pytest.approx(0.225, abs=1e-6)


def test_value_loss() -> None:
    # clip 0.2; max((V - R)^2, (V kept near old - R)^2):
    # V  1.0, old 0.5, R  1.0: kept 0.7: max(0, 0.09)    = 0.09  clipped    gradient 0
    # V -0.5, old 0.5, R -0.4: kept 0.3: max(0.01, 0.49) = 0.49  clipped    0
    # V  0.5, old 0.9, R  0.8: kept 0.7: max(0.09, 0.01) = 0.09             gradient (V - R) / 4 = -0.075
    # V  2.0, old 2.1, R  1.5: kept 2.0: max(0.25, 0.25) = 0.25             0.125
    # Sum 0.92, half its mean over 4 tokens 0.115; 2 of 4 clipped.
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    values = torch.tensor([[1.0, -0.5, 0.5], [2.0, 6.0, 6.0]], requires_grad=True)
    old = torch.tensor([[0.5, 0.5, 0.9], [2.1, 0.0, 0.0]])
    returns = torch.tensor([[1.0, -0.4, 0.8], [1.5, 0.0, 0.0]])
    loss, clip_fraction = maths.value_loss(values, old, returns=returns, mask=mask, clip=0.2, total=mask.sum())
    assert loss.item() == pytest.approx(0.115, abs=1e-6)
    assert clip_fraction.item() == pytest.approx(0.5, abs=1e-6)
    loss.backward()
    near(values.grad, [[0.0, 0.0, -0.075], [0.125, 0.0, 0.0]])


def test_kl_per_reply() -> None:
    # Row 1: 0.5 - 1 + 0 = -0.5. Row 2: -0.2 + 0.5 = 0.3.
    logprobs = torch.tensor([[-1.0, -2.0, -0.5], [-0.3, -0.1, 9.0]])
    reference = torch.tensor([[-1.5, -1.0, -0.5], [-0.1, -0.6, 5.0]])
    near(maths.kl_per_reply(logprobs, reference, MASK), [-0.5, 0.3])
