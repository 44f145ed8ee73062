"""Calls as Llama 3.1 and later write them: the reply is JSON objects of `name` and `parameters`, separated by `;`.

`<|python_tag|>` may precede the first object; text is allowed before the tag, but not after the last object.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tltrain.dialects import literals, strict
from tltrain.dialects.base import Parsed, text_outside, text_then_calls, unreadable, without_fences
from tltrain.trajectory import Call, Tool

TAG = "<|python_tag|>"

_START = re.compile(r"<\|python_tag\|>|\A\s*+(?=\{\s*+[\"'](?:name|type)[\"']\s*+:)")


def format(calls: Sequence[Call], text: str = "") -> str:
    """The objects on one line; if there is text, on the line below it, after the tag."""
    objects = (f'{{"name": {strict.write(call.name)}, "parameters": {strict.write_arguments(call)}}}' for call in calls)
    joined = "; ".join(objects)
    return text_then_calls(text, TAG + joined) if text and calls else text + joined


def parse(text: str, tools: Sequence[Tool] = (), tolerant: bool = False) -> Parsed:
    """The calls after the tag, or of a reply that starts with the object of a call; `tools` are ignored."""
    whole, calls = text, list[Call]()
    text = without_fences(text) if tolerant else text
    start = _START.search(text)
    if start is None:
        return Parsed((), whole)
    try:
        position, read = start.end(), literals.reader(tolerant)
        while not calls or text.startswith(";", position):
            value, position = read(text, strict.skip_blank(text, position + bool(calls)))
            calls.append(strict.read_call(_untyped(value), read))
            position = strict.skip_blank(text, position)
        if position < len(text):
            raise ValueError("text after a call")
    except (ValueError, RecursionError) as error:
        return unreadable(whole, error)
    return Parsed(tuple(calls), text_outside([text[: start.start()]]))


def _untyped(value: Any) -> Any:
    """The object without `"type": "function"`, which the models sometimes add."""
    if isinstance(value, dict) and value.get("type") == "function":
        return {key: item for key, item in value.items() if key != "type"}
    return value
