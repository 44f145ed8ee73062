"""BFCL's own accuracy, by the behaviour of its AST checker for Python (Patil et al. 2025; `bfcl-eval` 2026.3.23).

`tests/compare_bfcl.py` compares it with that checker, verdict by verdict. Its oddities are kept: whole numbers pass for
floats except inside arrays; a value of the type that the possible answers have passes whatever the schema says, and is
then compared as it stands; what nests deeper than one level is compared as it stands, too.
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
    """Whether the reply has as many calls as answers and, in any order, a right one for each.

    functions: the specifications as the data set has them, with Python's type names.
    """
    free = list(calls)
    for answer in answers if len(calls) == len(answers) else ():
        function = next((one for one in functions if one["name"] == answer[0]), None)
        right = (at for at, call in enumerate(free) if function and _call_accurate(call, answer, function))
        place = next(right, None)
        if place is None:
            return False
        del free[place]
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
    answered = next((type(one) for one in possible if one != ""), None)
    if type(value) is list and inner is not None and not _items_typed(value, possible, inner):
        return False
    if type(value) not in (kind, answered):
        return False
    if type(value) is not kind or answered not in (kind, None):
        return value in possible  # a variable, as BFCL calls it: nothing is done to it
    return _same(value, possible, inner)


def _items_typed(value: Sequence[Any], possible: Sequence[Any], inner: type) -> bool:
    """Whether all items are of the declared type, or of that of the first item of one possible array."""
    return any(
        type(one) is not list or all(type(item) in (inner, _first_kind(one)) for item in value) for one in possible
    )


def _first_kind(items: Sequence[Any]) -> type | None:
    return next((type(item) for item in items if item != ""), None)


def _same(value: Any, possible: Sequence[Any], inner: type | None) -> bool:
    if isinstance(value, dict):
        return any(_same_table(value, one) for one in possible)
    if isinstance(value, list) and inner is dict:
        return any(
            len(value) == len(one) and all(_same_table(item, other) for item, other in zip(value, one, strict=True))
            for one in possible
        )
    if isinstance(value, list):
        return [_plain(item) for item in value] in [[_plain(item) for item in one] for one in possible]
    if isinstance(value, str):
        return _plain(value) in [_plain(one) for one in possible if isinstance(one, str)]
    return value in possible


def _same_table(value: Any, table: Any) -> bool:
    """Whether an object has a possible value for each key; a key may be left out where that is one."""
    if not isinstance(value, dict) or not isinstance(table, dict) or not value.keys() <= table.keys():
        return False
    return all(
        _plain(value[key]) in [_plain(one) for one in possible] if key in value else "" in possible
        for key, possible in table.items()
    )


def _plain(value: Any) -> Any:
    """A text without case, blanks, most punctuation, and one kind of quotes; other values as they are."""
    return _IGNORED.sub("", value).lower().replace("'", '"') if isinstance(value, str) else value


def _kind(schema: Mapping[str, Any]) -> type | None:
    return _KINDS.get(schema.get("type", ""))
