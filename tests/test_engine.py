"""Token trees give the loss, gradients and replies of separate sequences."""

from __future__ import annotations

import random

import pytest
import torch
from micro import micro_model
from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM, Qwen3Config, Qwen3ForCausalLM

from tltrain.engine.attention import TreeLayout, tree_attention
from tltrain.engine.generate import generate
from tltrain.engine.logprobs import token_logprobs, weighted_nll
from tltrain.engine.tree import TokenSequence, TokenTree, common_prefix, plan


def logs(seed: int = 0, count: int = 12) -> list[TokenSequence]:
    """Sequences over a shared prefix, with branches, one inside another, a duplicate, and one that shares nothing."""
    chance = random.Random(seed)
    text = lambda length: [chance.randrange(400) for _ in range(length)]  # noqa: E731
    root, sequences = text(40), []
    for index in range(count):
        start = root + text(2) * (index % 2) + text(10)
        for _ in range(2):  # the second step's sequence starts with the first step's
            reply = text(7)
            weights = [chance.choice([0.0, 1.0, 3.5]) for _ in reply]
            sequences.append(TokenSequence(start + reply, len(start), weights))
            start = start + reply + text(5)
    return [*sequences, sequences[0], TokenSequence(text(9), 1, [1.0] * 8)]


def separate_nll(model: torch.nn.Module, sequences: list[TokenSequence]) -> torch.Tensor:
    """The same loss without trees: each sequence by itself, through the model's own attention."""
    total = torch.zeros(())
    for sequence in sequences:
        logits = model(input_ids=torch.tensor([sequence.ids])).logits[0].log_softmax(-1)
        for offset, weight in enumerate(sequence.weights):
            place = sequence.start + offset
            total = total - weight * logits[place - 1, sequence.ids[place]]
    return total


def models() -> dict[str, torch.nn.Module]:
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"vocab_size": 400, "num_key_value_heads": 2, "initializer_range": 0.15}
    return {
        "llama": micro_model(),
        "qwen3": Qwen3ForCausalLM(Qwen3Config(**sizes, head_dim=16)).eval(),
        "mistral, sliding window": MistralForCausalLM(MistralConfig(**sizes, sliding_window=16)).eval(),
        "gpt2, learned positions": GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=4)).eval(),
    }


@pytest.mark.parametrize("name", list(models()))
def test_loss_and_gradients_are_those_of_separate_sequences(name: str) -> None:
    model = models()[name]
    sequences = logs()
    expected = separate_nll(model, sequences)
    expected.backward()
    gradients = {key: value.grad.clone() for key, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    tree = TokenTree(sequences)
    loss = weighted_nll(model, tree)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for key, value in model.named_parameters():
        scale = gradients[key].abs().max().clamp(min=1e-3)
        assert ((value.grad - gradients[key]).abs().max() / scale).item() < 1e-5, key


def test_micro_batches_sum_to_the_whole_batch() -> None:
    model, sequences = micro_model(), logs()
    whole = weighted_nll(model, TokenTree(sequences))
    groups = plan(sequences, max_tokens=120)
    assert len(groups) > 2
    assert sorted(index for group in groups for index in group) == list(range(len(sequences)))
    parts = [TokenTree([sequences[index] for index in group]) for group in groups]
    assert all(len(tree) <= 120 for tree in parts)
    assert sum(weighted_nll(model, tree) for tree in parts).item() == pytest.approx(whole.item(), rel=1e-6)


def test_every_distinct_prefix_is_one_token_of_the_tree() -> None:
    sequences = logs()
    prefixes = {tuple(sequence.ids[:end]) for sequence in sequences for end in range(1, len(sequence.ids) + 1)}
    tree = TokenTree(sequences)
    assert len(tree) == len(prefixes)
    assert tree.separate_tokens == sum(len(sequence.ids) for sequence in sequences)
    for index, sequence in enumerate(sequences):
        places = list(tree.path_positions(index))
        assert tree.ids[0, places].tolist() == list(sequence.ids)
        assert tree.positions[0, places].tolist() == list(range(len(places)))


def test_tokens_of_weight_zero_never_reach_the_output_matrix() -> None:
    sequence = TokenSequence([5, 6, 7, 8, 9], 2, [0.0, 2.0, 0.0])
    tree = TokenTree([sequence])
    assert tree.rows.tolist() == [2]
    assert tree.targets.tolist() == [8]
    assert TokenTree([sequence], keep_all=True).targets.tolist() == [7, 8, 9]


def test_temperature_divides_the_logits() -> None:
    model, sequence = micro_model(), TokenSequence([5, 6, 7, 8], 2, [1.0, 1.0])
    logits = model(input_ids=torch.tensor([sequence.ids])).logits[0]
    expected = [(logits[1] / 0.7).log_softmax(-1)[7].item(), (logits[2] / 0.7).log_softmax(-1)[8].item()]
    assert token_logprobs(model, TokenTree([sequence]), 0.7).tolist() == pytest.approx(expected, rel=1e-5)


def test_the_model_gets_its_own_attention_back() -> None:
    model = micro_model()
    before = model.config._attn_implementation
    with tree_attention(model, TreeLayout(TokenTree(logs()))):
        assert model.config._attn_implementation != before
    assert model.config._attn_implementation == before


def test_common_prefix() -> None:
    assert common_prefix([1, 2, 3], [1, 2, 4]) == 2
    assert common_prefix([1, 2], [1, 2, 4]) == 2
    assert common_prefix([3], [4]) == 0
    assert common_prefix([], [4]) == 0


@pytest.mark.parametrize("name", list(models()))
def test_generation_is_that_of_the_model_alone(name: str) -> None:
    model = models()[name]
    model.generation_config.eos_token_id = None
    prompts = [list(sequence.ids[: sequence.start]) for sequence in logs()]
    replies = generate(model, prompts, stop_ids=[], max_new_tokens=40, batch_size=5)
    for prompt, reply in zip(prompts, replies, strict=True):
        ids = list(prompt)
        for token in reply.ids:  # teacher-forced on our reply: each token is the best one
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
            assert logits[token] >= logits.max() - 1e-4
            ids.append(token)
        assert not reply.finished


def test_a_reply_ends_with_its_stop_token() -> None:
    model = micro_model()
    prompts = [list(sequence.ids[: sequence.start]) for sequence in logs()]
    stop_ids = list(range(40))
    replies = generate(model, prompts, stop_ids, max_new_tokens=30, temperature=1.0, seed=3, batch_size=4)
    assert any(reply.finished for reply in replies)
    for reply in replies:
        assert reply.finished == (reply.ids[-1] in stop_ids)
        assert not set(reply.ids[:-1]) & set(stop_ids)
        assert reply.finished or len(reply.ids) == 30
    assert replies == generate(model, prompts, stop_ids, max_new_tokens=30, temperature=1.0, seed=3, batch_size=4)
    assert replies != generate(model, prompts, stop_ids, max_new_tokens=30, temperature=1.0, seed=4, batch_size=4)


def test_sampling_follows_the_distribution() -> None:
    model, prompt = micro_model(), [5, 6, 7]
    chances = (model(input_ids=torch.tensor([prompt])).logits[0, -1] / 0.7).softmax(-1)
    replies = generate(model, [prompt] * 3000, [], 1, temperature=0.7, seed=1, batch_size=1000)
    counts = torch.bincount(torch.tensor([reply.ids[0] for reply in replies]), minlength=400) / 3000
    best = int(chances.argmax())
    error = 4 * (chances[best] * (1 - chances[best]) / 3000).sqrt()
    assert abs(counts[best] - chances[best]) < error
