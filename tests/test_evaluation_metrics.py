"""The table of metrics: a row is all that a new metric needs."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from tltrain.evaluation.metrics import METRICS, Metric, percentage
from tltrain.evaluation.predictions import Prediction
from tltrain.evaluation.scores import Score
from tltrain.evaluation.scoring import score
from tltrain.evaluation.significance import compare
from tltrain.judging import standard_error
from tltrain.report.tables import terminal_table
from tltrain.testsets.trajectories import TrajectorySet
from tltrain.trajectory import Call, Message, Tool, Trajectory


def test_a_row_is_all_that_a_metric_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is computed, kept through JSON, compared and shown."""
    reply = Message("assistant", calls=(Call("greet", {}),))
    log = Trajectory((Message("user", "Hi"), reply), (Tool("greet"),))
    test = TrajectorySet.of("chat", "held", [log] * 4)
    always = Metric("XX", "always right", "is right in {} %", lambda result: (1, 1))
    monkeypatch.setitem(METRICS, "XX", always)
    rows = [score(test, [Prediction(item.index, "Hello") for item in test.items], model).to_json() for model in "ab"]
    scores = [Score.model_validate(row) for row in rows]
    assert scores[0].metrics["XX"] == 100.0
    assert "XX" in [one.metric for one in compare(scores)]
    out = StringIO()
    Console(file=out, width=100).print(terminal_table(rows))
    assert "XX" in out.getvalue()


def test_shares_of_nothing_have_no_percentage() -> None:
    assert (percentage(0, 0), standard_error(0, 0)) == (None, None)
    assert (percentage(1, 4), standard_error(1, 4)) == (25.0, pytest.approx(100 * (0.25 * 0.75 / 4) ** 0.5))
