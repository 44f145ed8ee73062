"""How long-running functions report their progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

Progress = Callable[[str, int, int], None]
"""Called with what is being counted (empty for a stage that has no parts), how many are done, and how many there are (0
if that is not known)."""
ProgressFactory = Callable[[str], Progress]
"""Called with the name of a stage, returns what shows its progress."""


def no_progress(what: str, done: int, total: int) -> None:
    """Shows nothing."""


def no_progress_factory(stage: str) -> Progress:
    """Every stage shows nothing."""
    return no_progress


T = TypeVar("T")


def counted(items: Sequence[T], show: Progress, what: str) -> Iterator[T]:
    """The items; shows after each how many are done."""
    for done, item in enumerate(items, 1):
        yield item
        show(what, done, len(items))


@contextmanager
def showing(progress: ProgressFactory, stage: str) -> Iterator[None]:
    """Show the time that the block takes, as a stage without parts."""
    show = progress(stage)
    show("", 0, 0)
    yield
    show("", 1, 1)
