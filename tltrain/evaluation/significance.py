"""Models side by side on the same items: paired differences and their significance; robustness to noise.

Works on what an evaluation saved: rows of `scores.json`, and the lines of `predictions/*.jsonl`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import comb, sqrt
from pathlib import Path
from statistics import fmean, variance
from typing import Any

from tltrain.files import read_json, read_json_lines

METRICS = ("TS", "PI", "CF", "accuracy", "VA")
"""Those that hold or do not hold for an item; rates over calls (DE, CE) have no items to pair."""
LEVELS = ("clean", "slight", "medium", "heavy", "union")
Outcomes = Mapping[int, bool]
"""Whether a metric holds, by the index of the item."""


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p of McNemar's exact test: of the items that one of two models got right, each is as likely to be
    either's. Counts of items that only the first or only the second model got right; 1 where there is none."""
    n = only_first + only_second
    tail = sum(comb(n, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / (1 << n))  # whole numbers until the division, as they are beyond floats


def paired(first: Outcomes, second: Outcomes) -> dict[str, Any]:
    """The first model against the second on the items that both answered.

    `points` is the difference of their percentages, `se` its standard error over the items.
    """
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


def compare(folder: Path) -> dict[str, Any]:
    """Every pair of models on every test of a run directory, in the order of `scores.json`.

    Tests of other protocols are left out, since `predictions/` hold the outcomes of the default one.
    """
    rows = _rows(folder)
    tests = []
    for bench, split in dict.fromkeys((row["bench"], row["split"]) for row in rows):
        own = [row for row in rows if (row["bench"], row["split"]) == (bench, split)]
        names = list(dict.fromkeys(row["model"] for row in own))
        lines = {name: saved_predictions(folder, name, bench, split) for name in names}
        pairs = [pair for first, second in combinations(names, 2) for pair in _pairs(second, first, lines)]
        tests.append({"bench": bench, "split": split, "models": own, "pairs": pairs})
    return {"tests": tests, "test": "McNemar's exact test, two-sided, on the items both models answered"}


def prediction_path(folder: Path, model: str, bench: str, split: str) -> Path:
    """The file of a model's predictions on a split."""
    return folder / "predictions" / f"{model}.{bench}.{split.replace('/', '-')}.jsonl"


def saved_predictions(folder: Path, model: str, bench: str, split: str) -> list[dict[str, Any]]:
    """The lines of that file; none where it is missing."""
    lines: list[dict[str, Any]] = read_json_lines(prediction_path(folder, model, bench, split))
    return lines


def outcomes(lines: Iterable[Mapping[str, Any]], metric: str) -> dict[int, bool]:
    """Whether the metric holds, for the lines whose verdict tells it."""
    told = ((line["index"], line.get("verdict") or {}) for line in lines)
    return {index: bool(verdict[metric]) for index, verdict in told if metric in verdict}


def _pairs(first: str, second: str, lines: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    found = []
    for metric in METRICS:
        sides = [outcomes(lines[name], metric) for name in (first, second)]
        if all(sides):
            found.append({"model": first, "against": second, "metric": metric, **paired(*sides)})
    return found


def robustness(folder: Path) -> list[dict[str, Any]]:
    """RoTBench's table: a row for each model, turn and noise level with `TS`, `PI`, `CF`, `se`, and from the second
    level on `drop`, what is lost against clean, with `drop_se`, by metric, in points.

    Levels are paired by their queries, and a clean item with the mean of its noisy versions (`pairing: "queries"`);
    where the queries are not the same ones, the levels are taken as independent (`"none"`).
    """
    rows = [row for row in _rows(folder) if _is_level(row)]
    table = []
    for model, turn in dict.fromkeys((row["model"], row["split"].partition("/")[0]) for row in rows):
        own = {row["split"].partition("/")[2]: row for row in rows
               if row["model"] == model and row["split"].startswith(turn + "/")}  # fmt: skip
        lines = {level: saved_predictions(folder, model, "rotbench", f"{turn}/{level}") for level in own}
        for level in (level for level in LEVELS if level in own):
            row = {"model": model, "turn": turn, "level": level}
            row |= {name: own[level][name] for name in ("n", "TS", "PI", "CF", "se")}
            table.append(row | (_drop(lines["clean"], lines[level]) if level != "clean" and "clean" in own else {}))
    return table


def _rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of `scores.json` in the default protocol."""
    path = folder / "scores.json"
    return [row for row in (read_json(path) if path.exists() else []) if row.get("protocol") in (None, "default")]


def _is_level(row: Mapping[str, Any]) -> bool:
    return bool(row["bench"] == "rotbench" and row["split"].partition("/")[2] in LEVELS)


def _drop(clean: Sequence[Mapping[str, Any]], noisy: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    drops: dict[str, float] = {}
    errors: dict[str, float] = {}
    how = ""
    for metric in ("TS", "PI", "CF"):
        before, after = _by_query(clean, metric), _by_query(noisy, metric)
        same = before.keys() == after.keys() and all(len(values) == 1 for values in before.values())
        how = "queries" if same else "none"
        if same:
            changes = [before[query][0] - fmean(after[query]) for query in before]
            drops[metric], errors[metric] = fmean(changes), _error(changes)
        else:
            pooled = [[one for values in side.values() for one in values] for side in (before, after)]
            drops[metric] = fmean(pooled[0]) - fmean(pooled[1])
            errors[metric] = sqrt(sum(_error(values) ** 2 for values in pooled))
    scaled = ({name: 100 * value for name, value in values.items()} for values in (drops, errors))
    return dict(zip(("drop", "drop_se"), scaled, strict=True)) | {"pairing": how}


def _by_query(lines: Sequence[Mapping[str, Any]], metric: str) -> dict[str, list[float]]:
    holds = outcomes(lines, metric)
    found: dict[str, list[float]] = {}
    for line in lines:
        if line["index"] in holds:
            found.setdefault(str(line.get("query")), []).append(float(holds[line["index"]]))
    return found


def _error(values: Sequence[float]) -> float:
    """Standard error of the mean; 0 of fewer than two values."""
    return sqrt(variance(values) / len(values)) if len(values) > 1 else 0.0
