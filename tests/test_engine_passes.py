"""Around the passes: trees built ahead, compiled layers, and gradients of a sharded model that are reduced once."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
import torch
from support.micro import micro_model
from support.trees import assert_same_gradients, gradients, logs, models, separate_nll

from tltrain.engine import sharding
from tltrain.engine.layers import compiled_layers, gradient_checkpointing
from tltrain.engine.passes import backward, build_trees, nll
from tltrain.engine.prefetch import Prefetch


def test_the_next_result_is_computed_on_another_thread() -> None:
    items, threads = [[1], [2], [2]], []

    def double(item: Sequence[int]) -> int:
        threads.append(threading.current_thread())
        return 2 * item[0]

    results = Prefetch(double)
    results.prepare(items[0])
    assert results.take(items[0]) == 2
    results.prepare(items[1])
    assert results.take(items[2]) == 4, "an equal item is not the same"
    assert results.take(items[1]) == 4, "what was not taken is computed again"
    assert threads[0] is not threading.current_thread()
    assert threads.count(threading.current_thread()) == 2


def test_an_error_on_the_other_thread_is_raised_where_the_result_is_taken() -> None:
    results, item = Prefetch[list[int], int](lambda item: item[0]), []
    results.prepare(item)
    with pytest.raises(IndexError):
        results.take(item)


def test_trees_built_ahead_give_the_same_gradients() -> None:
    model, sequences = micro_model(), logs()
    expected = backward(model, sequences, nll, 60)
    separate = gradients(model)
    assert backward(model, sequences, nll, 60, trees=build_trees(model, sequences)) == expected
    assert_same_gradients(gradients(model), separate)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_compiled_layers_give_the_same_gradients(recompute: bool) -> None:
    """In the compiler's form without generated code, which takes minutes of compilation."""
    model, sequences = models()["gemma3"], logs()
    expected = separate_nll(model, sequences)
    expected.backward()
    separate = gradients(model)
    with compiled_layers(model, "aot_eager"):
        compiled = [name for name, module in model.named_modules() if "forward" in vars(module)]
        if recompute:
            with gradient_checkpointing(model):
                found = backward(model, sequences, nll, 60)
        else:
            found = backward(model, sequences, nll, 60)
    assert [name.removeprefix("model.layers.0.") for name in compiled if ".0." in name] == [
        "mlp",
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    ]
    assert found.loss == pytest.approx(expected.item(), rel=1e-5)
    assert_same_gradients(gradients(model), separate)
    assert not [name for name, module in model.named_modules() if "forward" in vars(module)]


@pytest.mark.parametrize("keep", [False, True])
def test_gradients_of_a_sharded_model_are_reduced_once(keep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a model that is not sharded and notes what it is told."""
    model, sequences, told = micro_model(), logs(), list[bool]()
    model.set_requires_gradient_sync = told.append
    monkeypatch.setattr(sharding, "keeps_whole_gradients", lambda _: keep)
    expected = backward(model, sequences, nll, 10_000)
    separate = gradients(model)
    trees = sharding.build_trees(sequences, 120)
    found = sharding.backward(model, sequences, nll, 120, trees=trees)
    assert told == ([False] * (len(trees) - 1) + [True] if keep else [True] * len(trees))
    assert len(trees) > 2
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    assert found.separate_tokens == expected.separate_tokens
    assert_same_gradients(gradients(model), separate)


def test_on_a_cpu_gradients_are_kept_whole() -> None:
    assert sharding.keeps_whole_gradients(micro_model().to(torch.bfloat16))
