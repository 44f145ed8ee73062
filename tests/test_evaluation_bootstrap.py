"""Intervals over seeds and items: values derived by hand, and coverage by simulation."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from tltrain.evaluation.bootstrap import components, hierarchical_bootstrap

# Two seeds, two items. Mean 3; the seeds' means are 2 and 4, the items' 1 and 5, so no residual is left.
ADDITIVE = np.array([[0.0, 4.0], [2.0, 6.0]])
# Residuals of ±1, and nothing else.
INTERACTION = np.array([[1.0, -1.0], [-1.0, 1.0]])


def test_components_of_additive_values() -> None:
    found = components(ADDITIVE)
    assert found.mean == 3.0
    assert found.of_seeds.tolist() == [-1.0, 1.0]
    assert found.of_items.tolist() == [-2.0, 2.0]
    assert found.seeds == pytest.approx((1 + 1) / (2 - 1) / 2)
    assert found.items == pytest.approx((4 + 4) / (2 - 1) / 2)


def test_noise_of_items_does_not_count_as_variance_of_seeds() -> None:
    found = components(INTERACTION)
    assert (found.seeds, found.items) == (0.0, 0.0)
    # The seeds' means ±1 have variance 2, the residuals ±3 variance 36: 36 / 2 items exceeds 2.
    mixed = components(INTERACTION * 3 + np.array([[1.0], [-1.0]]))
    assert mixed.of_seeds.tolist() == [1.0, -1.0]
    assert mixed.seeds == 0.0
    # With residuals ±0.5 of variance 1, 2 - 1 / 2 remains for the seeds, halved for the mean of two.
    assert components(INTERACTION / 2 + np.array([[1.0], [-1.0]])).seeds == pytest.approx((2 - 1 / 2) / 2)


def test_standard_error_of_a_single_seed_is_that_of_the_items() -> None:
    verdicts = np.array([[1.0] * 30 + [0.0] * 70])
    found = hierarchical_bootstrap(verdicts)
    assert found.mean == pytest.approx(0.3)
    assert found.se == pytest.approx(sqrt(0.3 * 0.7 / 99))  # binomial, with n - 1
    assert found.low == pytest.approx(0.3 - 1.96 * found.se, abs=0.011)  # means of 100 items are multiples of 0.01
    assert found.high == pytest.approx(0.3 + 1.96 * found.se, abs=0.011)


def test_without_any_difference_the_interval_is_a_point() -> None:
    found = hierarchical_bootstrap(np.zeros((3, 50)))
    assert (found.mean, found.se, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 0.0, 1.0)


def test_a_difference_in_every_item_has_the_smallest_p() -> None:
    found = hierarchical_bootstrap(np.ones((3, 50)), resamples=999)
    assert found.p == pytest.approx(2 / 1000)
    assert (found.low, found.high) == (1.0, 1.0)


@pytest.mark.parametrize(("items", "p"), [(1, 1.0), (3, 0.25), (6, 2 / 64)])
def test_few_items_that_all_agree_are_not_certain(items: int, p: float) -> None:
    padded = np.concatenate([np.ones((3, items)), np.zeros((3, 0 if items < 6 else 2))], axis=1)
    assert hierarchical_bootstrap(padded).p == pytest.approx(p), "as McNemar's exact test"


def test_p_and_interval_agree() -> None:
    rng = np.random.default_rng(0)
    for shift in np.linspace(0, 0.2, 15):
        values = rng.normal(shift, 0.5, (3, 60))
        found = hierarchical_bootstrap(values, resamples=1000)
        assert (found.low > 0 or found.high < 0) == (found.p < 0.05), found


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(0).normal(size=(3, 40))
    assert hierarchical_bootstrap(values, 500, seed=1) == hierarchical_bootstrap(values, 500, seed=1)
    assert hierarchical_bootstrap(values, 500, seed=1) != hierarchical_bootstrap(values, 500, seed=2)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,)])
def test_nothing_to_resample_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one seed and one item"):
        hierarchical_bootstrap(np.zeros(shape))


def coverage(seeds: int, of_seeds: float, experiments: int = 400) -> float:
    """How often the interval contains the true mean 0, with the given standard deviation between seeds."""
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(experiments):
        items = rng.normal(0, 0.4, (1, 100))
        values = rng.normal(0, of_seeds, (seeds, 1)) + items + rng.normal(0, 0.3, (seeds, 100))
        found = hierarchical_bootstrap(values, resamples=600)
        hits += found.low <= 0 <= found.high
    return hits / experiments


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("of_seeds", [0.0, 0.03, 0.2], ids=["no", "some", "much"])
def test_intervals_cover_the_truth_whatever_the_spread_of_seeds(seeds: int, of_seeds: float) -> None:
    """The standard error of 400 experiments at 95 % is 1.1 points."""
    assert 0.92 <= coverage(seeds, of_seeds) <= 0.99


def test_a_single_seed_says_nothing_about_other_seeds() -> None:
    assert coverage(1, 0.0) > 0.92
    assert coverage(1, 0.2) < 0.5
