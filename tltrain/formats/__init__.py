"""Trajectories in and out of the world's file formats, detected from the content.

`read` yields trajectories one by one in constant memory; `write`, `write_steps` and `convert` write them;
`read_tools` reads lists of tool specifications. One file per format; `FORMATS` is the table of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TextIO

from tltrain.errors import DataError
from tltrain.files import replacing
from tltrain.formats import (
    anthropic,
    hermes_turns,
    jsonio,
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
from tltrain.formats.tools import infer_tools, tool_of, tools_of
from tltrain.trajectory import Tool, Trajectory

__all__ = [
    "FORMATS",
    "STEP_WRITERS",
    "WRITERS",
    "Problem",
    "convert",
    "format_name",
    "infer_tools",
    "read",
    "read_tools",
    "write",
    "write_steps",
]


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

WRITERS: dict[str, Callable[[Trajectory, Collection[int]], dict[str, Any]]] = {
    "openai": openai.write,
    "ms-swift": msswift.write,
    "llama-factory": llamafactory.write,
}
"""Formats that can be written: the record of a trajectory, given the message indices of its failed replies."""

STEP_WRITERS: dict[str, Callable[[Step], dict[str, Any]]] = {"steps": step_record, "trl": trl_record}
"""Formats of tokens: the record of one step."""

_ALIASES = {"sharegpt": "llama-factory", "swift": "ms-swift", "apigen": "xlam"}


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
    format = None if format is None else format_name(format, FORMATS)
    files = ["-"] if str(source) == "-" else _files(Path(source))
    return _read_files(files, format, tools, None if strict else problems if problems is not None else [])


def format_name(name: str, known: Collection[str]) -> str:
    """The name as our tables have it: case, `-` and `_` do not matter. Raises DataError where it is not in `known`."""
    plain = {one.replace("-", ""): one for one in known}
    plain |= {alias: one for alias, one in _ALIASES.items() if one in known}
    found = plain.get(name.lower().replace("-", "").replace("_", ""))
    if found is None:
        raise DataError(f"unknown format {name!r}: expected one of {', '.join(known)}")
    return found


def write(
    trajectories: Iterable[Trajectory],
    target: str | Path | TextIO,
    format: str = "openai",
    failed: Callable[[Trajectory], Collection[int]] | None = None,
    strict: bool = True,
    problems: list[Problem] | None = None,
) -> int:
    """Writes trajectories as JSON Lines to a file, whole or not at all, to an open stream, or to "-", the output.

    `format` is a name of `WRITERS`; each file says what its format cannot carry. `failed` gives the message indices of
    a trajectory's failed replies, which get weight 0. Returns how many were written. Raises DataError, with the place
    the trajectory came from, where one cannot be written; with `strict=False` it goes to `problems` instead.
    """
    record = WRITERS[format_name(format, WRITERS)]

    def lines() -> Iterator[str]:
        for trajectory in trajectories:
            try:
                yield _dumps(record(trajectory, failed(trajectory) if failed else ()))
            except DataError as error:
                path, _, line = (trajectory.source or "").rpartition(":")
                if strict:
                    raise DataError(error.reason, path or None, int(line) if line else None) from None
                if problems is not None:
                    problems.append(Problem(path, int(line) if line else None, error.reason))

    return _write_lines(lines(), target)


def write_steps(steps: Iterable[Step], target: str | Path | TextIO, format: str = "steps") -> int:
    """Writes steps as JSON Lines, where `write` writes: "steps" with ids and weights, or "trl" with `labels`."""
    record = STEP_WRITERS[format_name(format, STEP_WRITERS)]
    return _write_lines((_dumps(record(step)) for step in steps), target)


def convert(
    source: str | Path,
    target: str | Path | TextIO,
    to: str,
    format: str | None = None,
    tools: Sequence[Tool] | None = None,
    failed: Callable[[Trajectory], Collection[int]] | None = None,
    strict: bool = True,
    problems: list[Problem] | None = None,
) -> int:
    """Reads as `read` does and writes as `write` does, in constant memory. Returns how many trajectories."""
    return write(read(source, format, tools, strict, problems), target, to, failed, strict, problems)


def read_tools(path: str | Path) -> list[Tool]:
    """The tools of a file, or of "-", the input.

    A list, lines, or an object with `tools`, of specifications as OpenAI, MCP (`tools/list` results too), Anthropic or
    Seal-Tools write them. Of a file of trajectories: the tools these list, each different one once. Raises DataError.
    """
    name = "<stdin>" if str(path) == "-" else str(path)
    found: list[Tool] = []
    with _opened(path) as stream:
        records = jsonio.records(stream)
        first = next(records, None)
        if first is None:
            raise DataError("the file is empty", name)
        if any(module.detect(first[1]) for module in FORMATS.values()):
            samples = chain([first], records)
            for trajectory in _read_records(samples, name, None, None, None):
                found.extend(tool for tool in trajectory.tools if tool not in found)
            return found
        for line, value in chain([first], records):
            try:
                found.extend(_specifications(value))
            except DataError as error:
                raise DataError(error.reason, name, line) from None
    return found


def _specifications(value: Any) -> tuple[Tool, ...]:
    if isinstance(value, DataError):
        raise value
    if type(value) is dict and type(value.get("result")) is dict:
        value = value["result"]
    if type(value) is dict and "tools" in value:
        return tools_of(value["tools"])
    if type(value) is dict and "functions" in value:
        return tools_of(value["functions"], "functions")
    return (tool_of(value),)


def _dumps(record: dict[str, Any]) -> str:
    try:
        return jsonio.dumps(record)
    except ValueError:
        raise DataError("a number that JSON cannot hold (NaN or an infinity)") from None


def _write_lines(lines: Iterable[str], target: str | Path | TextIO) -> int:
    if not isinstance(target, (str, Path)):
        return _write_stream(lines, target)
    if str(target) == "-":
        return _write_stream(lines, sys.stdout)
    with replacing(Path(target)) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        return _write_stream(lines, stream)


def _write_stream(lines: Iterable[str], stream: TextIO) -> int:
    count = 0
    for line in lines:
        stream.write(line + "\n")
        count += 1
    return count


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
    yield from _read_records(jsonio.records(stream), name, format, tools, problems)


def _read_records(
    records: Iterator[jsonio.Record],
    name: str,
    format: str | None,
    tools: Sequence[Tool] | None,
    problems: list[Problem] | None,
) -> Iterator[Trajectory]:
    head = list(islice(records, _HEAD))
    if not head:
        raise DataError("the file is empty", name)
    module = FORMATS[format] if format else None
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


def _detected(samples: list[Any], name: str) -> Format:
    for module in FORMATS.values():
        if any(module.detect(sample) for sample in samples):
            return module
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
