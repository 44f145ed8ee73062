"""Whether differences between models are real: computed here alone, saved as `comparison.json`, read by the pages.

Works on what an evaluation saved: the rows of `scores.json` and the verdicts of `predictions/*.jsonl`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import comb, hypot, sqrt
from pathlib import Path
from statistics import fmean, variance
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from tltrain.evaluation.bootstrap import hierarchical_bootstrap
from tltrain.evaluation.metrics import METRICS
from tltrain.evaluation.predictions import Prediction, saved_predictions
from tltrain.evaluation.scores import Score
from tltrain.files import read_json, write_json

LEVEL = 0.05
"""A smaller p-value is called significant."""
FEW = 30
"""With fewer items, pages show counts in place of percentages, and models are compared by paired items only: standard
errors of percentages of so few items say little, McNemar's test is exact for any number."""
NOISE_LEVELS = ("clean", "slight", "medium", "heavy", "union")
Outcomes = Mapping[int, bool]
"""Whether something holds, such as a metric, by the index of the item."""


class Comparison(BaseModel):
    """The difference of two models in a metric on a split."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    bench: str
    """Name of the test set."""
    split: str
    """Its split."""
    model: str
    """The model whose gain is measured."""
    against: str
    """The model it is compared with."""
    metric: str
    """Such as `CF`."""
    points: float
    """Difference of the percentages."""
    se: float | None = None
    """Its standard error, in points: of paired differences where `n` is set, else of independent samples."""
    n: int | None = None
    """Items that both models answered; None if the outcomes of single items are not known."""
    only_first: int | None = None
    """Items that only `model` got right."""
    only_second: int | None = None
    """Items that only `against` got right."""
    p: float | None = None
    """Two-sided p-value of McNemar's exact test; None without paired items."""
    p_holm: float | None = None
    """The same after Holm's correction over all comparisons of the evaluation."""

    @property
    def significant(self) -> bool:
        """Whether p < 0.05, or, without paired items, whether the difference is two standard errors or more."""
        if self.p is not None:
            return self.p < LEVEL
        return self.se is not None and self.points != 0 and abs(self.points) >= 2 * self.se

    @property
    def verdict(self) -> str:
        """`higher` or `lower` where significant, else `within noise`; `no standard error` where there is none."""
        if self.se is None:
            return "no standard error"
        if not self.significant:
            return "within noise"
        return "higher" if self.points > 0 else "lower"

    @property
    def text(self) -> str:
        """Signed points and their standard error."""
        sign = "−" if round(self.points, 1) < 0 else "+"
        return f"{sign}{abs(self.points):.1f}" + ("" if self.se is None else f" ± {self.se:.1f}")


class ErrorChange(BaseModel):
    """How often two models make one kind of error on a split, of the items that both answered."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    bench: str
    """Name of the test set."""
    split: str
    """Its split."""
    model: str
    """The later model."""
    against: str
    """The model it is compared with."""
    category: str
    """The kind of error, such as `argument_missing`."""
    n: int
    """Items that both models answered."""
    before: int
    """Errors of this kind by `against`."""
    after: int
    """Errors of this kind by `model`."""
    p: float
    """Two-sided p-value of McNemar's exact test."""
    p_holm: float
    """The same after Holm's correction over the kinds of error of these two models on this split."""

    @property
    def significant(self) -> bool:
        """Whether the corrected p-value is below 0.05."""
        return self.p_holm < LEVEL


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p-value of McNemar's exact test: of the items that one of two models got right, each is as likely to be
    either's. Counts of items that only the first or only the second model got right; 1 where there is none."""
    n = only_first + only_second
    tail = sum(comb(n, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / (1 << n))  # integers until the division, as they exceed the range of floats


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values after Holm's step-down correction (Holm 1979), in the same order."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, position in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        corrected[position] = largest
    return corrected


def paired(first: Outcomes, second: Outcomes) -> dict[str, Any]:
    """The first model against the second on the items that both answered: the fields of a `Comparison` from `points` to
    `p`. `se` is the standard error of the mean difference over the items."""
    shared = first.keys() & second.keys()
    n = len(shared)
    ahead = sum(first[index] and not second[index] for index in shared)
    behind = sum(second[index] and not first[index] for index in shared)
    mean = (ahead - behind) / max(n, 1)
    error = sqrt(max((ahead + behind) / max(n, 1) - mean * mean, 0.0) / max(n, 1))
    return {
        "n": n,
        "points": 100 * mean,
        "se": 100 * error,
        "only_first": ahead,
        "only_second": behind,
        "p": mcnemar(ahead, behind),
    }


def compare(scores: Sequence[Score], folder: Path | None = None) -> list[Comparison]:
    """Every later model of the scores against every earlier one, on every split, paired where `folder`, the run
    directory, has the verdicts of both."""
    found = [comparison for rows in by_split(scores) for comparison in _compare_split(rows, folder)]
    corrected = iter(holm([comparison.p for comparison in found if comparison.p is not None]))
    return [
        comparison if comparison.p is None else comparison.model_copy(update={"p_holm": next(corrected)})
        for comparison in found
    ]


def _compare_split(rows: Sequence[Score], folder: Path | None) -> list[Comparison]:
    found = {row.model: saved_predictions(folder, row.model, row.bench, row.split) if folder else [] for row in rows}
    comparisons = []
    for reference, row in combinations(rows, 2):
        for metric in METRICS:
            if metric in row.metrics and metric in reference.metrics:
                sides = [outcomes(found[score.model], metric) for score in (row, reference)]
                result = paired(*sides) if all(sides) else _independent(row, reference, metric)
                result |= {"bench": row.bench, "split": row.split, "model": row.model, "against": reference.model}
                comparisons.append(Comparison(metric=metric, **result))
    return comparisons


def _independent(row: Score, reference: Score, metric: str) -> dict[str, Any]:
    """The difference of two percentages whose items cannot be paired; of few items without a standard error."""
    if min(row.n, reference.n) < FEW:
        return {"points": row.metrics[metric] - reference.metrics[metric], "se": None}
    errors = [error for score in (row, reference) if (error := score.se.get(metric)) is not None]
    points = row.metrics[metric] - reference.metrics[metric]
    return {"points": points, "se": hypot(*errors) if len(errors) == 2 else None}


def outcomes(predictions: Iterable[Prediction], metric: str) -> dict[int, bool]:
    """Whether the metric holds, by index, for the predictions whose verdict says so."""
    return {
        prediction.index: prediction.outcomes[metric] for prediction in predictions if metric in prediction.outcomes
    }


def error_changes(rows: Sequence[Score], folder: Path) -> list[ErrorChange]:
    """For every later model of one split against every earlier one, each kind of error that either makes, where
    `folder`, the run directory, has the verdicts of both."""
    found = {row.model: _categories(saved_predictions(folder, row.model, row.bench, row.split)) for row in rows}
    changes = []
    for reference, row in combinations(rows, 2):
        before, after = found[reference.model], found[row.model]
        shared = sorted(before.keys() & after.keys())
        kinds = sorted({side[index] for side in (before, after) for index in shared} - {"right"})
        tests = []
        for kind in kinds:
            first, second = ({index: side[index] == kind for index in shared} for side in (after, before))
            tests.append((sum(second.values()), sum(first.values()), float(paired(first, second)["p"])))
        corrected = holm([p for _, _, p in tests])
        names = {"bench": row.bench, "split": row.split, "model": row.model, "against": reference.model}
        changes += [
            ErrorChange(**names, category=kind, n=len(shared), before=count, after=later, p=p, p_holm=p_holm)
            for kind, (count, later, p), p_holm in zip(kinds, tests, corrected, strict=True)
        ]
    return changes


def _categories(predictions: Iterable[Prediction]) -> dict[int, str]:
    """The kind of error by index, or `right`, of the predictions whose verdict has one."""
    verdicts = ((prediction.index, prediction.verdict or {}) for prediction in predictions)
    return {index: str(verdict["category"]) for index, verdict in verdicts if "category" in verdict}


def by_split(scores: Iterable[Score]) -> list[list[Score]]:
    """The rows of each test set and split, in their order."""
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.bench, score.split), []).append(score)
    return list(groups.values())


def saved_scores(folder: Path) -> list[Score]:
    """The rows of `scores.json` in the default protocol."""
    return [row for row in _saved_rows(folder) if row.protocol in (None, "default")]


def _saved_rows(folder: Path) -> list[Score]:
    path = folder / "scores.json"
    return [Score.model_validate(row) for row in (read_json(path) if path.exists() else [])]


def write_significance(folder: Path) -> None:
    """Write `robustness.json`, where RoTBench was scored, and `comparison.json`, where there are several models."""
    levels = robustness(folder)
    if levels:
        write_json(folder / "robustness.json", levels)
    path = folder / "general.json"
    general: list[dict[str, Any]] = read_json(path) if path.exists() else []
    differences = general_differences(general)
    found = comparison_json(folder) | {
        "robustness": levels,
        "general": [{name: value for name, value in row.items() if name != "items"} for row in general],
        "general_differences": differences,
    }
    if differences or any(test["pairs"] for test in found["tests"]):
        write_json(folder / "comparison.json", found)


def general_differences(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows `{model, against, task, metric, difference, se, low, high, p, n}`: for every later model against every
    earlier one, the mean difference over the items of a task of lm-eval, in the metric's unit, with its 95 % bootstrap
    interval. A metric without a value for each item is not compared."""
    found = []
    for before, after in combinations(rows, 2):
        same = all(before[name] == after[name] for name in ("task", "metric", "asked"))
        first, second = before.get("items"), after.get("items")
        if same and before["model"] != after["model"] and first and second and len(first) == len(second):
            estimate = hierarchical_bootstrap(np.array([second]) - np.array([first]))
            values = {"difference": estimate.mean, "se": estimate.se, "low": estimate.low, "high": estimate.high}
            names = {"model": after["model"], "against": before["model"]}
            names |= {name: after[name] for name in ("task", "metric")}
            found.append({**names, **values, "p": estimate.p, "n": len(first)})
    return found


def comparison_json(folder: Path) -> dict[str, Any]:
    """The content of `comparison.json` but for robustness and general ability: for each test its rows and comparisons,
    and under `paper` the rows of the paper's protocol, which are not compared."""
    scores = saved_scores(folder)
    comparisons = compare(scores, folder)
    tests = []
    for rows in by_split(scores):
        bench, split = rows[0].bench, rows[0].split
        pairs = [pair.model_dump() for pair in comparisons if (pair.bench, pair.split) == (bench, split)]
        errors = [change.model_dump(exclude={"bench", "split"}) for change in error_changes(rows, folder)]
        models = [row.to_json() for row in rows]
        tests.append({"bench": bench, "split": split, "models": models, "pairs": pairs, "errors": errors})
    method = "McNemar's exact test, two-sided, on the items that both models answered; Holm's correction over all tests"
    paper = [row.to_json() for row in _saved_rows(folder) if row.protocol == "paper"]
    return {"tests": tests, "test": method, "paper": paper}


def robustness(folder: Path) -> list[dict[str, Any]]:
    """RoTBench's table: a row for each model, turn and noise level with `TS`, `PI`, `CF`, `se`, and from the second
    level on `drop`, the points lost against clean, with `drop_se`, by metric.

    Levels are paired by their queries, a clean item with the mean of its noisy versions (`pairing: "queries"`);
    where the queries differ, the levels are taken as independent (`"none"`).
    """
    rows = [row for row in saved_scores(folder) if row.bench == "rotbench" and _level(row) in NOISE_LEVELS]
    table = []
    for model, turn in dict.fromkeys((row.model, row.split.partition("/")[0]) for row in rows):
        own = {_level(row): row for row in rows if row.model == model and row.split.startswith(turn + "/")}
        found = {level: saved_predictions(folder, model, "rotbench", f"{turn}/{level}") for level in own}
        for level in (level for level in NOISE_LEVELS if level in own):
            values = own[level].model_dump(include={"n", "TS", "PI", "CF", "se"})
            row = {"model": model, "turn": turn, "level": level, **values}
            table.append(row | (_drop(found["clean"], found[level]) if level != "clean" and "clean" in own else {}))
    return table


def _level(row: Score) -> str:
    return row.split.partition("/")[2]


def _drop(clean: Sequence[Prediction], noisy: Sequence[Prediction]) -> dict[str, Any]:
    drops: dict[str, float] = {}
    errors: dict[str, float] = {}
    pairing = ""
    for metric in ("TS", "PI", "CF"):
        before, after = _by_query(clean, metric), _by_query(noisy, metric)
        if not before or not after:
            continue  # no predictions were saved
        same = before.keys() == after.keys() and all(len(values) == 1 for values in before.values())
        pairing = "queries" if same else "none"
        if same:
            changes = [before[query][0] - fmean(after[query]) for query in before]
            drops[metric], errors[metric] = fmean(changes), _standard_error(changes)
        else:
            pooled = [[value for values in side.values() for value in values] for side in (before, after)]
            drops[metric] = fmean(pooled[0]) - fmean(pooled[1])
            errors[metric] = hypot(*map(_standard_error, pooled))
    scaled = ({name: 100 * value for name, value in values.items()} for values in (drops, errors))
    return dict(zip(("drop", "drop_se"), scaled, strict=True)) | {"pairing": pairing} if drops else {}


def _by_query(predictions: Sequence[Prediction], metric: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for prediction in predictions:
        if metric in prediction.outcomes:
            found.setdefault(str(prediction.query), []).append(float(prediction.outcomes[metric]))
    return found


def _standard_error(values: Sequence[float]) -> float:
    """Standard error of the mean; 0 of fewer than two values."""
    return sqrt(variance(values) / len(values)) if len(values) > 1 else 0.0
