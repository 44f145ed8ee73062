"""Progress: how fast, and how long still, whatever the console is."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from tltrain.cli.progress import show_progress


def clock(monkeypatch: pytest.MonkeyPatch, *times: float) -> None:
    left = iter(times)
    monkeypatch.setattr("tltrain.cli.progress.time.monotonic", lambda: next(left))


def test_lines_say_how_long_it_still_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies that were there before say nothing of the speed, and neither does loading the model."""
    written = StringIO()
    clock(monkeypatch, 0.0, 10.0, 110.0, 150.0)
    with show_progress(Console(file=written, width=200)) as tell:
        show = tell("eval m")
        show("items", 40, 100)
        show("items", 60, 100)
        show("items", 100, 100)
    assert written.getvalue() == "eval m: 60 of 100, items, 110 s, 200 s left\neval m: 100 of 100, items, 150 s\n"


def test_a_bar_tells_the_time_left_though_batches_are_minutes_apart() -> None:
    now = [0.0]
    with show_progress(Console(file=StringIO(), force_terminal=True, width=200)) as tell:
        tell.bars.get_time = lambda: now[0]
        show = tell("eval m")
        for done in (0, 10, 20):
            show("items", done, 100)
            now[0] += 300.0
        assert tell.bars.tasks[0].time_remaining == pytest.approx(2400, rel=0.01)
