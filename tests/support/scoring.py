"""Scores as the JSON that the commands print, from predictions, golds or episodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tltrain.evaluation import scoring
from tltrain.evaluation.metrics import ItemResult
from tltrain.testsets.base import TestSet
from tltrain.testsets.episodes import Episode


def score_file(
    test: TestSet,
    lines: Iterable[str],
    protocol: str = "default",
    dialect: str | None = None,
    path: str | Path | None = None,
) -> dict[str, Any]:
    """See `tltrain.evaluation.scoring.score_file`."""
    return scoring.score_file(test, lines, protocol, dialect, path).to_json()


def score_golds(test: TestSet, protocol: str = "default", dialect: str | None = None) -> dict[str, Any]:
    """See `tltrain.evaluation.scoring.score_golds`."""
    return scoring.score_golds(test, protocol, dialect).to_json()


def score_episodes(episodes: Sequence[Episode]) -> dict[str, Any]:
    """What is scored of multi-step items."""
    return scoring.measured([ItemResult(episode=one) for one in episodes]) | scoring.episode_counts(episodes)
