"""Counts the work of a computation, so that tests of hostile sizes need no clock."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def count_calls(function: Callable[[], Any]) -> tuple[Any, int]:
    """The result of a function, and how many calls it made, of Python functions and of built-in ones.

    What one built-in call does is not seen: a regular expression that backtracks shows only in the time a test takes.
    """
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    gc.disable()  # finalizers and callbacks of other tests' garbage would be counted too
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        result = function()
    finally:
        sys.setprofile(before)
        gc.enable()
    return result, calls
