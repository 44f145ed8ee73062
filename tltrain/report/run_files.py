"""Reads the files of a run directory. Any may be missing; a malformed file is an error that names file and line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tltrain.errors import DataError, RunError
from tltrain.evaluation.metrics import METRICS
from tltrain.evaluation.scores import Score
from tltrain.evaluation.significance import Comparison, ErrorChange
from tltrain.files import read_json

T = TypeVar("T", bound=BaseModel)


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Stage(_Row):
    """A row of `stages.json`: time and peak memory of a stage of the pipeline."""

    stage: str
    seconds: float
    peak_memory_mb: float | None = None
    note: str = ""


class AuditCalls(_Row):
    """The counts of `audit.json` that the report shows."""

    total: int
    failed: int
    by_category: dict[str, int] = {}


class Audit(_Row):
    """The part of `audit.json` that the report shows."""

    headline: str = ""
    calls: AuditCalls | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The contents of a run directory; the field of a missing file is empty."""

    folder: Path
    scores: tuple[Score, ...]
    comparisons: tuple[Comparison, ...]
    """From `comparison.json`."""
    error_changes: tuple[ErrorChange, ...]
    """From `comparison.json`."""
    stages: tuple[Stage, ...]
    audit: Audit
    sft: Mapping[str, list[dict[str, Any]]]
    """Lines of `sft/ARM/metrics.jsonl` by arm."""
    ppo: list[dict[str, Any]]
    """Lines of `ppo/metrics.jsonl`."""
    validation: list[dict[str, Any]]
    """Lines of `ppo/validation.jsonl`."""
    predictions: tuple[Path, ...]
    """The files of predictions."""
    environment: dict[str, Any]
    config: str
    """The text of `config.yaml`."""


def read_run(folder: Path) -> Run:
    """Read the files of a run directory that exist.

    Raises:
        RunError: the folder does not exist or has nothing to report, or a file is malformed.
    """
    if not folder.is_dir():
        raise RunError(f"{folder}: no such run directory")
    config = folder / "config.yaml"
    run = Run(
        folder=folder,
        scores=parse_scores(_document(folder / "scores.json", []), folder / "scores.json"),
        comparisons=_of_tests(Comparison, "pairs", folder / "comparison.json"),
        error_changes=_of_tests(ErrorChange, "errors", folder / "comparison.json"),
        stages=_rows(Stage, _document(folder / "stages.json", []), folder / "stages.json"),
        audit=_checked(Audit, _document(folder / "audit.json", {}), folder / "audit.json"),
        sft={path.parent.name: list(json_lines(path)) for path in sorted(folder.glob("sft/*/metrics.jsonl"))},
        ppo=list(json_lines(folder / "ppo" / "metrics.jsonl")),
        validation=list(json_lines(folder / "ppo" / "validation.jsonl")),
        predictions=tuple(sorted(folder.glob("predictions/*.jsonl"))),
        environment=_mapping(_document(folder / "environment.json", {}), folder / "environment.json"),
        config=config.read_text(encoding="utf-8", errors="replace") if config.is_file() else "",
    )
    if not (run.scores or run.stages or run.audit.calls or run.sft or run.ppo or run.predictions):
        raise RunError(
            f"{folder}: nothing to report yet (no scores.json, audit.json, stages.json, metrics, predictions)"
        )
    return run


def parse_scores(rows: Any, source: Path | str = "scores") -> tuple[Score, ...]:
    """Validate the rows of a `scores.json`; `source` names them in errors.

    Raises:
        RunError: a row lacks its model, its count, or every metric, or a value is of the wrong type.
    """
    scores = _rows(Score, rows, source)
    for number, row in enumerate(rows):
        if "model" not in row:
            raise RunError(f"{source}: row {number}: model: Field required")
    for number, score in enumerate(scores):
        if not score.metrics:
            raise RunError(f"{source}: row {number}: expected at least one of the metrics {', '.join(METRICS)}")
    return scores


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the objects of a JSON Lines file; nothing if it is missing. An incomplete last line is skipped.

    Raises:
        RunError: a line is not a JSON object.
    """
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace", newline="\n") as stream:
        for number, line in enumerate(stream, 1):
            if line.endswith("\n") and line.strip():
                yield _line(line, f"{path}:{number}")


def _of_tests(kind: type[T], field: str, path: Path) -> tuple[T, ...]:
    """A field of every test of `comparison.json`; earlier versions have no `errors`."""
    tests = _mapping(_document(path, {}), path).get("tests", [])
    rows = [{"bench": test["bench"], "split": test["split"], **row} for test in tests for row in test.get(field, [])]
    return _rows(kind, rows, path)


def finite(value: Any) -> float:
    """The value as a float; NaN if it is missing or not a number."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _line(line: str, source: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{source}: not JSON: {error}") from None
    return _mapping(value, source)


def _document(path: Path, default: Any) -> Any:
    if not path.is_file():
        return default
    try:
        return read_json(path)
    except (DataError, RecursionError) as error:
        raise RunError(str(error)) from None


def _mapping(value: Any, source: Path | str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RunError(f"{source}: expected a JSON object, found {type(value).__name__}")
    return value


def _rows(kind: type[T], rows: Any, source: Path | str) -> tuple[T, ...]:
    if not isinstance(rows, list):
        raise RunError(f"{source}: expected a list of rows, found {type(rows).__name__}")
    return tuple(_checked(kind, row, f"{source}: row {number}") for number, row in enumerate(rows))


def _checked(kind: type[T], value: Any, source: Path | str) -> T:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise RunError(f"{source}: {field + ': ' if field else ''}{first['msg']}") from None
