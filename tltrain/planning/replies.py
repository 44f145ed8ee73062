"""Lengths of gold replies, and the limits on generated replies that fit them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tltrain.audit.failure_detectors import assess_calls
from tltrain.audit.feedback import Mode
from tltrain.audit.lengths import Masking, Tokens
from tltrain.config import RunConfig, read_config
from tltrain.data import Data
from tltrain.progress import quantity
from tltrain.sft import draw
from tltrain.trajectory import Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

QUANTILE = 0.995
"""Share of the golds that a limit leaves whole at least."""
HEADROOM = 1.25
"""A model's right reply may be longer than the gold: a limit exceeds the quantile by this factor."""
MULTIPLE = 32
"""Limits are multiples of this many tokens."""
LEAST = 64
WITHOUT_GOLDS = 512
"""The limit where no gold can be measured."""
MEASURED = 500
"""Most trajectories whose replies are measured."""


def gold_lengths(
    trajectories: Sequence[Trajectory], tokenizer: PreTrainedTokenizerBase, mode: Mode = "default", seed: int = 0
) -> list[int]:
    """Tokens of every gold (a reply that neither failed nor is labelled 0), stop token included.

    Of more than `MEASURED` trajectories a random sample is measured. Those that the chat template refuses are omitted.
    """
    lengths: list[int] = []
    drawn = draw(trajectories, MEASURED, seed)
    work = [(trajectory, [Masking(False) for _ in trajectory.replies()]) for trajectory in drawn]
    for trajectory, measured in zip(drawn, Tokens(tokenizer).measure(work), strict=True):
        if isinstance(measured, str):
            continue
        failed = {call.message for call in assess_calls(trajectory, mode) if call.failed}
        lengths += [
            length
            for (index, reply), length in zip(trajectory.replies(), measured.replies, strict=True)
            if index not in failed and reply.weight != 0
        ]
    return lengths


def fitting_limit(lengths: Sequence[int]) -> int:
    """A limit on generated replies for golds of these lengths: see `QUANTILE`, `HEADROOM` and `MULTIPLE`."""
    if not lengths:
        return WITHOUT_GOLDS
    quantile = sorted(lengths)[math.ceil(QUANTILE * len(lengths)) - 1]
    return max(LEAST, math.ceil(HEADROOM * quantile / MULTIPLE) * MULTIPLE)


def with_reply_limit(
    config: RunConfig, folder: Path | None, data: Data, tokenizer: PreTrainedTokenizerBase
) -> RunConfig:
    """The configuration with `eval.max_new_tokens` set: the value stored in the run directory `folder` if there is one,
    otherwise one that fits the golds of the test splits (of the training split, if there is no test split)."""
    if config.eval is None or config.eval.max_new_tokens is not None:
        return config
    stored = None if folder is None else folder / "config.yaml"
    before = read_config(stored).eval if stored is not None and stored.is_file() else None
    limit = before.max_new_tokens if before is not None else None
    if limit is None:
        tested = [trajectory for split in data.tests.values() for trajectory in split] or data.train
        limit = fitting_limit(gold_lengths(tested, tokenizer, config.failure_mode, config.data_seed))
        limit = min(limit, config.max_length or limit)
    return config.model_copy(update={"eval": config.eval.model_copy(update={"max_new_tokens": limit})})


def truncation_warnings(
    config: RunConfig, data: Data, tokenizer: PreTrainedTokenizerBase, stages: Sequence[str] = ("ppo", "eval")
) -> list[str]:
    """A warning for each limit on generated replies, in the named stages, that some golds exceed."""
    warnings = []
    evaluated = config.eval is not None and config.eval.own_splits and "eval" in stages
    if config.eval is not None and config.eval.max_new_tokens is not None and evaluated:
        sample = config.eval.trajectories
        tested = [trajectory for split in data.tests.values() for trajectory in draw(split, sample, config.data_seed)]
        lengths = gold_lengths(tested, tokenizer, config.failure_mode, config.data_seed)
        warnings.append(_longer_than("eval", config.eval.max_new_tokens, lengths, "count as wrong"))
    if config.ppo is not None and "ppo" in stages:
        lengths = gold_lengths(data.train, tokenizer, config.failure_mode, config.data_seed)
        warnings.append(_longer_than("ppo", config.ppo.max_new_tokens, lengths, "get the reward of a format error"))
    return [warning for warning in warnings if warning is not None]


def _longer_than(section: str, limit: int, lengths: Sequence[int], consequence: str) -> str | None:
    longer = sum(length > limit for length in lengths)
    if not longer or fitting_limit(lengths) <= limit:  # the few golds that a default leaves too long are no problem
        return None
    golds = f"{longer:,} of {quantity(len(lengths), 'gold')} {'is' if longer == 1 else 'are'} longer than the limit"
    return (
        f"{golds} of {limit} tokens: such replies are truncated and {consequence}; "
        f"set {section}.max_new_tokens to {fitting_limit(lengths)} "
        f"(the longest gold has {quantity(max(lengths), 'token')})"
    )
