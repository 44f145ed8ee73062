"""BFCL's possible answers: for each argument the values that are right. Made into one gold call for the judge.

An empty text among an argument's values means that it may be left out. Where an object is wanted, a possible value is
a table: for each key again the values that are right. Combining all of them would give thousands of golds, so the gold
is chosen beside the prediction: for each argument the possible value that equals the predicted one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tltrain.judging import judge
from tltrain.judging.equality import same_value
from tltrain.judging.matching import best_matching
from tltrain.trajectory import Call, Tool

Answer = tuple[str, dict[str, list[Any]]]
"""The tool of one wanted call, and the possible values of each argument."""

_LEFT_OUT: Any = object()


def first_call(answer: Answer, tools: Sequence[Tool]) -> Call:
    """The call of the first possible values: an argument is left out where that comes first and it is not required."""
    name, options = answer
    tool = _tool(name, tools)
    values = {
        argument: _first(possible, _part(tool.properties, argument), argument in tool.required)
        for argument, possible in options.items()
    }
    return Call(name, _given(values))


def nearest_calls(answers: Sequence[Answer], calls: Sequence[Call], tools: Sequence[Tool]) -> tuple[Call, ...]:
    """For each wanted call the one of its possible calls that is nearest to the prediction, each beside another call.

    Which predicted call stands beside which answer is what the judge finds best.
    """
    nearest = [[_nearest(answer, call, tools) for call in calls] for answer in answers]
    if len(answers) == len(calls) == 1:
        return (nearest[0][0],)
    worth = [
        [round(100 * judge([call], [[gold]], tools).reward) for call, gold in zip(calls, row, strict=True)]
        for row in nearest
    ]
    beside = dict(best_matching(worth))
    return tuple(
        nearest[at][beside[at]] if at in beside else first_call(answer, tools) for at, answer in enumerate(answers)
    )


def _nearest(answer: Answer, call: Call, tools: Sequence[Tool]) -> Call:
    name, options = answer
    if call.name != name or isinstance(call.arguments, str):
        return first_call(answer, tools)
    tool = _tool(name, tools)
    values = {
        argument: _pick(possible, _part(tool.properties, argument), call.arguments.get(argument, _LEFT_OUT))
        for argument, possible in options.items()
    }
    return Call(name, _given(values))


def _first(possible: Sequence[Any], schema: Mapping[str, Any], required: bool = False) -> Any:
    if not possible or (possible[0] == "" and not required):
        return _LEFT_OUT
    value = next((value for value in possible if value != ""), "")
    return _concrete(value, schema, _LEFT_OUT)


def _pick(possible: Sequence[Any], schema: Mapping[str, Any], given: Any) -> Any:
    """The possible value that equals `given`; else one that is no empty text; left out where that is right."""
    if given is _LEFT_OUT:
        return _LEFT_OUT if "" in possible else _first(possible, schema)
    values = [_concrete(value, schema, given) for value in possible]
    scope = [(dict(schema), dict(schema))]
    equal = (value for value in values if same_value(given, value, scope))
    return next(equal, next((value for value in values if value != ""), _LEFT_OUT))


def _concrete(value: Any, schema: Mapping[str, Any], given: Any) -> Any:
    """A possible value with one value for each key of its tables: those that equal what `given` has there."""
    if isinstance(value, list) and value and all(map(_is_table, value)):
        items = _part(schema, "items")
        beside = given if isinstance(given, list) and len(given) == len(value) else [_LEFT_OUT] * len(value)
        return [_concrete(item, items, other) for item, other in zip(value, beside, strict=True)]
    if not _is_table(value):
        return value
    inner = schema.get("properties") or {}
    if not isinstance(given, dict):
        return _given({key: _first(possible, _part(inner, key)) for key, possible in value.items()})
    return _given({key: _pick(ok, _part(inner, key), given.get(key, _LEFT_OUT)) for key, ok in value.items()})


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(possible, list) for possible in value.values())


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not _LEFT_OUT}


def _tool(name: str, tools: Iterable[Tool]) -> Tool:
    return next((tool for tool in tools if tool.name == name), Tool(name))


def _part(schemas: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = schemas.get(name)
    return part if isinstance(part, dict) else {}
