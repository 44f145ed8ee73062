"""Checks tool specifications: valid JSON Schema, resolvable references, declared required names.

Nothing is fetched and no reference is expanded, so that a recursive schema costs no more than any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from jsonschema.validators import validator_for

from tltrain.audit.counting import shorten
from tltrain.json_schema import resolve_reference
from tltrain.trajectory import Tool

MAX_NODES = 5_000
MAX_DEPTH = 200
"""Maximum nesting of objects and lists; larger schemas are reported as too large to check."""
MAX_PROBLEMS = 5


def specification_problems(tool: Tool) -> list[str]:
    """The problems of a tool's specification, at most `MAX_PROBLEMS` messages; empty if it is valid."""
    schema = tool.parameters
    if not isinstance(schema, dict):
        return ["the parameters are not a JSON Schema object"]
    nodes = _nodes(schema)
    if nodes is None:
        return [f"too large to check (over {MAX_NODES:,} nodes or {MAX_DEPTH} levels)"]
    found = [] if tool.name else ["the tool has no name"]
    found += _top_level(schema)
    found += _metaschema(schema)
    found += [problem for pointer, node in nodes for problem in _references(pointer, node, schema)]
    return list(dict.fromkeys(found))[:MAX_PROBLEMS]


def _top_level(schema: Mapping[str, Any]) -> Iterator[str]:
    declared = schema.get("type", "object")
    if declared != "object":
        yield f"the parameters are of type {shorten(repr(declared), 40)}, not object"
    properties, required = schema.get("properties"), schema.get("required")
    if isinstance(required, list) and isinstance(properties, dict):
        for name in required:
            if isinstance(name, str) and name not in properties:
                yield f"required names {shorten(repr(name), 60)}, which is not declared"


def _metaschema(schema: dict[str, Any]) -> Iterator[str]:
    dialect = schema.get("$schema")
    validator = validator_for(schema, Draft202012Validator) if isinstance(dialect, str) else Draft202012Validator
    try:
        validator.check_schema(schema)
    except SchemaError as error:
        path = [str(part) for part in error.absolute_path]
        is_type = path[-1:] == ["type"] and isinstance(error.instance, str)
        message = f"{error.instance!r} is not a JSON Schema type" if is_type else error.message
        yield f"{shorten('/' + '/'.join(path), 80)}: {shorten(message, 160)}"
    except RecursionError:
        yield "nested too deeply to check"


def _nodes(schema: Any) -> list[tuple[str, dict[str, Any]]] | None:
    """Every object in the schema with its JSON pointer; None if the schema is too large."""
    pending: list[tuple[str, Any, int]] = [("", schema, 0)]
    objects: list[tuple[str, dict[str, Any]]] = []
    for _ in range(MAX_NODES):
        if not pending:
            return objects
        pointer, node, depth = pending.pop()
        if depth > MAX_DEPTH:
            return None
        inner = node.items() if isinstance(node, dict) else enumerate(node)
        pending += [(f"{pointer}/{key}", value, depth + 1) for key, value in inner if isinstance(value, dict | list)]
        if isinstance(node, dict):
            objects.append((pointer, node))
    return None


def _references(pointer: str, node: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[str]:
    reference = node.get("$ref")
    if not isinstance(reference, str):
        return
    if not reference.startswith("#"):
        yield f"{pointer or '/'}: refers to {shorten(reference, 80)}, outside the specification"
        return
    target, seen = node, set[str]()
    while isinstance(reference, str):
        if reference in seen:
            yield f"{pointer or '/'}: {shorten(reference, 80)} is a circular reference"
            return
        seen.add(reference)
        target = resolve_reference(reference, root)
        if not isinstance(target, dict):
            yield f"{pointer or '/'}: {shorten(reference, 80)} cannot be resolved"
            return
        reference = target.get("$ref") if set(target) <= {"$ref"} else None
