"""Parses the value in a feedback text: JSON, a Python literal, or a truncated one of these."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

LONGEST_JSON = 1_000_000
"""Longest text, in characters, that is parsed as JSON. Of a longer text the beginning is parsed leniently."""
LENIENT_LENGTH = 50_000
LENIENT_TOKENS = 4_000
LENIENT_DEPTH = 40
"""Limits of lenient parsing: characters, tokens and nesting depth."""

_OPENS = re.compile(r"""\{\s*(?:["'}]|\w+["']|$)|\[\s*(?:[\[{"'\]\d-]|true\b|false\b|null\b|True\b|False\b|None\b|$)""")
_TAGGED = re.compile(r"<(tool_response|tool_result|function_results?|observation|obs|result|output)>(.*)</\1>", re.S)
_PREFIX = re.compile(r"(?:status code: 2\d\d[.,;]? )?[a-z][\w ]{0,30}: ?\s*(?=[{\[])", re.IGNORECASE)
_TOKEN = re.compile(
    r"""\s*(?:([{\[(])|([}\])])|(,)|:|[bu]?"([^"\\]*(?:\\.[^"\\]*)*)"?|[bu]?'([^'\\]*(?:\\.[^'\\]*)*)'?|([^\s,:{}\[\]()'"]+))""",
    re.S,
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.S)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_WORDS = {"true": True, "false": False, "null": None, "none": None}


def unwrap(text: str) -> str:
    """`text` without the code fence, tag or label (`Observation:`) around its value."""
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        return text[text.index("\n") : -3].strip()
    if text.startswith("<") and (found := _TAGGED.fullmatch(text)):
        return found[2].strip()
    found = _PREFIX.match(text)
    return text[found.end() :] if found else text


def read_value(text: str) -> Any:
    """The object, array or quoted string in `text`, or `text` itself if it is none of these. Never raises.

    The text is parsed as JSON, or else leniently as a JSON or Python literal that may be truncated, in bounded time.
    """
    first = text[:1]
    if first == '"' or _OPENS.match(text):
        if len(text) <= LONGEST_JSON:
            try:
                return json.loads(text)
            except (ValueError, RecursionError):
                pass
        return text if first == '"' else _read_leniently(text[:LENIENT_LENGTH])
    return text


def _read_leniently(text: str) -> Any:
    """The outermost object or array of a literal; brackets that are open at the end or nested too deeply are closed."""
    root: list[Any] = []
    stack: list[_Level] = [_Level(root)]
    position = 0
    for _ in range(LENIENT_TOKENS):
        token = _TOKEN.match(text, position)
        if token is None:
            break
        position = token.end()
        opened, closed, comma, double, single, word = token.groups()
        if opened:
            if len(stack) > LENIENT_DEPTH:
                break
            stack.append(_Level(stack[-1].add({} if opened == "{" else [])))
        elif closed:
            stack.pop()
            if len(stack) == 1:
                break
        elif comma:
            stack[-1].next()
        elif double is not None or single is not None:
            stack[-1].add(_unescaped(double if double is not None else single))
        elif word is not None:
            stack[-1].add(_read_word(word))
    return root[0] if root else text


class _Level:
    """An object or array that is being parsed."""

    __slots__ = ("expects", "holder", "key")

    def __init__(self, holder: Any) -> None:
        self.holder = holder
        self.key = ""
        self.expects: Literal["key", "value", "comma"] = "key"

    def next(self) -> None:
        self.expects = "key"

    def add(self, value: Any) -> Any:
        """Append to the array. In an object, the first value after a comma is a key, and the second its value."""
        if isinstance(self.holder, list):
            self.holder.append(value)
        elif self.expects == "key":
            self.key, self.expects = str(value), "value"
        elif self.expects == "value":
            self.holder[self.key], self.expects = value, "comma"
        return value


def _read_word(word: str) -> Any:
    if word.lower() in _WORDS:
        return _WORDS[word.lower()]
    try:
        return int(word) if word.lstrip("-").isdigit() and len(word) < 20 else float(word)
    except ValueError:
        return word


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_unescape_match, text) if "\\" in text else text


def _unescape_match(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code[1:], 16)) if code[0] in "ux" and len(code) > 1 else _ESCAPED.get(code, code)
