"""Calls of Qwen models in `<tool_call>` tags: JSON (Qwen2.5, Qwen3), or a tag for each parameter (Qwen3-Coder).

Calls are written as JSON (the `hermes` dialect). In the tagged form, a value is a string if the tool's schema says so;
otherwise it is parsed as a literal if possible.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tltrain.dialects import hermes, literals, strict
from tltrain.dialects.base import Parsed, read_blocks
from tltrain.json_schema import alternatives, property_scopes, types_of
from tltrain.trajectory import Call, Tool

format = hermes.format

_FUNCTION = re.compile(r"<function=([^<>\n]++)>")
_PARAMETER = re.compile(r"<parameter=([^<>\n]++)>\n?")
_END, _FUNCTION_END = "</parameter>", "</function>"


def parse(text: str, tools: Sequence[Tool] = (), tolerant: bool = False) -> Parsed:
    """The calls of all blocks in order, in either form; `tools` determine which tagged values are strings."""
    read = literals.reader(tolerant)

    def read_call(text: str, position: int) -> tuple[Call, int]:
        if match := _FUNCTION.match(text, position):
            return _read_function(text, match[1].strip(), match.end(), tools)
        value, position = read(text, position)
        return strict.read_call(value, read), position

    return read_blocks(text, hermes.OPEN, hermes.CLOSE, read_call, tolerant)


def _read_function(text: str, name: str, position: int, tools: Sequence[Tool]) -> tuple[Call, int]:
    scopes = [
        scope for tool in tools if tool.name == name for scope in alternatives([(tool.parameters, tool.parameters)])
    ]
    pairs: list[tuple[str, Any]] = []
    while match := _PARAMETER.match(text, position := strict.skip_blank(text, position)):
        end = text.find(_END, match.end())
        if end < 0:
            raise ValueError(f"<parameter=> without {_END}")
        types = set(types_of(alternatives(property_scopes(scopes, match[1]))))
        pairs.append((match[1], _value(text[match.end() : end].removesuffix("\n"), "string" in types)))
        position = end + len(_END)
    if not text.startswith(_FUNCTION_END, position):
        raise ValueError(f"<function=> without {_FUNCTION_END}")
    arguments = strict.unique(pairs)
    strict.check(arguments)
    strict.check(name)
    return Call(name, arguments), position + len(_FUNCTION_END)


def _value(written: str, is_string: bool) -> Any:
    """The value of `written` if it is a literal other than a string and a string is not declared; else `written`
    itself."""
    if not is_string:
        try:
            value, end = literals.read(written, 0)
        except ValueError:
            return written
        if not isinstance(value, str) and strict.skip_blank(written, end) == len(written):
            return value
    return written
