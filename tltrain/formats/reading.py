"""Trajectories and tools out of files, folders or the standard input, in constant memory."""

from __future__ import annotations

import gzip
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from tltrain.errors import DataError
from tltrain.formats import jsonio
from tltrain.formats.fields import FieldError
from tltrain.formats.table import FORMATS, REFUTED_BY, Format, format_name
from tltrain.formats.tools import tool_of, tools_of
from tltrain.trajectory import Tool, Trajectory


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that could not be read: where, and why."""

    path: str
    line: int | None
    reason: str

    def __str__(self) -> str:
        where = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{where}: {self.reason}" if where else self.reason


def read(
    source: str | Path,
    format: str | None = None,
    tools: Sequence[Tool] | None = None,
    strict: bool = True,
    problems: list[Problem] | None = None,
) -> Iterator[Trajectory]:
    """The trajectories of a file, of all `.json`, `.jsonl`, `.ndjson` (also `.gz`) and `.parquet` files below a folder,
    or of "-", the standard input.

    gzip is detected from the content; Parquet needs `pyarrow`.

    `format` is a name of `FORMATS`; by default each file's first records decide, never its name. `tools` are for logs
    without specifications; such logs get tools inferred from each trajectory's calls otherwise (`infer_tools`). A
    file's first record may give its tools once for all (`{"tools": [...]}`), or hold all samples
    (`{"tools": [...], "samples": [...]}`); a file of bare messages is one conversation.

    Raises DataError with path and line at the first record that cannot be read; with `strict=False` such a record is
    appended to `problems` and skipped. A source that does not exist, or an unknown format, raises in any case.
    """
    format = None if format is None else format_name(format, FORMATS)
    files = ["-"] if str(source) == "-" else _files(Path(source))
    return _read_files(files, format, tools, None if strict else problems if problems is not None else [])


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
            raise DataError("the file is empty: no records in it", name)
        if any(module.detect(first[1]) for module in FORMATS.values()):
            samples = chain([first], records)
            tools = chain.from_iterable(one.tools for one in _read_records(samples, name, None, None, None))
            return list({jsonio.dumps(tool.to_json(with_extra=True)): tool for tool in tools}.values())
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


def _read_files(
    files: Iterable[str | Path], format: str | None, tools: Sequence[Tool] | None, problems: list[Problem] | None
) -> Iterator[Trajectory]:
    for file in files:
        name = "<stdin>" if file == "-" else str(file)
        try:
            with _opened(file) as stream:
                yield from _read_records(jsonio.records(stream), name, format, tools, problems)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            reason = f"cannot be read as gzip: {error}"
            if problems is None:
                raise DataError(reason, name) from None
            problems.append(Problem(name, None, reason))
        except DataError as error:
            if problems is None:
                raise
            problems.append(Problem(name, error.line, error.reason))


def _read_records(
    records: Iterator[jsonio.Record],
    name: str,
    format: str | None,
    tools: Sequence[Tool] | None,
    problems: list[Problem] | None,
) -> Iterator[Trajectory]:
    head = list(islice(records, _HEAD))
    if not head:
        raise DataError("the file is empty: no records in it", name)
    records = chain(head, records)
    if _is_message(head[0][1]):
        records = _one_conversation(records)
    module = FORMATS[format] if format else None
    found = False
    for line, field, record, shared in _samples(records):
        found = True
        try:
            if isinstance(record, DataError):
                raise record
            if module is None:
                module = _detected([record, *(sample for _, _, sample, _ in _samples(head))], name)
            yield from module.read(record, tools if shared is None else shared, f"{name}:{line}")
        except DataError as error:
            if error.path is not None:
                raise
            reason = error.inside(field).reason if field and isinstance(error, FieldError) else error.reason
            if problems is None:
                raise DataError(reason, name, line) from None
            problems.append(Problem(name, line, reason))
    if not found:
        raise DataError("tool specifications, but no trajectories", name)


def _is_message(record: Any) -> bool:
    return type(record) is dict and "role" in record and "messages" not in record


def _one_conversation(records: Iterable[jsonio.Record]) -> Iterator[jsonio.Record]:
    """A file whose records are messages is one bare conversation; its first broken record spoils it."""
    messages = []
    for line, value in records:
        if isinstance(value, DataError):
            yield line, value
            return
        messages.append(value)
    yield 1, messages


_HEAD = 16
"""Records looked at to detect a format; the first ones may be broken, or hold nothing telling."""
_SAMPLES = ("samples", "trajectories", "data")


def _samples(records: Iterable[jsonio.Record]) -> Iterator[tuple[int, str, Any, tuple[Tool, ...] | None]]:
    """Line, field of the line that holds the sample, sample, and the tools the file lists for all its samples.

    Opens `{"tools": …, "samples": […]}` and takes in `{"tools": …}`.
    """
    shared: tuple[Tool, ...] | None = None
    for line, value in records:
        wrapped = _wrapped(value)
        only_tools = type(value) is dict and value.keys() == {"tools"}
        if only_tools or (wrapped and "tools" in value):
            try:
                shared = tools_of(value["tools"])
            except DataError as error:
                yield line, "", error, None
                continue
        if wrapped:
            yield from ((line, f"{wrapped}[{at}]", sample, shared) for at, sample in enumerate(value[wrapped]))
        elif not only_tools:
            yield line, "", value, shared


def _wrapped(value: Any) -> str | None:
    """The field that holds all samples of a file, where the value is no sample itself."""
    fields = value.keys() if type(value) is dict else ()
    field = next((field for field in _SAMPLES if field in fields and type(value[field]) is list), None)
    if field is None or any(module.detect(value) for module in FORMATS.values()):
        return None
    return field


def _detected(samples: list[Any], name: str) -> Format:
    for format, module in FORMATS.items():
        refuted = REFUTED_BY.get(format)
        if any(map(module.detect, samples)) and not (refuted and any(map(refuted, samples))):
            return module
    if all(_is_specification(sample) for sample in samples):
        raise DataError("tool specifications, but no trajectories", name)
    raise DataError(f"no known format: tried {', '.join(FORMATS)}", name)


def _is_specification(record: Any) -> bool:
    try:
        tool_of(record)
    except DataError:
        return False
    return True


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        found = sorted(file for file in source.rglob("*") if file.name.endswith(_SUFFIXES) and file.is_file())
        if not found:
            raise DataError(f"no {', '.join(_SUFFIXES)} files in this folder", source)
        return found
    if not source.exists():
        raise DataError("no such file or folder", source)
    return [source]


_SUFFIXES = (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz", ".parquet")
_TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_GZIP_MAGIC = b"\x1f\x8b"


class _Decompressed(gzip.GzipFile):
    """Closes the compressed stream with itself, which `GzipFile` leaves to the caller."""

    def __init__(self, stream: BinaryIO) -> None:
        self.compressed = stream
        super().__init__(fileobj=stream)

    def close(self) -> None:
        super().close()
        self.compressed.close()


def _parquet_as_json_lines(path: Path) -> BinaryIO:
    """The rows of a Parquet file as JSON Lines, in a temporary file. Nulls are omitted: Parquet adds them to records
    in which a field is absent."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise DataError("reading Parquet needs pyarrow: pip install pyarrow", path) from None
    stream = tempfile.TemporaryFile()  # noqa: SIM115  (closed by whoever reads it)
    try:
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=256):
            for row in batch.to_pylist():
                stream.write(jsonio.dumps(_without_nulls(row)).encode() + b"\n")
    except (ArrowException, TypeError, ValueError) as error:
        stream.close()
        raise DataError(f"cannot be read as Parquet: {' '.join(str(error).split())[:160]}", path) from None
    stream.seek(0)
    return cast(BinaryIO, stream)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _opened(file: str | Path) -> AbstractContextManager[BinaryIO]:
    if str(file) == "-":
        return nullcontext(sys.stdin.buffer)
    name = str(file).lower()
    if name.endswith(_TABLES):
        raise DataError("CSV cannot hold conversations: expected JSON, JSON Lines or Parquet", file)
    try:
        if name.endswith(".parquet"):
            return _parquet_as_json_lines(Path(file))
        stream = Path(file).open("rb")  # noqa: SIM115  (opened only once, since it may be a pipe)
        return cast(BinaryIO, _Decompressed(stream)) if stream.peek(2)[:2] == _GZIP_MAGIC else stream
    except FileNotFoundError:
        raise DataError("no such file or folder", file) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", file) from None
