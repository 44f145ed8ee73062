"""The table of formats: what can be read, what can be written, and under which names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from tltrain.errors import DataError
from tltrain.formats import (
    anthropic,
    hermes_turns,
    llamafactory,
    msswift,
    openai,
    rotbench,
    sealtools,
    taubench,
    tltrain_release,
    toolalpaca,
    toolbench,
    tooleyes,
    toolrl,
    xlam,
)
from tltrain.formats.tokens import Step, step_record, trl_record
from tltrain.trajectory import Tool, Trajectory


class Format(Protocol):
    """What the file of a format offers; some also `write(trajectory, failed=()) -> record`."""

    def detect(self, record: Any) -> bool:
        """Whether a record of a file looks like this format."""

    def read(self, record: Any, tools: Sequence[Tool] | None, source: str) -> list[Trajectory]:
        """The trajectories of one record. Raises FieldError."""


FORMATS: dict[str, Format] = {
    "tau-bench": taubench,
    "toolbench": toolbench,
    "rotbench": rotbench,
    "tooleyes": tooleyes,
    "tl-training": tltrain_release,
    "hermes": hermes_turns,
    "llama-factory": llamafactory,
    "toolalpaca": toolalpaca,
    "seal-tools": sealtools,
    "xlam": xlam,
    "toolrl": toolrl,
    "anthropic": anthropic,
    "ms-swift": msswift,
    "openai": openai,
}
"""Formats that can be read, in the order in which they are tried on content: the more telling first."""

REFUTED_BY: dict[str, Callable[[Any], bool]] = {"hermes": llamafactory.is_certain}
"""Records that rule a format out for the whole file, whatever other records look like: tags are weak evidence, since
any text can quote them, while the roles of LLaMA-Factory's calls and feedback are its own."""

WriteRecord = Callable[[Trajectory, Collection[int]], dict[str, Any]]

WRITERS: dict[str, WriteRecord] = {
    "openai": openai.write,
    "ms-swift": msswift.write,
    "llama-factory": llamafactory.write,
}
"""Formats that can be written: the record of a trajectory, given the message indices of its failed replies."""

STEP_WRITERS: dict[str, Callable[[Step], dict[str, Any]]] = {"steps": step_record, "trl": trl_record}
"""Formats of tokens: the record of one step."""

_ALIASES = {"sharegpt": "llama-factory", "swift": "ms-swift", "apigen": "xlam"}


def format_name(name: str, known: Collection[str]) -> str:
    """The name as our tables have it: case, `-` and `_` do not matter. Raises DataError where it is not in `known`."""
    plain = {one.replace("-", ""): one for one in known}
    plain |= {alias: one for alias, one in _ALIASES.items() if one in known}
    found = plain.get(name.lower().replace("-", "").replace("_", ""))
    if found is None:
        raise DataError(f"unknown format {name!r}: expected one of {', '.join(known)}")
    return found
