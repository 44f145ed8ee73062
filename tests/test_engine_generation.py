"""Generation with shared prefixes gives the same replies as without; what a sampled reply depends on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.micro import micro_model
from support.trees import logs, mamba, models

from tltrain.engine import decode_layout, memory
from tltrain.engine import generate as generation
from tltrain.engine.generate import batches, generate
from tltrain.engine.tree import TokenSequence, TokenTree


@pytest.mark.parametrize("prefill", [10_000, 30])
@pytest.mark.parametrize("name", [*models(), "mamba"])
def test_generation_equals_that_of_the_model_without_a_tree(
    name: str, prefill: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "PREFILL_TOKENS", prefill)
    monkeypatch.setattr(decode_layout, "BUFFER_GROWTH", 11)
    monkeypatch.setattr(decode_layout, "BUFFER_MULTIPLE", 4)
    model = mamba() if name == "mamba" else models()[name]
    model.generation_config.eos_token_id = None
    prompts = [list(sequence.ids[: sequence.start]) for sequence in logs()]
    count = 8 if name == "mamba" else 40  # a step of this one, whose recurrence runs token by token, takes long
    replies = generate(model, prompts, stop_ids=[], max_new_tokens=count, batch_size=5)
    for prompt, reply in zip(prompts, replies, strict=True):
        ids = torch.tensor(
            [[*prompt, *reply.ids]]
        )  # teacher-forced: each token of the reply must have the largest logit
        logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
        chosen = logits.gather(1, ids[0, len(prompt) :, None])[:, 0]
        assert (chosen >= logits.max(-1).values - 1e-4).all()
        assert not reply.finished and len(reply.ids) == count


@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_replies_do_not_depend_on_finished_replies(fraction: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "COMPACT_BELOW", fraction)
    model, prompts = micro_model(), [list(sequence.ids[: sequence.start]) for sequence in logs()]
    whole = generate(model, prompts, [], 30, batch_size=100)
    stops = sorted({reply.ids[index] for reply, index in zip(whole, (2, 5, 9, 14, 20), strict=False)})
    expected = [next((index + 1 for index, token in enumerate(reply.ids) if token in stops), 30) for reply in whole]
    assert len(set(expected)) > 3
    replies = generate(model, prompts, stops, 30, batch_size=100)
    assert [reply.ids for reply in replies] == [reply.ids[:end] for reply, end in zip(whole, expected, strict=True)]


def test_the_cache_of_the_prompts_limits_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    model, prompts = micro_model(), [list(sequence.ids[: sequence.start]) for sequence in logs()]
    whole = generate(model, prompts, [], 5, batch_size=100)
    monkeypatch.setattr(memory, "CACHE_BYTES", 150 * 2 * 2 * 2 * 8 * 4)  # 150 tokens: 2 layers, 2 heads of size 8
    groups = batches(model, prompts, 100, 5)
    assert len(groups) > 2
    for group in groups:
        tree = TokenTree([TokenSequence(prompts[index], len(prompts[index]), ()) for index in group])
        assert len(tree) <= 150
        assert batches(model, [prompts[index] for index in group], 100, 5) == [list(range(len(group)))]
    assert generate(model, prompts, [], 5, batch_size=100) == whole


def test_the_buffers_of_the_replies_limit_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are as long as the longest: one long conversation among short ones must not make all of them long."""
    model, prompts = micro_model(), [[5, 6, 7, number] for number in range(10, 41)]
    long = [5, 6, 7, 8, *range(50, 246)]
    whole = generate(model, [*prompts, long], [], 8, batch_size=100)
    assert batches(model, [*prompts, long], 100, 8) == [[31, *range(31)]]
    tokens = 600
    monkeypatch.setattr(memory, "OWN_BYTES", tokens * 2 * 2 * 2 * 8 * 4)  # 2 layers, 2 heads of size 8
    made: list[int] = []

    def noted(*arguments: Any) -> decode_layout.DecodeLayout:
        layout = decode_layout.DecodeLayout(*arguments)
        made.append(layout.own[0][0][:, 0, :, 0].numel())
        return layout

    monkeypatch.setattr(generation, "DecodeLayout", noted)
    groups = batches(model, [*prompts, long], 100, 8)
    assert sorted(index for group in groups for index in group) == list(range(32))
    assert 1 < len(groups) < 8
    for group in groups:
        assert batches(model, [([*prompts, long])[index] for index in group], 100, 8) == [list(range(len(group)))]
    assert generate(model, [*prompts, long], [], 8, batch_size=100) == whole
    assert max(made) <= tokens


def test_a_reply_ends_with_its_stop_token() -> None:
    model = micro_model()
    prompts = [list(sequence.ids[: sequence.start]) for sequence in logs()]
    stop_ids = list(range(40))
    replies = generate(
        model, prompts, stop_ids, max_new_tokens=30, temperature=1.0, seeds=range(3, 3 + len(prompts)), batch_size=4
    )
    assert any(reply.finished for reply in replies)
    for reply in replies:
        assert reply.finished == (reply.ids[-1] in stop_ids)
        assert not set(reply.ids[:-1]) & set(stop_ids)
        assert reply.finished or len(reply.ids) == 30
    assert replies == generate(
        model, prompts, stop_ids, max_new_tokens=30, temperature=1.0, seeds=range(3, 3 + len(prompts)), batch_size=4
    )
    assert replies != generate(
        model, prompts, stop_ids, max_new_tokens=30, temperature=1.0, seeds=range(4, 4 + len(prompts)), batch_size=4
    )


def test_a_sampled_reply_depends_on_its_own_prompt_and_seed_only() -> None:
    for model, most in ((micro_model(), 100), (mamba(), 3)):
        prompts = [list(sequence.ids[: sequence.start]) for sequence in logs()][:most] * 2
        seeds = list(range(len(prompts)))
        together = generate(model, prompts, [3], 20, temperature=1.0, seeds=seeds, batch_size=100)
        parts = [generate(model, prompts[half::2], [3], 20, temperature=1.0, seeds=seeds[half::2]) for half in (0, 1)]
        assert together[0::2] == parts[0]
        assert together[1::2] == parts[1]
        assert len(set(together)) > len(prompts) // 2


def test_greedy_decoding_ignores_the_generation_configuration() -> None:
    model, prompts = mamba(), [[5, 6, 7], [9, 8, 7, 6]]
    model.generation_config.eos_token_id = None
    expected = generate(model, prompts, [3], 12)
    defaults = {"do_sample": True, "temperature": 9.0, "top_k": 3, "repetition_penalty": 5.0, "eos_token_id": None}
    model.generation_config.update(**defaults)
    assert generate(model, prompts, [3], 12) == expected
    assert model.generation_config.temperature == 9.0


@pytest.mark.parametrize("seed", [2**32, 20251125 * 1_000_003 + 1, 2**70, -1])
def test_seeds_of_any_size(seed: int) -> None:
    for model in (micro_model(), mamba()):
        drawn = [
            generate(model, [[5, 6, 7]], [], 8, temperature=1.0, seeds=[number]) for number in (seed, seed, seed + 1)
        ]
        assert drawn[0] == drawn[1] != drawn[2]


def test_sampling_follows_the_distribution() -> None:
    model, prompt = micro_model(), [5, 6, 7]
    probabilities = (model(input_ids=torch.tensor([prompt])).logits[0, -1] / 0.7).softmax(-1)
    replies = generate(model, [prompt] * 3000, [], 1, temperature=0.7, seeds=range(3000), batch_size=1000)
    counts = torch.bincount(torch.tensor([reply.ids[0] for reply in replies]), minlength=400) / 3000
    best = int(probabilities.argmax())
    error = 4 * (probabilities[best] * (1 - probabilities[best]) / 3000).sqrt()
    assert abs(counts[best] - probabilities[best]) < error
