"""JSON as a reply writes it, read strictly: what two readers could understand differently is refused with a reason."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from tltrain.trajectory import Call

MAX_DEPTH = 256
"""Levels of lists and objects inside each other; far below Python's recursion limit."""

_BLANK = re.compile(r"\s*")
Reader = Callable[[str, int], tuple[Any, int]]
"""Reads the value that starts at a position of a text; returns it and where it ends."""

SURROGATE = re.compile("[\ud800-\udfff]")
"""One half of a pair, which alone is no Unicode text."""


def skip_blank(text: str, position: int) -> int:
    """The next position, from `position` on, that is not white space."""
    match = _BLANK.match(text, position)
    return position if match is None else match.end()


def read_value(text: str, position: int) -> tuple[Any, int]:
    """The JSON value that starts at `position`, and where it ends.

    Integers are exact, whatever their size. Raises ValueError with the reason: bad syntax, a duplicate key, NaN and
    infinities, numbers out of range, lone surrogates, more than `MAX_DEPTH` levels.
    """
    try:
        value, end = _DECODER.raw_decode(text, position)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    check(value)
    return value, end


def read_arguments(value: Any, read: Reader = read_value) -> dict[str, Any]:
    """Arguments given as an object, or as a text of one (as OpenAI's API writes them). Raises ValueError."""
    if isinstance(value, str):
        text = value
        value, end = read(text, skip_blank(text, 0))
        if skip_blank(text, end) != len(text):
            raise ValueError("the arguments' text goes on after its JSON value")
    if not isinstance(value, dict):
        raise ValueError("the arguments are no JSON object")
    return value


def read_call(value: Any, read: Reader = read_value) -> Call:
    """`{"name": text, "arguments": object}`; `parameters` may stand for `arguments`, and either may be left out for a
    call without arguments. Raises ValueError on everything else, unknown fields included: they would be lost.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise ValueError('a call has to be an object with a "name"')
    fields = value.keys() - {"name"}
    if len(fields) > 1 or not fields <= {"arguments", "parameters"}:
        raise ValueError(f'beside "name" a call has "arguments" only, not {", ".join(sorted(map(repr, fields)))}')
    return Call(value["name"], read_arguments(value[fields.pop()], read) if fields else {})


def write(value: Any) -> str:
    """JSON on one line, Unicode as it is. Raises ValueError for NaN and infinities."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def write_arguments(call: Call) -> str:
    """The arguments as JSON; a text that is no JSON object as it is."""
    return call.arguments if isinstance(call.arguments, str) else write(call.arguments)


def check(value: Any) -> None:
    """Raises ValueError for values that would be lost later: too deep, no Unicode text, or no finite number."""
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
                    raise ValueError("a lone surrogate is no Unicode text")
            elif isinstance(node, float) and not math.isfinite(node):
                raise ValueError("a number is out of range")
        level = children
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def unique(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    """An object of these keys and values. Raises ValueError where a key is no text or comes twice."""
    value: dict[str, Any] = {}
    for key, item in pairs:
        if not isinstance(key, str):
            raise ValueError(f"a key is no text: {key!r}")
        if key in value:
            raise ValueError(f"duplicate key {key!r}")
        value[key] = item
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value")


_DECODER = json.JSONDecoder(object_pairs_hook=unique, parse_constant=_refuse)
