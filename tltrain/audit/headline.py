"""The summary sentence that an audit starts with, and the warning about what it could not judge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tltrain.progress import quantity

_PREDICATES = {
    "unknown_tool": ("calls a tool that was not offered", "call a tool that was not offered"),
    "not_an_object": ("gives arguments that cannot be read", "give arguments that cannot be read"),
    "unknown_argument": ("names an argument that does not exist", "name an argument that does not exist"),
    "missing_argument": ("leaves out a required argument", "leave out a required argument"),
    "bad_value": ("gives a value that the tool cannot take", "give a value that the tool cannot take"),
    "execution": ("was well-formed, but failed when executed", "were well-formed, but failed when executed"),
    "labelled": ("is labelled as bad in the data", "are labelled as bad in the data"),
}
"""What a failed call of each category did, in the singular and in the plural."""
_UNJUDGED = {"execution": ("failed when executed", "failed when executed")}
"""Predicates that claim nothing about the form of a call, for data with inferred tools."""
_DOMINANT = 0.35
"""Share of the failed calls below which no category dominates and the headline names two."""


def headline(trajectories: int, calls: Mapping[str, Any], without_answer: int = 0) -> str:
    """How many calls failed and mostly why, in one sentence; in a second one, what could not be judged.

    `calls` is the part of that name of an audit.
    """
    if not trajectories:
        return "Nothing could be read: there is no trajectory to audit."
    total = calls["total"]
    if not total:
        return f"{quantity(trajectories, 'trajectory')}, and not one call to a tool."
    return _outcome(trajectories, calls, without_answer) + _limits(total, calls["form_not_judged"])


def inferred_tools_warning(total: int, form_not_judged: int, not_judged: int) -> str | None:
    """What an audit cannot detect because tools were inferred from the calls; None where every tool was given.

    Args:
        total: calls in the data.
        form_not_judged: calls of tools that were inferred.
        not_judged: those of them that have neither feedback nor a label either.
    """
    if not form_not_judged:
        return None
    calls = f"{form_not_judged:,} of {quantity(total, 'call')}"
    text = (
        f"The data carry no tool specifications for {calls}. They were inferred from these very calls, which therefore "
        "always match: unknown tools, unknown or missing arguments and bad values cannot be detected there. Only "
        "feedback and labels can show that such a call failed"
    )
    if not_judged:
        text += f"; {not_judged:,} of them {'has' if not_judged == 1 else 'have'} neither and count as not failed"
    return text + ". Pass the specifications with --tools FILE (data.tools in a configuration)."


def _outcome(trajectories: int, calls: Mapping[str, Any], without_answer: int) -> str:
    total, failed = calls["total"], calls["failed"]
    if calls["not_judged"] == total:
        subject = "The only call could" if total == 1 else f"None of {total:,} calls could"
        return f"{subject} be judged: there are neither tool specifications nor feedback."
    if failed:
        reasons = _reasons(calls["by_category"], failed, _PREDICATES | (_UNJUDGED if calls["form_not_judged"] else {}))
        return f"{failed:,} of {quantity(total, 'call')} failed{reasons}."
    sentence = "The only call did not fail" if total == 1 else f"None of {total:,} calls failed"
    if without_answer:
        verb = "ends" if without_answer == 1 else "end"
        of_all = f"{without_answer:,} of {quantity(trajectories, 'trajectory')}"
        sentence += f", but {of_all} {verb} without an answer"
    return sentence + "."


def _limits(total: int, form_not_judged: int) -> str:
    if not form_not_judged:
        return ""
    if form_not_judged == total:
        return " Tools were inferred from the calls, so the form of calls was not judged; pass them with --tools."
    return (
        f" Tools of {quantity(form_not_judged, 'call')} were inferred from the calls, so their form was not judged; "
        "pass them with --tools."
    )


def _reasons(categories: Mapping[str, int], failed: int, predicates: Mapping[str, tuple[str, str]]) -> str:
    ordered = sorted(categories, key=lambda name: -categories[name])
    first, second = ordered[0], ordered[1]
    if failed == 1:
        return f": it {predicates[first][0]}"
    if categories[first] == failed:
        return f"; {'both' if failed == 2 else 'all'} of them {predicates[first][1]}"
    reason = f"; {_per_cent(categories[first], failed)} of them {predicates[first][1]}"
    if categories[first] < _DOMINANT * failed:
        reason += f", {_per_cent(categories[second], failed)} {predicates[second][1]}"
    return reason


def _per_cent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %"
