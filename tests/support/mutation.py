"""Random changes to records, for tests of what readers do with files that nobody foresaw."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

TEXTS = (
    "", " ", "\x00", "\ud800", "\u202e", "null", "[", "{}", "[]", "[[", '{"a": 1', "{'a': 1}", "1e999", "NaN", "-0",
    "9" * 30,
    "<tool_call>", "</tool_call>", "<tool_call>{}</tool_call>", "<tool_call>[{]</tool_call>", "<tools>[1]</tools>",
    "<tools></tools>", "<tool_response>", "<think>", "</think>", "Action: x\nAction Input: {", "Thought:", "x\nAction:",
    "assistant", "system", "tool", "function_call", "observation", "gpt", "tool_call", "**Dialogue Records History**",
    "1. Name: x\nDescription: y\nParameters: {", "f(x=1)", "[f(x=__import__('os'))]", '"', "\\", "é" * 3,
    "a\r\nb\u2028c",
)  # fmt: skip
SCALARS: tuple[Any, ...] = (None, True, False, 0, -1, 1.5, 10**30, 1e308, -0.0, *TEXTS)


def junk(rng: Random, depth: int = 2) -> Any:
    """A random JSON value."""
    kind = rng.random()
    if kind < 0.7 or not depth:
        return rng.choice(SCALARS)
    values = [junk(rng, depth - 1) for _ in range(rng.randrange(3))]
    return values if kind < 0.85 else {rng.choice(TEXTS): value for value in values}


def mutated(record: Any, rng: Random) -> Any:
    """A copy of the record with one to three random changes."""
    record = copy.deepcopy(record)
    for _ in range(rng.randint(1, 3)):
        record = _changed(record, rng)
    return record


def mutated_line(record: Any, rng: Random) -> bytes:
    """The mutated record as a line of JSON; one in ten lines is damaged as text, too."""
    line = json.dumps(mutated(record, rng), ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        start = rng.randrange(len(line) + 1)
        middle = bytes(rng.randrange(256) for _ in range(rng.randrange(4)))
        line = line[:start] + middle + line[start + rng.randrange(8) :]
    return line + b"\n"


def _changed(record: Any, rng: Random) -> Any:
    """One change at a random position; changes the record in place unless it is replaced as a whole."""
    places = list(_places(record))
    if not places or rng.random() < 0.01:
        return junk(rng)
    parent, key = rng.choice(places)
    kind = rng.randrange(7)
    if kind == 0:
        del parent[key]
    elif kind == 1:
        parent[key] = junk(rng)
    elif kind == 2:
        other, name = rng.choice(places)
        parent[key] = copy.deepcopy(other[name])
    elif kind == 3 and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    elif kind == 3:
        name = rng.choice((rng.choice(TEXTS), rng.choice(list(parent))))
        parent[name] = parent.pop(key)
    elif isinstance(parent[key], str):
        text = parent[key]
        start = rng.randrange(len(text) + 1)
        parent[key] = text[:start] + rng.choice(TEXTS) + text[start + rng.choice((0, 0, 1, 5)) :]
    else:
        parent[key] = [parent[key]] if kind < 6 else json.dumps(parent[key])
    return record


def _places(value: Any) -> Any:
    """Every (container, key) in a JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from _places(value[key])
