"""The PPO loop on the micro model, as adapters and as three models."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.micro import micro_model, micro_tokenizer, micro_trajectories
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from tltrain.config import LoraConfig, OptimiserConfig, PPOConfig
from tltrain.encode import Encoder, Prompt
from tltrain.engine.generate import Generated, generate
from tltrain.engine.passes import token_logprobs
from tltrain.engine.tree import TokenSequence, TokenTree
from tltrain.errors import DataError, RunError
from tltrain.ppo import sampling, updates
from tltrain.ppo import trainer as loop
from tltrain.ppo.prompts import draw_prompts
from tltrain.ppo.rollouts import Rollout, padded_rows, summary
from tltrain.ppo.trainer import PPOTrainer
from tltrain.progress import no_progress

TOKENIZER = micro_tokenizer()
LORA = LoraConfig(rank=4, alpha=8)
STOP = TOKENIZER.eos_token_id
TREE = TokenTree([TokenSequence([5, 6, 7], 1, [1.0, 1.0])])
BOTH_WAYS = pytest.mark.parametrize("lora", [LORA, None], ids=["adapters", "three models"])


class KilledError(Exception):
    """Stands for a kill: raised out of the progress callback."""


def prompts(count: int = 8) -> list[Prompt]:
    encoder = Encoder(TOKENIZER)
    return [prompt for trajectory in micro_trajectories(count) for prompt in encoder.prompts(trajectory)]


def trainer(
    folder: Path,
    lora: LoraConfig | None = LORA,
    max_tree_tokens: int = 4096,
    progress: Any = no_progress,
    asked: list[Prompt] | None = None,
    model: Any = None,
    **config: Any,
) -> PPOTrainer:
    rate = OptimiserConfig(learning_rate=1e-2, weight_decay=0.0)
    settings = {"rollouts": 5, "prompts": 4, "samples": 2, "group_size": 2, "max_new_tokens": 6, "temperature": 0.7}
    settings |= {"policy": rate, "critic": rate, "checkpoint_every": 2, **config}
    asked = prompts() if asked is None else asked
    model = model or micro_model(len(TOKENIZER))
    return PPOTrainer(
        model,
        TOKENIZER,
        prompts=asked,
        stop_ids=[STOP],
        config=PPOConfig(lora=lora, **settings),
        folder=folder,
        max_tree_tokens=max_tree_tokens,
        seed=3,
        progress=progress,
    )


def replying(monkeypatch: pytest.MonkeyPatch, reply: Callable[[int], Sequence[int]]) -> None:
    """Sampling gives `reply(n)` for the n-th reply of a rollout, cut where no stop token ends it."""

    def generate(model: Any, asked: Sequence[Sequence[int]], *_: Any, **__: Any) -> list[Generated]:
        replies = [tuple(reply(number)) for number in range(len(asked))]
        return [Generated(ids, ids[-1] == STOP) for ids in replies]

    monkeypatch.setattr(sampling, "generate", generate)


def lines(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in row.items() if key not in ("seconds", "replies_per_second")} for row in rows]


def run(trained: PPOTrainer, number: int) -> tuple[Rollout, dict[str, float]]:
    rollout = trained.collect(number)
    return rollout, trained.update(rollout, number)


@BOTH_WAYS
def test_replies_are_trained_on_token_for_token(
    tmp_path: Path, lora: LoraConfig | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids that decoding and encoding again would change, as sampling does give."""
    letters = [*TOKENIZER.convert_tokens_to_ids(list("get_order")), STOP]
    assert TOKENIZER(TOKENIZER.decode(letters))["input_ids"] != letters
    broken = [TOKENIZER.convert_tokens_to_ids("Ã"), *letters[:3]]  # the first byte of a character, and no second
    assert TOKENIZER(TOKENIZER.decode(broken))["input_ids"] != broken
    replying(monkeypatch, lambda number: broken if number % 2 else letters)
    trained = trainer(tmp_path, lora)
    seen: list[list[list[int]]] = []

    def watching(original: Callable[..., Any]) -> Callable[..., Any]:
        def watched(model: Any, sequences: Sequence[TokenSequence], *rest: Any, **options: Any) -> Any:
            assert all(tuple(one.ids[one.start :]) in (tuple(letters), tuple(broken)) for one in sequences)
            seen.append([list(one.ids) for one in sequences])
            return original(model, sequences, *rest, **options)

        return watched

    monkeypatch.setattr(updates, "measure", watching(updates.measure))
    monkeypatch.setattr(updates, "backward", watching(updates.backward))
    rollout, _ = run(trained, 1)
    expected = [[*p.ids, *reply.ids] for p, reply in zip(rollout.prompts, rollout.replies, strict=True)]
    assert [list(sequence.ids) for sequence in rollout.sequences(range(8))] == expected
    # Policy, which did not record these replies, reference and critic measured, then policy and critic updated.
    assert [sorted(one) for one in seen] == [sorted(expected)] * 5
    assert [len(reply) for reply in rollout.mask.tolist()] == [10] * 8
    assert rollout.mask.sum(-1).tolist() == [10, 4] * 4


@BOTH_WAYS
def test_old_logprobs_are_the_policy_s_at_the_sampling_temperature(
    tmp_path: Path, lora: LoraConfig | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are recorded in sampling, so that only reference and critic are measured."""
    trained = trainer(tmp_path, lora)
    passes = []
    original = updates.measure
    monkeypatch.setattr(updates, "measure", lambda *given: passes.append(1) or original(*given))
    rollout, losses = run(trained, 1)
    assert len(passes) == 2
    plain = micro_model(len(TOKENIZER))
    for row, (prompt, reply) in enumerate(zip(rollout.prompts, rollout.replies, strict=True)):
        logits = plain(input_ids=torch.tensor([[*prompt.ids, *reply.ids]])).logits[0] / 0.7
        logprobs = logits.log_softmax(-1)[len(prompt.ids) - 1 : -1]
        expected = logprobs.gather(1, torch.tensor(reply.ids)[:, None])[:, 0]
        torch.testing.assert_close(rollout.old[row, : len(reply.ids)], expected, rtol=0, atol=1e-4)
        assert not rollout.old[row, len(reply.ids) :].any()
    assert losses["clip_fraction"] == 0
    tokens = rollout.mask.sum()
    ratio_one = -(rollout.advantages * rollout.mask).sum() / tokens
    assert losses["policy_loss"] == pytest.approx(ratio_one.item(), abs=1e-5)
    assert losses["value_loss"] == pytest.approx(0.5 * ((rollout.returns**2).sum() / tokens).item(), rel=1e-5)


@BOTH_WAYS
def test_the_reference_stays_the_sft_model_while_the_policy_moves(tmp_path: Path, lora: LoraConfig | None) -> None:
    trained = trainer(tmp_path, lora, beta=0.1, lam=1.0)
    before = micro_model(len(TOKENIZER))
    kl = []
    for number in range(1, 4):
        rollout, _ = run(trained, number)
        kl.append(summary(rollout)["kl"])
        tree = TokenTree(rollout.sequences(range(8)))
        with torch.no_grad():
            expected = token_logprobs(before, tree, 0.7)
            with trained.actors.reference() as reference:
                assert torch.equal(token_logprobs(reference, tree, 0.7), expected)
            assert not torch.allclose(token_logprobs(trained.actors.policy(), tree, 0.7), expected)
    assert kl[0] == pytest.approx(0, abs=1e-5)
    assert abs(kl[1]) > 1e-4 < abs(kl[2])
    # With gamma and lambda 1 a reply's return is its reward less the whole penalty.
    expected_returns = rollout.rewards - 0.1 * ((rollout.old - rollout.reference) * rollout.mask).sum(-1)
    torch.testing.assert_close(rollout.returns[:, 0], expected_returns, rtol=0, atol=1e-4)
    assert torch.equal(rollout.reference[rollout.mask.bool()].sort()[0], expected.sort()[0])


@BOTH_WAYS
def test_the_critic_begins_at_zero_and_learns_the_returns(tmp_path: Path, lora: LoraConfig | None) -> None:
    trained = trainer(tmp_path, lora, rollouts=40)
    first, _ = run(trained, 1)
    assert not first.values.any()
    assert first.advantages.any()
    policy = copy.deepcopy([p.detach() for p in trained.actors.policy_parameters()])
    critic = copy.deepcopy([p.detach() for p in trained.actors.critic_parameters()])
    assert not {*map(id, trained.actors.policy_parameters())} & {*map(id, trained.actors.critic_parameters())}
    for _ in range(10):
        trained.updates.accumulate_gradients(first, list(range(8)))
        trained.updates.policy.adam.zero_grad()
        trained.updates.critic.step(1.0, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(policy, trained.actors.policy_parameters(), strict=True))
    moved = [not torch.equal(a, b) for a, b in zip(critic, trained.actors.critic_parameters(), strict=True)]
    assert sum(moved) > len(moved) / 2
    later = padded_rows([row.values for row in trained.updates.measure_replies(first.prompts, first.replies)])
    assert ((later - first.returns) * first.mask).square().sum() < first.returns.square().sum()


@BOTH_WAYS
def test_the_critic_may_begin_alone(tmp_path: Path, lora: LoraConfig | None) -> None:
    trained = trainer(tmp_path, lora, critic_warmup=1)

    def weights() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        both = (
            trained.actors.policy_parameters(),
            [*trained.actors.critic_parameters(), *trained.actors.head.parameters()],
        )
        return tuple([parameter.detach().clone() for parameter in one] for one in both)  # type: ignore[return-value]

    for number, policy_moves in ((1, False), (2, True)):
        policy, critic = weights()
        _, losses = run(trained, number)
        moved = weights()
        assert any(not torch.equal(a, b) for a, b in zip(policy, moved[0], strict=True)) == policy_moves
        assert any(not torch.equal(a, b) for a, b in zip(critic, moved[1], strict=True))
        assert (losses["policy_grad_norm"] > 0) == policy_moves
    with pytest.raises(ValueError, match="critic_warmup 5 leaves none of the 5 rollouts"):
        trainer(tmp_path, lora, critic_warmup=5)


@BOTH_WAYS
def test_gradients_of_many_trees_sum_to_those_of_one(tmp_path: Path, lora: LoraConfig | None) -> None:
    rollout, losses, gradients = None, [], []
    for size in (100_000, 1):
        trained = trainer(tmp_path, lora, max_tree_tokens=size)
        rollout = rollout or trained.collect(1)
        torch.nn.init.constant_(trained.actors.head.weight, 0.3)
        losses.append(trained.updates.accumulate_gradients(rollout, [6, 0, 1, 7, 3]))
        optimisers = (trained.updates.policy, trained.updates.critic)
        gradients.append([weight.grad for one in optimisers for weight in one.weights if weight.grad is not None])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5, abs=1e-6)
    assert len(gradients[0]) == len(gradients[1]) > 10
    for one, many in zip(*gradients, strict=True):
        assert (one - many).abs().max() <= 1e-5 * one.abs().max() + 1e-7


@BOTH_WAYS
@pytest.mark.parametrize("killed", [1, 4])
def test_a_killed_run_ends_as_an_uninterrupted_one(tmp_path: Path, lora: LoraConfig | None, killed: int) -> None:
    """Checkpoints after rollouts 2 and 4; the progress is told before they are written."""

    def kill(what: str, done: int, total: int) -> None:
        if done == killed:
            raise KilledError

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trainer(whole, lora, epochs=2, minibatches=2).train()
    with pytest.raises(KilledError):
        trainer(parts, lora, progress=kill, epochs=2, minibatches=2).train()
    assert (parts / "checkpoint.pt").exists() == (killed > 2)
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        with (parts / name).open("a", encoding="utf-8") as stream:
            stream.write('{"rollout": ')
    trainer(parts, lora, epochs=2, minibatches=2).train()
    assert lines(whole) == lines(parts)
    assert lines(whole, "rollouts.jsonl") == lines(parts, "rollouts.jsonl")
    assert [row["rollout"] for row in lines(whole)] == [1, 2, 3, 4, 5]
    assert not (parts / "checkpoint.pt").exists()
    expected, found = (load_file(folder / "model" / "model.safetensors") for folder in (whole, parts))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


@BOTH_WAYS
def test_the_saved_policy_is_a_plain_model(tmp_path: Path, lora: LoraConfig | None) -> None:
    trained = trainer(tmp_path, lora, rollouts=2)
    rollouts = [run(trained, number)[0] for number in (1, 2)]
    tree = TokenTree(rollouts[1].sequences(range(8)))
    with torch.no_grad():
        moved = token_logprobs(trained.actors.policy(), tree)
        loop.models.save(trained.actors.finish(3), TOKENIZER, tmp_path / "model")
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
        assert loaded.state_dict().keys() == micro_model(len(TOKENIZER)).state_dict().keys()
        torch.testing.assert_close(token_logprobs(loaded, tree), moved, rtol=0, atol=1e-4)
        assert not torch.allclose(token_logprobs(micro_model(len(TOKENIZER)), tree), moved, atol=1e-3)


def test_a_policy_that_stops_calling_tools_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Encoder(TOKENIZER).steps(micro_trajectories(1)[0])[0]
    asked = prompts(1)
    text = [*TOKENIZER("Here is the answer.")["input_ids"], STOP]
    rollouts = []
    for reply in (step.reply_ids, text, step.reply_ids[:-1]):  # the gold call, no call, a call that is cut
        replying(monkeypatch, lambda number, reply=reply: reply)
        rollouts.append(trainer(tmp_path, asked=asked).collect(1))
    found = [summary(rollout) for rollout in rollouts]
    assert [row["call_rate"] for row in found] == [1, 0, 0]
    assert [row["reward"] for row in found] == [1, -2, -2]
    assert [row["right"] for row in found] == [1, 0, 0]
    assert [row["cut"] for row in found] == [0, 0, 8]
    assert [row["findings"] for row in found] == [{"right": 8}, {"not_a_call": 8}, {"format": 8}]
    assert [row["reply_length"] for row in found] == [len(step.reply_ids), len(text), len(step.reply_ids) - 1]
    replying(monkeypatch, lambda number: step.reply_ids if number % 4 else text)
    assert summary(trainer(tmp_path, asked=asked).collect(1))["call_rate"] == 0.75
    assert summary(trainer(tmp_path, asked=asked).collect(1))["call_share"] == 0.75
    no_call = [prompt for prompt in prompts() if not prompt.gold]
    found = summary(trainer(tmp_path, asked=no_call).collect(1))
    assert (found["call_rate"], found["call_share"]) == (None, 0.75)
    replying(monkeypatch, lambda number: text)
    assert summary(trainer(tmp_path, asked=no_call).collect(1))["call_share"] == 0


def test_the_reward_stands_on_the_last_token_and_is_clipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first rollout values and penalties are 0: an advantage is the reward times lambda to the tokens after."""
    text = [*TOKENIZER("answer")["input_ids"], STOP]
    replying(monkeypatch, lambda number: text)
    rollout = trainer(tmp_path, asked=prompts(1), reward_clip=1.5, lam=0.5).collect(1)
    assert rollout.rewards.tolist() == [-1.5] * 8
    expected = [-1.5 * 0.5**after for after in range(len(text) - 1, -1, -1)]
    for row in rollout.advantages.tolist():
        assert row == pytest.approx(expected)


def test_metrics_and_rollouts_of_a_run(tmp_path: Path) -> None:
    trainer(tmp_path).train()
    rows = lines(tmp_path)
    names = {
        "rollout",
        "reward",
        "kl",
        "call_share",
        "call_rate",
        "reply_length",
        "right",
        "cut",
        "replies",
        "value",
        "explained",
    }
    names |= {"findings", "policy_loss", "value_loss", "clip_fraction", "policy_grad_norm", "value_grad_norm"}
    names |= {"varied", "unparseable", "text_for_call"}
    assert all(set(row) == names for row in rows)
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-5)
    samples = lines(tmp_path, "rollouts.jsonl")
    assert [len(row["replies"]) for row in samples] == [8] * 5
    for row, sampled in zip(rows, samples, strict=True):
        rewards = [reply["reward"] for reply in sampled["replies"]]
        assert row["reward"] == pytest.approx(sum(rewards) / 8, abs=1e-6)
        assert all(reply["text"] == TOKENIZER.decode(reply["ids"]) for reply in sampled["replies"])


def test_prompts_come_by_turns_and_each_is_sampled_as_often(tmp_path: Path) -> None:
    asked = prompts()
    trained = trainer(tmp_path, asked=asked)
    drawn = [
        index for number in range(1, 2 * len(asked) + 1) for index in draw_prompts(asked, number, trained.config, 3)
    ]
    assert len(drawn) == 8 * len(asked)
    for start in range(0, len(drawn), len(asked)):
        assert sorted(drawn[start : start + len(asked)]) == list(range(len(asked)))
    rollout = trained.collect(1)
    expected = [asked[index].name for index in draw_prompts(asked, 1, trained.config, 3) for _ in range(2)]
    assert [prompt.name for prompt in rollout.prompts] == expected


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_the_share_of_text_prompts_is_as_configured(share: float) -> None:
    """Over ten rollouts of four prompts, each of the two kinds in passes of its own."""
    asked = prompts(16)
    config = PPOConfig(prompts=4, group_size=2, text_share=share)
    rollouts = [draw_prompts(asked, number, config, 3) for number in range(1, 11)]
    texts = [sum(not asked[index].gold for index in drawn) for drawn in rollouts]
    assert [len(drawn) for drawn in rollouts] == [4] * 10
    assert sum(texts) == round(40 * share)
    assert all(abs(count - 4 * share) < 1 for count in texts)
    for wants_text in (False, True):
        kind = [index for index, prompt in enumerate(asked) if (not prompt.gold) == wants_text]
        drawn = [index for rollout in rollouts for index in rollout if index in kind]
        for start in range(0, len(drawn) - len(kind) + 1, len(kind)):
            assert sorted(drawn[start : start + len(kind)]) == kind


def test_a_share_of_text_prompts_that_the_data_cannot_give_is_refused() -> None:
    calls = [prompt for prompt in prompts() if prompt.gold]
    config = PPOConfig(prompts=4, group_size=2, text_share=0.5)
    with pytest.raises(DataError, match=r"ppo\.text_share 0\.5: the training split has no prompt whose gold is a text"):
        draw_prompts(calls, 1, config, 3)


def test_a_model_with_dropout_is_trained_without(tmp_path: Path) -> None:
    """Else the ratio of the first update would not be 1."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(TOKENIZER), n_embd=16, n_layer=1, n_head=2, resid_pdrop=0.5, embd_pdrop=0.5)
    trained = trainer(tmp_path, None, model=GPT2LMHeadModel(config).train())
    rollout, losses = run(trained, 1)
    assert losses["clip_fraction"] == 0
    torch.testing.assert_close(rollout.old, rollout.reference, rtol=0, atol=1e-5)


def test_replies_are_sampled_as_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the policy, at the temperature, with another seed each time."""
    asked: list[dict[str, Any]] = []

    def watching(model: Any, *arguments: Any, **options: Any) -> list[Generated]:
        asked.append({**options, "stop": list(arguments[1]), "most": arguments[2]})
        with torch.no_grad():
            assert torch.equal(model(TREE.ids).logits, trained.actors.policy()(TREE.ids).logits)
        return generate(model, *arguments, **options)

    monkeypatch.setattr(sampling, "generate", watching)
    trained = trainer(tmp_path, temperature=0.3)
    for number in (1, 2):
        run(trained, number)
    assert [(one["temperature"], one["stop"], one["most"]) for one in asked] == [(0.3, [STOP], 6)] * 2
    seeds = [seed for one in asked for seed in one["seeds"]]
    assert len(set(seeds)) == len(seeds) == 16


def test_divergence_stops_training_and_saves_no_model(tmp_path: Path) -> None:
    huge = OptimiserConfig(learning_rate=1e30)
    with pytest.raises(RunError, match=r"the gradients of rollout 2 \(ppo.policy\) have norm nan; a lower learning"):
        trainer(tmp_path, policy=huge, critic=huge).train()
    assert not (tmp_path / "model").exists()
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def test_replies_end_at_the_length_limit(tmp_path: Path) -> None:
    """Replies whose prompts leave more room are those without a limit."""
    limit = max(len(prompt.ids) for prompt in prompts()) + 2
    encoder = Encoder(TOKENIZER, max_length=limit)
    asked = [prompt for trajectory in micro_trajectories() for prompt in encoder.prompts(trajectory)]
    free = trainer(tmp_path / "free").collect(1)
    limited = trainer(tmp_path / "limited", asked=asked).collect(1)
    assert [prompt.name for prompt in limited.prompts] == [prompt.name for prompt in free.prompts]
    rooms = [limit - len(prompt.ids) for prompt in limited.prompts]
    assert min(rooms) == 2 and max(rooms) > 6
    for room, reply, other in zip(rooms, limited.replies, free.replies, strict=True):
        assert reply.ids == other.ids[:room]
        assert reply.finished == (reply.ids[-1] == STOP)


def test_no_prompts_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to sample from"):
        trainer(tmp_path, asked=[])
