"""The learning rate computed by hand, fp32 weights of a bf16 model, and resuming from a saved state."""

from __future__ import annotations

import copy
import io
import math
from math import sqrt

import pytest
import torch

from tltrain.config import OptimiserConfig
from tltrain.engine.optimiser import Optimiser, rate_share
from tltrain.errors import RunError


def cosine(step: int, steps: int, warmup: float) -> float:
    return rate_share(OptimiserConfig(learning_rate=1, warmup=warmup), step, steps)


def test_cosine_with_a_quarter_of_warm_up() -> None:
    # 8 updates, the rate rises in 2 of them: 1/3, 2/3; then 0.5 * (1 + cos(pi * k / 6)) for k = 0..5.
    expected = [1 / 3, 2 / 3, 1, 0.5 + sqrt(3) / 4, 0.75, 0.5, 0.25, 0.5 - sqrt(3) / 4]
    assert [cosine(step, 8, 0.25) for step in range(8)] == pytest.approx(expected, abs=1e-12)
    assert cosine(8, 8, 0.25) == pytest.approx(0, abs=1e-12)


def test_boundary_cases_of_cosine() -> None:
    assert [cosine(step, 2, 0.0) for step in range(2)] == pytest.approx([1, 0.5])
    assert [cosine(step, 3, 1.0) for step in range(3)] == pytest.approx([0.25, 0.5, 0.75])
    assert cosine(0, 1, 0.0) == 1
    assert cosine(0, 100, 0.001) == 0.5  # warm-up takes at least one update


def parameters(dtype: torch.dtype, values: list[float] | None = None) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.tensor([values or [1.0, -2.0]], dtype=dtype))]


def optimiser(
    trained: list[torch.nn.Parameter], rate: float = 0.1, decay: float = 0.0, clip_norm: float = 1e9
) -> Optimiser:
    return Optimiser([(trained, rate)], (0.9, 0.95), decay, clip_norm)


def add_gradients(trained: list[torch.nn.Parameter], *gradients: list[float]) -> None:
    """Add gradients to those of the parameters, as a backward pass does."""
    for parameter, gradient in zip(trained, gradients, strict=True):
        new = torch.tensor(gradient, dtype=parameter.dtype).view(parameter.shape)
        parameter.grad = new if parameter.grad is None else parameter.grad + new


def test_an_update_equals_that_of_adam() -> None:
    # Gradient (8, -4) / 4 = (2, -1), norm sqrt(5). Adam's first step is rate * sign, at half of the peak rate 0.05.
    trained = parameters(torch.float32)
    adam = optimiser(trained)
    for part in ([5.0, -1.0], [3.0, -3.0]):
        add_gradients(trained, part)
        adam.accumulate()
    assert adam.step(4.0, 0.5) == pytest.approx(sqrt(5), rel=1e-6)
    assert trained[0].tolist()[0] == pytest.approx([0.95, -1.95], abs=1e-6)
    assert trained[0].grad is None


def test_the_norm_is_clipped_after_division_by_the_normaliser() -> None:
    # (30, 40) / 10 = (3, 4) of norm 5, clipped to 1: Adam's first moment is a tenth of (0.6, 0.8).
    trained = parameters(torch.float32)
    adam = optimiser(trained, clip_norm=1.0)
    add_gradients(trained, [30.0, 40.0])
    adam.accumulate()
    assert adam.step(10.0, 1.0) == pytest.approx(5, rel=1e-5)
    assert adam.adam.state[trained[0]]["exp_avg"].tolist()[0] == pytest.approx([0.06, 0.08], rel=1e-4)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_changes_no_weight(value: float) -> None:
    trained = parameters(torch.float32)
    adam = optimiser(trained)
    add_gradients(trained, [value, 1.0])
    with pytest.raises(RunError, match=f"the gradients of update 3 have norm {value}; a lower learning rate may help"):
        adam.step(1.0, 1.0, "update 3")
    assert trained[0].tolist() == [[1.0, -2.0]]


def test_matrices_are_decayed_and_vectors_are_not() -> None:
    matrix, vector = torch.nn.Parameter(torch.ones(1, 2)), torch.nn.Parameter(torch.ones(2))
    adam = optimiser([matrix, vector], rate=0.1, decay=0.5)
    add_gradients([matrix, vector], [0.0, 0.0], [1.0, -1.0])
    adam.accumulate()
    adam.step(1.0, 1.0)
    assert matrix.tolist() == [pytest.approx([0.95, 0.95])]
    assert vector.tolist() == pytest.approx([0.9, 1.1])


def test_groups_have_their_own_peak_rates() -> None:
    slow, fast = parameters(torch.float32), parameters(torch.float32)
    adam = Optimiser([(slow, 0.01), (fast, 0.1)], (0.9, 0.95), 0.0, 1e9)
    add_gradients([*slow, *fast], [1.0, 1.0], [1.0, 1.0])
    adam.accumulate()
    adam.step(1.0, 0.5)
    assert slow[0].tolist()[0] == pytest.approx([0.995, -2.005], abs=1e-6)
    assert fast[0].tolist()[0] == pytest.approx([0.95, -2.05], abs=1e-6)


def test_small_updates_of_bf16_weights_accumulate() -> None:
    """The bf16 number below 1 is 1 - 2^-8: a single step of 0.0005 is lost in bf16, twenty steps in fp32 are not."""
    plain = parameters(torch.bfloat16, [1.0, 1.0])
    plain_adam = torch.optim.AdamW(plain, lr=0.0005, betas=(0.9, 0.95), weight_decay=0.0)
    trained = parameters(torch.bfloat16, [1.0, 1.0])
    adam = optimiser(trained, rate=0.0005)
    for _ in range(20):
        add_gradients(plain, [1.0, 1.0])
        plain_adam.step()
        plain_adam.zero_grad()
        add_gradients(trained, [1.0, 1.0])
        adam.accumulate()
        assert trained[0].grad is None
        adam.step(1.0, 1.0)
    assert plain[0].tolist() == [[1.0, 1.0]]
    assert adam.weights[0].dtype == torch.float32
    assert adam.weights[0].tolist()[0] == pytest.approx([0.99, 0.99], abs=1e-5)
    assert trained[0].dtype == torch.bfloat16
    assert torch.equal(trained[0], adam.weights[0].bfloat16())


def test_bf16_gradients_are_summed_in_fp32() -> None:
    """In bf16, 256 + 1 is 256."""
    trained = parameters(torch.bfloat16)
    adam = optimiser(trained, clip_norm=1e9)
    for part in ([256.0, 0.0], [1.0, 0.0], [1.0, 0.0]):
        add_gradients(trained, part)
        adam.accumulate()
    assert adam.weights[0].grad.tolist() == [[258.0, 0.0]]
    assert adam.step(2.0, 1.0) == pytest.approx(129)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_resumed_updates_equal_uninterrupted_updates(dtype: torch.dtype) -> None:
    def updates(trained: list[torch.nn.Parameter], adam: Optimiser, numbers: range) -> None:
        for number in numbers:
            add_gradients(trained, [0.3 * number, -1.0])
            adam.accumulate()
            adam.step(1.0, 1 / (number + 1))

    uninterrupted = parameters(dtype)
    first = optimiser(uninterrupted, decay=0.1)
    updates(uninterrupted, first, range(3))
    stream = io.BytesIO()
    torch.save(first.state(), stream)
    updates(uninterrupted, first, range(3, 6))
    stream.seek(0)
    resumed = parameters(dtype)
    second = optimiser(resumed, decay=0.1)
    second.load(torch.load(stream, weights_only=True))
    updates(resumed, second, range(3, 6))
    assert torch.equal(uninterrupted[0], resumed[0])
    assert torch.equal(first.weights[0], second.weights[0])
    for name, value in copy.deepcopy(first.adam.state_dict()["state"][0]).items():
        assert torch.equal(value, second.adam.state_dict()["state"][0][name])
