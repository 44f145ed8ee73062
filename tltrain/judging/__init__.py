"""The judge: one comparison of a prediction with golds, for rewards, scores and error analyses."""

from tltrain.judging.verdicts import (
    ANY,
    CATEGORIES,
    ROWS,
    CallVerdict,
    Counts,
    Scores,
    Verdict,
    judge,
    summarize,
)

__all__ = ["ANY", "CATEGORIES", "ROWS", "CallVerdict", "Counts", "Scores", "Verdict", "judge", "summarize"]
