"""The schema detector: what violates a tool's specification, and that no schema can break the detector."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tltrain.audit import schema_failed, schema_faults
from tltrain.trajectory import Call, Tool


def tool(properties: dict[str, Any], **more: Any) -> Tool:
    return Tool("book", parameters={"type": "object", "properties": properties, **more})


def faults(arguments: Any, properties: dict[str, Any], **more: Any) -> list[str]:
    return [fault.category for fault in schema_faults(Call("book", arguments), [tool(properties, **more)])]


def test_unknown_tool():
    assert schema_failed(Call("bok"), [tool({})]) == '"bok" is not a tool that was given'
    assert schema_failed(Call("book"), []) == '"book" is not a tool that was given'


def test_arguments_that_are_no_object():
    assert faults("{broken", {}) == ["not_an_object"]


def test_unknown_argument():
    assert faults({"seat": 1}, {"room": {}}) == ["unknown_argument"]
    assert faults({"seat": 1}, {}) == ["unknown_argument"]
    assert faults({"seat": 1}, {"room": {}}, additionalProperties=False) == ["unknown_argument"]
    assert faults({"seat": 1}, {"room": {}}, additionalProperties=True) == []
    assert faults({"seat": 1}, {"room": {}}, additionalProperties={"type": "integer"}) == []
    assert faults({"seat": 1}, {"room": {}}, patternProperties={"^s": {}}) == []


def test_missing_argument():
    assert faults({}, {"room": {}}, required=["room"]) == ["missing_argument"]
    assert faults({"room": 1}, {"room": {}}, required=["room"]) == []
    assert faults({}, {"room": {}}, required=["room", 7, None]) == ["missing_argument"]


@pytest.mark.parametrize(
    ("schema", "readable", "unreadable"),
    [
        ({"type": "integer"}, [12, "12", " -3 ", 12.0, "12.0"], ["twelve", 1.5, True, None, [], "1.5", ""]),
        ({"type": "number"}, [1.5, 2, "1e3", "2"], ["x", True, None, "nan", {}]),
        ({"type": "boolean"}, [True, False, "true", "False"], ["yes!", 1, 0, None]),
        ({"type": "string"}, ["a", "", 5, 2.5, True], [None, [], {}]),
        ({"type": "array"}, [[], [1], "[1, 2]"], ["a, b", 1, None, {}, "[1"]),
        ({"type": "array", "items": {"type": "integer"}}, [[1, "2"], "[1]"], [["x"], '["x"]']),
        ({"type": "object"}, [{}, '{"a": 1}'], [[], "a", 1, "{"]),
        ({"type": "null"}, [None, "null"], [0, "x"]),
        ({"type": ["integer", "null"]}, [1, "1", None], ["x", True]),
        ({"type": "integer", "nullable": True}, [None], ["x"]),
        ({"type": "integer", "default": None}, [None], ["x"]),
        ({"type": "STRING"}, ["a"], [[]]),
        ({"type": "float"}, [1.5], ["x"]),
        ({"type": "whatever"}, [None, 1, [], "x"], []),
        ({}, [None, 1, [], "x"], []),
        ({"enum": ["a", 2, None]}, ["a", 2, "2", None], ["b", 3, []]),
        ({"type": "string", "enum": ["asc", "desc"]}, ["asc"], ["ascending", 1]),
        ({"const": 5}, [5, "5"], [6]),
        ({"anyOf": [{"type": "integer"}, {"type": "array"}]}, [1, "1", []], ["x", True]),
        ({"oneOf": [{"type": "integer"}, {"enum": ["all"]}]}, [1, "all"], ["none"]),
        ({"allOf": [{"type": "integer"}, {"enum": [1, 2]}]}, [1, "2"], [3, "x"]),
        ({"type": "integer", "minimum": 5, "maximum": 6}, [1], []),
        ({"type": "string", "format": "date", "pattern": "^(a+)+$"}, ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"], []),
    ],
)
def test_values_are_read_as_the_declared_type(schema: Any, readable: list[Any], unreadable: list[Any]):
    for value in readable:
        assert faults({"x": value}, {"x": schema}) == [], value
    for value in unreadable:
        assert faults({"x": value}, {"x": schema}) == ["bad_value"], value


def test_nested_values():
    guest = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    properties = {"guests": {"type": "array", "items": guest}}
    assert faults({"guests": [{"age": 3}, {"age": "4", "name": "Li"}]}, properties) == []
    assert faults({"guests": [{"age": 3}, {"age": "old"}]}, properties) == ["bad_value"]
    assert faults({"guests": [{}]}, properties) == ["bad_value"]
    closed = {"guests": {"type": "array", "items": {**guest, "additionalProperties": False}}}
    assert faults({"guests": [{"age": 3, "name": "Li"}]}, closed) == ["bad_value"]


def test_references_are_followed():
    definitions = {"Room": {"type": "object", "properties": {"beds": {"type": "integer"}}}}
    properties = {"room": {"$ref": "#/$defs/Room"}}
    assert faults({"room": {"beds": 2}}, properties, **{"$defs": definitions}) == []
    assert faults({"room": {"beds": "two"}}, properties, **{"$defs": definitions}) == ["bad_value"]
    assert faults({"room": 5}, {"room": {"$ref": "#/$defs/Nothing"}}) == []
    assert faults({"room": 5}, {"room": {"$ref": "https://example.org/room.json"}}) == []


def test_all_faults_the_most_telling_first():
    properties = {"room": {"type": "integer"}, "day": {"type": "string"}}
    found = faults({"seat": 1, "room": "x"}, properties, required=["room", "day"])
    assert found == ["unknown_argument", "missing_argument", "bad_value"]
    message = schema_failed(Call("book", {"room": "big", "day": "May 3"}), [tool(properties)])
    assert message == 'book: room is "big", which cannot be read as an integer'


def test_inferred_tools_excuse_their_calls():
    assert schema_faults(Call("book", {"seat": 1}), [Tool("book", inferred=True)]) == []
    assert schema_failed(Call("bok", {}), [Tool("book", inferred=True)])
    (fault,) = schema_faults(Call("book", "{broken"), [Tool("book", inferred=True)])
    assert fault.category == "not_an_object"


def test_of_tools_with_one_name_the_best_fitting_counts():
    tools = [tool({"room": {"type": "integer"}}, required=["room"]), tool({"seat": {"type": "string"}})]
    assert schema_failed(Call("book", {"seat": "4A"}), tools) is None
    assert schema_failed(Call("book", {"table": 1}), tools)


@pytest.mark.parametrize(
    "parameters",
    [
        None,
        [],
        {"properties": [1, 2]},
        {"properties": {"x": None}},
        {"properties": {"x": {"type": {"a": 1}}}},
        {"properties": {"x": {"type": []}}},
        {"properties": {"x": {"enum": "abc"}}},
        {"properties": {"x": {"anyOf": "abc", "items": 4, "properties": [], "required": "all"}}},
        {"properties": {"x": {"$ref": "#"}}},
        {"properties": {"x": {"$ref": "#/properties/x"}}},
        {"properties": {"x": {"$ref": 5}}, "required": "x"},
        {"properties": {"x": {"allOf": [{"$ref": "#/properties/x"}]}}},
        {"properties": {"x": {"anyOf": [{"$ref": "#/properties/x"}] * 10}}},
    ],
)
def test_malformed_and_endless_schemas_excuse_the_call(parameters: Any):
    value: Any = {"y": [1]}
    assert schema_faults(Call("book", {"x": value}), [Tool("book", parameters=parameters)]) == []


def test_a_schema_in_itself_and_a_deep_value_end():
    loop: dict[str, Any] = {"type": "array"}
    loop["items"] = loop
    loop["anyOf"] = [loop, loop, loop]
    value: list[Any] = []
    for _ in range(5_000):
        value = [value, value]
    assert faults({"x": value}, {"x": loop}) == []
    assert len(schema_failed(Call("bo" * 1000, {}), []) or "") < 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)
KEYWORD = st.sampled_from(
    ["type", "properties", "required", "items", "anyOf", "allOf", "enum", "const", "$ref", "additionalProperties", "x"]
)
WORD = st.sampled_from(["object", "integer", "array", "#", "#/properties/x", "x", "#/anyOf"])
SCHEMA = st.recursive(
    JSON | WORD, lambda inner: st.dictionaries(KEYWORD, inner, max_size=5) | st.lists(inner, max_size=3), max_leaves=25
)


@given(parameters=SCHEMA, arguments=st.dictionaries(KEYWORD, JSON, max_size=3))
def test_no_schema_raises(parameters: Any, arguments: dict[str, Any]):
    for fault in schema_faults(Call("book", arguments), [Tool("book", parameters=parameters)]):
        assert fault.message
