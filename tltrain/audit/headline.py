"""The one sentence an audit opens with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DO = {
    "unknown_tool": ("calls a tool that was not offered", "call a tool that was not offered"),
    "not_an_object": ("gives arguments that cannot be read", "give arguments that cannot be read"),
    "unknown_argument": ("names an argument that does not exist", "name an argument that does not exist"),
    "missing_argument": ("leaves out a required argument", "leave out a required argument"),
    "bad_value": ("gives a value that the tool cannot take", "give a value that the tool cannot take"),
    "execution": ("was well-formed, but failed when executed", "were well-formed, but failed when executed"),
    "labelled": ("is labelled as bad in the data", "are labelled as bad in the data"),
}
_SPREAD = 0.35
"""Below this share no category dominates, and the sentence names two."""


def headline(trajectories: int, calls: Mapping[str, Any], without_answer: int = 0) -> str:
    """One sentence on what failed and mostly why. `calls` is the part of that name of an audit."""
    if not trajectories:
        return "Nothing could be read: there is no trajectory to audit."
    total, failed = calls["total"], calls["failed"]
    if not total:
        return f"{_count(trajectories, 'trajectory', 'trajectories')}, and not one call to a tool."
    if not failed:
        return _none_failed(total, trajectories, without_answer)
    return f"{failed:,} of {_count(total, 'call', 'calls')} failed{_reasons(calls['by_category'], failed)}."


def _none_failed(total: int, trajectories: int, without_answer: int) -> str:
    sentence = "The only call did not fail" if total == 1 else f"None of {total:,} calls failed"
    if without_answer:
        verb = "ends" if without_answer == 1 else "end"
        sentence += (
            f", but {without_answer:,} of {_count(trajectories, 'trajectory', 'trajectories')} {verb} without an answer"
        )
    return sentence + "."


def _reasons(categories: Mapping[str, int], failed: int) -> str:
    ordered = sorted(categories, key=lambda name: -categories[name])
    first, second = ordered[0], ordered[1]
    if failed == 1:
        return f": it {_DO[first][0]}"
    if categories[first] == failed:
        return f"; {'both' if failed == 2 else 'all'} of them {_DO[first][1]}"
    reason = f"; {_per_cent(categories[first], failed)} of them {_DO[first][1]}"
    if categories[first] < _SPREAD * failed:
        reason += f", {_per_cent(categories[second], failed)} {_DO[second][1]}"
    return reason


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"


def _per_cent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %"
