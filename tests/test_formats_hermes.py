"""Hermes function calling: tools, calls and feedback in tags, as JSON or as Python literals."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from support.format_samples import HERMES, TIME, WEATHER, WRAPPED

from tltrain.errors import DataError
from tltrain.formats import FORMATS
from tltrain.trajectory import Call, Message, Tool, Trajectory

WEATHER_TOOL = Tool("get_weather", "Weather of a city", WEATHER["parameters"])
TIME_TOOL = Tool("get_time", "Local time", TIME["parameters"])


def one(record: dict[str, Any]) -> Trajectory:
    (trajectory,) = FORMATS["hermes"].read(copy.deepcopy(record), None, "file:1")
    return trajectory


def test_hermes_reads_python_literals() -> None:
    trajectory = one(HERMES)
    assert trajectory.messages[1:] == (
        Message("user", "Weather in Köln?"),
        Message("assistant", "Looking.", (Call("get_weather", {"city": "Köln", "now": True}),)),
        Message("tool", '{"weather": "rain"}'),
        Message("assistant", "Rain."),
    )
    assert (trajectory.tools, trajectory.extra) == ((WEATHER_TOOL,), {"category": "weather"})


@pytest.mark.parametrize(
    "listed",
    [
        json.dumps(WRAPPED[0], indent=2) + "\n" + json.dumps(WRAPPED[1]),
        "\n".join(json.dumps(tool) + "," for tool in WRAPPED),
        "\n".join(map(repr, WRAPPED)),
        json.dumps(WRAPPED, indent=2),
    ],
)
def test_hermes_tools_may_follow_one_another(listed: str) -> None:
    system = {"from": "system", "value": f"<tools>\n{listed}\n</tools>"}
    assert one({"conversations": [system]}).tools == (WEATHER_TOOL, TIME_TOOL)


def test_hermes_tools_keep_a_line_separator_in_a_text() -> None:
    listed = json.dumps(WEATHER | {"description": "a\u2028b"}, ensure_ascii=False)
    (tool,) = one({"conversations": [{"from": "system", "value": f"<tools>{listed}</tools>"}]}).tools
    assert tool.description == "a\u2028b"


def test_hermes_tools_that_cannot_be_read_say_where() -> None:
    broken = json.dumps(WEATHER, indent=2) + '\n{"name": x}'
    with pytest.raises(DataError, match=r"value: invalid JSON: expecting value, at column 10: 'x\}'"):
        one({"conversations": [{"from": "system", "value": f"<tools>{broken}</tools>"}]})


@pytest.mark.parametrize(
    "written",
    [
        "{'name': f()}",
        "{'name': 'f', 'name': 'g'}",
        "__import__('os')",
        "{",
        "[" * 300,
        "{'name': 'f'}</tool_call><tool_call>{'name': 'f'}</tool_call></tool_call>",
    ],
)
def test_hermes_reply_that_cannot_be_read_stays_text(written: str) -> None:
    record = copy.deepcopy(HERMES)
    record["conversations"][2]["value"] = text = f"<tool_call>{written}</tool_call>"
    assert one(record).messages[2] == Message("assistant", text)


def test_hermes_keeps_a_system_text_beside_the_turns() -> None:
    tagged = {"from": "gpt", "value": '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>'}
    found = one({"system": "Be brief.", "conversations": [{"from": "human", "value": "hi"}, tagged]})
    assert found.messages[0] == Message("system", "Be brief.")
    assert found.messages[2].calls == (Call("get_time"),)
