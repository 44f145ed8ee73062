"""Input and output of a side of `benchmarks/ppo_speed.py`. Does not import tltrain: TRL may be installed without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RLJob:
    """The input of a process, passed as JSON."""

    prompts: str
    """JSON Lines file of `{"ids", "text"}`: as many prompts as all rollouts need."""
    logs: str
    """JSON Lines file of the trajectories that the prompts come from."""
    model: str
    dtype: str
    device: str
    folder: str
    """Output folder of the trainer."""
    warmup: int
    """Rollouts at the start that are not timed."""
    rollouts: int
    """Rollouts that are timed."""
    size: int
    """Prompts of a rollout."""
    samples: int
    new_tokens: int
    """Tokens of every reply: no stop token ends one, so that both sides do the same work."""
    beta: float
    temperature: float
    learning_rate: float
    rank: int
    """Of the adapters, on all linear layers of the blocks."""
    seed: int
    max_tree_tokens: int
    settings: dict[str, Any]
    """Further settings of the trainer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RLOutcome:
    """The results of a process."""

    seconds: float
    """Duration of the timed rollouts with their updates."""
    replies: int
    reply_tokens: int
    """Tokens of these replies."""
    peak_mb: float
    versions: dict[str, str]
    settings: dict[str, Any]


def pseudo_reward(ids: Sequence[int]) -> float:
    """A reward in [-1, 1] that depends on the token ids alone and differs within almost every group: no side can skip
    a reply."""
    return sum(ids) % 101 / 50 - 1
