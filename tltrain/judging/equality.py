"""Equality of argument values: equal as JSON, or a string that spells the number where the schema wants a number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

from tltrain.json_schema import Scope, alternatives, item_scopes, property_scopes, types_of


class Placeholder(Enum):
    """Gold values with a special meaning."""

    ANY = "any value"


ANY: Final = Placeholder.ANY
"""A gold value, or a part of one, that equals any predicted value."""

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?P<real>(?:\.\d+)?(?:[eE][-+]?\d+)?)", re.ASCII)


def same_value(value: Any, gold: Any, scopes: Sequence[Scope] = ()) -> bool:
    """Whether two JSON values are equal: 1 equals 1.0 but not true, objects ignore key order, arrays do not.

    A string equals the number it spells if `scopes`, or a schema they include by `anyOf` and the like, has the type
    number or integer. Iterative: deep values and self-referential schemas are safe.
    """
    pending: list[tuple[Any, Any, list[Scope]]] = [(value, gold, list(scopes))]
    while pending:
        left, right, schemas = pending.pop()
        if right is ANY or (type(left) is type(right) is str and left == right):
            continue
        schemas = [*alternatives(schemas)]
        if isinstance(left, dict) and isinstance(right, dict):
            if left.keys() != right.keys():
                return False
            pending.extend((left[key], right[key], property_scopes(schemas, key)) for key in right)
        elif isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                return False
            pending.extend((left[index], right[index], item_scopes(schemas, index)) for index in range(len(right)))
        elif not _same_scalar(left, right, schemas):
            return False
    return True


def _same_scalar(value: Any, gold: Any, scopes: list[Scope]) -> bool:
    if isinstance(value, str) and _is_number(gold) and _is_numeric(scopes):
        value = _number(value)
    elif isinstance(gold, str) and _is_number(value) and _is_numeric(scopes):
        gold = _number(gold)
    if _is_number(value) and _is_number(gold):
        return bool(value == gold)
    return type(value) is type(gold) and bool(value == gold)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_numeric(scopes: list[Scope]) -> bool:
    return any(name in ("number", "integer") for name in types_of(scopes))


def _number(text: str) -> int | float | None:
    """The number that a string spells in JSON's syntax; None for any other string."""
    match = _NUMBER.fullmatch(text)
    try:
        return None if match is None else float(text) if match["real"] else int(text)
    except ValueError:  # more digits than Python converts
        return None
