"""When two argument values are the same: as JSON values, and as the tool's schema lets a text stand for a number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Any, Final

Scope = tuple[dict[str, Any], dict[str, Any]]
"""A part of a JSON Schema, and the whole in which its `$ref` are looked up."""


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
            pending.extend((left[at], right[at], _item_scopes(inside, at)) for at in range(len(right)))
        elif not _same_scalar(left, right, inside):
            return False
    return True


def alternatives(scopes: Iterable[Scope]) -> Iterator[Scope]:
    """The scopes and all that their `anyOf`, `oneOf`, `allOf` and local `$ref` name, each once."""
    pending, seen = list(scopes), set[int]()
    while pending:
        node, root = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node, root
        for keyword in ("anyOf", "oneOf", "allOf"):
            pending.extend(_scopes(node.get(keyword), root))
        if isinstance(node.get("$ref"), str):
            pending.extend(_scopes([_resolve(node["$ref"], root)], root))


def property_names(scopes: Iterable[Scope]) -> set[str]:
    """The names of all declared properties."""
    properties = (node.get("properties") for node, _ in alternatives(scopes))
    return {name for declared in properties if isinstance(declared, dict) for name in declared}


def property_scopes(scopes: Iterable[Scope], name: str) -> list[Scope]:
    """The schemas of a property, declared ones or those of all further ones."""
    found: list[Scope] = []
    for node, root in scopes:
        declared, others = node.get("properties"), node.get("additionalProperties")
        found.extend(_scopes([declared.get(name, others) if isinstance(declared, dict) else others], root))
    return found


def types_of(scopes: Iterable[Scope]) -> Iterator[Any]:
    """What the scopes say of the type, each name apart."""
    types = (node.get("type") for node, _ in scopes)
    return (name for said in types for name in (said if isinstance(said, list) else [said]))


def _item_scopes(scopes: list[Scope], index: int) -> list[Scope]:
    found: list[Scope] = []
    for node, root in scopes:
        first = node.get("prefixItems")
        listed = first[index : index + 1] if isinstance(first, list) else []
        found.extend(_scopes(listed or [node.get("items")], root))
    return found


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


def _scopes(nodes: Any, root: dict[str, Any]) -> list[Scope]:
    return [(node, root) for node in nodes if isinstance(node, dict)] if isinstance(nodes, list) else []


def _resolve(reference: str, root: dict[str, Any]) -> Any:
    """The part of `root` that a local reference (`#/$defs/name`) names, None where there is none."""
    if not reference.startswith("#"):
        return None
    node: Any = root
    for key in reference[1:].split("/")[1:]:
        node = node.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
    return node
