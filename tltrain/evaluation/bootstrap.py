"""Intervals by resampling both the items and the random seeds of an experiment.

A value is known for each seed and item, such as the difference of two models' verdicts. Both vary: other items and
another seed would have given another mean. A confidence interval has to cover both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
LEVEL = 0.95
_CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds and items, in the unit of the values."""

    mean: float
    se: float
    """Standard error of the mean."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    p: float
    """Two-sided p-value of the hypothesis that the mean is zero."""


@dataclass(frozen=True, slots=True)
class Components:
    """Deviations from the mean, and the variance of the mean that seeds and items account for."""

    mean: float
    of_seeds: NDArray[np.float64]
    """(S,) deviation of each seed's mean."""
    of_items: NDArray[np.float64]
    """(I,) deviation of each item's mean."""
    seeds: float
    """Variance of the mean due to the seeds, beyond what the items' noise explains; 0 for a single seed."""
    items: float
    """Variance of the mean due to the items."""


def components(values: NDArray[np.float64]) -> Components:
    """Two-way analysis of variance of (S, I) values: a row for each seed, a column for each item.

    The seeds' means also differ by chance, since each contains the noise of single items: its expected share is
    subtracted from the variance of the seeds, so that it does not count twice.
    """
    seeds, items = values.shape
    mean = float(values.mean())
    of_seeds, of_items = values.mean(axis=1) - mean, values.mean(axis=0) - mean
    between_items = float((of_items**2).sum()) / (items - 1) if items > 1 else 0.0
    if seeds == 1:
        return Components(mean, of_seeds, of_items, 0.0, between_items / items)
    noise = 0.0
    if items > 1:
        residuals = values - mean - of_seeds[:, None] - of_items[None, :]
        noise = float((residuals**2).sum()) / ((seeds - 1) * (items - 1))
    between_seeds = float((of_seeds**2).sum()) / (seeds - 1)
    beyond_noise = max(between_seeds - noise / items, 0.0)
    return Components(mean, of_seeds, of_items, beyond_noise / seeds, between_items / items)


def hierarchical_bootstrap(values: NDArray[np.float64], resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The mean of (S, I) values with its interval: seeds and items are resampled independently of each other, as every
    seed is evaluated on the same items (Owen 2007, "The pigeonhole bootstrap").

    Two corrections make the interval hold for few seeds. The deviations of resampled means are scaled to the unbiased
    variances of `components`. Those of the seeds are also divided by `sqrt(chi2 / (S - 1))` with a new chi-squared
    number of S - 1 degrees of freedom each time: their variance is itself estimated from S values, and Student's t
    distribution follows from the normal in the same way. With a single seed the interval is over the items alone.

    The p-value is at least `2 * 0.5**k` for `k` items whose values are not zero, the smallest that flipping their signs
    can give: a few items that agree by chance say nothing about the spread of others.

    Raises:
        ValueError: there is no seed or no item.
    """
    if values.ndim != 2 or not values.size:
        raise ValueError(f"expected values of at least one seed and one item, found shape {values.shape}")
    parts = components(values)
    rng = np.random.default_rng(seed)
    draws = parts.mean + _resampled_items(parts, resamples, seed) + _resampled_seeds(parts, resamples, rng)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    beyond = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    changed = int(np.count_nonzero(values.mean(axis=0)))
    p_value = min(1.0, max(2 * (beyond + 1) / (resamples + 1), 2 * 0.5**changed))
    return Estimate(parts.mean, sqrt(parts.seeds + parts.items), float(low), float(high), p_value)


def _resampled_items(parts: Components, resamples: int, seed: int) -> NDArray[np.float64]:
    """(resamples,) deviations of the mean over resampled items."""
    count = len(parts.of_items)
    if count == 1 or not parts.items:
        return np.zeros(resamples)
    counts = _item_counts(count, resamples, seed)
    starts = range(0, resamples, _CHUNK)
    sums = np.concatenate([counts[start : start + _CHUNK].astype(np.float64) @ parts.of_items for start in starts])
    return np.asarray(sums / count * sqrt(count / (count - 1)))


def _resampled_seeds(parts: Components, resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(resamples,) deviations of the mean over resampled seeds."""
    count = len(parts.of_seeds)
    spread = float((parts.of_seeds**2).sum()) / count**2  # the variance of a resampled mean
    if not parts.seeds or not spread:
        return np.zeros(resamples)
    means = parts.of_seeds[rng.integers(count, size=(resamples, count))].mean(axis=1)
    uncertain = np.sqrt((count - 1) / rng.chisquare(count - 1, resamples))
    return np.asarray(means * sqrt(parts.seeds / spread) * uncertain)


@lru_cache(maxsize=8)  # an ablation alternates between tests and kinds of items
def _item_counts(items: int, resamples: int, seed: int) -> NDArray[np.int16]:
    """(resamples, items) how often each item is drawn; equal for all comparisons on the same number of items."""
    rng = np.random.default_rng([seed, items])
    counts = np.empty((resamples, items), np.int16)
    for row in counts:
        row[:] = np.bincount(rng.integers(items, size=items), minlength=items)
    counts.setflags(write=False)
    return counts
