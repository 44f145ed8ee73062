"""The tables of formats that can be read and written, by name."""

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
    """The functions of a format's module; some modules also have `write(trajectory, failed=()) -> record`."""

    def detect(self, record: Any) -> bool:
        """Whether a record of a file appears to be in this format."""

    def read(self, record: Any, tools: Sequence[Tool] | None, source: str) -> list[Trajectory]:
        """The trajectories of a record; `source` is its `path:line`. Raises FieldError."""


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
"""Formats that can be read, in the order in which detection tries them: the more specific first."""

REFUTED_BY: dict[str, Callable[[Any], bool]] = {"hermes": llamafactory.is_certain}
"""Checks that exclude a format for the whole file if any record passes them: tags are weak evidence for Hermes, as any
text can quote them, while only LLaMA-Factory uses its roles for calls and feedback."""

CONFIRMED_BY: dict[str, Callable[[Any], bool]] = {"hermes": hermes_turns.is_certain}
"""Checks of a format whose `detect` is weak evidence: where no record of a file's head passes, every one of them has to
be detected."""

WriteRecord = Callable[[Trajectory, Collection[int]], dict[str, Any]]

WRITERS: dict[str, WriteRecord] = {
    "openai": openai.write,
    "ms-swift": msswift.write,
    "llama-factory": llamafactory.write,
}
"""Formats that can be written. A writer takes a trajectory and the message indices of its failed replies, and returns
a record."""

STEP_WRITERS: dict[str, Callable[[Step], dict[str, Any]]] = {"steps": step_record, "trl": trl_record}
"""Formats that contain tokens. A writer takes a step and returns a record."""

_ALIASES = {"sharegpt": "llama-factory", "swift": "ms-swift", "apigen": "xlam"}


def format_name(name: str, known: Collection[str]) -> str:
    """The canonical name of a format, ignoring case, `-` and `_`. Raises DataError if it is not in `known`."""
    names = {format.replace("-", ""): format for format in known}
    names |= {alias: format for alias, format in _ALIASES.items() if format in known}
    found = names.get(name.lower().replace("-", "").replace("_", ""))
    if found is None:
        raise DataError(f"unknown format {name!r}: expected one of {', '.join(known)}")
    return found
