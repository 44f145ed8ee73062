"""tltrain: train language models to call tools, from about a thousand noisy trajectories."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tltrain.formats import read
from tltrain.judging import Verdict, judge
from tltrain.trajectory import Call, Message, Tool, Trajectory

if TYPE_CHECKING:
    from tltrain.evaluation.run import evaluate
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

_LAZY = {"SFTTrainer": "tltrain.sft", "PPOTrainer": "tltrain.ppo.trainer", "evaluate": "tltrain.evaluation.run"}
"""Imported on first use: they import torch, which reading data should not need."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'tltrain' has no attribute {name!r}")
