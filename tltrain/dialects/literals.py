"""A parser for Python and JSON literals, which never evaluates them; every JSON value is accepted.

Accepted are strings in single, double or triple quotes, with or without the prefix `r`, and their concatenation;
numbers in any base and with `_`; `True`, `False`, `None` and their JSON names; lists, tuples (as lists), dicts,
parentheses and trailing commas. A string in double quotes is parsed as JSON if possible: `"\\/"` is `/`, and a pair of
escaped surrogates is a single character.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

from tltrain.dialects import strict

STRING = (
    r"(?:[rRuU]?(?:'''(?:[^\\']|\\.|'(?!''))*+'''|\"\"\"(?:[^\\\"]|\\.|\"(?!\"\"))*+\"\"\""
    r"|'(?!'')(?:[^\\'\n]|\\.)*+'|\"(?!\"\")(?:[^\\\"\n]|\\.)*+\"))"
)
"""A Python string literal, for use with `re.DOTALL`. The pattern does not backtrack, so it takes linear time."""
_TOKEN = re.compile(
    rf"\s*(?:(?P<text>{STRING})|(?P<number>[-+]?\.?[0-9][0-9A-Za-z_.]*(?:(?<=[eE])[-+][0-9_]+)?)|(?P<word>[A-Za-z]+)"
    r"|(?P<mark>[\[\](){},:]))",
    re.DOTALL,
)
_REAL = re.compile(r"\.|^[-+]?[0-9_]+[eE]")
_WORDS = {"True": True, "true": True, "False": False, "false": False, "None": None, "null": None}
_CLOSING = {"[": "]", "(": ")", "{": "}"}
_ESCAPE = re.compile(
    r"\\(?:(?P<octal>[0-7]{1,3})|[xuU](?P<code>(?<=x)[\da-fA-F]{2}|(?<=u)[\da-fA-F]{4}|(?<=U)[\da-fA-F]{8})"
    r"|N\{(?P<name>[^{}\n]{1,100})\}|(?P<other>.))",
    re.DOTALL,
)
_ESCAPED = dict(zip("\n\\'\"abfnrtv", ("", *"\\'\"\a\b\f\n\r\t\v"), strict=True))


def read(text: str, position: int, depth: int = 0) -> tuple[Any, int]:
    """Parse the literal at `position`, after any white space; return its value and end position.

    Raises ValueError with the reason: not a literal, a key that is not a string or is repeated, too deeply nested.
    `strict.check` checks that strings are valid Unicode and numbers are finite.
    """
    match = _TOKEN.match(text, position)
    if match is None:
        raise ValueError("expected a literal")
    token, end = match[match.lastgroup or 0], match.end()
    if match.lastgroup == "text":
        return _texts(text, token, end)
    if match.lastgroup == "number":
        return number(token), end
    if token in _WORDS:
        return _WORDS[token], end
    if token not in _CLOSING:
        raise ValueError(f"{token[:20]!r} is not a literal")
    if depth == strict.MAX_DEPTH:
        raise ValueError(f"nested deeper than {strict.MAX_DEPTH} levels")
    if token == "{":
        return _pairs(text, end, depth + 1)
    items, end, comma = _items(text, end, _CLOSING[token], depth + 1)
    return (items[0] if token == "(" and len(items) == 1 and not comma else items), end


def reader(tolerant: bool) -> strict.Reader:
    """The parser of JSON, or of any literal if `tolerant`."""
    return _read_checked if tolerant else strict.read_value


def _read_checked(text: str, position: int) -> tuple[Any, int]:
    value, end = read(text, position)
    strict.check(value)
    return value, end


def number(token: str) -> int | float:
    """The value of a Python number literal. Raises ValueError."""
    try:
        return float(token) if _REAL.search(token) else int(token, 0)
    except ValueError:
        raise ValueError(f"{token[:20]!r} is not a number") from None


def text_of(token: str) -> str:
    """The value of a string token. Raises ValueError for an invalid escape."""
    raw = token[0] in "rR"
    token = token.lstrip("rRuU")
    width = 3 if token[:3] in ("'''", '"""') else 1
    body = token[width:-width]
    if raw or "\\" not in body:
        return body
    if width == 1 and token[0] == '"':
        try:
            return str(json.loads(token))
        except ValueError:
            pass  # an escape that only Python defines
    return _joined(_ESCAPE.sub(_escaped, body))


def _texts(text: str, token: str, end: int) -> tuple[str, int]:
    """The concatenation of the string token and of all string tokens that follow it, and the end position."""
    value = text_of(token)
    following = _TOKEN.match(text, end)
    if following is None or following.lastgroup != "text":
        return value, end
    parts = [value]
    while following is not None and following.lastgroup == "text":
        parts.append(text_of(following["text"]))
        end = following.end()
        following = _TOKEN.match(text, end)
    return "".join(parts), end


def _items(text: str, position: int, closing: str, depth: int) -> tuple[list[Any], int, bool]:
    """The items up to the closing bracket, the position after it, and whether a comma precedes it."""
    items: list[Any] = []
    comma = False
    while (found := peek(text, position))[0] != closing:
        item, position = read(text, position, depth)
        items.append(item)
        mark, after = peek(text, position)
        comma = mark == ","
        if comma:
            position = after
        elif mark != closing:
            raise ValueError(f"expected ',' or {closing!r} after a value")
    return items, found[1], comma


def _pairs(text: str, position: int, depth: int) -> tuple[dict[str, Any], int]:
    pairs: list[tuple[Any, Any]] = []
    while (found := peek(text, position))[0] != "}":
        key, position = read(text, position, depth)
        mark, after = peek(text, position)
        if mark != ":":
            raise ValueError("expected ':' after a key")
        item, position = read(text, after, depth)
        pairs.append((key, item))
        mark, after = peek(text, position)
        if mark == ",":
            position = after
        elif mark != "}":
            raise ValueError("expected ',' or '}' after a value")
    return strict.unique(pairs), found[1]


def peek(text: str, position: int) -> tuple[str, int]:
    """The next character that is not white space, and the position after it; empty at the end."""
    position = strict.skip_blank(text, position)
    return text[position : position + 1], position + 1


def _escaped(match: re.Match[str]) -> str:
    if match["octal"]:
        return chr(int(match["octal"], 8))
    if match["code"]:
        return chr(int(match["code"], 16))
    if match["name"]:
        try:
            return str(unicodedata.lookup(match["name"]))
        except KeyError:
            raise ValueError("unknown character name") from None
    if match["other"] in "xuUN":
        raise ValueError(f"invalid escape \\{match['other']}")
    return str(_ESCAPED.get(match["other"], match[0]))


def _joined(text: str) -> str:
    """The text with surrogate pairs combined; lone surrogates remain, for `strict.check` to reject."""
    if text.isascii() or not strict.SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
