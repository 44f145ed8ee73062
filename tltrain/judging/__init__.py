"""The judge: compares a predicted reply with gold replies, for rewards, scores and error analyses."""

from tltrain.judging.equality import ANY
from tltrain.judging.rewards import CATEGORIES, REWARDS, Outcome
from tltrain.judging.verdicts import CallVerdict, Counts, Scores, Verdict, judge, standard_error, summarize

__all__ = [
    "ANY",
    "CATEGORIES",
    "REWARDS",
    "CallVerdict",
    "Counts",
    "Outcome",
    "Scores",
    "Verdict",
    "judge",
    "standard_error",
    "summarize",
]
