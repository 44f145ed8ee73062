"""Tool specifications in common formats, and inference of tools from calls."""

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
    """The tools of a list of specifications, each in any format that `tool_of` reads."""
    return each(tool_of, values, field)


def tool_of(value: Any) -> Tool:
    """A specification in the format of OpenAI (with or without `function`), MCP (`inputSchema`), Anthropic
    (`input_schema`) or Seal-Tools.

    Parameters given as a plain table of arguments (`{"city": {"type": "str"}}`) become a JSON Schema, except inside
    `function`, which must contain a schema. Unknown fields are kept in `extra`, both those in `function` and those next
    to it. Raises FieldError.
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


def _bare(record: dict[str, Any], outer: dict[str, Any], tables: bool) -> Tool:
    name = text_of(record, "api_name" if "api_name" in record else "name")
    description = text_or_none(record, "api_description" if "api_description" in record else "description") or ""
    field = "parameters"
    parameters = record.get(field)
    if parameters is None:
        field = next((field for field in _SCHEMAS if field in record), field)
        parameters = record.get(field)
    extra = rest(record, _KNOWN) | outer
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
    """Whether `parameters` is a table that describes each argument by name, rather than a JSON Schema."""
    if type(parameters.get("type")) is str or "properties" in parameters or not parameters:
        return False
    return all(
        type(value) is dict and type(value.get("type", "")) is str and not name.startswith("$")
        for name, value in parameters.items()
    )


def schema_of_table(table: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    """The JSON Schema for a table of arguments; Python type names (`List[int]`, `str, optional`) are mapped to JSON
    types.

    `required` defaults to the arguments that have no `default` and are not declared as optional.
    """
    properties = {name: _property(value) for name, value in table.items()}
    if required is None:
        required = [name for name, value in table.items() if not _is_optional(value)]
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return schema | {"required": required} if required else schema


def _property(value: dict[str, Any]) -> dict[str, Any]:
    python_type = value.get("type")
    return value if python_type is None else json_type(python_type) | rest(value, {"type"})


def _is_optional(value: dict[str, Any]) -> bool:
    return "default" in value or "optional" in str(value.get("type", "")).lower()


def json_type(python_type: str) -> dict[str, Any]:
    """The JSON Schema for a Python type; an unknown type is kept under `x-type` and accepts any value."""
    name = python_type.removesuffix(", optional") if "[" in python_type else python_type.split(",")[0]
    outer, bracket, inner = name.strip().removesuffix("]").partition("[")
    if bracket and outer.strip().lower() == "optional":
        return json_type(inner)
    known = _PYTHON_TYPES.get(outer.strip().lower())
    if known is None:
        return {"x-type": python_type}
    items = json_type(inner) if bracket and known == "array" and "," not in inner else {}
    return {"type": known, "items": items} if items else {"type": known}


def choose_tools(
    own: tuple[Tool, ...] | None, given: Sequence[Tool] | None, messages: Iterable[Message]
) -> tuple[Tool, ...]:
    """The tools of a trajectory: its own, else those given for the file, else those inferred from its calls."""
    if own is not None:
        return own
    return infer_tools(messages) if given is None else tuple(given)


def infer_tools(messages: Iterable[Message]) -> tuple[Tool, ...]:
    """The tools inferred from the calls of a trajectory, marked `inferred`, in the order of their first call.

    The type of an argument is the JSON type of its values, or a list of types if they differ; integers and other
    numbers together are `number`. No argument is required. A call whose arguments are not an object only provides the
    name of its tool.
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
    """The JSON Schema name for the type of a JSON value."""
    return _TYPE_NAMES[type(value)]
