"""Strict JSON from files of any size: JSON Lines, one array, or documents one after another.

Stricter than `json`: duplicate keys, NaN and Infinity, numbers that overflow, lone surrogates, and nesting deeper than
`MAX_DEPTH` are refused with a reason, for each of them would be lost or would hurt later. Integers and floats are
Python's own.
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
"""Levels of lists and objects inside each other. Far below Python's recursion limit, so that whatever was read can be
compared, written and validated by recursive code."""
MAX_VALUE = 64 * 2**20
"""Bytes of one line, or characters of one element of an array: the largest piece ever held in memory."""

_CHUNK = 2**20
_BLANK = " \t\r\n"
_CONTINUED = (b"{", b"[", b",", b":")
"""How the first line of a document written over several lines can end."""

Record = tuple[int, Any]
"""Line (1-based) and value; the value is a `DataError` where that line or element cannot be read."""


class TooDeepError(DataError):
    """Nested deeper than `MAX_DEPTH`."""


def loads(text: str, path: str | Path | None = None, line: int | None = None) -> Any:
    """The JSON value that is the whole of `text`. Raises DataError with `path` and `line`."""
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
    """The value that starts at `start`, and where it ends.

    Raises json.JSONDecodeError for broken or incomplete syntax, DataError for values that are refused.
    """
    try:
        value, end = _DECODER.raw_decode(text, start)
    except RecursionError:
        raise _too_deep() from None
    except (json.JSONDecodeError, DataError):
        raise
    except ValueError:  # Python's own limit on the digits of an integer
        raise DataError("invalid JSON: a number of more than 4300 digits") from None
    if _may_be_deep(text, start, end) and _is_deep(value):
        raise _too_deep()
    if _has_surrogate_escapes(text, start, end):
        _refuse_lone_surrogates(value)
    return value, end


def dumps(value: Any) -> str:
    """One line of JSON, Unicode as it is. Refuses NaN and infinities with ValueError."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def records(stream: BinaryIO) -> Iterator[Record]:
    """The records of a file, read in pieces: the lines of JSON Lines, the elements of one array, or several documents.

    A broken line is one bad record; in an array nothing can be read after a broken element. Bytes have to be UTF-8,
    with or without a byte order mark. Blank lines are skipped.
    """
    line, first = _first_line(stream)
    if not first:
        return
    if first.startswith(b"[") or first.rstrip().endswith(_CONTINUED):
        yield from _Scanner(stream, first, line).records()
    else:
        if not first.endswith(b"\n"):
            first += stream.readline(MAX_VALUE + 1 - len(first))
        yield from _lines(stream, first, line)


def _first_line(stream: BinaryIO) -> tuple[int, bytes]:
    """The first line that is not blank, or the first piece of it where it is long, as one array on one line is."""
    line = 1
    raw = stream.readline(_CHUNK).removeprefix(codecs.BOM_UTF8)
    while raw.isspace():
        line += raw.endswith(b"\n")
        raw = stream.readline(_CHUNK)
    return line, raw.lstrip()


def _lines(stream: BinaryIO, raw: bytes, line: int) -> Iterator[Record]:
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
    """Values out of a text that is decoded piece by piece; holds the value at hand and one piece more."""

    def __init__(self, stream: BinaryIO, head: bytes, line: int) -> None:
        self.stream, self.line = stream, line
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.pending = head
        self.text, self.at, self.ended = "", 0, False

    def records(self) -> Iterator[Record]:
        """The elements of an array, or the documents one after another, until the end or the first that is broken."""
        try:
            if self._peek() == "[":
                self.at += 1
                yield from self._elements()
            while self._peek():
                if self._peek() == "[":
                    raise DataError("expected the end of the file after the array")
                yield self._value()
        except DataError as error:
            yield self.line, error

    def _elements(self) -> Iterator[Record]:
        if self._peek() == "]":
            self.at += 1
            return
        while True:
            self._peek()
            yield self._value()
            mark = self._peek()
            self.at += 1
            if mark == "]":
                return
            if mark != ",":
                raise DataError(f"invalid JSON: expected ',' or ']' after an element, got {mark!r}" if mark else _CUT)

    def _peek(self) -> str:
        """The next character that is not blank, unread; empty at the end of the file."""
        while True:
            at = _skip_blank(self.text, self.at)
            self.line += self.text.count("\n", self.at, at)
            self.at = at
            if at < len(self.text):
                return self.text[at]
            if not self._more():
                return ""

    def _value(self) -> Record:
        while True:
            try:
                value, end = decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if self._is_cut(error) and self._more():
                    continue
                self.line += self.text.count("\n", self.at, error.pos)
                raise DataError(_syntax(error, column=False)) from None
            if type(value) in (int, float) and end + 2 >= len(self.text) and self._more():
                continue  # it may go on: 1 may be 1e+9
            line = self.line
            self.line += self.text.count("\n", self.at, end)
            self.at = end
            return line, value

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        return not self.ended and (error.pos >= len(self.text) - 16 or error.msg.startswith("Unterminated"))

    def _more(self) -> bool:
        """Reads on, twice as much as is still unread, so that the work on one large value stays linear.

        False at the end of the file, with `text` and `at` as they were.
        """
        if self.ended:
            return False
        unread = len(self.text) - self.at
        if unread > MAX_VALUE:
            raise DataError(_too_large())
        raw = self.pending + self.stream.read(max(_CHUNK, unread))
        self.ended = len(raw) == len(self.pending)
        self.pending = b""
        try:
            piece = self.decoder.decode(raw, final=self.ended)
        except UnicodeDecodeError as error:
            self.line += self.text.count("\n", self.at) + error.object[: error.start].count(b"\n")
            raise DataError(_not_utf8(error)) from None
        if piece:
            self.text, self.at = self.text[self.at :] + piece, 0
        return bool(piece) or not self.ended


_CUT = "invalid JSON: the file ends inside the array"


def _skip_blank(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at


def _syntax(error: json.JSONDecodeError, column: bool = True) -> str:
    found = "the end" if error.pos >= len(error.doc) else repr(error.doc[error.pos : error.pos + 20])
    place = f"column {error.colno}: " if column else ""
    return f"invalid JSON: {error.msg[:1].lower()}{error.msg[1:].removesuffix(' at')}, at {place}{found}"


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"not UTF-8: byte 0x{error.object[error.start]:02x} ({error.reason})"


def _too_large() -> str:
    return f"one value of more than {MAX_VALUE // 2**20} MiB: write one sample a line (JSON Lines)"


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
        raise DataError(f"a lone surrogate, \\u{ord(error.object[error.start]):04x}, is no Unicode text") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        double = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise DataError(f"duplicate key {double[:80]!r}")
    return value


def _float(literal: str) -> float:
    value = float(literal)
    if math.isinf(value):
        raise DataError(f"number out of range: {literal[:40]}")
    return value


def _constant(literal: str) -> NoReturn:
    raise DataError(f"{literal} is no JSON value")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)
