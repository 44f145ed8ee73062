"""Progress: how fast, and how long still, whatever the console is."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from tltrain.cli.progress import progress_line, show_progress
from tltrain.progress import quantity


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


LOSS = "loss 0.123, held-out loss 0.456, 3.1 s an update"


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 120])
@pytest.mark.parametrize("what", ["items", LOSS])
@pytest.mark.parametrize("stage", ["ppo", "eval a-model-with-a-long-name, rotbench First_Turn/clean"])
def test_count_and_time_left_fit_any_width(width: int, what: str, stage: str) -> None:
    line = progress_line(width, stage, 12, 345, what=what, elapsed=61, left=3723).plain
    assert len(line) <= width
    assert "12/345" in line
    assert line.endswith("1:02:03 left")


def test_the_least_important_parts_are_left_out_first() -> None:
    def parts(width: int) -> set[str]:
        line = progress_line(width, "sft mae+pkt", 12, 345, what=LOSS, elapsed=61, left=3723).plain
        texts = {"stage": "sft mae+pkt", "bar": "╌╌", "all": LOSS, "loss": "loss 0.123", "elapsed": "0:01:01"}
        return {name for name, text in texts.items() if text in line}

    assert parts(150) == {"stage", "bar", "all", "loss", "elapsed"}
    assert parts(100) == {"stage", "all", "loss", "elapsed"}
    assert parts(90) == {"stage", "all", "loss"}
    assert parts(60) == {"stage", "loss", "elapsed"}
    assert parts(46) == {"stage", "loss"}
    assert parts(36) == {"stage"}
    assert parts(24) == set()


def test_a_stage_without_a_total_counts() -> None:
    assert progress_line(60, "judge", 12, None, what="lines", elapsed=61, left=None).plain.split() == [
        "judge", "12", "lines", "0:01:01"
    ]  # fmt: skip


def test_a_terminal_of_60_columns_shows_count_and_time_left() -> None:
    written, now = StringIO(), [0.0]
    console = Console(file=written, force_terminal=True, width=60, color_system=None)
    with show_progress(console) as tell:
        tell.bars.get_time = lambda: now[0]
        show = tell("eval my-model, toolworld unseen")
        for done in (0, 10, 20):
            show("items, 0.033 a second", done, 100)
            now[0] += 300.0
        tell.bars.refresh()
    last = written.getvalue().split("\r")[-2 if written.getvalue().endswith("\r") else -1]
    assert "20/100" in last and "0:40:00 left" in last


def test_quiet_shows_nothing() -> None:
    written = StringIO()
    with show_progress(Console(file=written, force_terminal=True, quiet=True)) as tell:
        tell("sft")("updates", 1, 1)
    assert written.getvalue() == ""


@pytest.mark.parametrize(
    ("number", "singular", "text"),
    [
        (1, "trajectory", "1 trajectory"),
        (0, "trajectory", "0 trajectories"),
        (2_000, "key token", "2,000 key tokens"),
        (2, "query", "2 queries"),
        (2, "key", "2 keys"),
    ],
)
def test_quantities_are_worded_by_their_number(number: int, singular: str, text: str) -> None:
    assert quantity(number, singular) == text


def test_a_plural_can_be_given() -> None:
    assert [quantity(number, "index", "indices") for number in (1, 2)] == ["1 index", "2 indices"]
