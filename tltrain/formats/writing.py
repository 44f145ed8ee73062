"""Writing trajectories and steps to JSON Lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from tltrain.errors import DataError
from tltrain.files import replacing
from tltrain.formats import jsonio
from tltrain.formats.reading import Problem, read
from tltrain.formats.table import STEP_WRITERS, WRITERS, WriteRecord, format_name
from tltrain.formats.tokens import Step
from tltrain.trajectory import Tool, Trajectory


def write(
    trajectories: Iterable[Trajectory],
    target: str | Path | TextIO,
    format: str = "openai",
    *,
    failed: Callable[[Trajectory], Collection[int]] | None = None,
    strict: bool = True,
    problems: list[Problem] | None = None,
) -> int:
    """Write trajectories as JSON Lines and return their number.

    Args:
        trajectories: what to write.
        target: a file, which is replaced only after everything was written; an open stream; or "-" for standard output.
        format: a name in `WRITERS`; the module of each format documents what writing loses.
        failed: returns the message indices of the failed replies of a trajectory, which get weight 0.
        strict: whether a trajectory that cannot be written is an error.
        problems: with `strict=False`, trajectories that cannot be written are appended here and skipped.

    Raises:
        DataError: a trajectory cannot be written and `strict` is set (with the path and line of its source), the format
            is unknown, or the target cannot be written.
    """
    record = WRITERS[format_name(format, WRITERS)]

    def lines() -> Iterator[str]:
        for trajectory in trajectories:
            try:
                yield _line(trajectory, record, failed(trajectory) if failed else ())
            except DataError as error:
                path, line = path_and_line(trajectory.source)
                if strict:
                    raise DataError(error.reason, path, line) from None
                if problems is not None:
                    problems.append(Problem(path or "", line, error.reason))

    return _write_lines(lines(), target)


def write_steps(steps: Iterable[Step], target: str | Path | TextIO, format: str = "steps") -> int:
    """Write steps as JSON Lines to a target of `write`, as "steps" (ids and weights) or "trl" (`labels`); return their
    number."""
    record = STEP_WRITERS[format_name(format, STEP_WRITERS)]
    return write_records((record(step) for step in steps), target)


def write_records(records: Iterable[dict[str, Any]], target: str | Path | TextIO) -> int:
    """Write records as JSON Lines to a target of `write`; return their number. Raises DataError as `write` does."""
    return _write_lines(map(jsonio.dumps, records), target)


def convert(
    source: str | Path,
    target: str | Path | TextIO,
    to: str,
    *,
    format: str | None = None,
    tools: Sequence[Tool] | None = None,
    failed: Callable[[Trajectory], Collection[int]] | None = None,
    strict: bool = True,
    problems: list[Problem] | None = None,
) -> int:
    """Read with `read` and write with `write`, in constant memory; return the number of trajectories written."""
    found = read(source, format, tools, strict, problems)
    return write(found, target, to, failed=failed, strict=strict, problems=problems)


def path_and_line(source: str | None) -> tuple[str | None, int | None]:
    """The path and line number in a trajectory's `source`; the line is None if there is none in it."""
    path, _, line = (source or "").rpartition(":")
    return (path, int(line)) if path and line.isdecimal() else (source, None)


def _line(trajectory: Trajectory, record: WriteRecord, failed: Collection[int]) -> str:
    try:
        return jsonio.dumps(record(trajectory, failed))
    except DataError:
        raise
    except ValueError:
        raise DataError("a number that JSON cannot hold (NaN or an infinity)") from None


def _write_lines(lines: Iterable[str], target: str | Path | TextIO) -> int:
    if not isinstance(target, (str, Path)):
        return _write_stream(lines, target)
    if str(target) == "-":
        return _write_stream(lines, sys.stdout)
    if Path(target).is_dir():
        raise DataError("expected a file to write, but this is a folder", target)
    try:
        with replacing(Path(target)) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
            return _write_stream(lines, stream)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror}", target) from None


def _write_stream(lines: Iterable[str], stream: TextIO) -> int:
    count = 0
    for line in lines:
        stream.write(line + "\n")
        count += 1
    return count
