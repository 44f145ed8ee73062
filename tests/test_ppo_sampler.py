"""PPO whose replies a vLLM server samples: a small one, with the real micro model and the adapters it is sent."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from support.micro import micro_model, micro_tokenizer, micro_trajectories
from support.rewarded import RewardedTrainer
from support.vllm_server import Served, serving

from tltrain.config import LoraConfig, OptimiserConfig, PPOConfig, ValidationConfig
from tltrain.encode import Encoder
from tltrain.engine import api
from tltrain.errors import ModelError
from tltrain.ppo import maths
from tltrain.ppo.trainer import PPOTrainer

pytest.importorskip("openai")
TOKENIZER = micro_tokenizer()
ENCODER = Encoder(TOKENIZER)
STOP = TOKENIZER.eos_token_id
TIMES = {"seconds", "replies_per_second"}
RATIOS = {"importance_mean", "importance_max"}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "RETRIES", 0)


@pytest.fixture
def served() -> Served:
    return Served(micro_model(len(TOKENIZER)), root="micro")


@pytest.fixture
def url(served: Served) -> Iterator[str]:
    with serving(served) as address:
        yield address


def trainer(folder: Path, **config: Any) -> PPOTrainer:
    rate = OptimiserConfig(learning_rate=1e-2, weight_decay=0.0)
    settings: dict[str, Any] = {"rollouts": 3, "prompts": 4, "samples": 2, "group_size": 2, "max_new_tokens": 6}
    settings |= {"policy": rate, "critic": rate, "temperature": 1.0, "lora": LoraConfig(rank=4, alpha=8)}
    return RewardedTrainer(
        micro_model(len(TOKENIZER)),
        TOKENIZER,
        prompts=[prompt for trajectory in micro_trajectories(8) for prompt in ENCODER.prompts(trajectory)],
        stop_ids=[STOP],
        config=PPOConfig(**{**settings, **config}),
        folder=folder,
        seed=3,
        base="micro",
    )


def lines(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.7},
        {"advantage": "leave_one_out", "beta": 0.0, "validation": ValidationConfig(share=0.3, every=1)},
    ],
    ids=["gae", "leave one out, validation"],
)
def test_training_with_a_server_is_that_with_local_sampling(
    tmp_path: Path, served: Served, url: str, settings: dict[str, Any]
) -> None:
    """The server samples from the same weights, in another process's stead, so that the ratios are 1."""
    local, remote = tmp_path / "local", tmp_path / "remote"
    trainer(local, **settings).train()
    trainer(remote, sampler=url, **settings).train()
    for name in ("rollouts.jsonl", "validation.jsonl"):
        if (local / name).exists():
            assert (remote / name).read_text() == (local / name).read_text()
    for row, other in zip(lines(local), lines(remote), strict=True):
        assert other.keys() - row.keys() == RATIOS
        assert other["importance_mean"] == pytest.approx(1, abs=1e-4)
        assert other["importance_max"] == pytest.approx(1, abs=1e-3)
        for name in row.keys() - TIMES - {"explained", "kl", "findings"}:
            assert other[name] == pytest.approx(row[name], rel=1e-3, abs=1e-5), name
    expected, found = (load_file(folder / "model" / "model.safetensors") for folder in (local, remote))
    assert all((found[name] - expected[name]).norm() < 1e-4 * expected[name].norm() for name in expected)
    assert len(served.loaded) == (4 if "validation" in settings else 3)  # the start's, and one after each update used
    assert served.unloaded == served.loaded
    assert sorted(path.name for path in remote.iterdir()) == sorted(path.name for path in local.iterdir())


def test_each_request_is_for_one_reply_in_token_ids(tmp_path: Path, served: Served, url: str) -> None:
    trained = trainer(tmp_path, sampler=url)
    trained.update(trained.collect(1), 1)
    rollout = trained.collect(2)
    assert sorted(request["model"] for request in served.requests) == [served.loaded[0]] * 8 + [served.loaded[1]] * 8
    last = served.requests[8:]
    assert sorted(request["prompt"] for request in last) == sorted(list(prompt.ids) for prompt in rollout.prompts)
    assert len({request["seed"] for request in served.requests}) == 16
    for request in served.requests:
        assert (request["max_tokens"], request["temperature"], request["stop_token_ids"]) == (6, 1.0, [STOP])
        assert (request["top_p"], request["top_k"], request["repetition_penalty"]) == (1.0, 0, 1.0)


def test_replies_of_an_old_policy_are_weighted(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter that is not sent after the update: the ratios show it, and weight the policy's gradient."""
    trained = trainer(tmp_path, sampler=url, importance_limit=1.1)
    trained.update(trained.collect(1), 1)
    monkeypatch.setattr(trained.sampler, "outdated", False)
    rollout = trained.collect(2)
    assert rollout.importance is not None and rollout.old is not None
    tokens = rollout.mask.bool()
    sampled = torch.cat([torch.tensor(reply.logprobs) for reply in rollout.replies])
    torch.testing.assert_close(rollout.importance[tokens], (rollout.old[tokens] - sampled).exp())
    assert (rollout.importance[tokens] - 1).abs().max() > 0.01
    assert rollout.importance.max() > 1.1
    losses = trained.updates.accumulate_gradients(rollout, list(range(8)))
    expected = -(rollout.importance.clamp(max=1.1) * rollout.advantages * rollout.mask).sum() / rollout.mask.sum()
    assert losses["policy_loss"] == pytest.approx(expected.item(), abs=1e-5)


def test_requests_keep_to_the_length_limit(tmp_path: Path, served: Served, url: str) -> None:
    trained = trainer(tmp_path, sampler=url)
    prompts = [replace(prompt, room=room) for prompt, room in zip(trained.prompts, (2, None, 9), strict=False)]
    replies, _ = trained.reply(prompts, 0.0)
    assert [request["max_tokens"] for request in served.requests] == [2, 6, 6]
    assert [len(reply.ids) for reply in replies] == [2, 6, 6]


def test_ratios_are_finite_and_one_on_padding() -> None:
    ratios = maths.importance_ratios(
        torch.tensor([[-1.0, -2.0, 0.0]]), torch.tensor([[-2.0, -9999.0, -5.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    )
    assert ratios[0, 0].item() == pytest.approx(2.718282, rel=1e-6)
    assert ratios[0, 1].isfinite() and ratios[0, 2] == 1


def test_what_a_killed_process_left_is_unloaded(tmp_path: Path, served: Served, url: str) -> None:
    trained = trainer(tmp_path, sampler=url)
    trained.collect(1)
    (left,) = served.adapters
    again = trainer(tmp_path, sampler=url)
    again.collect(1)
    assert served.unloaded == [left]
    assert left not in served.loaded[1:], "the server may have cached prompts under that name"
    again.sampler.close()
    assert not served.adapters and not (tmp_path / "sampler").exists()


# Errors


def test_without_a_server(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    with pytest.raises(ModelError, match=f"ppo.sampler {address}: Connection error"):
        trainer(tmp_path, sampler=address)


def test_a_server_of_another_model(tmp_path: Path, served: Served, url: str) -> None:
    served.root = "another"
    with pytest.raises(ModelError, match="serves base, but PPO starts from micro: start the server with that model"):
        trainer(tmp_path, sampler=url)
    with pytest.raises(ModelError, match="serves base, and not other"):
        trainer(tmp_path, sampler=f"{url}#other")
    trainer(tmp_path, sampler=f"{url}#base").collect(1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"allows_adapters": False}, "start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment"),
        ({"omit": "token_ids"}, "its replies hold no token ids: vLLM 0.10.2 or later is needed"),
        ({"omit": "logprobs"}, r"a reply of \d+ tokens came with 0 log-probabilities"),
    ],
)
def test_a_server_that_cannot_be_used(
    tmp_path: Path, served: Served, url: str, change: dict[str, Any], said: str
) -> None:
    trained = trainer(tmp_path, sampler=url)
    for name, value in change.items():
        setattr(served, name, value)
    with pytest.raises(ModelError, match=said):
        trained.collect(1)


def test_log_probabilities_without_the_temperature(tmp_path: Path, served: Served, url: str) -> None:
    served.processed = False
    trainer(tmp_path, sampler=url, temperature=1.0)
    with pytest.raises(ModelError, match="start it with `--logprobs-mode processed_logprobs`"):
        trainer(tmp_path, sampler=url, temperature=0.7)


def test_a_server_that_was_restarted(tmp_path: Path, served: Served, url: str) -> None:
    trained = trainer(tmp_path, sampler=url)
    trained.collect(1)
    served.adapters.clear()
    with pytest.raises(ModelError, match=r"has no model tltrain-\w+-\w+-1; if it was restarted, the same command"):
        trained.collect(2)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sampler": "http://localhost:8000/v1", "lora": None}, "sampler needs lora"),
        ({"sampler": "localhost:8000"}, "expected the URL of a vLLM server"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        PPOConfig(**settings)
