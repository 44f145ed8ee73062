"""Input and output of a side of `benchmarks/generation_speed.py`. Does not import tltrain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationJob:
    """The input of a process, passed as JSON."""

    prompts: str
    """JSON Lines file of `{"ids"}`."""
    model: str
    dtype: str
    device: str
    stop_ids: list[int]
    """Token ids that end a reply."""
    new_tokens: int
    """A longer reply is truncated."""
    batch: int
    """Most replies decoded together."""
    settings: dict[str, Any]
    """Further settings of the side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationOutcome:
    """The results of a process."""

    seconds: float
    """From the prompts' token ids to all replies; loading the model and a short reply before it are not timed."""
    replies: list[list[int]]
    """Token ids of each reply up to its stop token, in the order of the prompts."""
    peak_mb: float
    versions: dict[str, str]
    settings: dict[str, Any]


def cut(reply: Sequence[int], stop_ids: Sequence[int]) -> list[int]:
    """A reply up to and with its first stop token."""
    end = next((number for number, token in enumerate(reply, 1) if token in stop_ids), len(reply))
    return list(reply[:end])
