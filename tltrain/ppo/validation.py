"""Validation of a policy on prompts that it is not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tltrain.judging import Verdict
from tltrain.judging.verdicts import summarize


def validation_scores(greedy: Sequence[Verdict], rewards: torch.Tensor) -> dict[str, Any]:
    """Scores of one validation, for `validation.jsonl`.

    Args:
        greedy: verdict on the greedy reply to each of N prompts.
        rewards: (N, samples) of replies sampled to the same prompts.

    Returns:
        TS, PI and CF in per cent with binomial standard errors (`se`), and the mean `reward` of sampled replies; its
        standard error is that of the prompts' means, since the samples of a prompt are alike.
    """
    scores, means = summarize(greedy), rewards.double().mean(-1)
    error = (means.var() / len(means)).sqrt().item() if len(means) > 1 else 0.0
    return {
        "prompts": scores.n,
        "TS": scores.TS,
        "PI": scores.PI,
        "CF": scores.CF,
        "reward": means.mean().item(),
        "se": {**scores.se, "reward": error},
    }
