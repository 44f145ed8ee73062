"""The schema detector of failed calls: checks calls against the specification of their tool, without the feedback.

The check is more lenient than a validator: the string "12" is accepted as an integer, and a number as a string. Only
types, `enum`, `const`, names and nesting are checked; ranges, formats and patterns are not. Schemas are user input and
may be malformed, recursive or adversarial: parts that cannot be interpreted accept everything, and the work is bounded.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tltrain.json_schema import resolve_reference
from tltrain.trajectory import Call, Tool

Category = Literal["unknown_tool", "not_an_object", "unknown_argument", "missing_argument", "bad_value"]

MAX_VISITS = 2_000
"""Maximum number of schema nodes visited per call; anything beyond it is accepted."""
MAX_DEPTH = 60
MAX_TEXT_READ = 100_000
"""Maximum length in characters of a string that is parsed as JSON if an array or object is declared."""

_TYPES = {
    **dict.fromkeys(("string", "str", "text"), "string"),
    **dict.fromkeys(("integer", "int", "long"), "integer"),
    **dict.fromkeys(("number", "float", "double"), "number"),
    **dict.fromkeys(("boolean", "bool"), "boolean"),
    **dict.fromkeys(("array", "list", "tuple"), "array"),
    **dict.fromkeys(("object", "dict"), "object"),
    **dict.fromkeys(("null", "none"), "null"),
}
"""Type names used in data sets (in any case) and their JSON Schema types; other names accept anything."""
_INTEGER = re.compile(r"[+-]?\d{1,400}(\.0{1,20})?")
_ARTICLES = {"integer": "an integer", "array": "an array", "object": "an object", "null": "null"}


@dataclass(frozen=True, slots=True)
class SchemaFault:
    """A violation of a tool's specification; `message` is shown to users."""

    category: Category
    message: str


def schema_failed(call: Call, tools: Sequence[Tool]) -> str | None:
    """The most severe violation by `call` of the specification of its tool; None if there is none."""
    faults = schema_faults(call, tools)
    return faults[0].message if faults else None


def schema_faults(call: Call, tools: Sequence[Tool]) -> list[SchemaFault]:
    """All faults of `call`, the most severe first: unknown tool, arguments that are not an object, unknown arguments,
    missing arguments, bad values. Never raises.

    Calls of an inferred tool have no faults if their arguments are an object, as its specification was derived from
    them. If several tools have the name of the call, the tool with the fewest faults is used.
    """
    named = [tool for tool in tools if tool.name == call.name]
    if not named:
        return [SchemaFault("unknown_tool", f"{_quoted(call.name)} is not a tool that was given")]
    arguments = call.arguments
    if not isinstance(arguments, dict):
        message = f"{call.name}: the arguments are not a JSON object: {_quoted(arguments)}"
        return [SchemaFault("not_an_object", message)]
    if any(tool.inferred for tool in named):
        return []
    return min((_Specification(tool).faults(arguments) for tool in named), key=len)


class _Specification:
    """The schema of a tool, with a bound on the work to check a call."""

    def __init__(self, tool: Tool) -> None:
        self.tool = tool
        self.root = tool.parameters
        self.visits = 0

    def faults(self, arguments: Mapping[str, Any]) -> list[SchemaFault]:
        if not isinstance(self.root, dict):
            return []
        parts = list(self.parts(self.root))
        properties: dict[str, Any] = {}
        for part in reversed(parts):
            properties |= _mapping(part.get("properties"))
        faults = [] if any(map(_is_open, parts)) else self.unknown(arguments, properties)
        faults += self.missing(arguments, parts)
        return faults + self.bad_values(arguments, properties)

    def unknown(self, arguments: Mapping[str, Any], properties: Mapping[str, Any]) -> list[SchemaFault]:
        has = f"it has {', '.join(map(str, list(properties)[:12]))}" if properties else "it takes none"
        return [
            SchemaFault("unknown_argument", f"{self.tool.name} has no argument {_quoted(name)} ({has})")
            for name in arguments
            if name not in properties
        ]

    def missing(self, arguments: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> list[SchemaFault]:
        required = dict.fromkeys(name for part in parts for name in _names(part.get("required")))
        return [
            SchemaFault("missing_argument", f"{self.tool.name}: the required argument {_quoted(name)} is missing")
            for name in required
            if name not in arguments
        ]

    def bad_values(self, arguments: Mapping[str, Any], properties: Mapping[str, Any]) -> list[SchemaFault]:
        found = (
            (name, self.problem(value, properties[name])) for name, value in arguments.items() if name in properties
        )
        return [
            SchemaFault("bad_value", f"{self.tool.name}: {name} is {_quoted(arguments[name])}, {problem}")
            for name, problem in found
            if problem is not None
        ]

    def parts(self, schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """`schema` and the schemas that it includes by `$ref` and `allOf`, each once."""
        waiting: list[Any] = [schema]
        seen: set[int] = set()
        while waiting and self.visits < MAX_VISITS:
            part = waiting.pop(0)
            if not isinstance(part, dict) or id(part) in seen:
                continue
            self.visits += 1
            seen.add(id(part))
            yield part
            waiting += [self.resolve(part.get("$ref")), *_sequence(part.get("allOf"))]

    def resolve(self, reference: Any) -> Any:
        """The part of the schema that a local reference points to; None if there is none."""
        return resolve_reference(reference, self.root) if isinstance(reference, str) else None

    def problem(self, value: Any, schema: Any, depth: int = 0) -> str | None:
        """Why `value` does not fit `schema`; None if it fits or the bounds are reached."""
        if not isinstance(schema, dict) or self.visits > MAX_VISITS or depth > MAX_DEPTH:
            return None
        for part in self.parts(schema):
            found = self.type_problem(value, part, depth) or self.choice_problem(value, part, depth)
            if found is not None:
                return found
        return None

    def type_problem(self, value: Any, part: Mapping[str, Any], depth: int) -> str | None:
        types = _declared_types(part)
        if not types:
            return self.inner_problem(value, part, depth)
        readings = [reading for kind in types for reading in _readings(value, kind)]
        if not readings:
            return f"which cannot be read as {' or '.join(_ARTICLES.get(kind, f'a {kind}') for kind in types)}"
        return self.inner_problem(readings[0], part, depth)

    def choice_problem(self, value: Any, part: Mapping[str, Any], depth: int) -> str | None:
        choices = part.get("enum") if isinstance(part.get("enum"), list) else [part["const"]] if "const" in part else []
        if choices and not any(_same(value, choice) for choice in choices):
            return f"which is none of {', '.join(_quoted(choice) for choice in choices[:12])}"
        for key in ("anyOf", "oneOf"):
            options = _sequence(part.get(key))
            problems = [self.problem(value, option, depth + 1) for option in options]
            if problems and None not in problems:
                return problems[0] if len(problems) == 1 else "which fits none of the declared alternatives"
        return None

    def inner_problem(self, value: Any, part: Mapping[str, Any], depth: int) -> str | None:
        if isinstance(value, list):
            inner = (self.problem(item, part.get("items"), depth + 1) for item in value[:MAX_VISITS])
            return next((f"where an item is a value {problem}" for problem in inner if problem), None)
        if not isinstance(value, dict):
            return None
        missing = next((name for name in _names(part.get("required")) if name not in value), None)
        if missing is not None:
            return f"which lacks the required field {_quoted(missing)}"
        properties = _mapping(part.get("properties"))
        if part.get("additionalProperties") is False and not part.get("patternProperties"):
            unknown = next((name for name in value if name not in properties), None)
            if unknown is not None:
                return f"where {_quoted(unknown)} is not a declared field"
        fields = (
            (name, self.problem(value[name], properties[name], depth + 1)) for name in properties if name in value
        )
        return next((f"where {name} is a value {problem}" for name, problem in fields if problem), None)


def _declared_types(part: Mapping[str, Any]) -> list[str]:
    """The declared JSON Schema types; empty if anything is allowed."""
    declared = part.get("type")
    names = declared if isinstance(declared, list) else [declared]
    types = [_TYPES.get(name.strip().lower(), "") if isinstance(name, str) else "" for name in names]
    if "" in types:
        return []
    nullable = part.get("nullable") is True or part.get("default", "") is None
    return list(dict.fromkeys([*types, "null"] if nullable else types))


def _readings(value: Any, kind: str) -> list[Any]:
    """`value` converted to the type `kind`, in a list; an empty list if it cannot be converted."""
    if isinstance(value, str) and kind != "string":
        return _text_readings(value, kind)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    readable = {
        "string": isinstance(value, str | int | float),
        "integer": is_number and math.isfinite(value) and value == math.floor(value),
        "number": is_number,
        "boolean": isinstance(value, bool),
        "array": isinstance(value, list | tuple),
        "object": isinstance(value, dict),
        "null": value is None,
    }
    return [value] if readable[kind] else []


def _text_readings(text: str, kind: str) -> list[Any]:
    text = text.strip()
    if kind == "integer":
        return [text] if _INTEGER.fullmatch(text) else []
    if kind == "number":
        return [text] if _is_number_text(text) else []
    if kind == "boolean":
        return [text] if text.lower() in ("true", "false") else []
    if kind == "null":
        return [None] if text.lower() in ("null", "none") else []
    if text[:1] != {"array": "[", "object": "{"}[kind] or len(text) > MAX_TEXT_READ:
        return []
    try:
        return [json.loads(text)]
    except (ValueError, RecursionError):
        return []


def _is_number_text(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _same(value: Any, choice: Any) -> bool:
    """Whether `value` equals `choice`, or their texts are equal (`1` and "1", `true` and "True")."""
    if isinstance(value, str) != isinstance(choice, str) or isinstance(value, bool) != isinstance(choice, bool):
        return str(value).lower() == str(choice).lower() and not isinstance(value, list | dict)
    return bool(value == choice)


def _is_open(part: Mapping[str, Any]) -> bool:
    """Whether undeclared arguments are allowed, or the declaration cannot be interpreted."""
    additional = part.get("additionalProperties")
    if additional is True or isinstance(additional, dict) or part.get("patternProperties"):
        return True
    if any(part.get(key) for key in ("anyOf", "oneOf", "if", "dependentSchemas")):
        return True
    return not isinstance(part.get("properties", {}), dict)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _sequence(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _names(value: Any) -> list[str]:
    return [name for name in _sequence(value) if isinstance(name, str)]


def _quoted(value: Any) -> str:
    """`value` as JSON, truncated for a message."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
