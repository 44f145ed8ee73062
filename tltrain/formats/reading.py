"""Reading trajectories and tools from files, folders or standard input, in constant memory."""

from __future__ import annotations

import gzip
import math
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
from tltrain.formats.found import Found
from tltrain.formats.table import CONFIRMED_BY, FORMATS, REFUTED_BY, format_name
from tltrain.formats.tools import tool_of, tools_of
from tltrain.trajectory import Tool, Trajectory


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that could not be read or written: its location and the reason."""

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
    found: Found | None = None,
) -> Iterator[Trajectory]:
    """The trajectories of a file, of all `.json`, `.jsonl`, `.ndjson` (also `.gz`) and `.parquet` files below a folder,
    or of standard input ("-").

    gzip is detected from the content; Parquet needs `pyarrow`. The first record of a file may list tools for all
    samples (`{"tools": [...]}`), or contain all samples (`{"tools": [...], "samples": [...]}`); a file of bare messages
    is read as a single conversation, and so is each line of a file of lists of messages.

    Args:
        source: the file or folder, or "-".
        format: a name in `FORMATS`; by default the format of each file is detected from its first records.
        tools: the tools of trajectories that list none; by default these are inferred from the calls of each trajectory
            (`infer_tools`).
        strict: whether a record that cannot be read is an error.
        problems: with `strict=False`, records that cannot be read are appended here and skipped.
        found: counts formats, trajectories, tools and unknown fields as they are read.

    Raises:
        DataError: with path and line, a record cannot be read and `strict` is set; or, regardless of `strict`, the
            source does not exist or the format is unknown.
    """
    format = None if format is None else format_name(format, FORMATS)
    files = ["-"] if str(source) == "-" else _files(Path(source))
    collected = None if strict else problems if problems is not None else []
    return _read_files(files, format, tools, collected, Found() if found is None else found)


def read_tools(path: str | Path) -> list[Tool]:
    """The tools in a file, or in standard input ("-").

    The file is a list, JSON Lines, or an object with `tools`, of specifications in the formats of OpenAI, MCP (results
    of `tools/list` too), Anthropic or Seal-Tools. For a file of trajectories, the distinct tools that these list.
    Raises DataError.
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
            tools = chain.from_iterable(t.tools for t in _read_records(samples, name, None, None, None, Found()))
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
    files: Iterable[str | Path],
    format: str | None,
    tools: Sequence[Tool] | None,
    problems: list[Problem] | None,
    found: Found,
) -> Iterator[Trajectory]:
    for file in files:
        name = "<stdin>" if file == "-" else str(file)
        try:
            with _opened(file) as stream:
                yield from _read_records(jsonio.records(stream), name, format, tools, problems, found)
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
    found: Found,
) -> Iterator[Trajectory]:
    head = list(islice(records, _HEAD))
    if not head:
        raise DataError("the file is empty: no records in it", name)
    records = chain(head, records)
    if _is_message(head[0][1]):
        records = _one_conversation(records)
    any_sample = False
    for line, field, record, shared in _samples(records):
        any_sample = True
        try:
            if isinstance(record, DataError):
                raise record
            if format is None:
                format = _detected([record, *(sample for _, _, sample, _ in _samples(head))], name)
            trajectories = FORMATS[format].read(record, tools if shared is None else shared, f"{name}:{line}")
            found.add(format, name, record, trajectories)
            yield from trajectories
        except DataError as error:
            if error.path is not None:
                raise
            reason = error.inside(field).reason if field and isinstance(error, FieldError) else error.reason
            if problems is None:
                raise DataError(reason, name, line) from None
            problems.append(Problem(name, line, reason))
    if not any_sample:
        raise DataError("tool specifications, but no trajectories", name)


def _is_message(record: Any) -> bool:
    return type(record) is dict and "role" in record and "messages" not in record


def _one_conversation(records: Iterable[jsonio.Record]) -> Iterator[jsonio.Record]:
    """Join records that are messages into a single conversation; a broken record replaces the whole conversation."""
    messages = []
    for line, value in records:
        if isinstance(value, DataError):
            yield line, value
            return
        messages.append(value)
    yield 1, messages


_HEAD = 16
"""Number of records used to detect the format, since the first records may be broken or match several formats."""
_SAMPLES = ("samples", "trajectories", "data")


def _samples(records: Iterable[jsonio.Record]) -> Iterator[tuple[int, str, Any, tuple[Tool, ...] | None]]:
    """Yield line number, path of the sample inside the record, sample, and the tools that the file lists for all
    samples.

    Unpacks `{"tools": …, "samples": […]}`; a record `{"tools": …}` sets the tools of the samples after it.
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
            yield from ((line, f"{wrapped}[{index}]", sample, shared) for index, sample in enumerate(value[wrapped]))
        elif not only_tools:
            yield line, "", value, shared


def _wrapped(value: Any) -> str | None:
    """The name of the field that contains all samples; None if the record is itself a sample."""
    fields = value.keys() if type(value) is dict else ()
    field = next((field for field in _SAMPLES if field in fields and type(value[field]) is list), None)
    if field is None or any(module.detect(value) for module in FORMATS.values()):
        return None
    return field


def _detected(samples: list[Any], name: str) -> str:
    """The name of the format of a file, from all samples of its head."""
    for format, module in FORMATS.items():
        refuted, certain = REFUTED_BY.get(format), CONFIRMED_BY.get(format)
        weak = certain is not None and not any(map(certain, samples))
        detected = [module.detect(sample) for sample in samples if not isinstance(sample, DataError)]
        if (all(detected) if weak else any(detected)) and detected and not (refuted and any(map(refuted, samples))):
            return format
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
    """A gzip stream that also closes the underlying file, which `GzipFile` leaves to the caller."""

    def __init__(self, stream: BinaryIO) -> None:
        self.compressed = stream
        super().__init__(fileobj=stream)

    def close(self) -> None:
        super().close()
        self.compressed.close()


def _parquet_as_json_lines(path: Path) -> BinaryIO:
    """Convert a Parquet file to JSON Lines in a temporary file."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise DataError("reading Parquet needs pyarrow: pip install pyarrow", path) from None
    stream = tempfile.TemporaryFile()  # noqa: SIM115  (closed by the caller)
    try:
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=256):
            columns = [_values(*column) for column in zip(batch.schema.names, batch.columns, strict=True)]
            for row in zip(*columns, strict=True):
                record = _as_json(dict(zip(batch.schema.names, row, strict=True)))
                stream.write(jsonio.dumps(record).encode() + b"\n")
    except (ArrowException, ValueError) as error:
        stream.close()
        raise DataError(f"cannot be read as Parquet: {' '.join(str(error).split())[:160]}", path) from None
    stream.seek(0)
    return cast(BinaryIO, stream)


def _values(name: str, column: Any) -> list[Any]:
    """The values of a column of a Parquet file. Raises ValueError with the column's name."""
    try:
        return list(column.to_pylist())
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"column {name!r}: {error}") from None


def _as_json(value: Any) -> Any:
    """A value of a Parquet file as JSON: what JSON has no type for, such as dates, decimals and bytes, becomes text.

    Nulls are omitted, as Parquet adds them to records without the field; NaN and infinities count as null.
    """
    if isinstance(value, dict):
        items = ((key, _as_json(item)) for key, item in value.items())
        return {key: item for key, item in items if item is not None}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _opened(file: str | Path) -> AbstractContextManager[BinaryIO]:
    if str(file) == "-":
        return nullcontext(sys.stdin.buffer)
    name = str(file).lower()
    if name.endswith(_TABLES):
        raise DataError("CSV cannot hold conversations: expected JSON, JSON Lines or Parquet", file)
    try:
        if name.endswith(".parquet"):
            return _parquet_as_json_lines(Path(file))
        stream = Path(file).open("rb")  # noqa: SIM115  (opened only once because it may be a pipe)
        return cast(BinaryIO, _Decompressed(stream)) if stream.peek(2)[:2] == _GZIP_MAGIC else stream
    except FileNotFoundError:
        raise DataError("no such file or folder", file) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", file) from None
