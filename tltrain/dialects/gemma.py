"""Calls as Gemma's models write them: `<start_function_call>call:name{key:<escape>text<escape>}<end_function_call>`.

Calls are written in this form, that of FunctionGemma. Also parsed: `<|tool_call>` with strings in `<|"|>`, of Gemma 4,
and Python calls in a code block named `tool_code`, which earlier models are prompted for. Names and strings that the
form cannot represent are written as JSON strings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tltrain.dialects import python, strict
from tltrain.dialects.base import Parsed, read_blocks, text_outside, text_then_calls, unreadable
from tltrain.trajectory import Call, Tool

OPEN, CLOSE, QUOTE = "<start_function_call>", "<end_function_call>", "<escape>"

_FORMS = ((OPEN, CLOSE, QUOTE), ("<|tool_call>", "<tool_call|>", '<|"|>'))
_BLOCK = re.compile(r"^[ \t]*+```tool_code[ \t\r]*+\n", re.MULTILINE)
_BLOCK_END = re.compile(r"^[ \t]*+```[ \t\r]*+(?:\n|\Z)", re.MULTILINE)
_PLAIN = re.compile(r"[\w.\-/]++")
_PRINTED = re.compile(r"\s*+print\((.*)\)\s*", re.DOTALL)


def format(calls: Sequence[Call], text: str = "") -> str:
    """The text, then each call on a line."""
    return text_then_calls(
        text, "\n".join(f"{OPEN}call:{_write_name(call.name)}{_arguments(call)}{CLOSE}" for call in calls)
    )


def parse(text: str, tools: Sequence[Tool] = (), tolerant: bool = False) -> Parsed:
    """The calls of all blocks; `tools` provide the names of positional arguments of Python calls."""
    for opening, closing, quote in _FORMS:
        if opening in text or closing in text:
            return read_blocks(text, opening, closing, _Reader(quote).call, tolerant)
    return _read_code(text, tools, tolerant) if _BLOCK.search(text) else Parsed((), text)


def _read_code(text: str, tools: Sequence[Tool], tolerant: bool) -> Parsed:
    """The calls of all code blocks named `tool_code`, which must contain nothing else; a `print` around them is
    ignored."""
    calls: list[Call] = []
    pieces: list[str] = []
    position = 0
    while match := _BLOCK.search(text, position):
        end = _BLOCK_END.search(text, match.end())
        if end is None:
            return unreadable(text, ValueError("unterminated code block"))
        code = text[match.end() : end.start()]
        printed = _PRINTED.fullmatch(code)
        parsed = python.parse(printed[1] if printed else code, tools, tolerant)
        if not parsed.calls:
            return unreadable(text, ValueError(parsed.broken or "no call in a code block"))
        calls.extend(parsed.calls)
        pieces.append(text[position : match.start()])
        position = end.end()
    return Parsed(tuple(calls), text_outside([*pieces, text[position:]]))


class _Reader:
    """Parses calls whose strings are enclosed in the mark `quote`."""

    def __init__(self, quote: str) -> None:
        self.quote = quote

    def call(self, text: str, position: int) -> tuple[Call, int]:
        """Parse `call:name{…}` at `position`; return the call and its end position."""
        if not text.startswith("call:", position):
            raise ValueError("expected call:")
        name, position = self.name(text, position + len("call:"))
        arguments, position = self.value(text, position, 0)
        if not isinstance(arguments, dict):
            raise ValueError("the arguments are not an object")
        strict.check([name, arguments])
        return Call(name, arguments), position

    def name(self, text: str, position: int) -> tuple[str, int]:
        """Parse a name: a plain word, or a string in either kind of quotes."""
        plain = _PLAIN.match(text, position)
        name, position = (plain[0], plain.end()) if plain else self.value(text, position, 0)
        if not isinstance(name, str):
            raise ValueError("a name is not a string")
        return name, position

    def value(self, text: str, position: int, depth: int) -> tuple[Any, int]:
        """Parse the value at `position`; return it and its end position."""
        position = strict.skip_blank(text, position)
        if depth > strict.MAX_DEPTH:
            raise ValueError(f"nested deeper than {strict.MAX_DEPTH} levels")
        if text.startswith(self.quote, position):
            start = position + len(self.quote)
            end = text.find(self.quote, start)
            if end < 0:
                raise ValueError("unterminated string")
            return text[start:end], end + len(self.quote)
        if text.startswith("{", position):
            pairs, position = self.items(text, position + 1, "}", depth + 1)
            return strict.unique(pairs), position
        if text.startswith("[", position):
            return self.items(text, position + 1, "]", depth + 1)
        return strict.read_value(text, position)

    def items(self, text: str, position: int, closing: str, depth: int) -> tuple[list[Any], int]:
        """Parse the values up to the closing bracket; pairs of key and value if that is a brace."""
        items: list[Any] = []
        while not text.startswith(closing, position := strict.skip_blank(text, position)):
            if items:
                if not text.startswith(",", position):
                    raise ValueError(f"expected ',' or {closing!r} after a value")
                position = strict.skip_blank(text, position + 1)
            key = ""
            if closing == "}":
                key, position = self.name(text, position)
                if not text.startswith(":", position):
                    raise ValueError("expected ':' after a key")
                position += 1
            value, position = self.value(text, position, depth)
            items.append((key, value) if closing == "}" else value)
        return items, position + 1


def _arguments(call: Call) -> str:
    if isinstance(call.arguments, str):
        return call.arguments
    strict.check(call.arguments)
    return _write(call.arguments)


def _write(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_write_name(key)}:{_write(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_write, value)) + "]"
    return f"{QUOTE}{value}{QUOTE}" if isinstance(value, str) and QUOTE not in value else strict.write(value)


def _write_name(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else strict.write(name)
