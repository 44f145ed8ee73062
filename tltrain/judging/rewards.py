"""The reward of each finding of the judge, and the category of error in which it is counted (the paper's IRM)."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    """The reward of a finding, and its category of error."""

    reward: float
    category: str


REWARDS = {
    "right": Outcome(1.0, "right"),
    "not_a_call": Outcome(-2.0, "missing_call"),
    "format": Outcome(-2.0, "format"),
    "tool_hallucinated": Outcome(-2.0, "tool_hallucinated"),
    "tool_wrong": Outcome(-1.5, "tool_wrong"),
    "arguments_hallucinated_redundant_missing": Outcome(-1.8, "argument_hallucinated"),
    "arguments_hallucinated_redundant": Outcome(-1.3, "argument_hallucinated"),
    "arguments_hallucinated_missing": Outcome(-1.3, "argument_hallucinated"),
    "arguments_redundant_missing": Outcome(-1.0, "argument_missing"),
    "arguments_hallucinated": Outcome(-0.8, "argument_hallucinated"),
    "arguments_redundant": Outcome(-0.5, "argument_redundant"),
    "arguments_missing": Outcome(-0.5, "argument_missing"),
    "value": Outcome(-0.25, "value"),
    "call_extra": Outcome(-2.0, "unwanted_call"),
    "call_lacking": Outcome(-1.5, "missing_call"),
    "call_unwanted": Outcome(-1.5, "unwanted_call"),
}
"""Reward and category by finding.

- `not_a_call`: the gold reply has calls and the predicted reply has none.
- `format`: the call markup cannot be parsed, or the reply was truncated.
- `call_extra`, `call_lacking`: both replies have calls, and this predicted or gold call has no counterpart.
- `call_unwanted`: a predicted call where the gold reply has none.
- `arguments_…`: the kinds of wrong argument names in the call; the category is that of the first of hallucinated,
  missing, redundant.
"""

CATEGORIES = tuple(dict.fromkeys(outcome.category for outcome in REWARDS.values()))
"""All categories, in the order of the table."""

_HUNDREDTHS = {finding: round(100 * outcome.reward) for finding, outcome in REWARDS.items()}


def reward_in_hundredths(finding: str) -> int:
    """The reward of a finding times 100, as an exact integer: sums of it do not depend on their order."""
    return _HUNDREDTHS[finding]
