"""From trajectory and tokenizer to steps: prompt ids, reply ids, and a loss weight for each reply token (MAE, PKT)."""

from tltrain.encode.encoder import Encoded, Encoder, EncodingCounts, Prompt, Step
from tltrain.encode.key_tokens import DEFAULT_W_MAX, key_positions, key_weight
from tltrain.encode.rendering import template_message

__all__ = [
    "DEFAULT_W_MAX",
    "Encoded",
    "Encoder",
    "EncodingCounts",
    "Prompt",
    "Step",
    "key_positions",
    "key_weight",
    "template_message",
]
