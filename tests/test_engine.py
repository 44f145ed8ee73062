"""Token trees give the same loss and gradients as separate sequences."""

from __future__ import annotations

import random
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.micro import micro_model
from support.trees import GEMMA, SIZES, assert_same_gradients, gradients, logs, mamba, models, separate_nll
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tltrain.config import LoraConfig
from tltrain.engine import attention, cpu_kernels, outputs, stretches
from tltrain.engine.adapters import add_adapters
from tltrain.engine.attention import TreeLayout, tree_attention
from tltrain.engine.capabilities import linear_output, prefix_sharing_obstacle
from tltrain.engine.layers import fused_layers
from tltrain.engine.outputs import LogProbs
from tltrain.engine.passes import Pass, backward, measure, nll, plan_passes, token_logprobs
from tltrain.engine.tree import TokenSequence, TokenTree, common_prefix, group_by_budget


@pytest.mark.parametrize("name", list(models()))
@pytest.mark.parametrize("budget", [10_000, 100, 45, 1])
def test_loss_and_gradients_equal_those_of_separate_sequences(name: str, budget: int) -> None:
    model, sequences = models()[name], logs()
    expected = separate_nll(model, sequences)
    expected.backward()
    separate = gradients(model)
    done = backward(model, sequences, nll, budget)
    assert done.loss == pytest.approx(expected.item(), rel=1e-5)
    assert done.tokens == len(TokenTree(sequences)) < done.separate_tokens / 2
    assert_same_gradients(gradients(model), separate)


@pytest.mark.parametrize("budget", [10_000, 60])
def test_gradients_of_adapters_equal_those_of_separate_sequences(budget: int) -> None:
    model, sequences = micro_model(), logs()
    add_adapters(model, LoraConfig(rank=4, alpha=8), ("adapter",), 0)
    for key, value in model.named_parameters():  # a new adapter is zero, which would make half of the gradients zero
        if "lora_B" in key:
            torch.nn.init.normal_(value, std=0.1)
    expected = separate_nll(model, sequences)
    expected.backward()
    separate = gradients(model)
    assert separate
    assert all("lora" in key for key in separate)
    assert backward(model, sequences, nll, budget).loss == pytest.approx(expected.item(), rel=1e-5)
    assert_same_gradients(gradients(model), separate)


@pytest.mark.parametrize("budget", [10_000, 60])
def test_gradients_of_checkpointed_layers_equal_those_of_separate_sequences(budget: int) -> None:
    model, sequences = models()["qwen3"], logs()
    expected = separate_nll(model, sequences)
    expected.backward()
    separate = gradients(model)
    model.train()  # the micro model has no dropout
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    runs = 0

    def count(*_: Any) -> None:
        nonlocal runs
        runs += 1

    assert linear_output(model) and prefix_sharing_obstacle(model) is None  # both run passes of their own, once
    model.model.layers[0].self_attn.q_proj.register_forward_hook(count)
    assert backward(model, sequences, nll, budget).loss == pytest.approx(expected.item(), rel=1e-5)
    assert runs == 2 * count_passes(plan_passes(TokenTree(sequences), budget))
    assert_same_gradients(gradients(model), separate)


def count_passes(passes: Sequence[Pass]) -> int:
    return sum(1 + count_passes(node.children) for node in passes)


@pytest.mark.parametrize("budget", [10_000, 60])
def test_logits_are_computed_in_chunks(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sequences = micro_model(), logs()
    expected = separate_nll(model, sequences)
    expected.backward()
    separate = gradients(model)
    monkeypatch.setattr(outputs, "MAX_LOGITS", 3 * 400)
    shapes = []
    model.lm_head.register_forward_hook(lambda _, __, logits: shapes.append(logits.shape))
    assert backward(model, sequences, nll, budget).loss == pytest.approx(expected.item(), rel=1e-5)
    assert max(shape[0] for shape in shapes if len(shape) == 2) == 3
    assert_same_gradients(gradients(model), separate)


def test_passes_cover_the_tree_within_the_budget() -> None:
    tree = TokenTree(logs())

    def check(node: Pass, before: int, budget: int) -> list[int]:
        tokens = tree.segments[node.end - 1].end - tree.segments[node.begin].begin
        assert before + tokens <= budget or node.end == node.begin + 1
        assert node.end == node.begin + 1 or not node.children
        below = [segment for child in node.children for segment in check(child, before + tokens, budget)]
        return [*range(node.begin, node.end), *below]

    for budget in (10_000, 120, 80):
        passes = plan_passes(tree, budget)
        assert [segment for node in passes for segment in check(node, 0, budget)] == list(range(len(tree.segments)))
    assert len(plan_passes(tree, 10_000)) == 1


def test_memory_does_not_grow_with_the_number_of_branches() -> None:
    """Measured by the elements of saved tensors, as the peak memory of a process is too coarse for a micro model."""
    prefix, rng = list(range(5, 205)), random.Random(0)
    branches = [[*prefix, *(rng.randrange(400) for _ in range(40))] for _ in range(24)]
    peaks = []
    for count in (4, 24):
        alive = peak = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal alive, peak
            size = tensor.numel()
            alive, peak = alive + size, max(peak, alive + size)
            saved = tensor.view_as(tensor)

            def on_release() -> None:
                nonlocal alive
                alive -= size

            weakref.finalize(saved, on_release)
            return saved

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
            backward(micro_model(), [TokenSequence(ids, 200, [1.0] * 40) for ids in branches[:count]], nll, 280)
        peaks.append(peak)
    assert peaks[1] < 1.05 * peaks[0]


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_norms_and_gated_networks_recompute_their_activations(name: str) -> None:
    """The activation runs again in the backward pass, so that it is not saved; matrix products do not."""
    model = models()[name]
    mlp, norm = model.model.layers[0].mlp, model.model.layers[0].input_layernorm
    inputs = torch.randn(1, 50, 32, requires_grad=True)
    wanted = [inputs, *mlp.parameters(), *norm.parameters()]

    def run() -> tuple[tuple[torch.Tensor, ...], Counter[str]]:
        counts: Counter[str] = Counter()

        class Counted(TorchDispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                counts[func.overloadpacket.__name__] += 1
                return func(*args, **(kwargs or {}))

        with Counted():
            return torch.autograd.grad(mlp(norm(inputs)).sin().sum(), wanted), counts

    expected, before = run()
    with fused_layers(model):
        found, after = run()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert after["mm"] + after["addmm_"] == before["mm"] == 9
    assert after["silu"] + after["gelu"] == 2 * (before["silu"] + before["gelu"]) == 2
    assert after["rsqrt"] == 2 * before["rsqrt"] == 2
    assert "forward" not in vars(mlp) and "forward" not in vars(norm)


def test_models_that_cannot_share_prefixes_run_each_sequence_separately() -> None:
    capped = Gemma2ForCausalLM(Gemma2Config(**GEMMA)).eval()
    sequences = logs(count=4)
    for model, reason in ((mamba(), "linear_attention"), (capped, "caps its attention")):
        assert reason in (prefix_sharing_obstacle(model) or "")
        expected = separate_nll(model, sequences)
        expected.backward()
        separate = gradients(model)
        done = backward(model, sequences, nll, 10_000)
        assert done.loss == pytest.approx(expected.item(), rel=1e-5)
        assert done.tokens == done.separate_tokens == sum(len(sequence.ids) for sequence in sequences)
        assert_same_gradients(gradients(model), separate)
        found = measure(model, sequences, LogProbs(), 10_000)
        assert [len(row) for row in found] == [len(sequence.weights) for sequence in sequences]


@pytest.mark.parametrize("rope", ["dynamic", "longrope"])
def test_rope_scaling_by_the_sequence_length_prevents_sharing(rope: str) -> None:
    scaled = micro_model()
    assert prefix_sharing_obstacle(scaled) is None
    parameters = {**scaled.config.rope_parameters, "rope_type": rope, "factor": 2.0}
    scaled.config.rope_parameters = parameters
    assert f"rope_type {rope}" in (prefix_sharing_obstacle(scaled) or "")
    scaled.config.rope_parameters = {"full_attention": parameters, "sliding_attention": {"rope_type": "default"}}
    assert f"rope_type {rope}" in (prefix_sharing_obstacle(scaled) or "")
    parameters["rope_type"] = "linear"
    assert prefix_sharing_obstacle(scaled) is None


def test_losses_with_dynamic_rope_equal_those_of_separate_sequences() -> None:
    torch.manual_seed(0)
    rope = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 4.0}
    model = Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=16, max_position_embeddings=50, rope_parameters=rope)).eval()
    sequences = logs(count=4)
    assert max(len(sequence.ids) for sequence in sequences) > 50
    assert backward(model, sequences, nll, 10_000).loss == pytest.approx(
        separate_nll(model, sequences).item(), rel=1e-5
    )


def test_measured_logprobs_equal_those_of_separate_sequences() -> None:
    model, sequences = micro_model(), logs()
    for budget in (10_000, 50):
        for sequence, found in zip(sequences, measure(model, sequences, LogProbs(0.7), budget), strict=True):
            logits = (model(input_ids=torch.tensor([sequence.ids])).logits[0] / 0.7).log_softmax(-1)
            targets = range(sequence.start, len(sequence.ids))
            expected = [logits[position - 1, sequence.ids[position]] for position in targets]
            torch.testing.assert_close(found, torch.stack(expected).detach(), rtol=0, atol=1e-5)


def test_matrix_products_give_the_gradients_of_separate_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel for bf16, tested in fp32, where the fused one is faster."""
    monkeypatch.setattr(stretches, "kernel_for", lambda *_: cpu_kernels.Products())
    for name in ("llama", "gemma3"):
        test_loss_and_gradients_equal_those_of_separate_sequences(name, 60)
    assert isinstance(cpu_kernels.kernel_for(torch.bfloat16), cpu_kernels.Products)


def test_attention_of_long_segments_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_kernels, "BLOCK", 7)
    for name in ("llama", "mistral, sliding window"):
        test_loss_and_gradients_equal_those_of_separate_sequences(name, 60)


@pytest.mark.parametrize("kernel", [cpu_kernels.Fused(), cpu_kernels.Products()])
@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("known", [20, 37])
def test_kernels_and_fused_attention_agree(
    known: int, window: int | None, kernel: cpu_kernels.Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fused attention of other devices, tested on the CPU, where torch builds a mask for it."""
    monkeypatch.setattr(stretches, "kernel_for", lambda *_: kernel)
    monkeypatch.setattr(cpu_kernels, "BLOCK", 7)
    torch.manual_seed(0)
    query, key, value = torch.randn(1, 4, 20, 8), torch.randn(1, 2, known, 8), torch.randn(1, 2, known, 8)
    inputs = [tensor.requires_grad_() for tensor in (query, key, value)]
    whole = TreeLayout(TokenTree([TokenSequence(list(range(known)), 1, [1.0] * (known - 1))])).stretches[0]
    last = (replace(whole, end=20, depth=known - 20),)
    past = [heads[:, :, : known - 20] for heads in (key, value)]
    own = [query, *(heads[:, :, known - 20 :] for heads in (key, value))]
    found = [
        stretches.attend_stretches(last, *own, past, scale=0.3, window=window),
        attention.fused_attention(*inputs, 0.3, window),
    ]
    torch.testing.assert_close(*found, rtol=0, atol=1e-5)
    gradients = [torch.autograd.grad(output.sin().sum(), inputs) for output in found]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-5)


def test_segments_without_branches_are_attended_to_together() -> None:
    """Four logs of four replies each, with a common beginning: a stretch for it and one for the rest of each log."""
    rng = random.Random(0)
    text = lambda length: [rng.randrange(400) for _ in range(length)]  # noqa: E731
    root, sequences = text(20), []
    for number in range(4):
        ids = [*root, number]
        for _ in range(4):
            ids = ids + text(6)
            sequences.append(TokenSequence(ids, len(ids) - 3, [1.0] * 3))
    tree = TokenTree(sequences)
    assert len(tree.segments) == 17
    found = TreeLayout(tree).stretches
    assert [(one.begin, one.end, one.depth, one.path) for one in found] == [
        (0, 20, 0, (0,)),
        *((20 + 25 * number, 45 + 25 * number, 20, (0, number + 1)) for number in range(4)),
    ]
    last = TreeLayout(tree, 2, 5).stretches  # the replies of the first log after its first
    assert [(one.begin, one.end, one.depth, one.path) for one in last] == [(0, 18, 27, (0,))]


def test_saved_keys_do_not_grow_with_the_number_of_branches() -> None:
    """A pass saves the keys and values of its tokens, and no copies of a prefix for each of its branches."""
    prefix, saved = list(range(5, 205)), []
    for count in (2, 12):
        sequences = [TokenSequence([*prefix, number, 300, 301], 201, [1.0] * 2) for number in range(count)]
        tree, elements = TokenTree(sequences), 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal elements
            elements += tensor.numel()
            return tensor

        query, heads = torch.randn(1, 4, len(tree), 8, requires_grad=True), torch.randn(1, 2, len(tree), 8)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            TreeLayout(tree).attend(0, query, heads, heads, scale=1.0, window=None)
        saved.append(elements)
        assert elements == 3 * query.numel() + 4 * len(tree)  # queries, keys and values, output and log-sum-exp
    assert saved[1] < 1.2 * saved[0]


def test_groups_share_prefixes_within_the_token_budget() -> None:
    sequences = logs()
    groups = group_by_budget(sequences, max_tokens=120)
    assert len(groups) > 2
    assert sorted(index for group in groups for index in group) == list(range(len(sequences)))
    assert all(len(TokenTree([sequences[index] for index in group])) <= 120 for group in groups)


def test_the_tree_has_a_token_for_every_distinct_prefix() -> None:
    sequences = logs()
    prefixes = {tuple(sequence.ids[:end]) for sequence in sequences for end in range(1, len(sequence.ids) + 1)}
    tree = TokenTree(sequences)
    assert len(tree) == len(prefixes)
    assert tree.separate_tokens == sum(len(sequence.ids) for sequence in sequences)
    for index, sequence in enumerate(sequences):
        path = list(tree.path_positions(index))
        assert tree.ids[0, path].tolist() == list(sequence.ids)
        assert tree.positions[0, path].tolist() == list(range(len(path)))


def test_no_logits_are_computed_for_tokens_of_weight_zero() -> None:
    sequence = TokenSequence([5, 6, 7, 8, 9], 2, [0.0, 2.0, 0.0])
    predicted = TokenTree([sequence]).predicted()
    assert predicted.rows.tolist() == [2]
    assert predicted.targets.tolist() == [8]
    assert TokenTree([sequence], keep_all=True).predicted().targets.tolist() == [7, 8, 9]


def test_temperature_divides_the_logits() -> None:
    model, sequence = micro_model(), TokenSequence([5, 6, 7, 8], 2, [1.0, 1.0])
    logits = model(input_ids=torch.tensor([sequence.ids])).logits[0]
    expected = [(logits[1] / 0.7).log_softmax(-1)[7].item(), (logits[2] / 0.7).log_softmax(-1)[8].item()]
    assert token_logprobs(model, TokenTree([sequence]), 0.7).tolist() == pytest.approx(expected, rel=1e-5)


def test_the_attention_of_the_model_is_restored() -> None:
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
