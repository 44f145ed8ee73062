"""Execution of calls: validate a call against the available tools, run it in the world, and format the feedback."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tltrain.toolworld.library import FUNCTIONS
from tltrain.toolworld.service import ToolFunction
from tltrain.toolworld.styles import JSON, CallError, MissingArgumentError, UnknownArgumentError, UnknownToolError
from tltrain.toolworld.world import World
from tltrain.trajectory import Call, Tool


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a call: the feedback, whether the call failed, and the result that the feedback reports."""

    feedback: str
    failed: bool
    result: Any = None


def execute(tools: Sequence[Tool], world: World, call: Call) -> str:
    """Run a call in the world and return its feedback, also if it fails. Only `tools` can be called."""
    return run(tools, world, call).feedback


def run(tools: Sequence[Tool], world: World, call: Call) -> Outcome:
    """Like `execute`, but also return the result and whether the call failed."""
    function = FUNCTIONS.get(call.name) if any(tool.name == call.name for tool in tools) else None
    style = function.service.style if function else _unknown_tool_style(tools)
    try:
        if function is None:
            raise UnknownToolError(call.name)
        result = function.function(world, **_read_arguments(function, call.arguments))
    except (ValueError, LookupError, ArithmeticError, OSError, CallError) as error:
        return Outcome(style.failure(call.name, error), True)
    return Outcome(style.success(result), False, result)


def _unknown_tool_style(tools: Sequence[Tool]) -> Any:
    """Feedback style for a tool that does not exist: that of the first available tool's service."""
    known = [FUNCTIONS[tool.name].service.style for tool in tools if tool.name in FUNCTIONS]
    return known[0] if known else JSON


def _read_arguments(function: ToolFunction, arguments: Any) -> dict[str, Any]:
    if not isinstance(arguments, Mapping):
        raise ValueError("the arguments are not a JSON object")
    problems: list[CallError] = sorted(
        _argument_errors(function.tool, arguments),
        key=lambda problem: isinstance(problem, MissingArgumentError) != function.service.style.missing_first,
    )
    if problems:
        raise problems[0]
    properties = function.tool.properties
    return {name: _read_value(name, value, properties[name]) for name, value in arguments.items()}


def _argument_errors(tool: Tool, arguments: Mapping[str, Any]) -> Iterator[CallError]:
    for name in arguments:
        if name not in tool.properties:
            yield UnknownArgumentError(tool.name, name)
    for name in tool.required:
        if name not in arguments:
            yield MissingArgumentError(tool.name, name)


def _read_value(name: str, value: Any, schema: Mapping[str, Any]) -> Any:
    """Convert the value to its declared type; numeric strings such as "12" are accepted as numbers."""
    match schema["type"]:
        case "integer" | "number" if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(f"{name} must be a number, not {value!r}")
        case "integer":
            return int(value) if isinstance(value, str) else _whole(name, value)
        case "number":
            return _finite(name, float(value)) if isinstance(value, str) else _finite(name, value)
        case "array":
            if not isinstance(value, list):
                raise ValueError(f"{name} must be a list, not {value!r}")
            return [_read_value(name, item, schema["items"]) for item in value]
        case "boolean" if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, not {value!r}")
        case "string" if not isinstance(value, str):
            raise ValueError(f"{name} must be text, not {value!r}")
    if "enum" in schema and value not in schema["enum"]:
        raise ValueError(f"{name} must be one of {', '.join(schema['enum'])}, not {value!r}")
    return value


def _whole(name: str, value: float) -> int:
    if not math.isfinite(value) or value != int(value):
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    return int(value)


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, not {value!r}")
    return value
