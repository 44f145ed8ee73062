"""Validation of a policy on prompts that it is not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tltrain.judging import Verdict
from tltrain.judging.verdicts import summarize


def validation_scores(greedy: Sequence[Verdict], rewards: torch.Tensor, right: torch.Tensor) -> dict[str, Any]:
    """Scores of one validation, for `validation.jsonl`.

    Args:
        greedy: verdict on the greedy reply to each of N prompts.
        rewards: (N, samples) of replies sampled to the same prompts.
        right: (N, samples) whether each of them has CF.

    Returns:
        TS, PI and CF in per cent with binomial standard errors (`se`), the mean `reward` of sampled replies, whose
        standard error is that of the prompts' means, since the samples of a prompt are alike, and `pass@k`, the share
        of prompts, in per cent, for which at least one of the `k = samples` replies is right: before the first rollout
        it bounds what sampling can teach.
    """
    scores, means = summarize(greedy), rewards.double().mean(-1)
    error = (means.var() / len(means)).sqrt().item() if len(means) > 1 else 0.0
    solved = 100 * right.any(-1).double().mean().item()
    return {
        "prompts": scores.n,
        "TS": scores.TS,
        "PI": scores.PI,
        "CF": scores.CF,
        "reward": means.mean().item(),
        "samples": right.shape[1],
        "pass@k": solved,
        "se": {**scores.se, "reward": error, "pass@k": (solved * (100 - solved) / len(means)) ** 0.5},
    }
