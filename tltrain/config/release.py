"""`mode: release`: the settings that make a run do what the code of the TL-Training release does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

RELEASE: Mapping[str, Any] = {
    "dialect": "python",
    "template": "release",
    "sft": {
        "batch_size": 4,
        "batch_unit": "step",
        "group_size": 1,
        "normaliser": "sample",
        "answered_only": True,
        "argument_ends": False,
        "optimiser": {"schedule": "constant"},
    },
    "ppo": {
        "prompts": 8,
        "group_size": 1,
        "samples": 1,
        "temperature": 0.0,
        "beta": 0.4,
        "advantage": "gae",
        "critic_start": "random",
    },
}
"""The settings in which the release differs from the paper or from our defaults, with their values in the release."""
LEARNING_RATES: Mapping[tuple[str, ...], float] = {("sft", "optimiser"): 1e-6}
"""Required fields that a preset section lacks if the user gives none of it: the release's learning rates."""


def with_release(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a `RunConfig` with those of the release where none are given.

    Raises:
        ValueError: a value contradicts the release.
    """
    return _filled(values, RELEASE, ())


def _filled(values: Mapping[str, Any], preset: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    filled = dict(values)
    for name, wanted in preset.items():
        given = values.get(name)
        if isinstance(given, BaseModel):
            given = given.model_dump(exclude_unset=True)
        if isinstance(wanted, Mapping):
            if name in values and not isinstance(given, dict):
                continue  # a stage that is skipped, or a mistake that validation reports
            rate = LEARNING_RATES.get((*path, name))
            start = {"learning_rate": rate} if rate is not None and given is None else {}
            filled[name] = _filled(given or start, wanted, (*path, name))
        elif name not in values:
            filled[name] = wanted
        elif given != wanted:
            field = ".".join((*path, name))
            raise ValueError(
                f"mode release needs {field} {wanted}, found {given}: remove the field, "
                f"or take mode paper and the single settings of the release"
            )
    return filled
