"""PPO without a critic, its schedules, seeds and checkpoints, on the micro model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.micro import micro_model, micro_tokenizer, micro_trajectories

from tltrain.config import LoraConfig, OptimiserConfig, PPOConfig
from tltrain.encode import Encoder
from tltrain.engine.generate import Generated
from tltrain.ppo import sampling, updates
from tltrain.ppo import trainer as loop
from tltrain.ppo.rollouts import mixed_seed, summary
from tltrain.ppo.trainer import PPOTrainer

TOKENIZER = micro_tokenizer()
STOP = TOKENIZER.eos_token_id
LORA = LoraConfig(rank=4, alpha=8)
GOLD = tuple(Encoder(TOKENIZER).steps(micro_trajectories(1)[0])[0].reply_ids)
TEXT = (*TOKENIZER("Here.")["input_ids"], STOP)


def trainer(folder: Path, seed: int = 3, **config: Any) -> PPOTrainer:
    encoder = Encoder(TOKENIZER)
    rate = OptimiserConfig(learning_rate=1e-2, weight_decay=0.0)
    settings = {"rollouts": 3, "prompts": 2, "samples": 2, "group_size": 2, "max_new_tokens": 6, "lora": LORA}
    settings |= {"policy": rate, "critic": rate, "advantage": "leave_one_out", **config}
    prompts = list(encoder.prompts(micro_trajectories(1)[0]))
    return PPOTrainer(
        micro_model(len(TOKENIZER)),
        TOKENIZER,
        prompts=prompts,
        stop_ids=[STOP],
        config=PPOConfig(**settings),
        folder=folder,
        seed=seed,
    )


def replying(monkeypatch: pytest.MonkeyPatch, replies: list[tuple[int, ...]]) -> None:
    monkeypatch.setattr(sampling, "generate", lambda *_, **__: [Generated(ids, ids[-1] == STOP) for ids in replies])


def counting(monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    """How many sequences each call of `measure` or `backward` gets."""
    counts: list[int] = []
    original: Callable[..., Any] = getattr(updates, name)

    def counted(model: Any, sequences: Any, *rest: Any, **options: Any) -> Any:
        counts.append(len(sequences))
        return original(model, sequences, *rest, **options)

    monkeypatch.setattr(updates, name, counted)
    return counts


@pytest.mark.parametrize("lora", [LORA, None], ids=["adapters", "all weights"])
def test_without_penalty_only_replies_with_an_advantage_are_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: LoraConfig | None
) -> None:
    """Rewards 1 and -2, then 1 twice: advantages 3, -3, 0, 0."""
    replying(monkeypatch, [GOLD, TEXT, GOLD, GOLD])
    measured, trained_on = counting(monkeypatch, "measure"), counting(monkeypatch, "backward")
    trained = trainer(tmp_path, beta=0.0, lora=lora)
    before = [parameter.detach().clone() for parameter in trained.actors.policy_parameters()]
    rollout = trained.collect(1)
    losses = trained.update(rollout, 1)
    assert rollout.advantages[:, 0].tolist() == [3, -3, 0, 0]
    assert (measured, trained_on) == ([], [2])
    assert "value_loss" not in losses
    # The ratio is 1: the loss is -(3 * tokens of the first - 3 * tokens of the second) / all tokens.
    expected = -3 * (len(GOLD) - len(TEXT)) / (3 * len(GOLD) + len(TEXT))
    assert losses["policy_loss"] == pytest.approx(expected, abs=1e-5)
    assert any(not torch.equal(a, b) for a, b in zip(before, trained.actors.policy_parameters(), strict=True))
    found = summary(rollout)
    assert (found["kl"], found["varied"], found["text_for_call"], found["unparseable"]) == (None, 0.5, 0.25, 0)


@pytest.mark.parametrize(("reward", "wrong"), [("irm", -2.0), ("exact", -1.0)])
def test_the_reward_grades_errors_or_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reward: str, wrong: float
) -> None:
    replying(monkeypatch, [GOLD, TEXT, GOLD, GOLD])
    trained = trainer(tmp_path, beta=0.0, reward=reward)
    rollout = trained.collect(1)
    assert rollout.rewards.tolist() == [1, wrong, 1, 1]
    assert rollout.advantages[:2, 0].tolist() == [1 - wrong, wrong - 1]
    assert summary(rollout)["reward"] == pytest.approx((3 + wrong) / 4)


def test_the_gradient_without_a_pass_for_old_logprobs_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replying(monkeypatch, [GOLD, TEXT, GOLD, GOLD])
    gradients = []
    for max_kl in (None, 10.0):  # with a limit of the KL, old log-probabilities are measured
        trained = trainer(tmp_path, beta=0.0, max_kl=max_kl)
        rollout = trained.collect(1)
        assert (rollout.old is None) == (max_kl is None)
        trained.updates.accumulate_gradients(rollout, [0, 1, 2, 3])
        gradients.append([weight.grad for weight in trained.updates.policy.weights])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_the_penalty_is_part_of_a_reply_s_return(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replying(monkeypatch, [GOLD, TEXT, GOLD, GOLD])
    trained = trainer(tmp_path, beta=0.5)
    trained.update(trained.collect(1), 1)
    rollout = trained.collect(2)
    assert rollout.old is not None and rollout.reference is not None
    kl = ((rollout.old - rollout.reference) * rollout.mask).sum(-1)
    assert kl.abs().max() > 0
    returns = rollout.rewards - 0.5 * kl
    expected = torch.stack([returns[0] - returns[1], returns[1] - returns[0]])
    torch.testing.assert_close(rollout.advantages[:2, 0], expected)


def test_prompts_without_variance_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replying(monkeypatch, [GOLD, GOLD, TEXT, GOLD])
    assert trainer(tmp_path, dynamic_sampling=True).collect(1).used == [2, 3]
    assert trainer(tmp_path).collect(1).used == [0, 1, 2, 3]
    replying(monkeypatch, [GOLD] * 4)
    trained = trainer(tmp_path, dynamic_sampling=True)
    rollout = trained.collect(1)
    assert rollout.used == []
    assert trained.update(rollout, 1)["policy_loss"] == 0


def test_the_policy_s_schedule_begins_after_the_critic_s_warm_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three rollouts, of which the policy takes part in two: a cosine over two updates is 1, then 0.5."""
    rate = OptimiserConfig(learning_rate=1e-2, warmup=0.0)
    replying(monkeypatch, [GOLD, TEXT, GOLD, GOLD])
    trained = trainer(tmp_path, advantage="gae", critic_warmup=1, policy=rate, critic=rate)
    shares: dict[str, list[float]] = {"policy": [], "critic": []}
    for name, optimiser in (("policy", trained.updates.policy), ("critic", trained.updates.critic)):
        monkeypatch.setattr(optimiser, "step", lambda _, share, __, name=name: shares[name].append(share) or 0.0)
    for number in (1, 2, 3):
        trained.update(trained.collect(number), number)
    assert shares["policy"] == pytest.approx([1, 0.5])
    assert shares["critic"] == pytest.approx([1, 0.75, 0.25])


@pytest.mark.parametrize("seed", [20251125, 2**40, -1])
def test_large_seeds(tmp_path: Path, seed: int) -> None:
    trained = trainer(tmp_path, seed=seed, rollouts=1)
    trained.train()
    assert (tmp_path / "model").exists()


def test_seeds_are_mixed_stably() -> None:
    seeds = {mixed_seed(seed, number) for seed in (0, 1, 2**70, -1) for number in range(50)}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**43 for seed in seeds)
    assert mixed_seed(0, 1) == mixed_seed(0, 1) != mixed_seed(1, 0)


def test_a_checkpoint_holds_adapters_and_moments_only(tmp_path: Path) -> None:
    trained = trainer(tmp_path)
    trained.update(trained.collect(1), 1)
    loop.save_checkpoint(tmp_path / "checkpoint.pt", trained.state(1))
    numbers = sum(weight.numel() for weight in trained.updates.policy.weights)
    tensors = 3 * len(trained.updates.policy.weights)
    assert (tmp_path / "checkpoint.pt").stat().st_size < 4 * 3 * numbers + 1000 * tensors


def test_a_kl_limit_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replying(monkeypatch, [GOLD, TEXT, GOLD, GOLD])
    trainer(tmp_path, max_kl=1e-6, rollouts=50).train()
    rows = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert 1 < len(rows) < 50
    assert (tmp_path / "model").exists()
