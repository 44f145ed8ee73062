"""How long-running functions report their progress."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being counted, how many are done, and how many there are."""
ProgressFactory = Callable[[str], Progress]
"""Called with the name of a stage, returns what shows its progress."""


def no_progress(what: str, done: int, total: int) -> None:
    """Shows nothing."""


def no_progress_factory(stage: str) -> Progress:
    """Every stage shows nothing."""
    return no_progress
