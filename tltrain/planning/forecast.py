"""The time that is left of a run, from its estimate and from how long its finished stages took."""

from __future__ import annotations

from collections.abc import Callable

from tltrain.planning.plan import Plan, duration
from tltrain.progress import quantity


class Forecast:
    """Keeps the estimate of a run current: the time of the stages that are left is scaled by actual over estimated time
    so far.

    Args:
        plan: the estimate.
        report: called with a line after each stage but the last.
    """

    def __init__(self, plan: Plan, report: Callable[[str], object]) -> None:
        self.report = report
        self.left = {stage.stage: stage.seconds for stage in plan.stages}
        self.estimated = self.actual = 0.0

    def finished(self, stage: str, seconds: float) -> None:
        """Report the time left after a stage that took `seconds`. Stages that were not estimated do not count."""
        if stage not in self.left:
            return
        self.estimated += self.left.pop(stage)
        self.actual += seconds
        if self.left:
            left = sum(self.left.values()) * self.actual / max(self.estimated, 1e-6)
            stages = f"{quantity(len(self.left), 'more stage')}"
            self.report(f"{stage} took {duration(seconds)}; about {duration(left)} left for {stages}")
