"""Scores: the rows of `scores.json`, one for each model, split and protocol."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from tltrain.evaluation.metrics import METRICS


class Score(BaseModel):
    """A model on one split of a test set. Metrics are in per cent of the `n` items scored; those of `METRICS` without a
    field here are kept too."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    model: str = ""
    """Name of the model in this evaluation."""
    bench: str = "toolworld"
    """Name of the test set."""
    split: str = ""
    """Its split."""
    protocol: str | None = None
    """`default` or `paper`, where a test set can be scored in several ways."""
    dialect: str | None = None
    """How the model's replies write calls."""
    n: int
    """Items scored."""
    items: int | None = None
    """Items in the test set's file."""
    TS: float | None = None
    """Tool selection: the right tool."""
    PI: float | None = None
    """Parameter identification: TS, and the same set of argument names."""
    CF: float | None = None
    """Content filling: PI, and all values right."""
    accuracy: float | None = None
    """Right by the test set's own rule."""
    DE: float | None = None
    """Calls that misread the documentation, per cent of calls."""
    CE: float | None = None
    """Calls that failed when executed, per cent of calls."""
    VA: float | None = None
    """Queries that ended in a valid answer."""
    se: dict[str, float | None] = {}
    """Binomial standard error of each metric, in points."""
    errors: dict[str, int] = {}
    """Wrong items by error category; categories that do not occur are omitted."""
    calls: dict[str, int] | int | None = None
    """Single calls: `n`, `TS`, `PI` and `CF` counts; of multi-step sets the number of calls made."""
    gold_with_call: dict[str, Any] | None = None
    """The same metrics over the items whose gold has a call."""
    gold_without_call: dict[str, Any] | None = None
    """The same over the items whose gold is a text: a model that never calls gets these right for nothing."""
    unparseable: int = 0
    """Replies whose calls cannot be read, truncated ones among them."""
    truncated: int = 0
    """Replies cut off at `max_new_tokens`."""
    max_new_tokens: int | None = None
    """The limit on replies, in tokens, where some were cut off at it."""
    missing: int | None = None
    """Items without a prediction, in a given file of predictions; they count as wrong."""
    too_long: int = 0
    """Prompts that leave the model no room for a reply; they count as wrong."""
    refused: int = 0
    """Prompts that an endpoint or the chat template rejected; they count as wrong."""
    unanswered: dict[str, str] = {}
    """The reason for each of both, by the item's index."""
    repaired: int | list[Any] | dict[str, Any] = 0
    """Golds that were repaired: the reason by index."""
    excluded: int | list[Any] | dict[str, Any] = 0
    """Items that are not scored: the reason by index."""
    executor: str | None = None
    """What executed the calls of a multi-step set; scores with different executors do not compare."""
    queries: int | None = None
    """Multi-step sets: queries."""
    misread: int | None = None
    """Multi-step sets: calls that misread the documentation."""
    failed: int | None = None
    """Multi-step sets: calls that failed when executed."""
    ends: dict[str, int] | None = None
    """Multi-step sets: how the queries ended."""
    warnings: list[str] = []
    """Such as test files that are not the pinned version."""
    usage: dict[str, float] = {}
    """`prompt_tokens`, `tokens` of the replies, and the `cost` where prices were given."""

    @property
    def test(self) -> str:
        """What was tested on: bench, split and protocol as one label."""
        return " ".join(part for part in (self.bench, self.split, self.protocol and f"({self.protocol})") if part)

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics that this row has."""
        values = ((name, getattr(self, name, None)) for name in METRICS)
        return {name: value for name, value in values if value is not None}

    def to_json(self) -> dict[str, Any]:
        """The row of `scores.json`: the fields that were set."""
        return self.model_dump(exclude_unset=True)
