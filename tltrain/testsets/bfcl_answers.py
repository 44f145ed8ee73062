"""BFCL's possible answers, which list the acceptable values of each argument, as a gold call for the judge.

An empty string among the values means that the argument may be omitted. A possible value for an object is a table that
lists the acceptable values of each key. All combinations would be thousands of golds, so the gold depends on the
prediction: each argument takes the possible value that equals the predicted value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tltrain.judging import judge
from tltrain.judging.equality import same_value
from tltrain.judging.matching import best_matching
from tltrain.trajectory import Call, Tool

Answer = tuple[str, dict[str, list[Any]]]
"""The tool of an expected call, and the possible values of each argument."""

_OMITTED: Any = object()


def first_call(answer: Answer, tools: Sequence[Tool]) -> Call:
    """The call with the first possible values. An optional argument is omitted if its first possible value is empty."""
    name, options = answer
    tool = _tool(name, tools)
    values = {
        argument: _first(possible, _part(tool.properties, argument), argument in tool.required)
        for argument, possible in options.items()
    }
    return Call(name, _given(values))


def nearest_calls(answers: Sequence[Answer], calls: Sequence[Call], tools: Sequence[Tool]) -> tuple[Call, ...]:
    """For each answer, the possible call nearest to the predicted call that it is matched with.

    Predicted calls and answers are matched one to one, so that the judge's total reward is highest.
    """
    nearest = [[_nearest(answer, call, tools) for call in calls] for answer in answers]
    if len(answers) == len(calls) == 1:
        return (nearest[0][0],)
    rewards = [
        [round(100 * judge([call], [[gold]], tools).reward) for call, gold in zip(calls, row, strict=True)]
        for row in nearest
    ]
    matched = dict(best_matching(rewards))
    return tuple(
        nearest[index][matched[index]] if index in matched else first_call(answer, tools)
        for index, answer in enumerate(answers)
    )


def _nearest(answer: Answer, call: Call, tools: Sequence[Tool]) -> Call:
    name, options = answer
    if call.name != name or isinstance(call.arguments, str):
        return first_call(answer, tools)
    tool = _tool(name, tools)
    values = {
        argument: _pick(possible, _part(tool.properties, argument), call.arguments.get(argument, _OMITTED))
        for argument, possible in options.items()
    }
    return Call(name, _given(values))


def _first(possible: Sequence[Any], schema: Mapping[str, Any], required: bool = False) -> Any:
    if not possible or (possible[0] == "" and not required):
        return _OMITTED
    value = next((value for value in possible if value != ""), "")
    return _concrete(value, schema, _OMITTED)


def _pick(possible: Sequence[Any], schema: Mapping[str, Any], given: Any) -> Any:
    """The possible value that equals `given`, or else the first that is not empty; omitted if `given` rightly is."""
    if given is _OMITTED:
        return _OMITTED if "" in possible else _first(possible, schema)
    values = [_concrete(value, schema, given) for value in possible]
    scope = [(dict(schema), dict(schema))]
    equal = (value for value in values if same_value(given, value, scope))
    return next(equal, next((value for value in values if value != ""), _OMITTED))


def _concrete(value: Any, schema: Mapping[str, Any], given: Any) -> Any:
    """A possible value in which each key of a table has a single value, the one that equals that of `given`."""
    if isinstance(value, list) and value and all(map(_is_table, value)):
        items = _part(schema, "items")
        counterparts = given if isinstance(given, list) and len(given) == len(value) else [_OMITTED] * len(value)
        return [_concrete(item, items, other) for item, other in zip(value, counterparts, strict=True)]
    if not _is_table(value):
        return value
    inner = schema.get("properties") or {}
    if not isinstance(given, dict):
        return _given({key: _first(possible, _part(inner, key)) for key, possible in value.items()})
    return _given({key: _pick(ok, _part(inner, key), given.get(key, _OMITTED)) for key, ok in value.items()})


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(possible, list) for possible in value.values())


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not _OMITTED}


def _tool(name: str, tools: Iterable[Tool]) -> Tool:
    return next((tool for tool in tools if tool.name == name), Tool(name))


def _part(schemas: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = schemas.get(name)
    return part if isinstance(part, dict) else {}
