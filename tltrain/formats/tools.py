"""Tool specifications in the forms the world writes them, and tools inferred from calls where there are none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tltrain.formats.fields import FieldError, each, expected, record_of, rest, text_of, text_or_none
from tltrain.trajectory import EMPTY_PARAMETERS, Message, Tool

_SCHEMAS = ("parameters", "inputSchema", "input_schema")
_KNOWN = frozenset(("name", "api_name", "description", "api_description", *_SCHEMAS))

_PYTHON_TYPES = {
    "str": "string",
    "string": "string",
    "text": "string",
    "int": "integer",
    "integer": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "number": "number",
    "bool": "boolean",
    "boolean": "boolean",
    "list": "array",
    "array": "array",
    "tuple": "array",
    "set": "array",
    "dict": "object",
    "object": "object",
}


def tools_of(values: Any, field: str = "tools") -> tuple[Tool, ...]:
    """A list of specifications in any of the forms of `tool_of`."""
    return each(tool_of, values, field)


def tool_of(value: Any) -> Tool:
    """One specification: OpenAI's (wrapped or bare), MCP's `inputSchema`, Anthropic's `input_schema`, Seal-Tools'.

    Parameters that are a plain table of arguments (`{"city": {"type": "str"}}`) become a JSON Schema, except inside
    `function`, which has to hold a schema. What we have no field for goes to `extra`; of the wrapped form that is what
    stands in `function` and beside it.
    """
    record = record_of(value)
    function = record.get("function")
    if type(function) is dict:
        try:
            return _bare(function, rest(record, {"type", "function"}), tables=False)
        except FieldError as error:
            raise error.inside("function") from None
    if function is not None:
        raise expected("object", function, "function")
    return _bare(rest(record, {"type"}) if record.get("type") == "function" else record, {}, tables=True)


def _bare(record: dict[str, Any], beside: dict[str, Any], tables: bool) -> Tool:
    name = text_of(record, "api_name" if "api_name" in record else "name")
    description = text_or_none(record, "api_description" if "api_description" in record else "description") or ""
    field = "parameters"
    parameters = record.get(field)
    if parameters is None:
        field = next((field for field in _SCHEMAS if field in record), field)
        parameters = record.get(field)
    extra = rest(record, _KNOWN) | beside
    if parameters is None:
        parameters = dict(EMPTY_PARAMETERS)
    elif type(parameters) is not dict:
        raise expected("object", parameters, field)
    elif tables and is_table(parameters):
        required = extra.pop("required", None)
        parameters = schema_of_table(parameters, required if type(required) is list else None)
    inferred = bool(extra) and extra.pop("inferred", False) is True
    return Tool(name, description, parameters, inferred, extra)


def is_table(parameters: dict[str, Any]) -> bool:
    """Whether these are arguments by name, each with its own description, and no JSON Schema."""
    if type(parameters.get("type")) is str or "properties" in parameters or not parameters:
        return False
    return all(
        type(value) is dict and type(value.get("type", "")) is str and not name.startswith("$")
        for name, value in parameters.items()
    )


def schema_of_table(table: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    """The JSON Schema of a table of arguments; Python's type names are mapped to JSON's (`List[int]`, `str, optional`).

    `required` as given; else the arguments that have no `default` and do not say that they are optional.
    """
    properties = {name: _property(value) for name, value in table.items()}
    if required is None:
        required = [name for name, value in table.items() if not _is_optional(value)]
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return schema | {"required": required} if required else schema


def _property(value: dict[str, Any]) -> dict[str, Any]:
    written = value.get("type")
    return value if written is None else json_type(written) | rest(value, {"type"})


def _is_optional(value: dict[str, Any]) -> bool:
    return "default" in value or "optional" in str(value.get("type", "")).lower()


def json_type(written: str) -> dict[str, Any]:
    """The JSON Schema of a type as Python writes it; what we do not know stays under `x-type`, and means anything."""
    name = written.split(",")[0].strip() if "[" not in written else written.removesuffix(", optional").strip()
    outer, bracket, inner = name.removesuffix("]").partition("[")
    if bracket and outer.strip().lower() == "optional":
        return json_type(inner)
    known = _PYTHON_TYPES.get(outer.strip().lower())
    if known is None:
        return {"x-type": written}
    items = json_type(inner) if bracket and known == "array" and "," not in inner else {}
    return {"type": known, "items": items} if items else {"type": known}


def tools_or(
    own: tuple[Tool, ...] | None, given: Sequence[Tool] | None, messages: Iterable[Message]
) -> tuple[Tool, ...]:
    """The tools of a trajectory: its own, else those given for the file, else those its calls show."""
    if own is not None:
        return own
    return infer_tools(messages) if given is None else tuple(given)


def infer_tools(messages: Iterable[Message]) -> tuple[Tool, ...]:
    """The tools that the calls of one trajectory show, marked `inferred`, in the order of their first call.

    An argument's type is that of the values seen: one JSON type, or a list of types where they differ; whole and other
    numbers together are `number`. No argument is required, nothing else is claimed. Calls whose arguments are no object
    show their tool's name only.
    """
    seen: dict[str, dict[str, list[str]]] = {}
    for message in messages:
        for call in message.calls:
            arguments = seen.setdefault(call.name, {})
            for name, value in call.arguments.items() if isinstance(call.arguments, dict) else ():
                types = arguments.setdefault(name, [])
                if (kind := type_name(value)) not in types:
                    types.append(kind)
    return tuple(Tool(name, parameters=_inferred(arguments), inferred=True) for name, arguments in seen.items())


def _inferred(arguments: dict[str, list[str]]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": _merged(types)} for name, types in arguments.items()}}


def _merged(types: list[str]) -> str | list[str]:
    if "number" in types:
        types = [kind for kind in types if kind != "integer"]
    return types[0] if len(types) == 1 else types


_TYPE_NAMES: dict[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    dict: "object",
    list: "array",
    type(None): "null",
}


def type_name(value: Any) -> str:
    """JSON Schema's name for the type of a JSON value."""
    return _TYPE_NAMES[type(value)]
