"""From the records of runs to `ablation.json`: scores, effects of MAE, PKT and IRM, sweeps, errors and costs.

Everything is computed from the records alone, with fixed random seeds, so that the same records give the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, combinations, pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tltrain.ablation.grid import BASE, GRID_ARMS, PARTS, Overrides, Run, frozen, lacking, relevant, value_of
from tltrain.ablation.kinds import KINDS, Kind
from tltrain.ablation.records import Record, Test, read_records
from tltrain.arms import ARMS
from tltrain.errors import DataError
from tltrain.evaluation.bootstrap import RESAMPLES, Estimate, hierarchical_bootstrap
from tltrain.evaluation.metrics import METRICS
from tltrain.evaluation.significance import holm
from tltrain.files import write_json
from tltrain.progress import quantity

COMBINATIONS = {"MAE+PKT": ("mae", "pkt"), "MAE+PKT+IRM": ("mae", "pkt", "irm")}
"""Several parts together: what SFT can have of the method, and all of it."""
_FIELDS = PARTS | COMBINATIONS
METHOD = (
    f"Paired differences with 95 % intervals from {RESAMPLES:,} hierarchical bootstrap resamples of random seeds and "
    "test items; two-sided p-values. Holm's correction covers all effects on one metric: the means over all pairs of "
    "arms as one family, the single pairs as another, several parts together as a third, the effects on each kind of "
    "item as a fourth, and each sweep as one."
)
Values = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Results:
    """The records of an ablation, by run."""

    records: Mapping[Run, Record]

    @classmethod
    def read(cls, folder: Path) -> Results:
        """Read all records.

        Raises:
            DataError: there are none, or a file is not a record.
        """
        records = {record.run: record for record in read_records(folder)}
        if not records:
            raise DataError("no records of runs there; run the ablation first", folder / "runs")
        return cls(records)

    @property
    def seeds(self) -> list[int]:
        """All random seeds."""
        return sorted({run.seed for run in self.records if run.seed is not None})

    @property
    def tests(self) -> list[Test]:
        """The test splits, in the order of evaluation."""
        every = (record.tests for record in self.records.values())
        return list(dict.fromkeys((test["bench"], test["split"]) for tests in every for test in tests))

    @property
    def metrics(self) -> list[str]:
        """The metrics that items of these tests have."""
        known = {metric for record in self.records.values() for _, metric in record.outcomes}
        return [name for name in METRICS if name in known]

    def runs(self, arm: str, setting: Overrides) -> dict[int | None, Record]:
        """The records of an arm in a setting, by random seed."""
        overrides = relevant(ARMS[arm], setting)
        seeds = [None] if arm == BASE else self.seeds
        found = {seed: self.records.get(Run(arm, seed, overrides)) for seed in seeds}
        return {seed: record for seed, record in found.items() if record is not None}

    @property
    def kinds(self) -> list[tuple[Test, Kind]]:
        """The kinds of items that each test has, in the order of evaluation and of `KINDS`."""
        known = {test: set(kinds.values()) for test, kinds in self._kinds.items()}
        return [(test, kind) for test in self.tests for kind in KINDS if kind in known.get(test, ())]

    @cached_property
    def _kinds(self) -> dict[Test, dict[int, str]]:
        """The kind of each item, by its index, for each test."""
        found: dict[Test, dict[int, str]] = {}
        for record in self.records.values():
            for test, kinds in record.kinds.items():
                found.setdefault(test, {}).update(kinds)
        return found

    def values(
        self, arms: Sequence[str], setting: Overrides, test: Test, metric: str, kind: Kind | None = None
    ) -> dict[str, Values] | None:
        """(S, I) outcomes, 0 or 1, of each arm on the random seeds and items that all of them have; None if there are
        none. The base model has the same outcomes for every seed. `kind`: on items of this kind only."""
        return self._aligned({arm: self._outcomes(arm, setting, test, metric) for arm in arms}, test, kind)

    def change(self, arm: str, settings: tuple[Overrides, Overrides], test: Test, metric: str) -> Values | None:
        """(S, I) differences of an arm's outcomes in the second setting from those in the first, on the random seeds
        and items that both have; None if there are none."""
        found = {number: self._outcomes(arm, setting, test, metric) for number, setting in enumerate(settings)}
        aligned = self._aligned(found, test)
        return None if aligned is None else aligned[1] - aligned[0]

    def _aligned(
        self, found: Mapping[Key, Mapping[int | None, Mapping[int, bool]]], test: Test, kind: Kind | None = None
    ) -> dict[Key, Values] | None:
        """Outcomes by seed and item as arrays over what all of them share."""
        if not all(found.values()):
            return None
        trained = [set(by_seed) for by_seed in found.values() if None not in by_seed]
        shared = set.intersection(*trained) if trained else {None}
        seeds = [seed for seed in (None, *self.seeds) if seed in shared]
        if not seeds:
            return None
        chosen = {key: [by_seed.get(seed) or by_seed[None] for seed in seeds] for key, by_seed in found.items()}
        shared_items = set.intersection(*(set(outcomes) for rows in chosen.values() for outcomes in rows))
        known = self._kinds.get(test, {})
        items = sorted(item for item in shared_items if kind is None or known.get(item) == kind)
        if not items:
            return None
        return {
            key: np.array([[outcomes[item] for item in items] for outcomes in rows], dtype=np.float64)
            for key, rows in chosen.items()
        }

    def _outcomes(self, arm: str, setting: Overrides, test: Test, metric: str) -> dict[int | None, dict[int, bool]]:
        runs = self.runs(arm, setting)
        found = {seed: record.outcomes.get((test, metric), {}) for seed, record in runs.items()}
        return {seed: outcomes for seed, outcomes in found.items() if outcomes}


def write_results(folder: Path) -> dict[str, Any]:
    """Write `ablation.json` from the records in the folder, and return its content.

    Raises:
        DataError: there are no records, or a file is not a record.
    """
    found = ablation_json(Results.read(folder))
    write_json(folder / "ablation.json", found)
    return found


def ablation_json(results: Results) -> dict[str, Any]:
    """The content of `ablation.json`; percentages and points are rounded to four decimals."""
    plain: Overrides = {}
    first = next(iter(results.records.values()))
    return {
        "model": first.config["model"],
        "data": first.config["data"]["train"],
        "seeds": results.seeds,
        "method": METHOD,
        "scores": list(scores(results, plain)),
        "effects": effects(results, plain),
        "kinds": kinds(results, plain),
        "errors": list(errors(results)),
        "costs": list(costs(results)),
        "sweeps": [sweep(results, field) for field in swept_fields(results)],
        "runs": [_provenance(record) for record in results.records.values()],
    }


def scores(results: Results, setting: Overrides) -> Iterator[dict[str, Any]]:
    """For each test, arm and metric the mean over seeds, its standard error over seeds, and the interval over seeds and
    items, in per cent."""
    for test in results.tests:
        for arm in (BASE, *GRID_ARMS):
            for metric in results.metrics:
                found = results.values([arm], setting, test, metric)
                if found is not None:
                    yield {"arm": arm, **_test(test), "metric": metric, **_score(found[arm])}


def kinds(results: Results, setting: Overrides) -> dict[str, Any]:
    """The scores of each kind of item, and the effects on it: means over the pairs of arms for the parts, and several
    parts together. Empty lists where the kinds are not known."""
    found: list[dict[str, Any]] = []
    for test, kind in results.kinds:
        for metric in results.metrics:
            for part in PARTS:
                found += ({"kind": kind, **row} for row in _mean_effect(results, setting, test, metric, part, kind))
            for together in COMBINATIONS:
                rows = _pair_effects(results, setting, test, metric, together, kind)
                found += ({"kind": kind, **row} for row in rows)
    _correct(found)
    return {"scores": list(kind_scores(results, setting)), "effects": found}


def kind_scores(results: Results, setting: Overrides) -> Iterator[dict[str, Any]]:
    """As `scores`, for each kind of item apart."""
    for test, kind in results.kinds:
        for arm in (BASE, *GRID_ARMS):
            for metric in results.metrics:
                found = results.values([arm], setting, test, metric, kind)
                if found is not None:
                    yield {"arm": arm, **_test(test), "kind": kind, "metric": metric, **_score(found[arm])}


def _score(values: Values) -> dict[str, Any]:
    count, items = values.shape
    means = 100 * values.mean(axis=1)
    estimate = hierarchical_bootstrap(values)
    return {
        "mean": _rounded(means.mean()),
        "se": _rounded(means.std(ddof=1) / count**0.5) if count > 1 else None,
        "low": _rounded(max(100 * estimate.low, 0.0)),  # with two seeds the interval is wide, and a share is limited
        "high": _rounded(min(100 * estimate.high, 100.0)),
        "by_seed": [_rounded(mean) for mean in means],
        "seeds": count,
        "n": items,
    }


def pairs(part: str) -> list[tuple[str, str]]:
    """The pairs of an arm with the part, or with all parts of a combination, and the arm that lacks nothing else."""
    found = ((arm, lacking(arm, _FIELDS[part])) for arm in GRID_ARMS)
    return [(arm, against) for arm, against in found if against is not None]


def effects(results: Results, setting: Overrides) -> list[dict[str, Any]]:
    """The effect of each part in points: for every pair of arms, and as the mean over the pairs (`arm` is None); then
    that of several parts together."""
    means: list[dict[str, Any]] = []
    single: list[dict[str, Any]] = []
    together: list[dict[str, Any]] = []
    for test in results.tests:
        for metric in results.metrics:
            for part in PARTS:
                means += _mean_effect(results, setting, test, metric, part)
                single += _pair_effects(results, setting, test, metric, part)
            for combination in COMBINATIONS:
                together += _pair_effects(results, setting, test, metric, combination)
    for family in (means, single, together):
        _correct(family)
    return [*means, *single, *together]


def _pair_effects(
    results: Results, setting: Overrides, test: Test, metric: str, part: str, kind: Kind | None = None
) -> Iterator[dict[str, Any]]:
    """The effect in every pair of arms that was run."""
    for arm, against in pairs(part):
        found = results.values([arm, against], setting, test, metric, kind)
        if found is not None:
            labels = {"part": part, **_test(test), "metric": metric, "arm": arm, "against": against}
            yield {**labels, **_effect(found[arm] - found[against])}


def _mean_effect(
    results: Results, setting: Overrides, test: Test, metric: str, part: str, kind: Kind | None = None
) -> Iterator[dict[str, Any]]:
    """The mean effect over two or more pairs of arms, on the random seeds that all of them have. Where some pairs lack
    seeds, it is over those pairs and seeds that are most together: a run that is still alone does not make the others
    count less. Nothing where there are not two such pairs."""
    available = [pair for pair in pairs(part) if results.values(pair, setting, test, metric, kind) is not None]
    found: list[Values] = []
    for chosen in chain.from_iterable(combinations(available, count) for count in range(2, len(available) + 1)):
        every = results.values(sorted(set(chain.from_iterable(chosen))), setting, test, metric, kind)
        if every is not None:
            found.append(np.array([every[arm] - every[against] for arm, against in chosen]))
    if found:
        largest = max(found, key=lambda one: (one.shape[0] * one.shape[1], one.shape[1]))  # (pairs, seeds, items)
        labels = {"part": part, **_test(test), "metric": metric, "arm": None, "against": None}
        yield {**labels, "pairs": len(largest), **_effect(largest.mean(axis=0))}


def _effect(differences: Values) -> dict[str, Any]:
    estimate: Estimate = hierarchical_bootstrap(differences)
    points = {"points": estimate.mean, "se": estimate.se, "low": estimate.low, "high": estimate.high}
    shape = {"seeds": differences.shape[0], "n": differences.shape[1]}
    return {**{name: _rounded(100 * value) for name, value in points.items()}, "p": _rounded(estimate.p, 6), **shape}


def _correct(rows: Sequence[dict[str, Any]]) -> None:
    """Add `p_holm` to the rows, corrected among those of the same metric."""
    for metric in {row["metric"] for row in rows}:
        own = [row for row in rows if row["metric"] == metric]
        for row, corrected in zip(own, holm([row["p"] for row in own]), strict=True):
            row["p_holm"] = _rounded(corrected, 6)


def errors(results: Results) -> Iterator[dict[str, Any]]:
    """For each test and arm the error categories of wrong replies, in per cent of the items, as means over seeds."""
    for test in results.tests:
        for arm in (BASE, *GRID_ARMS):
            runs = results.runs(arm, {}).values()
            rows = [row for record in runs for row in record.items if (row["bench"], row["split"]) == test]
            found = Counter(row["category"] for row in rows if row.get("category", "right") != "right")
            if any("category" in row for row in rows):
                shares = {name: _rounded(100 * count / len(rows)) for name, count in sorted(found.items())}
                yield {"arm": arm, **_test(test), "categories": shares}


def costs(results: Results) -> Iterator[dict[str, Any]]:
    """For each arm the mean minutes and replies of a run; those of an arm with PPO include its SFT."""
    for arm in (BASE, *GRID_ARMS):
        runs = list(results.runs(arm, {}).values())
        if not runs:
            continue
        parents = [results.records.get(record.run.parent) for record in runs if record.run.parent]
        chains = [*runs, *(record for record in parents if record)]
        minutes = {stage: _mean([record.minutes.get(stage) for record in chains if record.run.arm == arm or
                                 stage != "eval"]) for stage in ("sft", "ppo", "eval")}  # fmt: skip
        names = ("trained", "masked", "sampled", "evaluated")
        replies = {name: _mean([record.replies.get(name) for record in chains if record.run.arm == arm or
                                name != "evaluated"]) for name in names}  # fmt: skip
        yield {"arm": arm, "runs": len(runs), "minutes": minutes, "replies": replies}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _rounded(sum(known) / len(known), 2) if known else None


# Sweeps


def swept_fields(results: Results) -> list[str]:
    """The fields of which there are several values."""
    return sorted({field for run in results.records for field, _ in run.overrides})


def sweep(results: Results, field: str) -> dict[str, Any]:
    """The curve of a field: scores and effects at each of its values, of the arms that were run with several of them
    and of those that they are compared with; and what each of these arms changes from one value to the next."""
    swept = _swept_arms(results, field)
    compared = {arm for part in _FIELDS for pair in pairs(part) if swept & set(pair) for arm in pair}
    shown = swept | {BASE} | {arm for arm in compared if not relevant(ARMS[arm], {field: None})}
    points: list[dict[str, Any]] = []
    by_kind: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    changes: list[dict[str, Any]] = []
    settings = {
        value: {} if value == _own_value(results, field) else {field: value} for value in _values_of(results, field)
    }
    for value, setting in settings.items():
        points += [{"value": value, **row} for row in scores(results, setting) if row["arm"] in shown]
        by_kind += [{"value": value, **row} for row in kind_scores(results, setting) if row["arm"] in shown]
        own = [row for row in effects(results, setting) if swept & {row["arm"], row["against"]}]
        found += [{"value": value, **row} for row in own if {row["arm"], row["against"]} <= shown]
    for (before, first), (value, second) in pairwise(settings.items()):
        for arm in (arm for arm in GRID_ARMS if arm in swept):
            for test in results.tests:
                for metric in results.metrics:
                    difference = results.change(arm, (first, second), test, metric)
                    if difference is not None:
                        labels = {"arm": arm, "value": value, "before": before, **_test(test), "metric": metric}
                        changes.append({**labels, **_effect(difference)})
    _correct([*found, *changes])
    return {"field": field, "scores": points, "kinds": by_kind, "effects": found, "changes": changes}


def _swept_arms(results: Results, field: str) -> set[str]:
    """The arms with runs of their own at other values of the field."""
    return {run.arm for run in results.records if dict(run.overrides).keys() == {field} and run.arm != BASE}


def _values_of(results: Results, field: str) -> list[Any]:
    """The values with runs of their own, and the configuration's own value if its runs are there; numbers in order."""
    values = [value for run in results.records for name, value in run.overrides if name == field]
    arms = _swept_arms(results, field)
    if any(run.arm in arms and not run.overrides for run in results.records):
        values.append(_own_value(results, field))
    distinct = list(dict.fromkeys(values))
    numbers = [value for value in distinct if isinstance(value, int | float) and not isinstance(value, bool)]
    return sorted(numbers) + sorted((value for value in distinct if value not in numbers), key=str)


def _own_value(results: Results, field: str) -> Any:
    """The value of the field in the ablation's configuration, from a run that does not override it."""
    for record in results.records.values():
        if field not in dict(record.run.overrides):
            return frozen(value_of(record.settings.model_dump(), field))
    return None


def _provenance(record: Record) -> dict[str, Any]:
    environment = record.environment
    hardware = environment.get("hardware", {})
    return {
        "run": record.run.label,
        "commit": environment.get("commit"),
        "machine": hardware.get("gpu")
        or f"{hardware.get('cpu')}, {quantity(int(hardware.get('threads') or 0), 'thread')}",
        "minutes": _rounded(sum(record.minutes.values()), 2),
    }


def _test(test: Test) -> dict[str, str]:
    return {"bench": test[0], "split": test[1]}


def _rounded(value: Any, digits: int = 4) -> float:
    """The value without the last digits, which differ between processors; minus zero becomes zero."""
    return round(float(value), digits) + 0.0
