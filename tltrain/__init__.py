"""tltrain: train language models to call tools, from about a thousand noisy trajectories."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tltrain.formats import read
from tltrain.judging import Verdict, judge
from tltrain.trajectory import Call, Message, Tool, Trajectory

if TYPE_CHECKING:
    from tltrain.evaluation.own_splits import evaluate
    from tltrain.ppo.trainer import PPOTrainer
    from tltrain.sft import SFTTrainer

__all__ = [
    "Call",
    "Message",
    "PPOTrainer",
    "SFTTrainer",
    "Tool",
    "Trajectory",
    "Verdict",
    "evaluate",
    "judge",
    "read",
]

_LATER = {"SFTTrainer": "tltrain.sft", "PPOTrainer": "tltrain.ppo.trainer", "evaluate": "tltrain.evaluation.own_splits"}
"""Loaded when asked for, since they load torch, and reading data should not."""


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'tltrain' has no attribute {name!r}")
