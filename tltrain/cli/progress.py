"""Progress on stderr: a line with a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

if TYPE_CHECKING:
    from tltrain.progress import Progress as Show

SECONDS_BETWEEN_LINES = 20.0
"""Where stderr is no terminal."""
WORTH_A_LINE = 2.0
"""Seconds that a stage without parts takes at least to be mentioned there."""
STAGE_WIDTH = 24
"""Columns of a stage's name where there is room for more than one stage's line."""
SHORTEST_NAME = 4
"""A stage's name is left out where it would be shortened to less."""
BAR_WIDTHS = range(8, 31)
"""Columns of a bar."""


@contextmanager
def show_progress(console: Console, enabled: bool = True) -> Iterator[Stages]:
    """Inside the block, stages show their progress, if it is enabled."""
    # A batch may take minutes, so the speed is that of the whole stage, not of its last seconds.
    shown = enabled and console.is_terminal and not console.quiet
    with Progress(
        Line(console), console=console, disable=not shown, redirect_stdout=False, speed_estimate_period=1e9
    ) as bars:
        yield Stages(console if enabled else Console(quiet=True), bars)


class Stages:
    """Gives each stage what shows its progress."""

    def __init__(self, console: Console, bars: Progress) -> None:
        self.console, self.bars = console, bars

    def __call__(self, stage: str) -> Show:
        """A new bar, or a new series of lines."""
        task = self.bars.add_task(stage, total=None, what="")
        started = last = time.monotonic()
        first: tuple[float, int] | None = None

        def show(what: str, done: int, total: int) -> None:
            nonlocal last, first
            visible = bool(what) or not done  # a stage without parts that is done has nothing to show
            self.bars.update(task, completed=done, total=total or None, what=what, visible=visible)
            now = time.monotonic()
            first = first or (now, done)
            if self.console.is_terminal:
                return
            if what and (0 < done == total or now - last >= SECONDS_BETWEEN_LINES):
                last = now
                left = _time_left(now - first[0], done - first[1], total - done)
                count = f"{done} of {total}" if total else str(done)
                self._print(f"{stage}: {count}, {what}, {now - started:.0f} s{left}")
            elif not what and done and now - started >= WORTH_A_LINE:
                self._print(f"{stage}: {now - started:.0f} s")

        return show

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)

    def clear(self) -> None:
        """Remove all bars, once their stages are complete."""
        for task in self.bars.task_ids:
            self.bars.remove_task(task)


class Line(ProgressColumn):
    """All of a stage's progress in one line that fits the console."""

    max_refresh = None

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def render(self, task: Task) -> Text:
        """The line at the console's present width."""
        total = None if task.total is None else int(task.total)
        left = None if task.finished or total is None else task.time_remaining
        return progress_line(
            self.console.width - 1,  # the cursor has the last column
            task.description,
            int(task.completed),
            total,
            what=task.fields["what"],
            elapsed=task.finished_time if task.finished else task.elapsed,
            left=left,
        )


def progress_line(
    width: int, stage: str, done: int, total: int | None, *, what: str, elapsed: float | None, left: float | None
) -> Text:
    """`STAGE  BAR  DONE/TOTAL  WHAT  ELAPSED  LEFT`, at most `width` columns wide.

    Count and time left are always there. The bar is left out first, then the time elapsed, then what is counted (its
    last parts first), and the stage's name is shortened; `total` and `left` are None where they are not known.
    """
    count = f"{done}/{total}" if total is not None else str(done or "")
    remaining = f"{_clock(left)} left" if left is not None else ""
    needed = [part for part in (count, remaining) if part]
    room = width - sum(len(part) + 2 for part in needed) + 2
    name = _shortened(stage, min(room - 2, max(len(stage), STAGE_WIDTH)))
    room -= len(name) + 2 if name else 0
    shown = {}
    beginnings = [", ".join(what.split(", ")[:end]) for end in range(what.count(", ") + 1, 0, -1)]
    fitting = next((text for text in beginnings if len(text) + 2 <= room), "")
    for key, text in (("what", fitting), ("elapsed", _clock(elapsed) if elapsed is not None else "")):
        if text and len(text) + 2 <= room:
            shown[key] = text
            room -= len(text) + 2
    padded = name
    if name and room >= STAGE_WIDTH - len(name) > 0:
        padded = name.ljust(STAGE_WIDTH)
        room -= STAGE_WIDTH - len(name)
    bar = _bar(min(room - 2, BAR_WIDTHS[-1]), done, total)
    parts = [
        (padded, ""),
        (bar, "green" if total and done >= total else "magenta"),
        (count, "green"),
        (shown.get("what", ""), ""),
        (shown.get("elapsed", ""), "yellow"),
        (remaining, "cyan"),
    ]
    return Text("  ").join(Text(text, style) for text, style in parts if text)


def _bar(width: int, done: int, total: int | None) -> str:
    """A bar of that width; empty where there is no room for one, or nothing that it could show."""
    if width < BAR_WIDTHS[0] or not total:
        return ""
    filled = round(width * min(done / total, 1))
    return "━" * filled + "╌" * (width - filled)


def _shortened(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    return "" if width < SHORTEST_NAME else text[: width - 1] + "…"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _time_left(seconds: float, made: int, missing: int) -> str:
    """The estimated time left at the speed so far; empty where there is no estimate or nothing left."""
    return f", {seconds / made * missing:.0f} s left" if made > 0 and missing > 0 else ""
