"""Trajectory and tokenizer to steps: prompt ids, reply ids, and a loss weight for each reply token (MAE and PKT)."""

from tltrain.encode.encoder import (
    DEFAULT_W_MAX,
    Encoder,
    EncodingCounts,
    Prompt,
    Step,
    key_positions,
    key_weight,
    template_message,
)

__all__ = [
    "DEFAULT_W_MAX",
    "Encoder",
    "EncodingCounts",
    "Prompt",
    "Step",
    "key_positions",
    "key_weight",
    "template_message",
]
