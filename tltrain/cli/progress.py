"""Progress on stderr: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from tltrain.progress import Progress as Show

SECONDS_BETWEEN_LINES = 20.0
"""Where stderr is no terminal."""


@contextmanager
def show_progress(console: Console) -> Iterator[Stages]:
    """Inside the block, stages show their progress."""
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[what]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # A batch may take minutes, so the speed is that of the whole stage, not of its last seconds.
    with Progress(*columns, console=console, disable=not console.is_terminal, speed_estimate_period=1e9) as bars:
        yield Stages(console, bars)


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
            self.bars.update(task, completed=done, total=total, what=what)
            now = time.monotonic()
            first = first or (now, done)
            if not self.console.is_terminal and (done == total or now - last >= SECONDS_BETWEEN_LINES):
                last = now
                left = _time_left(now - first[0], done - first[1], total - done)
                line = f"{stage}: {done} of {total}, {what}, {now - started:.0f} s{left}"
                self.console.print(line, highlight=False, soft_wrap=True)

        return show

    def clear(self) -> None:
        """Remove all bars, once their stages are complete."""
        for task in self.bars.task_ids:
            self.bars.remove_task(task)


def _time_left(seconds: float, made: int, missing: int) -> str:
    """The estimated time left at the speed so far; empty where there is no estimate or nothing left."""
    return f", {seconds / made * missing:.0f} s left" if made > 0 and missing > 0 else ""
