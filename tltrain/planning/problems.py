"""Problems of a configuration with its data that stop no run, but change what its result means."""

from __future__ import annotations

from tltrain.config import RunConfig
from tltrain.data import TOOLWORLD, Data, opening


def default_data_warning(config: RunConfig) -> str | None:
    """A warning if the run trains on toolworld only because the configuration names no data."""
    named = "data" in config.model_fields_set and "train" in config.data.model_fields_set
    if named or config.data.train != TOOLWORLD or not (config.sft or config.ppo):
        return None
    return (
        "the configuration has no data.train, so the model is trained on toolworld, the built-in data; "
        "set data.train to your own data, or to `toolworld` if this is intended"
    )


def nothing_to_evaluate_warning(config: RunConfig, data: Data) -> str | None:
    """A warning if the configuration has an evaluation and there is no test split."""
    if config.eval is None or data.tests:
        return None
    openings = len({opening(trajectory) for trajectory in data.train})
    found = f"data.holdout {config.data.holdout:g} of {openings} distinct opening{'s' * (openings != 1)} is none"
    reason = found if config.data.holdout else "data.holdout is 0 and data.test is empty"
    return f"nothing will be evaluated: {reason}; raise data.holdout, or name files in data.test"
