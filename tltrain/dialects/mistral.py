"""Calls as Mistral's models write them: `[TOOL_CALLS] [{"name": …, "arguments": {…}}]`, or `[TOOL_CALLS]name[ARGS]{…}`.

Calls are written in the first form; the second, of later models, is parsed as well. Ids are dropped. Text may precede
the calls.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tltrain.dialects import literals, strict
from tltrain.dialects.base import Parsed, text_outside, text_then_calls, unreadable, without_fences
from tltrain.trajectory import Call, Tool

TAG = "[TOOL_CALLS]"

_NAME = re.compile(r"\s*+([^\s\[\]{}]++)(?:\[CALL_ID\][^\[\]{}]*+)?(?:\[ARGS\])?\s*+(?=\{)")


def format(calls: Sequence[Call], text: str = "") -> str:
    """The text, then the tag and a list of all calls."""
    objects = (f'{{"name": {strict.write(call.name)}, "arguments": {strict.write_arguments(call)}}}' for call in calls)
    return text_then_calls(text, f"{TAG} [{', '.join(objects)}]" if calls else "")


def parse(text: str, tools: Sequence[Tool] = (), tolerant: bool = False) -> Parsed:
    """The calls after each tag, in either form; `tools` are ignored."""
    whole, calls = text, list[Call]()
    text = without_fences(text) if tolerant else text
    start = position = text.find(TAG)
    if start < 0:
        return Parsed((), whole)
    try:
        while text.startswith(TAG, position):
            position = _read_calls(text, position + len(TAG), literals.reader(tolerant), calls)
        if position < len(text):
            raise ValueError("text after a call")
    except (ValueError, RecursionError) as error:
        return unreadable(whole, error)
    return Parsed(tuple(calls), text_outside([text[:start]]))


def _read_calls(text: str, position: int, read: strict.Reader, calls: list[Call]) -> int:
    """Append the calls after a tag to `calls`; return the position after them and any white space."""
    if match := _NAME.match(text, position):
        value, position = read(text, match.end())
        strict.check(match[1])
        calls.append(Call(match[1], strict.read_arguments(value, read)))
    else:
        value, position = read(text, strict.skip_blank(text, position))
        if not isinstance(value, list) or not value:
            raise ValueError(f"expected a list of calls after {TAG}")
        calls.extend(strict.read_call(_without_id(item), read) for item in value)
    return strict.skip_blank(text, position)


def _without_id(value: Any) -> Any:
    return {key: item for key, item in value.items() if key != "id"} if isinstance(value, dict) else value
