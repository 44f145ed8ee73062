"""Calls as Python writes them, the paper's dialect: `name(arg = 'value', n=1)`.

Several calls stand on lines of their own, with `;` between them, or in one list. Arguments are literals only (JSON's
true, false and null too), and nothing is evaluated. Positional arguments follow the order of the tool's schema. A tool
name that is no plain word is written in quotes, argument names that are none as `**{'name': value}`.
"""

from __future__ import annotations

import ast
import keyword
import re
import unicodedata
import warnings
from collections.abc import Sequence
from typing import Any

from tltrain.dialects import strict
from tltrain.dialects.base import Parsed, above, beside, unreadable
from tltrain.trajectory import Call, Tool

_BARE_NAME = r"\w(?:[\w.\-/]*\w)?"
_STRING = r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\""
_START = re.compile(rf"^[ \t]*(?P<list>\[\s*)?(?=(?:{_BARE_NAME}|{_STRING})\()", re.MULTILINE)
_NAME = re.compile(rf"\s*({_BARE_NAME}|{_STRING})\(")
_TOKEN = re.compile(
    rf"(?P<blank>[^'\"()\[\]{{}}]+)|'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"|{_STRING}"
    r"|(?P<open>[(\[{])|(?P<close>[)\]}])",
    re.DOTALL,
)
_LINE_END = re.compile(r"[ \t\r]*(?:\n|\Z)")
_JSON_NAMES = {"true": True, "false": False, "null": None}


def format(calls: Sequence[Call], text: str = "") -> str:
    """The text, then a line a call."""
    return above(text, "\n".join(f"{_write_name(call.name)}({_write_arguments(call)})" for call in calls))


def parse(text: str, tools: Sequence[Tool] = ()) -> Parsed:
    """The calls of all lines that start with a name and a parenthesis; `tools` name positional arguments."""
    calls: list[Call] = []
    pieces: list[str] = []
    position = 0
    try:
        while match := _START.search(text, position):
            pieces.append(text[position : match.start()])
            position = _read_group(text, match.end(), match["list"] is not None, tools, calls)
    except ValueError as error:
        return unreadable(text, error)
    return Parsed(tuple(calls), beside([*pieces, text[position:]])) if calls else Parsed((), text)


def _read_group(text: str, position: int, listed: bool, tools: Sequence[Tool], calls: list[Call]) -> int:
    """Adds the calls of one line, or of one list; returns where the next line starts."""
    separator = "," if listed else ";"
    while True:
        call, position = _read_call(text, position, tools)
        calls.append(call)
        after = strict.skip_blank(text, position)
        if not text.startswith(separator, after):
            break
        position = after + 1
        if not listed and (end := _LINE_END.match(text, position)):
            return end.end()
    if listed:
        if not text.startswith("]", after):
            raise ValueError("a list of calls is not closed")
        position = after + 1
    line_end = _LINE_END.match(text, position)
    if line_end is None:
        raise ValueError("text after a call, on its line")
    return line_end.end()


def _read_call(text: str, position: int, tools: Sequence[Tool]) -> tuple[Call, int]:
    match = _NAME.match(text, position)
    if match is None:
        raise ValueError("expected a call")
    end = _closing(text, match.end() - 1)
    name = match[1]
    if name[0] in "'\"":
        name = _literal(_expression(name))
        strict.check(name)
    call = _expression("f" + text[match.end() - 1 : end])
    if not isinstance(call, ast.Call):
        raise ValueError("expected a call")
    arguments = _arguments(call, name, tools)
    strict.check(arguments)
    return Call(name, arguments), end


def _closing(text: str, position: int) -> int:
    """Where the bracket that opens at `position` is closed, outside of strings."""
    depth = 0
    while token := _TOKEN.match(text, position):
        depth += (token["open"] is not None) - (token["close"] is not None)
        position = token.end()
        if depth == 0:
            return position
    raise ValueError("a call is not closed")


def _expression(source: str) -> ast.expr:
    """The syntax tree, never compiled or run. Parsing alone is safe on hostile text: its depth is bounded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" in a text is read as it stands
            return ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "nested too deep or no Unicode text"
        raise ValueError(f"no Python call: {reason}") from None


def _arguments(call: ast.Call, name: str, tools: Sequence[Tool]) -> dict[str, Any]:
    order = next((list(tool.properties) for tool in tools if tool.name == name), [])
    if len(call.args) > len(order):
        raise ValueError("a positional argument that the schema has no name for")
    pairs = [(argument, _literal(value)) for argument, value in zip(order, call.args, strict=False)]
    for item in call.keywords:
        value = _literal(item.value)
        if item.arg is not None:
            pairs.append((item.arg, value))
        elif isinstance(value, dict):
            pairs.extend(value.items())
        else:
            raise ValueError("** before something that is no dict")
    return strict.unique(pairs)


def _literal(node: ast.expr | None) -> Any:
    """The JSON value a literal stands for; a tuple is an array."""
    match node:
        case ast.Constant(value=str() | bool() | int() | float() | None as value):
            return value
        case ast.Name(id=("true" | "false" | "null") as name):
            return _JSON_NAMES[name]
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_literal(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            return strict.unique([(_literal(key), _literal(item)) for key, item in zip(keys, values, strict=True)])
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=ast.Constant(value=int() | float() as number)):
            if not isinstance(number, bool):
                return -number if isinstance(sign, ast.USub) else number
    raise ValueError("an argument is no literal")


def _write_name(name: str) -> str:
    return name if re.fullmatch(_BARE_NAME, name) else repr(name)


def _write_arguments(call: Call) -> str:
    if isinstance(call.arguments, str):
        return call.arguments
    strict.check(call.arguments)
    plain = [f"{name}={value!r}" for name, value in call.arguments.items() if _is_plain(name)]
    other = {name: value for name, value in call.arguments.items() if not _is_plain(name)}
    return ", ".join([*plain, f"**{other!r}"] if other else plain)


def _is_plain(name: str) -> bool:
    """Whether Python reads the name as it stands: identifiers are normalised, and keywords are none."""
    return name.isidentifier() and not keyword.iskeyword(name) and unicodedata.normalize("NFKC", name) == name
