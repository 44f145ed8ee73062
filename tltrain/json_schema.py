"""Reading JSON Schemas: what a schema says of a property, an item or a type, local `$ref` looked up.

Neither a schema that refers to itself nor a malformed one raises: what cannot be read says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

Scope = tuple[dict[str, Any], dict[str, Any]]
"""A part of a JSON Schema, and the whole schema in which its `$ref` are looked up."""


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
            pending.extend(_scopes([resolve_reference(node["$ref"], root)], root))


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


def item_scopes(scopes: Iterable[Scope], index: int) -> list[Scope]:
    """The schemas of an array's item at `index`, from `prefixItems` or `items`."""
    found: list[Scope] = []
    for node, root in scopes:
        first = node.get("prefixItems")
        listed = first[index : index + 1] if isinstance(first, list) else []
        found.extend(_scopes(listed or [node.get("items")], root))
    return found


def types_of(scopes: Iterable[Scope]) -> Iterator[Any]:
    """What the scopes say of the type, each name apart."""
    types = (node.get("type") for node, _ in scopes)
    return (name for said in types for name in (said if isinstance(said, list) else [said]))


def _scopes(nodes: Any, root: dict[str, Any]) -> list[Scope]:
    return [(node, root) for node in nodes if isinstance(node, dict)] if isinstance(nodes, list) else []


def resolve_reference(reference: str, root: dict[str, Any]) -> Any:
    """The part of `root` that a local reference (`#/$defs/name`) names, None where there is none."""
    if not reference.startswith("#"):
        return None
    node: Any = root
    for key in reference[1:].split("/")[1:]:
        node = node.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
    return node
