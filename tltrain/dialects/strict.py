"""Strict parsing of the JSON in replies: anything that parsers may interpret differently is rejected with a reason."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from tltrain.trajectory import Call

MAX_DEPTH = 256
"""Maximum nesting of lists and objects; far below Python's recursion limit."""

_BLANK = re.compile(r"\s*")
Reader = Callable[[str, int], tuple[Any, int]]
"""Parses the value at a position of a text; returns it and its end position. Raises ValueError."""

SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair, which alone is not valid Unicode."""


def skip_blank(text: str, position: int) -> int:
    """The first position from `position` on that is not white space."""
    match = _BLANK.match(text, position)
    return position if match is None else match.end()


def read_value(text: str, position: int) -> tuple[Any, int]:
    """Parse the JSON value at `position`; return it and its end position.

    Integers of any size are exact. Raises ValueError with the reason: bad syntax, a duplicate key, NaN and
    infinities, numbers out of range, lone surrogates, more than `MAX_DEPTH` levels.
    """
    try:
        value, end = _DECODER.raw_decode(text, position)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    check(value)
    return value, end


def read_arguments(value: Any, read: Reader = read_value) -> dict[str, Any]:
    """Arguments from an object, or from a JSON string as in OpenAI's API. Raises ValueError."""
    if isinstance(value, str):
        text = value
        value, end = read(text, skip_blank(text, 0))
        if skip_blank(text, end) != len(text):
            raise ValueError("the arguments string has text after its JSON value")
    if not isinstance(value, dict):
        raise ValueError("the arguments are not a JSON object")
    return value


def read_call(value: Any, read: Reader = read_value) -> Call:
    """The call in `{"name": string, "arguments": object}`; `parameters` may replace `arguments`, and a call without
    arguments may have neither. Raises ValueError for anything else, including unknown fields, which would be lost.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise ValueError('expected an object with a "name"')
    fields = value.keys() - {"name"}
    if len(fields) > 1 or not fields <= {"arguments", "parameters"}:
        raise ValueError(f'expected only "arguments" in addition to "name", got {", ".join(sorted(map(repr, fields)))}')
    return Call(value["name"], read_arguments(value[fields.pop()], read) if fields else {})


def write(value: Any) -> str:
    """JSON on one line, without escapes for non-ASCII characters. Raises ValueError for NaN and infinities."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def write_arguments(call: Call) -> str:
    """The arguments as JSON; arguments that are a string (not a JSON object) unchanged."""
    return call.arguments if isinstance(call.arguments, str) else write(call.arguments)


def check(value: Any) -> None:
    """Raise ValueError for values that later steps cannot handle: too deeply nested, invalid Unicode, infinite or
    NaN."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return
        children: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                children.extend(node)
                children.extend(node.values())
            elif isinstance(node, list):
                children.extend(node)
            elif isinstance(node, str):
                if not node.isascii() and SURROGATE.search(node):
                    raise ValueError("a lone surrogate is not valid Unicode")
            elif isinstance(node, float) and not math.isfinite(node):
                raise ValueError("a number is out of range")
        level = children
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def unique(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    """A dict of these keys and values. Raises ValueError if a key is not a string or is repeated."""
    value: dict[str, Any] = {}
    for key, item in pairs:
        if not isinstance(key, str):
            raise ValueError(f"a key is not a string: {key!r}")
        if key in value:
            raise ValueError(f"duplicate key {key!r}")
        value[key] = item
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON value")


_DECODER = json.JSONDecoder(object_pairs_hook=unique, parse_constant=_refuse)
