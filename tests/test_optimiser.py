"""The learning rate by hand, fp32 weights behind a bf16 model, and going on from a saved state."""

from __future__ import annotations

import copy
import io
from math import sqrt

import pytest
import torch

from tltrain.engine.optimiser import Optimiser, cosine


def test_cosine_with_a_quarter_of_warm_up() -> None:
    # 8 updates, 2 of them rising: 1/3, 2/3; then 0.5 * (1 + cos(pi * k / 6)) for k = 0..5.
    expected = [1 / 3, 2 / 3, 1, 0.5 + sqrt(3) / 4, 0.75, 0.5, 0.25, 0.5 - sqrt(3) / 4]
    assert [cosine(step, 8, 0.25) for step in range(8)] == pytest.approx(expected, abs=1e-12)
    assert cosine(8, 8, 0.25) == pytest.approx(0, abs=1e-12)


def test_cosine_at_its_edges() -> None:
    assert [cosine(step, 2, 0.0) for step in range(2)] == pytest.approx([1, 0.5])
    assert [cosine(step, 3, 1.0) for step in range(3)] == pytest.approx([0.25, 0.5, 0.75])
    assert cosine(0, 1, 0.0) == 1
    assert cosine(0, 100, 0.001) == 0.5  # a share of warm-up is at least one update


def parameters(dtype: torch.dtype, values: list[float] | None = None) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.tensor([values or [1.0, -2.0]], dtype=dtype))]


def optimiser(
    trained: list[torch.nn.Parameter], rate: float = 0.1, decay: float = 0.0, clip_norm: float = 1e9
) -> Optimiser:
    return Optimiser([(trained, rate)], (0.9, 0.95), decay, clip_norm)


def give(trained: list[torch.nn.Parameter], *gradients: list[float]) -> None:
    """As a backward pass would: added to what is there."""
    for parameter, gradient in zip(trained, gradients, strict=True):
        new = torch.tensor(gradient, dtype=parameter.dtype).view(parameter.shape)
        parameter.grad = new if parameter.grad is None else parameter.grad + new


def test_one_update_is_adam_s() -> None:
    # Gradient (8, -4) / 4 = (2, -1), norm sqrt(5). Adam's first step is rate * sign; at half the peak: 0.05.
    trained = parameters(torch.float32)
    adam = optimiser(trained)
    for part in ([5.0, -1.0], [3.0, -3.0]):
        give(trained, part)
        adam.accumulate()
    assert adam.step(4.0, 0.5) == pytest.approx(sqrt(5), rel=1e-6)
    assert trained[0].tolist()[0] == pytest.approx([0.95, -1.95], abs=1e-6)
    assert trained[0].grad is None


def test_the_norm_is_clipped_after_the_division() -> None:
    # (30, 40) / 10 = (3, 4) of norm 5, clipped to 1: (0.6, 0.8) is what Adam's first moment takes a tenth of.
    trained = parameters(torch.float32)
    adam = optimiser(trained, clip_norm=1.0)
    give(trained, [30.0, 40.0])
    adam.accumulate()
    assert adam.step(10.0, 1.0) == pytest.approx(5, rel=1e-5)
    assert adam.adam.state[trained[0]]["exp_avg"].tolist()[0] == pytest.approx([0.06, 0.08], rel=1e-4)


def test_matrices_are_decayed_and_vectors_are_not() -> None:
    matrix, vector = torch.nn.Parameter(torch.ones(1, 2)), torch.nn.Parameter(torch.ones(2))
    adam = optimiser([matrix, vector], rate=0.1, decay=0.5)
    give([matrix, vector], [0.0, 0.0], [1.0, -1.0])
    adam.accumulate()
    adam.step(1.0, 1.0)
    assert matrix.tolist() == [pytest.approx([0.95, 0.95])]
    assert vector.tolist() == pytest.approx([0.9, 1.1])


def test_groups_have_their_own_peak_rates() -> None:
    slow, fast = parameters(torch.float32), parameters(torch.float32)
    adam = Optimiser([(slow, 0.01), (fast, 0.1)], (0.9, 0.95), 0.0, 1e9)
    give([*slow, *fast], [1.0, 1.0], [1.0, 1.0])
    adam.accumulate()
    adam.step(1.0, 0.5)
    assert slow[0].tolist()[0] == pytest.approx([0.995, -2.005], abs=1e-6)
    assert fast[0].tolist()[0] == pytest.approx([0.95, -2.05], abs=1e-6)


def test_small_updates_add_up_behind_bf16_weights() -> None:
    """Next to 1, bf16 numbers lie 2^-8 apart downwards: a step of 0.0005 is lost, twenty of them are not."""
    plain = parameters(torch.bfloat16, [1.0, 1.0])
    lost = torch.optim.AdamW(plain, lr=0.0005, betas=(0.9, 0.95), weight_decay=0.0)
    kept = parameters(torch.bfloat16, [1.0, 1.0])
    adam = optimiser(kept, rate=0.0005)
    for _ in range(20):
        give(plain, [1.0, 1.0])
        lost.step()
        lost.zero_grad()
        give(kept, [1.0, 1.0])
        adam.accumulate()
        assert kept[0].grad is None
        adam.step(1.0, 1.0)
    assert plain[0].tolist() == [[1.0, 1.0]]
    assert adam.weights[0].dtype == torch.float32
    assert adam.weights[0].tolist()[0] == pytest.approx([0.99, 0.99], abs=1e-5)
    assert kept[0].dtype == torch.bfloat16
    assert torch.equal(kept[0], adam.weights[0].bfloat16())


def test_bf16_gradients_are_summed_in_fp32() -> None:
    """256 + 1 is 256 in bf16."""
    trained = parameters(torch.bfloat16)
    adam = optimiser(trained, clip_norm=1e9)
    for part in ([256.0, 0.0], [1.0, 0.0], [1.0, 0.0]):
        give(trained, part)
        adam.accumulate()
    assert adam.weights[0].grad.tolist() == [[258.0, 0.0]]
    assert adam.step(2.0, 1.0) == pytest.approx(129)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_state_goes_on_as_if_nothing_had_happened(dtype: torch.dtype) -> None:
    def updates(trained: list[torch.nn.Parameter], adam: Optimiser, numbers: range) -> None:
        for number in numbers:
            give(trained, [0.3 * number, -1.0])
            adam.accumulate()
            adam.step(1.0, 1 / (number + 1))

    whole = parameters(dtype)
    first = optimiser(whole, decay=0.1)
    updates(whole, first, range(3))
    stream = io.BytesIO()
    torch.save(first.state(), stream)
    updates(whole, first, range(3, 6))
    stream.seek(0)
    other = parameters(dtype)
    second = optimiser(other, decay=0.1)
    second.load(torch.load(stream, weights_only=True))
    updates(other, second, range(3, 6))
    assert torch.equal(whole[0], other[0])
    assert torch.equal(first.weights[0], second.weights[0])
    for name, value in copy.deepcopy(first.adam.state_dict()["state"][0]).items():
        assert torch.equal(value, second.adam.state_dict()["state"][0][name])
