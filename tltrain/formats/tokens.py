"""Steps as records: token ids and weights, for trainers that take them as they are. Needs no tokenizer itself."""

from __future__ import annotations

from typing import Any, Protocol

IGNORED = -100
"""The label of tokens that are not learned, in TRL and transformers."""


class Step(Protocol):
    """One reply with all that precedes it, as tokens; `weights` has one number for each of `reply_ids`."""

    @property
    def prompt_ids(self) -> list[int]:
        """The tokens before the reply."""

    @property
    def reply_ids(self) -> list[int]:
        """The tokens of the reply, stop token included."""

    @property
    def weights(self) -> list[float]:
        """Loss weight of each reply token."""


def step_record(step: Step) -> dict[str, Any]:
    """`prompt_ids`, `reply_ids`, `weights`: everything there is."""
    return {"prompt_ids": step.prompt_ids, "reply_ids": step.reply_ids, "weights": step.weights}


def trl_record(step: Step) -> dict[str, Any]:
    """TRL's `input_ids` and `labels`, both of the step's length.

    Prompt tokens and reply tokens of weight 0 have the label -100. Weights other than 0 and 1 cannot be carried.
    """
    learned = zip(step.reply_ids, step.weights, strict=True)
    labels = [token if weight else IGNORED for token, weight in learned]
    return {"input_ids": [*step.prompt_ids, *step.reply_ids], "labels": [IGNORED] * len(step.prompt_ids) + labels}
