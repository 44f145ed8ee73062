"""Calls as `Action:` and `Action Input:` lines after a thought, as RoTBench and ToolEyes write them.

The thought is the text of the reply. A name that would be ambiguous on its line is written as a JSON string. Each call
is a pair of lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tltrain.dialects import literals, strict
from tltrain.dialects.base import Parsed, text_outside, text_then_calls, unreadable, without_fences
from tltrain.trajectory import Call, Tool

_ACTION = re.compile(r"^[ \t]*+Action:[ \t]*+", re.MULTILINE)
_INPUT = "Action Input:"
_THOUGHT = re.compile(r"\s*Thought: ?")
_LINE_END = re.compile(r"[ \t\r]*+(?:\n|\Z)")


def format(calls: Sequence[Call], text: str = "") -> str:
    """`Thought:` and the text, if there is any, then two lines per call; without calls, only the text."""
    if not calls:
        return text
    lines = (f"Action: {_write_name(call.name)}\nAction Input: {strict.write_arguments(call)}" for call in calls)
    return text_then_calls(f"Thought: {text}" if text else "", "\n".join(lines))


def parse(text: str, tools: Sequence[Tool] = (), tolerant: bool = False) -> Parsed:
    """The calls of all `Action:` lines in order; `tools` are ignored."""
    whole, calls, pieces, position = text, list[Call](), list[str](), 0
    text = without_fences(text) if tolerant else text
    try:
        while match := _ACTION.search(text, position):
            pieces.append(text[position : match.start()])
            call, position = _read_call(text, match.end(), literals.reader(tolerant))
            calls.append(call)
    except (ValueError, RecursionError) as error:
        return unreadable(whole, error)
    if not calls:
        return Parsed((), whole)
    pieces[0] = _THOUGHT.sub("", pieces[0], count=1) if _THOUGHT.match(pieces[0]) else pieces[0]
    return Parsed(tuple(calls), text_outside([*pieces, text[position:]]))


def _read_call(text: str, position: int, read: strict.Reader) -> tuple[Call, int]:
    name, position = _read_name(text, position)
    value, position = read(text, strict.skip_blank(text, position))
    end = _LINE_END.match(text, position)
    if end is None:
        raise ValueError("text after the arguments on the same line")
    return Call(name, strict.read_arguments(value, read)), end.end()


def _read_name(text: str, position: int) -> tuple[str, int]:
    """The name, and the position after `Action Input:`."""
    quoted = text.startswith('"', position)
    name, after = strict.read_value(text, position) if quoted else ("", position)
    marker = text.find(_INPUT, after)
    between = text[after:marker].strip()
    if marker < 0 or "\n" in between or (quoted and between):
        raise ValueError("Action without Action Input")
    return name if quoted else between, marker + len(_INPUT)


def _write_name(name: str) -> str:
    plain = name and name == name.strip() and not name.startswith('"') and "\n" not in name
    return name if plain and _INPUT not in name else strict.write(name)
