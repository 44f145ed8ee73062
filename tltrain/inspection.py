"""A sample as the model sees it: every token with its weight and the reason for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tltrain import formats
from tltrain import model as models
from tltrain.encode import Encoder, Step
from tltrain.errors import DataError
from tltrain.trajectory import Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def sample_at(data: str, index: int, format: str | None = None, tools: str | None = None) -> Trajectory:
    """The trajectory at `index` (from 0) in a file.

    Raises:
        DataError: the file cannot be read, or `index` is out of range.
    """
    if index < 0:
        raise DataError(f"index {index}: expected 0 or more", data)
    given = None if tools is None else formats.read_tools(tools)
    count = 0
    for trajectory in formats.read(data, format, given):
        if count == index:
            return trajectory
        count += 1
    raise DataError(f"index {index}: the data contain {count} trajectories, numbered from 0", data)


def inspect_sample(trajectory: Trajectory, model: str, encoder: Encoder | None = None) -> dict[str, Any]:
    """The JSON output of `tltrain inspect`: `{id, source, model, steps}`; a step is `{index, message, failed, reasons,
    tokens}`, a token `{token, id, weight, reason, part, key, struck}`."""
    encoder = encoder or Encoder(models.load_tokenizer(model))
    return {
        "id": trajectory.id,
        "source": trajectory.source,
        "model": model,
        "steps": [_step(encoder.tokenizer, index, step) for index, step in enumerate(encoder.steps(trajectory))],
    }


def _step(tokenizer: PreTrainedTokenizerBase, index: int, step: Step) -> dict[str, Any]:
    reasons = [note for note, weight in zip(step.notes, step.weights, strict=True) if not weight]
    context = [_token(tokenizer, token, 0.0, "context", "prompt") for token in step.prompt_ids]
    reply = [
        _token(tokenizer, token, weight, note, "reply")
        for token, weight, note in zip(step.reply_ids, step.weights, step.notes, strict=True)
    ]
    return {
        "index": index,
        "message": step.message,
        "failed": step.masked,
        "reasons": list(dict.fromkeys(reasons)),
        "tokens": context + reply,
    }


def _token(tokenizer: PreTrainedTokenizerBase, token: int, weight: float, reason: str, part: str) -> dict[str, Any]:
    return {
        "token": tokenizer.decode([token]),
        "id": token,
        "weight": weight,
        "reason": reason,
        "part": part,
        "key": reason == "key token",
        "struck": part == "reply" and weight == 0,
    }
