"""Looks up properties, items and types in JSON Schemas, and resolves local `$ref`.

Malformed and self-referential schemas never raise: whatever cannot be read is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")

Scope = tuple[dict[str, Any], dict[str, Any]]
"""A part of a JSON Schema, and the whole schema against which its `$ref` are resolved."""


def alternatives(scopes: Iterable[Scope]) -> Iterator[Scope]:
    """The scopes and all schemas they include by `anyOf`, `oneOf`, `allOf` and local `$ref`, without repetition."""
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
            pending.extend(_scopes([resolve_reference(node["$ref"], root)], root))


def property_names(scopes: Iterable[Scope]) -> set[str]:
    """The names of all declared properties."""
    properties = (node.get("properties") for node, _ in alternatives(scopes))
    return {name for declared in properties if isinstance(declared, dict) for name in declared}


def property_scopes(scopes: Iterable[Scope], name: str) -> list[Scope]:
    """The schemas of a property: from `properties`, or from `additionalProperties` if it is not declared."""
    found: list[Scope] = []
    for node, root in scopes:
        declared, others = node.get("properties"), node.get("additionalProperties")
        found.extend(_scopes([declared.get(name, others) if isinstance(declared, dict) else others], root))
    return found


def item_scopes(scopes: Iterable[Scope], index: int) -> list[Scope]:
    """The schemas of an array's item at `index`, from `prefixItems` or `items`."""
    found: list[Scope] = []
    for node, root in scopes:
        first = node.get("prefixItems")
        listed = first[index : index + 1] if isinstance(first, list) else []
        found.extend(_scopes(listed or [node.get("items")], root))
    return found


def types_of(scopes: Iterable[Scope]) -> Iterator[Any]:
    """The elements of all `type` keywords; None for a scope without the keyword."""
    types = (node.get("type") for node, _ in scopes)
    return (name for declared in types for name in (declared if isinstance(declared, list) else [declared]))


def _scopes(nodes: Any, root: dict[str, Any]) -> list[Scope]:
    return [(node, root) for node in nodes if isinstance(node, dict)] if isinstance(nodes, list) else []


def resolve_reference(reference: object, root: Any) -> Any:
    """The part of `root` at a local reference (`#`, or a JSON Pointer as in `#/$defs/name`, RFC 6901).

    None if `reference` is not a local reference, or if it points to nothing.
    """
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    node = root
    for part in reference[1:].split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict):
            node = node.get(key)
        elif isinstance(node, list) and _INDEX.fullmatch(key) and int(key) < len(node):
            node = node[int(key)]
        else:
            return None
    return node
