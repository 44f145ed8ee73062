"""When two argument values are the same: as JSON values, and as the tool's schema lets a text stand for a number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

from tltrain.json_schema import Scope, alternatives, item_scopes, property_scopes, types_of


class Placeholder(Enum):
    """Gold values that stand for others."""

    ANY = "any value"


ANY: Final = Placeholder.ANY
"""As a gold value, or anywhere inside one: whatever the prediction has there is right."""

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?P<real>(?:\.\d+)?(?:[eE][-+]?\d+)?)", re.ASCII)


def same_value(value: Any, gold: Any, scopes: Sequence[Scope] = ()) -> bool:
    """Whether the JSON values are equal: numbers by value, objects by keys, arrays by order, true never 1.

    A text equals the number it writes where one of `scopes` (or their `anyOf` and the like) says number or integer.
    Neither deep values nor a schema that refers to itself make it recurse.
    """
    pending: list[tuple[Any, Any, list[Scope]]] = [(value, gold, list(scopes))]
    while pending:
        left, right, inside = pending.pop()
        if right is ANY or (type(left) is type(right) is str and left == right):
            continue
        inside = [*alternatives(inside)]
        if isinstance(left, dict) and isinstance(right, dict):
            if left.keys() != right.keys():
                return False
            pending.extend((left[key], right[key], property_scopes(inside, key)) for key in right)
        elif isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                return False
            pending.extend((left[at], right[at], item_scopes(inside, at)) for at in range(len(right)))
        elif not _same_scalar(left, right, inside):
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
    """The number that a JSON text is, None where it is none."""
    match = _NUMBER.fullmatch(text)
    try:
        return None if match is None else float(text) if match["real"] else int(text)
    except ValueError:  # more digits than Python converts
        return None
