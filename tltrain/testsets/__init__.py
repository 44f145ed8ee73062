"""Test sets: one module for each, which loads and repairs it.

To add a test set, write a module with a subclass of `TestSet` and list it in `TEST_SETS`.
"""

from __future__ import annotations

from pkgutil import resolve_name

from tltrain.errors import ConfigError
from tltrain.testsets.base import TestSet

TEST_SETS = {
    "rotbench": "tltrain.testsets.rotbench:RoTBench",
    "toolalpaca": "tltrain.testsets.toolalpaca:ToolAlpaca",
    "bfcl": "tltrain.testsets.bfcl:BFCL",
    "tooleyes": "tltrain.testsets.tooleyes:ToolEyes",
    "sealtools": "tltrain.testsets.sealtools:SealTools",
    "toolworld": "tltrain.testsets.toolworld:Toolworld",
}
"""Module and class by the name that `--bench` takes; imported on first use."""


def test_set(name: str) -> type[TestSet]:
    """The class of a test set.

    Raises:
        ConfigError: there is no such test set.
    """
    if name not in TEST_SETS:
        raise ConfigError(f"{name}: no such test set: expected {', '.join(TEST_SETS)}")
    found: type[TestSet] = resolve_name(TEST_SETS[name])
    return found
