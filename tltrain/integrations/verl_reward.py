"""The judge's reward for verl, as a custom reward function:

    reward.custom_reward_function.path=pkg://tltrain.integrations.verl_reward
    reward.custom_reward_function.name=compute_score

The rows are those of `tltrain convert --to verl`. verl decodes replies without special tokens, and does not say whether
a reply was truncated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tltrain.integrations.grading import grade


def compute_score(
    data_source: str, solution_str: Any, ground_truth: Any, extra_info: Mapping[str, Any] | None = None, **_: Any
) -> dict[str, float]:
    """The judge's reward as `score`, and TS, PI and CF, which verl logs; `acc`, which its validation reports, is CF.

    Args:
        data_source: not used.
        solution_str: the reply.
        ground_truth: the golds, as JSON text.
        extra_info: of the row: `tools` as JSON text, and `dialect` (default: hermes).

    Raises:
        DataError: the golds or tools are malformed.
    """
    extra = extra_info or {}
    verdict = grade(solution_str, ground_truth, extra.get("tools"), extra.get("dialect"))
    matches = {"ts": float(verdict.TS), "pi": float(verdict.PI), "cf": float(verdict.CF)}
    return {"score": verdict.reward, **matches, "acc": float(verdict.CF)}
