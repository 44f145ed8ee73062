"""Progress on the error output: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from tltrain.sft import Progress as Show

LINE_EVERY = 20.0
"""Seconds between lines where there is no terminal."""


@contextmanager
def stages(console: Console) -> Iterator[Stages]:
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
            if not self.console.is_terminal and (done == total or now - last >= LINE_EVERY):
                last = now
                left = _left(now - first[0], done - first[1], total - done)
                line = f"{stage}: {done} of {total}, {what}, {now - started:.0f} s{left}"
                self.console.print(line, highlight=False, soft_wrap=True)

        return show


def _left(seconds: float, made: int, missing: int) -> str:
    """How long what is missing will take, if it goes on as before; empty where nothing tells or nothing is missing."""
    return f", {seconds / made * missing:.0f} s left" if made > 0 and missing > 0 else ""
