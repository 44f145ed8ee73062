"""Steps as records of token ids and weights, for trainers that accept tokenized data. Needs no tokenizer."""

from __future__ import annotations

from typing import Any, Protocol

IGNORED = -100
"""The label of tokens without loss, in TRL and transformers."""


class Step(Protocol):
    """A tokenized reply and its prompt; `weights` and `reply_ids` have the same length."""

    @property
    def prompt_ids(self) -> list[int]:
        """The token ids before the reply."""

    @property
    def reply_ids(self) -> list[int]:
        """The token ids of the reply, including the stop token."""

    @property
    def weights(self) -> list[float]:
        """The loss weight of each reply token."""


def step_record(step: Step) -> dict[str, Any]:
    """A record with `prompt_ids`, `reply_ids` and `weights`."""
    return {"prompt_ids": step.prompt_ids, "reply_ids": step.reply_ids, "weights": step.weights}


def trl_record(step: Step) -> dict[str, Any]:
    """A record with TRL's `input_ids` and `labels`, which have the same length.

    Prompt tokens and reply tokens of weight 0 have the label -100. Weights other than 0 and 1 (those of PKT) are lost:
    TRL's labels say only whether a token is learnt. A failed reply has no label but -100, and adds nothing to the loss.
    """
    weighted = zip(step.reply_ids, step.weights, strict=True)
    labels = [token if weight else IGNORED for token, weight in weighted]
    return {"input_ids": [*step.prompt_ids, *step.reply_ids], "labels": [IGNORED] * len(step.prompt_ids) + labels}
