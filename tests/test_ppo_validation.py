"""Validation during PPO on the micro model: held-back prompts, the best policy, and resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.micro import micro_model, micro_tokenizer, micro_trajectories

from tltrain.config import LoraConfig, OptimiserConfig, PPOConfig, ValidationConfig
from tltrain.data import opening
from tltrain.encode import Encoder, Prompt
from tltrain.errors import ConfigError
from tltrain.judging import judge
from tltrain.ppo import trainer as loop
from tltrain.ppo.prompts import hold_back
from tltrain.ppo.trainer import PPOTrainer
from tltrain.ppo.validation import validation_scores
from tltrain.progress import no_progress
from tltrain.trajectory import Call

TOKENIZER = micro_tokenizer()
LORA = LoraConfig(rank=4, alpha=8)
ADAPTERS_OR_NOT = pytest.mark.parametrize("lora", [LORA, None], ids=["adapters", "all weights"])


class KilledError(Exception):
    """Stands for a kill: raised out of the progress callback."""


def prompts(count: int = 12) -> list[Prompt]:
    encoder = Encoder(TOKENIZER)
    return [prompt for trajectory in micro_trajectories(count) for prompt in encoder.prompts(trajectory)]


def trainer(folder: Path, progress: Any = no_progress, lora: LoraConfig | None = LORA, **config: Any) -> PPOTrainer:
    rate = OptimiserConfig(learning_rate=1e-2, weight_decay=0.0)
    settings = {"rollouts": 5, "prompts": 4, "samples": 2, "group_size": 2, "max_new_tokens": 6, "lora": lora}
    settings |= {"policy": rate, "critic": rate, "checkpoint_every": 2}
    settings |= {"validation": ValidationConfig(share=0.3, every=2), **config}
    return PPOTrainer(
        micro_model(len(TOKENIZER)),
        TOKENIZER,
        prompts=prompts(),
        stop_ids=[TOKENIZER.eos_token_id],
        config=PPOConfig(**settings),
        folder=folder,
        seed=3,
        progress=progress,
    )


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "validation.jsonl").read_text(encoding="utf-8").splitlines()]


def saved(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def scripted(monkeypatch: pytest.MonkeyPatch, scores: dict[int, tuple[float, float]]) -> dict[int, list[torch.Tensor]]:
    """The validation after each of these rollouts finds this CF and reward; returns the policy's weights at each."""
    weights: dict[int, list[torch.Tensor]] = {}
    original = PPOTrainer.validate

    def validate(self: PPOTrainer, number: int) -> None:
        weights[number] = [weight.detach().clone() for weight in self.updates.policy.weights]
        found = dict(zip(("CF", "reward"), scores[number], strict=True))
        monkeypatch.setattr(loop, "validation_scores", lambda *_: found)
        original(self, number)

    monkeypatch.setattr(PPOTrainer, "validate", validate)
    return weights


def test_openings_are_held_back_whole() -> None:
    asked = prompts()
    held, others = hold_back(asked, 0.3, 3)
    assert sorted(prompt.name for prompt in held + others) == sorted(prompt.name for prompt in asked)
    assert not {opening(prompt.trajectory) for prompt in held} & {opening(prompt.trajectory) for prompt in others}
    openings = len({opening(prompt.trajectory) for prompt in asked})
    assert len({opening(prompt.trajectory) for prompt in held}) == round(0.3 * openings)
    with pytest.raises(ConfigError, match=r"ppo\.validation\.share 0\.01: holds back 0 of"):
        hold_back(asked, 0.01, 3)


def test_held_back_prompts_are_not_trained_on(tmp_path: Path) -> None:
    trained = trainer(tmp_path)
    trained.train()
    held = {prompt.name for prompt in trained.held}
    rows = [json.loads(line) for line in (tmp_path / "rollouts.jsonl").read_text(encoding="utf-8").splitlines()]
    assert held and not held & {reply["prompt"] for row in rows for reply in row["replies"]}


def test_scores_and_standard_errors() -> None:
    """Three of four greedy replies are right: 100 * sqrt(3/4 * 1/4 / 4). Means of samples 1, 0, -1, 0: variance 2/3.
    Two of four prompts have a right sample."""
    call = Call("get_order", {"order_id": "A-1"})
    greedy = [judge([one], [[call]], ()) for one in (call, call, call, Call("get_order", {"order_id": "B"}))]
    rewards = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [0.0, 0.0]])
    right = rewards == 1
    found = validation_scores(greedy, rewards, right)
    assert (found["prompts"], found["TS"], found["PI"], found["CF"], found["reward"]) == (4, 100, 100, 75, 0)
    assert (found["samples"], found["pass@k"]) == (2, 50)
    errors = {"TS": 0, "PI": 0, "CF": 21.650635, "reward": (2 / 3 / 4) ** 0.5, "pass@k": 25}
    assert found["se"] == pytest.approx(errors)


def test_the_start_every_second_and_the_last_policy_are_validated(tmp_path: Path) -> None:
    trainer(tmp_path).train()
    rows = lines(tmp_path)
    assert [row["rollout"] for row in rows] == [0, 2, 4, 5]
    assert all(row["se"].keys() == {"TS", "PI", "CF", "reward", "pass@k"} for row in rows)


@ADAPTERS_OR_NOT
def test_the_best_policy_is_saved(tmp_path: Path, lora: LoraConfig | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By CF, then reward; the earlier of two that are equal."""
    weights = scripted(monkeypatch, {0: (10, 1.0), 2: (20, -1.0), 4: (20, 0.5), 5: (20, 0.5)})
    trained = trainer(tmp_path, lora=lora)
    trained.train()
    assert trained.best is not None and trained.best["rollout"] == 4
    assert all(map(torch.equal, trained.updates.policy.weights, weights[4]))
    assert not all(map(torch.equal, weights[4], weights[5]))


@ADAPTERS_OR_NOT
@pytest.mark.parametrize(("best", "killed"), [(0, 1), (2, 5)])
def test_a_killed_run_saves_the_same_best_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: LoraConfig | None, best: int, killed: int
) -> None:
    """Checkpoints after rollouts 2 and 4: after a kill the best policy may be known from the checkpoint alone."""

    def kill(what: str, done: int, total: int) -> None:
        if done == killed:
            raise KilledError

    weights = scripted(monkeypatch, {number: (float(number == best), 0.0) for number in (0, 2, 4, 5)})
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trainer(whole, lora=lora).train()
    expected_weights = weights[best]
    with pytest.raises(KilledError):
        trainer(parts, kill, lora=lora).train()
    resumed = trainer(parts, lora=lora)
    resumed.train()
    assert resumed.best is not None and resumed.best["rollout"] == best
    assert all(map(torch.equal, resumed.updates.policy.weights, expected_weights))
    assert lines(whole) == lines(parts)
    expected, found = saved(whole), saved(parts)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_a_kl_limit_ends_with_a_validation(tmp_path: Path) -> None:
    trainer(tmp_path, max_kl=1e-6, rollouts=50, validation=ValidationConfig(share=0.3, every=40)).train()
    metrics = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [row["rollout"] for row in lines(tmp_path)] == [0, json.loads(metrics[-1])["rollout"]]
    assert 1 < len(metrics) < 50
