"""Strict JSON: what is refused and why, and that files of any shape and size are read in pieces."""

from __future__ import annotations

import io
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.work import count_calls

from tltrain.errors import DataError
from tltrain.formats import jsonio

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def records(text: str | bytes) -> list[tuple[int, Any]]:
    """Lines and values; an error as its reason."""
    stream = io.BytesIO(text.encode() if isinstance(text, str) else text)
    found = jsonio.records(stream)
    return [(line, value.reason if isinstance(value, DataError) else value) for line, value in found]


@given(VALUES)
def test_what_json_writes_is_read_the_same(value: Any) -> None:
    for text in (json.dumps(value), jsonio.dumps(value), json.dumps(value, indent=1)):
        read = jsonio.loads(text)
        assert read == value
        assert repr(read) == repr(value)  # 1, 1.0 and true are equal, but not the same


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": NaN}', "NaN is not a JSON value"),
        ("[-Infinity]", "-Infinity is not a JSON value"),
        ("[1e999]", "number out of range: 1e999"),
        ('{"a": {"b": 1, "b": 2}}', "duplicate key 'b'"),
        (r'["\ud800"]', r"a lone surrogate, \ud800, is not valid Unicode"),
        (r'{"\uDC00": 1}', r"a lone surrogate, \udc00, is not valid Unicode"),
        ("[" + "1" * 5000 + "]", "invalid JSON: a number of more than 4300 digits"),
        ("[" * 257 + "]" * 257, "nested deeper than 256 levels"),
        ('{"a":' * 100_000, "nested deeper than 256 levels"),
        ("[1, 2", "invalid JSON: expecting ',' delimiter, at column 6: the end"),
        ("[1] x", "invalid JSON: extra data, at column 4: ' x'"),
        ("", "invalid JSON: expecting value, at column 1: the end"),
        ('["a\nb"]', "invalid JSON: invalid control character, at column 4: '\\nb\"]'"),
    ],
)
def test_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(DataError) as raised:
        jsonio.loads(text, "file.json", 3)
    assert str(raised.value) == f"file.json:3: {reason}"


def test_kept_as_they_are() -> None:
    assert jsonio.loads(r'["\ud83d\ude00", "\\ud800"]') == ["😀", r"\ud800"]
    assert jsonio.loads("[" * 256 + "]" * 256) is not None
    assert repr(jsonio.loads("[12345678901234567890123, 1.0, 1, -0.0, 5e-324]")) == (
        "[12345678901234567890123, 1.0, 1, -0.0, 5e-324]"
    )


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}\n{"a": 2}\n',
        '\n{"a": 1}\r\n\r\n  {"a": 2}',
        '\ufeff{"a": 1}\n{"a": 2}',
        '[{"a": 1}, {"a": 2}]',
        '\ufeff[\n{"a": 1}\n,\n{"a": 2}\n]\n',
        '{\n"a": 1\n}\n{\n"a": 2\n}\n',
        '{"a":\n1} {"a": 2}',
    ],
)
def test_shapes_of_a_file(text: str) -> None:
    assert [value for _, value in records(text)] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("text", ["", " \n\r\n", "[]", "[ \n ]\n"])
def test_nothing(text: str) -> None:
    assert records(text) == []


def test_a_first_line_that_is_an_array_is_a_record_if_lines_follow() -> None:
    assert records('\n[{"a": 1}]\n\n[{"a": 2}, {"a": 3}]\nx\n{"a": 4}') == [
        (2, [{"a": 1}]),
        (4, [{"a": 2}, {"a": 3}]),
        (5, "invalid JSON: expecting value, at column 1: 'x'"),
        (6, {"a": 4}),
    ]
    assert records('[{"a": NaN}]\n[]') == [(1, "NaN is not a JSON value"), (2, [])]
    assert records('[{"a": 1}]\n\n') == [(1, {"a": 1})]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('[{"a": [1]\n\n}, {"b": 2}]', [1, 3]),
        ("[[1]\n\n, [2]\n\n]\n", [1, 3]),
        ("[[[1]]\n]", [1]),
    ],
)
def test_an_array_may_break_its_lines_after_inner_arrays(text: str, lines: list[int]) -> None:
    assert records(text) == list(zip(lines, json.loads(text), strict=True))


def test_lines_are_counted() -> None:
    assert [line for line, _ in records('\n\n{"a": 1}\n\n{"a": 2}')] == [3, 5]
    assert [line for line, _ in records('[{"a":\n1},\n\n{"a": 2}, {"a": 3}]')] == [1, 4, 4]


def test_a_broken_line_is_one_bad_record() -> None:
    assert records('{"a": 1}\n{"a": \n\n{"a": 3}\n"x" 1\n[4]') == [
        (1, {"a": 1}),
        (2, "invalid JSON: expecting value, at column 7: the end"),
        (4, {"a": 3}),
        (5, "invalid JSON: extra data, at column 4: ' 1'"),
        (6, [4]),
    ]


def test_bytes_that_are_not_utf8_are_placed() -> None:
    reason = "not UTF-8: byte 0xff (invalid start byte)"
    assert records(b'{"a": 1}\n{"a": "\xff"}\n{"a": 3}') == [(1, {"a": 1}), (2, reason), (3, {"a": 3})]
    assert records(b'[{"a": 1},\n\n{"a": "\xff"}]')[-1] == (3, reason)
    assert records('{"a": 1}'.encode("utf-16"))[0][0] == 1


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ('[{"a": 1},\n{"a": 2}\n{"a": 3}]', (3, "invalid JSON: expected ',' or ']' after an element, got '{'")),
        ('[{"a": 1},\n{"a"\n 2}]', (3, "invalid JSON: expecting ':' delimiter, at '2}]'")),
        ('[{"a": 1},\n', (2, "invalid JSON: expecting value, at the end")),
        ('[{"a": 1}\n', (2, "invalid JSON: the file ends inside the array")),
        ('[{"a":\n1}]\n[]', (3, "expected the end of the file after the array")),
        ("[" * 100_000, (1, "nested deeper than 256 levels")),
    ],
)
def test_an_array_is_read_up_to_what_is_broken(text: str, last: tuple[int, str]) -> None:
    assert records(text)[-1] == last


@settings(deadline=None)
@given(st.lists(VALUES, max_size=8), st.integers(1, 40), st.sampled_from([None, 1]))
def test_an_array_is_the_same_in_pieces_of_any_size(values: list[Any], piece: int, indent: int | None) -> None:
    class ShortReads(io.BytesIO):
        """Gives fewer bytes at a time than are asked for, as a pipe does."""

        def read(self, size: int | None = -1) -> bytes:
            return super().read(piece)

        def readline(self, size: int | None = -1) -> bytes:
            return super().readline(piece)

    text = json.dumps(values, indent=indent, ensure_ascii=False)
    found = list(jsonio.records(ShortReads(text.encode())))
    assert repr([value for _, value in found]) == repr(values)


def test_limit_of_one_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonio, "MAX_VALUE", 2**20)
    large = json.dumps({"a": "x" * 2**21})
    reason = "one value of more than 1 MiB: use JSON Lines, with a sample on each line"
    assert records(f'{{"a": 1}}\n{large}\n{{"a": 3}}') == [(1, {"a": 1}), (2, reason), (3, {"a": 3})]
    assert records(f'[{{"a": 1}}, {large}]') == [(1, {"a": 1}), (1, reason)]
    assert records('["' + "x" * 2**19 + '"]')[0][1] == "x" * 2**19


@pytest.mark.parametrize("shape", ["lines", "array"])
def test_memory_does_not_grow_with_the_file(shape: str) -> None:
    text = b'{"a": "' + b"x" * 2000 + b'"}'
    pieces = [text + (b"\n" if shape == "lines" else b",")] * 10_000
    if shape == "array":
        pieces = [b"[", *pieces[:-1], text, b"]"]

    class Pieces(io.RawIOBase):
        """20 MB that are never in memory at once."""

        def __init__(self) -> None:
            self.pieces, self.left = iter(pieces), b""

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            self.left = self.left or next(self.pieces, b"")
            now, self.left = self.left[: len(buffer)], self.left[len(buffer) :]
            buffer[: len(now)] = now
            return len(now)

    tracemalloc.start()
    try:
        count = sum(1 for _, value in jsonio.records(io.BufferedReader(Pieces())) if len(value["a"]) == 2000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 10_000
    assert peak < 12 * 2**20


@pytest.mark.parametrize(
    "text",
    [
        "[" + "[1]," * 30_000,
        '{"a": "' + "\\u00e9" * 200_000,
        '{"a":1,' * 50_000,
        "[" + '"\\ud83d\\ude00",' * 30_000,
        '{"' + "a" * 1_000_000,
        "-" * 1_000_000,
    ],
)
def test_hostile_text_takes_linear_work(text: str) -> None:
    found, calls = count_calls(lambda: records(text))
    assert isinstance(found[-1][1], str)
    assert calls < 20 * len(text)
