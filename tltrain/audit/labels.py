"""How well MAE detects failed calls, where the data label which calls really went wrong (toolworld's do).

A trajectory is labelled where its `extra["toolworld"]["sites"]` is a list of `{message, index, error}`: all its other
calls are correct. Some of the errors leave no trace in form or feedback, so the recall also shows what MAE cannot see.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tltrain.audit.counting import share
from tltrain.audit.failure_detectors import CallAssessment
from tltrain.trajectory import Trajectory


@dataclass
class LabelStatistics:
    """Calls of labelled trajectories: for each kind of error, how many there are and how many were detected."""

    calls: int = 0
    false_alarms: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)

    def add(self, trajectory: Trajectory, assessments: Sequence[CallAssessment]) -> None:
        """Count the calls of one trajectory; trajectories without labels are skipped."""
        errors = _errors(trajectory)
        if errors is None:
            return
        self.calls += len(assessments)
        for assessment in assessments:
            error = errors.get((assessment.message, assessment.index))
            if error is None:
                self.false_alarms += assessment.failed
            else:
                self.wrong[error] += 1
                self.found[error] += assessment.failed

    def merge(self, later: LabelStatistics) -> None:
        """Add the counts of another part of the data."""
        self.calls += later.calls
        self.false_alarms += later.false_alarms
        self.wrong.update(later.wrong)
        self.found.update(later.found)

    def to_json(self) -> dict[str, Any] | None:
        """The `labels` part of an audit; None if nothing is labelled."""
        if not self.calls:
            return None
        wrong, found = self.wrong.total(), self.found.total()
        return {
            "calls": self.calls,
            "wrong": wrong,
            "found": found,
            "missed": wrong - found,
            "false_alarms": self.false_alarms,
            "precision": share(found, found + self.false_alarms),
            "recall": share(found, wrong),
            "by_error": [
                {"error": error, "calls": count, "found": self.found[error], "missed": count - self.found[error]}
                for error, count in sorted(self.wrong.items(), key=lambda item: (-item[1], item[0]))
            ],
        }


def _errors(trajectory: Trajectory) -> dict[tuple[int, int], str] | None:
    world = trajectory.extra.get("toolworld")
    sites = world.get("sites") if isinstance(world, dict) else None
    if not isinstance(sites, list):
        return None
    return {(site["message"], site["index"]): str(site["error"]) for site in sites if _is_site(site)}


def _is_site(site: Any) -> bool:
    return isinstance(site, dict) and {"message", "index", "error"} <= site.keys()
