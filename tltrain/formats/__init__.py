"""Trajectories in and out of the world's file formats, detected from the content.

`read` yields trajectories one by one in constant memory; `write` and `convert` write them; `read_tools` reads lists of
tool specifications. One file per format; `FORMATS` is the table of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from tltrain.errors import DataError
from tltrain.formats import jsonio, openai
from tltrain.formats.tools import infer_tools, tools_of
from tltrain.trajectory import Tool, Trajectory

__all__ = ["FORMATS", "Problem", "infer_tools", "read"]


class Reader(Protocol):
    """What the file of a format that can be read offers."""

    def detect(self, record: Any) -> bool:
        """Whether a record of a file looks like this format."""

    def read(self, record: Any, tools: Sequence[Tool] | None, source: str) -> list[Trajectory]:
        """The trajectories of one record. Raises FieldError."""


class Writer(Protocol):
    """What the file of a format that can be written offers as well."""

    def write(self, trajectory: Trajectory) -> dict[str, Any]:
        """One record."""


FORMATS: dict[str, Any] = {"openai": openai}
"""Name -> module, in the order in which they are tried on content: the more telling first."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that could not be read: where, and why."""

    path: str
    line: int | None
    reason: str


def read(
    source: str | Path,
    format: str | None = None,
    tools: Sequence[Tool] | None = None,
    strict: bool = True,
    problems: list[Problem] | None = None,
) -> Iterator[Trajectory]:
    """The trajectories of a file, of all `.json`, `.jsonl` and `.ndjson` files below a folder, or of "-", the input.

    `format` is a name of `FORMATS`; by default each file's first records decide, never its name. `tools` are for logs
    without specifications; such logs get tools inferred from each trajectory's calls otherwise (`infer_tools`). A
    file's first record may give its tools once for all (`{"tools": [...]}`), or hold all samples
    (`{"tools": [...], "samples": [...]}`).

    Raises DataError with path and line at the first record that cannot be read; with `strict=False` such a record is
    appended to `problems` and skipped. A source that does not exist, or an unknown format, raises in any case.
    """
    if format is not None and format not in FORMATS:
        raise DataError(f"unknown format {format!r}: expected one of {', '.join(FORMATS)}")
    files = ["-"] if str(source) == "-" else _files(Path(source))
    return _read_files(files, format, tools, None if strict else problems if problems is not None else [])


def _read_files(
    files: Iterable[str | Path], format: str | None, tools: Sequence[Tool] | None, problems: list[Problem] | None
) -> Iterator[Trajectory]:
    for file in files:
        name = "<stdin>" if file == "-" else str(file)
        try:
            with _opened(file) as stream:
                yield from _read_stream(stream, name, format, tools, problems)
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", name) from None
        except DataError as error:
            if problems is None:
                raise
            problems.append(Problem(name, error.line, error.reason))


def _read_stream(
    stream: BinaryIO, name: str, format: str | None, tools: Sequence[Tool] | None, problems: list[Problem] | None
) -> Iterator[Trajectory]:
    records = jsonio.records(stream)
    head = list(islice(records, _HEAD))
    if not head:
        raise DataError("the file is empty", name)
    module = cast(Reader, FORMATS[format]) if format else None
    for line, record, shared in _samples(chain(head, records)):
        try:
            if isinstance(record, DataError):
                raise record
            if module is None:
                module = _detected([value for _, value, _ in _samples(head)] + [record], name)
            yield from module.read(record, tools if shared is None else shared, f"{name}:{line}")
        except DataError as error:
            if error.path is not None:
                raise
            if problems is None:
                raise DataError(error.reason, name, line) from None
            problems.append(Problem(name, line, error.reason))


_HEAD = 16
"""Records looked at to detect a format; the first ones may be broken, or hold nothing telling."""
_SAMPLES = ("samples", "trajectories", "data")


def _samples(records: Iterable[jsonio.Record]) -> Iterator[tuple[int, Any, tuple[Tool, ...] | None]]:
    """Line, sample and the tools its file gives once: opens `{"tools": …, "samples": […]}`, takes `{"tools": …}`."""
    shared: tuple[Tool, ...] | None = None
    for line, value in records:
        fields = value.keys() if type(value) is dict else ()
        wrapped = next((field for field in _SAMPLES if field in fields and type(value[field]) is list), None)
        if "tools" in fields and (wrapped or len(fields) == 1):
            try:
                shared = tools_of(value["tools"])
            except DataError as error:
                yield line, error, None
                continue
        if wrapped and "messages" not in fields:
            yield from ((line, sample, shared) for sample in value[wrapped])
        elif len(fields) != 1 or "tools" not in fields:
            yield line, value, shared


def _detected(samples: list[Any], name: str) -> Reader:
    for module in FORMATS.values():
        if any(module.detect(sample) for sample in samples):
            return cast(Reader, module)
    raise DataError(f"no known format: tried {', '.join(FORMATS)}; name the format if it is one of them", name)


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        found = sorted(file for file in source.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
        if not found:
            raise DataError(f"no {', '.join(_SUFFIXES)} files in this folder", source)
        return found
    if not source.exists():
        raise DataError("no such file or folder", source)
    return [source]


_SUFFIXES = (".json", ".jsonl", ".ndjson")


def _opened(file: str | Path) -> Any:
    return nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb")
