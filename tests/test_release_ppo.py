"""PPO as the release does it: greedy rollouts over whole passes of the prompts, and a random critic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.micro import micro_model, micro_tokenizer, micro_trajectories

from tltrain.config import LoraConfig, OptimiserConfig, PPOConfig
from tltrain.encode import Encoder, Prompt
from tltrain.engine.generate import generate
from tltrain.engine.passes import token_logprobs
from tltrain.engine.tree import TokenTree
from tltrain.errors import ConfigError
from tltrain.files import read_json_lines
from tltrain.ppo.prompts import number_of_rollouts
from tltrain.ppo.trainer import PPOTrainer
from tltrain.progress import no_progress

TOKENIZER = micro_tokenizer()
STOP = TOKENIZER.eos_token_id
LORA = LoraConfig(rank=4, alpha=8)
BOTH_WAYS = pytest.mark.parametrize("lora", [LORA, None], ids=["adapters", "three models"])


class KilledError(Exception):
    """Raised by the progress callback in place of a kill."""


def prompts() -> list[Prompt]:
    encoder = Encoder(TOKENIZER)
    return [prompt for trajectory in micro_trajectories() for prompt in encoder.prompts(trajectory)]


def trainer(
    folder: Path, lora: LoraConfig | None = None, seed: int = 3, progress: Any = no_progress, **config: Any
) -> PPOTrainer:
    rate = OptimiserConfig(learning_rate=1e-2, weight_decay=0.0)
    settings = {"prompts": 4, "group_size": 1, "samples": 1, "temperature": 0.0, "max_new_tokens": 6, "lora": lora}
    settings |= {"policy": rate, "critic": rate, "critic_start": "random", "checkpoint_every": 1, **config}
    return PPOTrainer(
        micro_model(len(TOKENIZER)),
        TOKENIZER,
        prompts=prompts(),
        stop_ids=[STOP],
        config=PPOConfig(**settings),
        folder=folder,
        seed=seed,
        progress=progress,
    )


@BOTH_WAYS
def test_greedy_replies_and_their_log_probabilities(tmp_path: Path, lora: LoraConfig | None) -> None:
    rollout = trainer(tmp_path, lora, rollouts=1).collect(1)
    model = micro_model(len(TOKENIZER))
    ids = [prompt.ids for prompt in rollout.prompts]
    assert [reply.ids for reply in rollout.replies] == [
        reply.ids for reply in generate(model, ids, [STOP], 6, temperature=0.0)
    ]
    assert rollout.old is not None
    for row, sequence in enumerate(rollout.sequences(range(4))):
        with torch.no_grad():
            expected = token_logprobs(model, TokenTree([sequence]))
        torch.testing.assert_close(rollout.old[row, : len(expected)], expected, rtol=0, atol=1e-5)


@BOTH_WAYS
def test_a_random_critic_is_another_model(tmp_path: Path, lora: LoraConfig | None) -> None:
    trained, again, other = (trainer(tmp_path, lora, seed=seed, rollouts=1) for seed in (3, 3, 4))
    critics = [one.actors.critic().state_dict() for one in (trained, again, other)]
    name = next(name for name in critics[0] if "q_proj" in name and "lora" not in name)
    assert torch.equal(critics[0][name], critics[1][name])
    assert not torch.equal(critics[0][name], critics[2][name])
    start = micro_model(len(TOKENIZER)).state_dict()[name.replace("base_layer.", "")]
    assert not torch.equal(critics[0][name], start)
    values = trained.collect(1).values
    assert values is not None and values.abs().max() > 0  # with a head of zeros they are all 0
    rates = {group["peak"] for group in trained.updates.critic.adam.param_groups}
    assert rates == {1e-2}  # the head has the backbone's rate


@BOTH_WAYS
def test_a_random_critic_learns_and_leaves_the_policy_alone(tmp_path: Path, lora: LoraConfig | None) -> None:
    trained = trainer(tmp_path, lora, rollouts=2, critic_warmup=1)
    before = [weight.detach().clone() for weight in trained.updates.critic.weights]
    policy = [weight.detach().clone() for weight in trained.updates.policy.weights]
    trained.update(trained.collect(1), 1)
    changed = [not torch.equal(one, other) for one, other in zip(before, trained.updates.critic.weights, strict=True)]
    assert sum(changed) > len(changed) / 2
    assert all(torch.equal(one, other) for one, other in zip(policy, trained.updates.policy.weights, strict=True))


@BOTH_WAYS
def test_a_killed_run_has_the_same_random_critic(tmp_path: Path, lora: LoraConfig | None) -> None:
    whole = trainer(tmp_path / "whole", lora, rollouts=3)
    expected = whole.train().state_dict()

    def kill(what: str, done: int, total: int) -> None:
        if done == 2:
            raise KilledError

    with pytest.raises(KilledError):
        trainer(tmp_path / "killed", lora, rollouts=3, progress=kill).train()
    found = trainer(tmp_path / "killed", lora, rollouts=3).train().state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_passes_over_the_prompts(tmp_path: Path) -> None:
    count = len(prompts())
    trained = trainer(tmp_path, prompt_epochs=2)
    trained.train()
    rollouts = -(-2 * count // 4)
    assert len(read_json_lines(tmp_path / "metrics.jsonl")) == rollouts
    asked = [reply["prompt"] for line in read_json_lines(tmp_path / "rollouts.jsonl") for reply in line["replies"]]
    assert {asked[: 2 * count].count(name) for name in {prompt.name for prompt in prompts()}} == {2}


def test_the_critic_alone_needs_fewer_rollouts_than_there_are() -> None:
    config = PPOConfig(prompt_epochs=1, prompts=4, critic_warmup=3)
    assert number_of_rollouts(config, 13) == 4
    with pytest.raises(ConfigError, match=r"ppo.critic_warmup 3 leaves none of the 3 rollouts"):
        number_of_rollouts(config, 12)
    assert number_of_rollouts(PPOConfig(rollouts=7), 12) == 7
