"""FlexAttention over token trees, on the CPU: its uncompiled form, whose backward pass works there if torch's check of
the device is left out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support.trees import assert_same_gradients, gradients, logs, models, separate_nll
from torch._dynamo import config as dynamo
from torch._dynamo.testing import CompileCounter

from tltrain.engine import flex
from tltrain.engine import generate as generation
from tltrain.engine.attention import TreeLayout
from tltrain.engine.flex import BLOCK, FlexLayout, kernel_works
from tltrain.engine.generate import generate
from tltrain.engine.layers import gradient_checkpointing
from tltrain.engine.outputs import LogProbs
from tltrain.engine.passes import backward, measure, nll
from tltrain.engine.tree import TokenSequence, TokenTree

pytestmark = pytest.mark.filterwarnings(
    "ignore:flex_attention called without torch.compile", "ignore:The .grad attribute of a Tensor"
)
CPU = torch.device("cpu")
LAYER = 0


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *_: None)
    with dynamo.patch(recompile_limit=256):
        yield


@pytest.fixture
def on_flex(monkeypatch: pytest.MonkeyPatch) -> None:
    """All models use FlexAttention, as on a GPU."""
    monkeypatch.setattr(flex, "uses_flex", lambda _: True)


def random_tree(seed: int, count: int = 12) -> TokenTree:
    """Sequences of up to 60 tokens, each of which branches off an earlier one."""
    rng = random.Random(seed)
    paths: list[list[int]] = [[1]]
    for _ in range(count):
        before = rng.choice(paths)
        paths.append(before[: rng.randint(1, len(before))] + [rng.randrange(9) for _ in range(rng.randint(1, 30))])
    return TokenTree([TokenSequence(path, 1, [1.0] * (len(path) - 1)) for path in paths])


def heads(length: int, count: int) -> torch.Tensor:
    return torch.randn(1, count, length, 16)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("window", [None, 1, 7, 1000])
def test_a_token_sees_what_it_sees_in_its_sequence(seed: int, window: int | None) -> None:
    tree = random_tree(seed)
    layout = FlexLayout(tree, CPU)
    size = layout.inputs()[0].shape[1]
    assert size % BLOCK == 0
    indices = torch.arange(size)
    found = layout.mask(window).mask_mod(indices, indices, indices[:, None], indices[None, :])
    expected = torch.zeros(len(tree), len(tree), dtype=torch.bool)
    for path in (list(tree.path_positions(index)) for index in range(len(tree.paths))):
        for depth, token in enumerate(path):
            expected[token, path[max(0, depth + 1 - (window or len(path))) : depth + 1]] = True
    assert torch.equal(found[: len(tree), : len(tree)], expected)
    assert not found[: len(tree), len(tree) :].any()
    assert found.any(-1).all()


def test_layers_with_the_same_window_share_a_mask() -> None:
    layout = FlexLayout(random_tree(0), CPU)
    assert layout.mask(None) is layout.mask(None) is layout.mask(1000)
    assert layout.mask(7) is layout.mask(7) is not layout.mask(None)


@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("groups", [1, 3])
@torch.no_grad()
def test_attention_equals_that_of_segments(window: int | None, groups: int) -> None:
    torch.manual_seed(0)
    tree = random_tree(7, 20)
    layout, other = FlexLayout(tree, CPU), TreeLayout(tree)
    size = layout.inputs()[0].shape[1]
    assert BLOCK < len(tree) < size
    query, key, value = heads(size, 3), heads(size, groups), heads(size, groups)
    found = layout.attend(LAYER, query, key, value, scale=0.3, window=window)[:, :, : len(tree)]
    own = (part[:, :, : len(tree)] for part in (query, key, value))
    torch.testing.assert_close(found, other.attend(LAYER, *own, scale=0.3, window=window), rtol=0, atol=1e-5)


@pytest.mark.parametrize("window", [None, 150, 7])
@torch.no_grad()
def test_attention_to_keys_of_earlier_passes(window: int | None) -> None:
    """A prefix of 140 tokens, in a pass of its own, a second one of 30, and two branches."""
    torch.manual_seed(0)
    prefix = list(range(5, 175))
    ends = [[*prefix, *range(300 + branch, 320 + branch)] for branch in range(2)]
    tree = TokenTree([TokenSequence(ids, 1, [1.0] * (len(ids) - 1)) for ids in [[*prefix[:140], 1, 2], *ends]])
    assert [segment.end - segment.begin for segment in tree.segments] == [140, 2, 30, 20, 20]
    flex_past, past = [], []
    for length in (140, 30):
        keys, values = heads(length, 2), heads(length, 2)
        past.append({LAYER: (keys, values)})
        padding = torch.randn(1, 2, 256 - length, 16)  # must not be seen
        flex_past.append({LAYER: (torch.cat([keys, padding], 2), torch.cat([values, padding], 2))})
    layout, other = FlexLayout(tree, CPU, 3, 5, flex_past), TreeLayout(tree, 3, 5, past)
    query, key, value = heads(256, 4), heads(256, 2), heads(256, 2)
    found = layout.attend(LAYER, query, key, value, scale=0.3, window=window)[:, :, :40]
    own = (part[:, :, :40] for part in (query, key, value))
    torch.testing.assert_close(found, other.attend(LAYER, *own, scale=0.3, window=window), rtol=0, atol=1e-5)


@torch.no_grad()
def test_passes_of_any_length_share_compiled_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a compiler that only counts. A size that happens to equal another one costs a second variant."""
    counter = CompileCounter()
    compiled = torch.compile(flex.flex_attention, dynamic=True, fullgraph=True, backend=counter)
    monkeypatch.setattr(flex, "flex_attention", compiled)
    sizes = set()
    for seed in range(8):
        tree = random_tree(seed, 6 * seed)
        layout = FlexLayout(tree, CPU)
        size = layout.inputs()[0].shape[1]
        sizes.add(size)
        for window in (None, 7):
            layout.attend(LAYER, heads(size, 4), heads(size, 2), heads(size, 2), scale=0.3, window=window)
    assert len(sizes) > 3
    assert counter.frame_count <= 2


@pytest.mark.parametrize(
    ("name", "budget"),
    [("qwen3", 60), ("mistral, sliding window", 10_000), pytest.param("gemma3", 60, marks=pytest.mark.slow)],
)
def test_gradients_equal_those_of_separate_sequences(on_flex: None, name: str, budget: int) -> None:
    model, sequences = models()[name], logs()
    expected = separate_nll(model, sequences)
    expected.backward()
    separate = gradients(model)
    done = backward(model, sequences, nll, budget)
    assert done.loss == pytest.approx(expected.item(), rel=1e-5)
    assert_same_gradients(gradients(model), separate)


def test_gradients_of_recomputed_layers_equal_those_of_separate_sequences(on_flex: None) -> None:
    model, sequences = models()["mistral, sliding window"], logs()
    expected = separate_nll(model, sequences)
    expected.backward()
    separate = gradients(model)
    with gradient_checkpointing(model):
        assert backward(model, sequences, nll, 60).loss == pytest.approx(expected.item(), rel=1e-5)
    assert_same_gradients(gradients(model), separate)


def test_measured_logprobs(on_flex: None, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sequences = models()["qwen3"], logs()
    found = measure(model, sequences, LogProbs(), 60)
    monkeypatch.undo()
    torch.testing.assert_close(found, measure(model, sequences, LogProbs(), 60), rtol=0, atol=1e-5)


@pytest.mark.parametrize("prefill", [10_000, 30])
def test_replies_after_a_prefill(on_flex: None, monkeypatch: pytest.MonkeyPatch, prefill: int) -> None:
    model, prompts = models()["gemma3"], [list(sequence.ids[: sequence.start]) for sequence in logs()]
    with monkeypatch.context() as small:
        small.setattr(generation, "PREFILL_TOKENS", prefill)
        found = generate(model, prompts, [], 10)
    monkeypatch.undo()
    assert found == generate(model, prompts, [], 10)


SHAPE = (CPU, torch.float32, 6, 2, 16)


@pytest.fixture
def unknown() -> Iterator[None]:
    """Nothing is known of the kernel, before and after."""
    kernel_works.cache_clear()
    yield
    kernel_works.cache_clear()


@torch.no_grad()
def test_the_kernel_is_checked_before_it_is_used(unknown: None) -> None:
    assert kernel_works(*SHAPE)


@pytest.mark.parametrize("wrong", ["output", "gradient"])
def test_a_kernel_with_wrong_results_is_not_used(unknown: None, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = flex.flex_attention

    def broken(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **options: Any) -> torch.Tensor:
        if wrong == "output":
            options["block_mask"] = None
        return attention(query, key.detach() + 0 * key if wrong == "gradient" else key, value, **options)

    monkeypatch.setattr(flex, "flex_attention", broken)
    with pytest.warns(UserWarning, match=r"FlexAttention is not used on cpu: its relative error is [0-9]\.[0-9]+$"):
        assert not kernel_works(*SHAPE)


def test_a_kernel_that_cannot_be_compiled_is_not_used(unknown: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise NotImplementedError("embedding dimension\nmore")

    monkeypatch.setattr(flex, "flex_attention", fail)
    with pytest.warns(UserWarning, match="FlexAttention is not used on cpu: embedding dimension$"):
        assert not kernel_works(*SHAPE)
    assert not kernel_works(*SHAPE), "without another warning"


def test_on_a_cpu_the_attention_is_that_of_segments() -> None:
    assert not flex.uses_flex(models()["llama"])
