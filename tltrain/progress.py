"""How long-running functions report their progress, and how quantities are worded."""

from __future__ import annotations

import re
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
_CONSONANT_Y = re.compile("(?<=[^aeiou])y$")


def counted(items: Sequence[T], show: Progress, what: str) -> Iterator[T]:
    """The items; shows after each how many are done."""
    for done, item in enumerate(items, 1):
        yield item
        show(what, done, len(items))


def quantity(number: int, singular: str, plural: str = "") -> str:
    """A number and what it counts, such as `1 trajectory` or `2,000 trajectories`.

    Args:
        number: how many.
        singular: what is counted, in the singular.
        plural: its plural, where that is not the singular with -s, or with -ies for a -y after a consonant.
    """
    noun = singular if number == 1 else plural or _CONSONANT_Y.sub("ie", singular) + "s"
    return f"{number:,} {noun}"


@contextmanager
def showing(progress: ProgressFactory, stage: str) -> Iterator[None]:
    """Show the time that the block takes, as a stage without parts."""
    show = progress(stage)
    show("", 0, 0)
    yield
    show("", 1, 1)
