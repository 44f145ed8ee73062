"""BFCL's own accuracy, by the behaviour of its AST checker for Python (Patil et al. 2025; `bfcl-eval` 2026.3.23).

`tests/support/compare_bfcl.py` compares it with that checker, verdict by verdict. Its peculiarities are kept: integers
are accepted as floats, except inside arrays; a value of the same type as the possible answers is accepted whatever the
schema says, and then compared without normalisation; so are values nested deeper than one level.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from tltrain.testsets.bfcl_answers import Answer
from tltrain.trajectory import Call

_KINDS: dict[str, type] = {
    "string": str,
    "any": str,
    "integer": int,
    "float": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
}
_IGNORED = re.compile(r"[ ,./\-_*^]")


def reply_accurate(calls: Sequence[Call], answers: Sequence[Answer], functions: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the reply has exactly one right call for each answer, in any order.

    Args:
        calls: the calls of the reply.
        answers: the possible answers of each expected call.
        functions: specifications as in the data set, with Python's type names.
    """
    free = list(calls)
    for answer in answers if len(calls) == len(answers) else ():
        function = next((function for function in functions if function["name"] == answer[0]), None)
        right = (index for index, call in enumerate(free) if function and _call_accurate(call, answer, function))
        index = next(right, None)
        if index is None:
            return False
        del free[index]
    return not free and len(calls) == len(answers)


def _call_accurate(call: Call, answer: Answer, function: Mapping[str, Any]) -> bool:
    name, options = answer
    given, parameters = call.arguments, function["parameters"]
    if call.name != name or isinstance(given, str) or not given.keys() >= set(parameters.get("required") or ()):
        return False
    if any("" not in possible for argument, possible in options.items() if argument not in given):
        return False
    declared = parameters["properties"]
    if not given.keys() <= declared.keys() & options.keys():
        return False
    return all(_value_accurate(value, options[argument], declared[argument]) for argument, value in given.items())


def _value_accurate(value: Any, possible: Sequence[Any], schema: Mapping[str, Any]) -> bool:
    kind = _kind(schema)
    inner = _kind(schema.get("items") or {}) if kind is list else None
    if kind is float and type(value) is int:
        with suppress(OverflowError):
            value = float(value)
    answered = next((type(answer) for answer in possible if answer != ""), None)
    if type(value) is list and inner is not None and not _items_typed(value, possible, inner):
        return False
    if type(value) not in (kind, answered):
        return False
    if type(value) is not kind or answered not in (kind, None):
        return value in possible  # what BFCL calls a variable: compared without normalisation
    return _same(value, possible, inner)


def _items_typed(value: Sequence[Any], possible: Sequence[Any], inner: type) -> bool:
    """Whether all items are of the declared type, or of that of the first item of one possible array."""
    return any(
        type(answer) is not list or all(type(item) in (inner, _first_kind(answer)) for item in value)
        for answer in possible
    )


def _first_kind(items: Sequence[Any]) -> type | None:
    return next((type(item) for item in items if item != ""), None)


def _same(value: Any, possible: Sequence[Any], inner: type | None) -> bool:
    if isinstance(value, dict):
        return any(_same_table(value, answer) for answer in possible)
    if isinstance(value, list) and inner is dict:
        return any(
            len(value) == len(answer)
            and all(_same_table(item, other) for item, other in zip(value, answer, strict=True))
            for answer in possible
        )
    if isinstance(value, list):
        return [_plain(item) for item in value] in [[_plain(item) for item in answer] for answer in possible]
    if isinstance(value, str):
        return _plain(value) in [_plain(answer) for answer in possible if isinstance(answer, str)]
    return value in possible


def _same_table(value: Any, table: Any) -> bool:
    """Whether each key of an object has a possible value; a key may be missing if the empty string is one."""
    if not isinstance(value, dict) or not isinstance(table, dict) or not value.keys() <= table.keys():
        return False
    return all(
        _plain(value[key]) in [_plain(answer) for answer in possible] if key in value else "" in possible
        for key, possible in table.items()
    )


def _plain(value: Any) -> Any:
    """A string in lower case, without spaces and most punctuation, with double quotes only; other values as is."""
    return _IGNORED.sub("", value).lower().replace("'", '"') if isinstance(value, str) else value


def _kind(schema: Mapping[str, Any]) -> type | None:
    return _KINDS.get(schema.get("type", ""))
