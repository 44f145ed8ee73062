"""A strict JSON reader for files of any size: JSON Lines, a single array, or concatenated documents.

Stricter than `json`: duplicate keys, NaN and Infinity, numbers that overflow, lone surrogates, and nesting deeper than
`MAX_DEPTH` are rejected with a reason, as each of them would lose data or fail in later steps. Integers and floats are
those of Python.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from tltrain.dialects import strict
from tltrain.errors import DataError

MAX_DEPTH = strict.MAX_DEPTH
"""Maximum nesting of lists and objects. Far below Python's recursion limit, so that recursive code can compare, write
and validate every value that was read."""
MAX_VALUE = 64 * 2**20
"""Maximum size of a line (in bytes) or of an array element (in characters): the largest part of a file held in
memory."""

_CHUNK = 2**20
_BLANK = " \t\r\n"
_CONTINUED = (b"{", b"[", b",", b":")
"""Possible last characters of the first line of a document that spans several lines."""
_CONTINUING = (b",", b"]", b"}")
"""Possible first characters of the line that follows `]` within a document."""

Record = tuple[int, Any]
"""Line number (from 1) and value; the value is a `DataError` if that line or element cannot be read."""


class TooDeepError(DataError):
    """JSON is nested deeper than `MAX_DEPTH`."""


def loads(text: str, path: str | Path | None = None, line: int | None = None) -> Any:
    """Parse `text` as one JSON value. Raises DataError with `path` and `line`."""
    try:
        value, end = decode(text, _skip_blank(text, 0))
        if _skip_blank(text, end) != len(text):
            raise json.JSONDecodeError("Extra data", text, end)
    except json.JSONDecodeError as error:
        raise DataError(_syntax(error), path, line) from None
    except DataError as error:
        if path is None and line is None:
            raise
        raise type(error)(error.reason, path, line) from None
    return value


def decode(text: str, start: int) -> tuple[Any, int]:
    """Parse the value that starts at position `start`; return it and its end position.

    Raises json.JSONDecodeError for invalid or incomplete syntax, DataError for values that are rejected.
    """
    try:
        value, end = _DECODER.raw_decode(text, start)
    except RecursionError:
        raise _too_deep() from None
    except (json.JSONDecodeError, DataError):
        raise
    except ValueError:  # Python limits the number of digits of an integer
        raise DataError("invalid JSON: a number of more than 4300 digits") from None
    if _may_be_deep(text, start, end) and _is_deep(value):
        raise _too_deep()
    if _has_surrogate_escapes(text, start, end):
        _refuse_lone_surrogates(value)
    return value, end


def sequence(text: str) -> list[Any]:
    """Parse the JSON values that follow one another in `text`, with white space or commas between them.

    Raises DataError.
    """
    values: list[Any] = []
    position = 0
    try:
        while (position := _skip_blank(text, position, _BLANK + ",")) < len(text):
            value, position = decode(text, position)
            values.append(value)
    except json.JSONDecodeError as error:
        raise DataError(_syntax(error)) from None
    return values


def dumps(value: Any) -> str:
    """JSON on one line, without escapes for non-ASCII characters. Raises ValueError for NaN and infinities."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def records(stream: BinaryIO) -> Iterator[Record]:
    """The records of a file, read in chunks: lines of JSON Lines, elements of a single array, or concatenated
    documents.

    A broken line costs only that record; in an array, reading stops at a broken element. The file must be UTF-8, with
    or without a byte order mark. Blank lines are skipped. A first line that is a whole array (of at most 1 MiB) is a
    record if more lines follow, and else contains the records.
    """
    line, first = _first_line(stream)
    if not first:
        return
    if first.startswith(b"[") and first.endswith(b"\n") and first.rstrip().endswith(b"]"):
        after, second = _first_line(stream)
        if second and not second.startswith(_CONTINUING):
            yield line, _line(first)
            yield from _lines(stream, second, line + after)
            return
        first += b"\n" * (after - 1) + second
    if first.startswith(b"[") or first.rstrip().endswith(_CONTINUED):
        yield from _Scanner(stream, first, line).records()
    else:
        yield from _lines(stream, first, line)


def _first_line(stream: BinaryIO) -> tuple[int, bytes]:
    """The number and bytes of the first line that is not blank; only its first chunk if it is long, as an array on a
    single line is."""
    line = 1
    raw = stream.readline(_CHUNK).removeprefix(codecs.BOM_UTF8)
    while raw.isspace():
        line += raw.endswith(b"\n")
        raw = stream.readline(_CHUNK)
    return line, raw.lstrip()


def _lines(stream: BinaryIO, raw: bytes, line: int) -> Iterator[Record]:
    """The records of JSON Lines whose first line is, or begins with, `raw`."""
    if not raw.endswith(b"\n"):
        raw += stream.readline(MAX_VALUE + 1 - len(raw))
    while raw:
        if len(raw) > MAX_VALUE:
            yield line, DataError(_too_large())
            while raw and not raw.endswith(b"\n"):
                raw = stream.readline(MAX_VALUE)
        elif not raw.isspace():
            yield line, _line(raw)
        raw = stream.readline(MAX_VALUE + 1)
        line += 1


def _line(raw: bytes) -> Any:
    try:
        return loads(raw.rstrip(b"\r\n").decode())
    except UnicodeDecodeError as error:
        return DataError(_not_utf8(error))
    except DataError as error:
        return error


class _Scanner:
    """Parses values from a stream that is decoded chunk by chunk; holds the current value and at most one more
    chunk."""

    def __init__(self, stream: BinaryIO, head: bytes, line: int) -> None:
        self.stream, self.line = stream, line
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.pending = head
        self.text, self.position, self.ended = "", 0, False

    def records(self) -> Iterator[Record]:
        """The elements of an array, or concatenated documents, up to the end of the file or the first error."""
        try:
            if self._peek() == "[":
                self.position += 1
                yield from self._elements()
            while self._peek():
                if self._peek() == "[":
                    raise DataError("expected the end of the file after the array")
                yield self._value()
        except DataError as error:
            yield self.line, error

    def _elements(self) -> Iterator[Record]:
        if self._peek() == "]":
            self.position += 1
            return
        while True:
            self._peek()
            yield self._value()
            mark = self._peek()
            self.position += 1
            if mark == "]":
                return
            if mark != ",":
                raise DataError(f"invalid JSON: expected ',' or ']' after an element, got {mark!r}" if mark else _CUT)

    def _peek(self) -> str:
        """The next character that is not white space, without consuming it; empty at the end of the file."""
        while True:
            position = _skip_blank(self.text, self.position)
            self.line += self.text.count("\n", self.position, position)
            self.position = position
            if position < len(self.text):
                return self.text[position]
            if not self._more():
                return ""

    def _value(self) -> Record:
        while True:
            try:
                value, end = decode(self.text, self.position)
            except json.JSONDecodeError as error:
                if self._is_cut(error) and self._more():
                    continue
                self.line += self.text.count("\n", self.position, error.pos)
                raise DataError(_syntax(error, column=False)) from None
            if type(value) in (int, float) and end + 2 >= len(self.text) and self._more():
                continue  # the number may be incomplete: 1 may be the start of 1e+9
            line = self.line
            self.line += self.text.count("\n", self.position, end)
            self.position = end
            return line, value

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        return not self.ended and (error.pos >= len(self.text) - 16 or error.msg.startswith("Unterminated"))

    def _more(self) -> bool:
        """Reads the next chunk, at least as long as the unread text, so that the work on a large value stays linear.

        Returns False at the end of the file, with `text` and `position` unchanged.
        """
        if self.ended:
            return False
        unread = len(self.text) - self.position
        if unread > MAX_VALUE:
            raise DataError(_too_large())
        raw = self.pending + self.stream.read(max(_CHUNK, unread))
        self.ended = len(raw) == len(self.pending)
        self.pending = b""
        try:
            piece = self.decoder.decode(raw, final=self.ended)
        except UnicodeDecodeError as error:
            self.line += self.text.count("\n", self.position) + error.object[: error.start].count(b"\n")
            raise DataError(_not_utf8(error)) from None
        if piece:
            self.text, self.position = self.text[self.position :] + piece, 0
        return bool(piece) or not self.ended


_CUT = "invalid JSON: the file ends inside the array"


def _skip_blank(text: str, position: int, blank: str = _BLANK) -> int:
    while position < len(text) and text[position] in blank:
        position += 1
    return position


def _syntax(error: json.JSONDecodeError, column: bool = True) -> str:
    found = "the end" if error.pos >= len(error.doc) else repr(error.doc[error.pos : error.pos + 20])
    where = f"column {error.colno}: " if column else ""
    return f"invalid JSON: {error.msg[:1].lower()}{error.msg[1:].removesuffix(' at')}, at {where}{found}"


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"not UTF-8: byte 0x{error.object[error.start]:02x} ({error.reason})"


def _too_large() -> str:
    return f"one value of more than {MAX_VALUE // 2**20} MiB: use JSON Lines, with a sample on each line"


def _too_deep() -> TooDeepError:
    return TooDeepError(f"nested deeper than {MAX_DEPTH} levels")


def _may_be_deep(text: str, start: int, end: int) -> bool:
    return text.count("{", start, end) + text.count("[", start, end) > MAX_DEPTH


def _is_deep(value: Any) -> bool:
    level = [value] if type(value) in (dict, list) else []
    for _ in range(MAX_DEPTH):
        children = (node.values() if type(node) is dict else node for node in level)
        level = [child for nodes in children for child in nodes if type(child) is dict or type(child) is list]
        if not level:
            return False
    return True


def _has_surrogate_escapes(text: str, start: int, end: int) -> bool:
    return text.find("\\ud", start, end) >= 0 or text.find("\\uD", start, end) >= 0


def _refuse_lone_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"a lone surrogate, \\u{ord(error.object[error.start]):04x}, is not valid Unicode") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        duplicate = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise DataError(f"duplicate key {duplicate[:80]!r}")
    return value


def _float(literal: str) -> float:
    value = float(literal)
    if math.isinf(value):
        raise DataError(f"number out of range: {literal[:40]}")
    return value


def _constant(literal: str) -> NoReturn:
    raise DataError(f"{literal} is not a JSON value")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)
