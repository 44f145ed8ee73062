"""What each input format becomes, field by field, on one small record of each."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.format_samples import (
    ANTHROPIC,
    LLAMA_FACTORY,
    MS_SWIFT,
    OPENAI,
    REACT_SYSTEM,
    ROTBENCH,
    SAMPLES,
    SEALTOOLS,
    TAUBENCH,
    TIME,
    TL_TRAINING,
    TOOLALPACA_TEST,
    TOOLALPACA_TRAINING,
    TOOLBENCH_CONVERSATION,
    TOOLBENCH_TREE,
    TOOLEYES,
    TOOLRL,
    WEATHER,
    XLAM,
    node,
)

from tltrain.errors import DataError
from tltrain.formats import FORMATS, read
from tltrain.trajectory import Call, Message, Tool, Trajectory

WEATHER_TOOL = Tool("get_weather", "Weather of a city", WEATHER["parameters"])
TIME_TOOL = Tool("get_time", "Local time", TIME["parameters"])
KOELN = Call("get_weather", {"city": "Köln"})


def one(record: dict[str, Any], tools: list[Tool] | None = None) -> Trajectory:
    module = next(module for module in FORMATS.values() if module.detect(record))
    (trajectory,) = module.read(copy.deepcopy(record), tools, "file:1")
    return trajectory


@pytest.mark.parametrize(("name", "record"), [(name, record) for name in SAMPLES for record in SAMPLES[name]])
def test_every_format_is_detected_from_its_content(name: str, record: dict[str, Any], tmp_path: Path) -> None:
    detected = next(known for known, module in FORMATS.items() if module.detect(record))
    assert detected == name
    (tmp_path / "misleading.json").write_text(json.dumps([record]))
    assert list(read(tmp_path)) == list(read(tmp_path, format=name)) != []


def test_every_format_has_a_sample() -> None:
    assert list(SAMPLES) == list(FORMATS)


def test_openai() -> None:
    trajectory = one(OPENAI)
    assert trajectory.messages == (
        Message("system", "Help."),
        Message("user", "Weather in Köln and the time?"),
        Message(
            "assistant",
            "One moment.",
            (Call("get_weather", {"city": "Köln", "days": 9007199254740993}, "c1"), Call("get_time", {}, "c2")),
            weight=0,
        ),
        Message("tool", "rain", call_id="c1"),
        Message("tool", "12:00", call_id="c2", name="get_time"),
        Message("assistant", "Rain; it is noon.", weight=1),
    )
    assert trajectory.tools == (WEATHER_TOOL, TIME_TOOL)
    assert (trajectory.id, trajectory.source, trajectory.parallel_tool_calls) == ("a1", "file:1", True)


def test_openai_variants() -> None:
    trajectory = one(
        {
            "messages": [
                {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
                {"role": "assistant", "function_call": {"name": "f", "arguments": {"x": None}}, "refusal": None},
                {"role": "function", "name": "f", "content": ""},
                {
                    "role": "assistant",
                    "content": None,
                    "reasoning_content": "hm",
                    "tool_calls": [{"function": {"name": "g", "arguments": "{broken"}, "index": 0}],
                    "weight": False,
                },
            ],
            "functions": [WEATHER | {"strict": True}],
            "split": "train",
        }
    )
    assert trajectory.messages == (
        Message("system", "Be brief."),
        Message("assistant", None, (Call("f", {"x": None}),), extra={"refusal": None}),
        Message("tool", "", name="f"),
        Message("assistant", None, (Call("g", "{broken", extra={"index": 0}),), thought="hm", weight=0),
    )
    assert trajectory.tools == (
        Tool("get_weather", "Weather of a city", WEATHER["parameters"], extra={"strict": True}),
    )
    assert trajectory.extra == {"split": "train"}


@pytest.mark.parametrize(
    "text",
    ["null", "[1]", '{"a": 1} {"b": 2}', '{"a": 1, "a": 2}', '{"a": NaN}', '{"a": "\\ud800"}', '{"a": 1e999}'],
)
def test_arguments_that_are_no_json_object_stay_text(text: str) -> None:
    message = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": text}}]}
    assert one({"messages": [message]}).messages[0].calls[0].arguments == text


@pytest.mark.parametrize("blank", ["", " \n"])
def test_blank_arguments_are_those_of_a_call_without_arguments(blank: str) -> None:
    function = {"name": "f", "arguments": blank}
    for reply in ({"tool_calls": [{"function": function}]}, {"function_call": function}):
        assert one({"messages": [{"role": "assistant", **reply}]}).messages[0].calls == (Call("f", {}),)
    record = {"conversations": [{"from": "function_call", "value": json.dumps(function)}]}
    assert one(record).messages[0].calls == (Call("f", {}),)


def test_blank_text_of_a_model_is_not_taken_for_arguments() -> None:
    assert one({"conversations": [{"role": "assistant", "content": "Rain.\n"}]}).messages[0].content == "Rain.\n"
    record = copy.deepcopy(TOOLBENCH_TREE)
    record["tree"]["tree"]["children"][1]["children"][0]["description"] = ""
    assert FORMATS["toolbench"].read(record, None, "")[2].messages[2].calls == (Call("get_time", ""),)


def test_tl_training_release() -> None:
    trajectory = one(TL_TRAINING)
    assert trajectory.messages == (
        Message("user", "Weather in Köln?"),
        Message("assistant", None, (Call("get_weather", {"city": "Köln", "days": 2}),)),
        Message("tool", "rain"),
        Message("assistant", "Rain.\nTake an umbrella."),
    )
    assert (trajectory.tools, trajectory.id) == ((WEATHER_TOOL, TIME_TOOL), "7")


def test_tl_training_call_with_broken_arguments_is_a_call() -> None:
    record = copy.deepcopy(TL_TRAINING)
    record["conversations"][2]["content"] = "get_weather\n{'city'"
    assert one(record).messages[1].calls == (Call("get_weather", "{'city'"),)


def test_toolalpaca_training() -> None:
    trajectory = one(TOOLALPACA_TRAINING)
    assert trajectory.messages == (
        Message("user", "Weather in Köln?"),
        Message("assistant", "look it up", (KOELN,)),
        Message("tool", "Status Code: 200. Response: rain", name="get_weather"),
        Message("assistant", "Rain."),
    )
    assert trajectory.extra == {"Final Thought": "I know the answer."}
    (tool,) = trajectory.tools
    assert (tool.name, tool.description, tool.required) == ("get_weather", "Weather of a city.", ("city",))
    assert {name: schema["type"] for name, schema in tool.properties.items()} == {"city": "string", "days": "integer"}


def test_toolalpaca_golds_are_replies_of_one_call() -> None:
    module = FORMATS["toolalpaca"]
    first, second = module.read(TOOLALPACA_TEST, None, "file:1")
    assert first.messages == (Message("user", "Weather in Köln?"), Message("assistant", calls=(KOELN,)))
    assert [message.calls for message in second.messages[1:]] == [
        (Call("getDetails", {"Question": "Where?"}),),
        (Call("get_weather", '{"city": ${city}}'),),
    ]
    assert (first.id, second.id) == ("Skies/0", "Skies/1")


def test_toolbench_tree_gives_the_answer_first_and_every_other_branch() -> None:
    answer, failed, other = FORMATS["toolbench"].read(TOOLBENCH_TREE, None, "file:1")
    opening = (Message("system", "Be brief."), Message("user", "Weather in Köln?\nBegin!"))
    begun = (
        Message("assistant", "First the weather.", (KOELN,)),
        Message("tool", '{"error": ""}', name="get_weather", extra={"observation_code": 0}),
    )
    assert answer.messages == (
        *opening,
        *begun,
        Message("assistant", None, (Call("Finish", {"final_answer": "rain"}),)),
        Message("tool", "done", name="Finish", extra={"observation_code": 3}),
    )
    assert failed.messages == (*opening, *begun, Message("assistant", "That failed."))
    assert other.messages[2] == Message("assistant", None, (Call("get_time", "not json"),))
    assert [one.extra["branch"] for one in (answer, failed, other)] == [
        {"answer": True, "pruned": False, "fork": 2},
        {"answer": False, "pruned": True, "fork": 4},
        {"answer": False, "pruned": False, "fork": 2},
    ]
    assert answer.tools == (WEATHER_TOOL,)


def test_toolbench_branches_that_share_a_thought_only_do_not_share_its_reply() -> None:
    record = copy.deepcopy(TOOLBENCH_TREE)
    thought = record["tree"]["tree"]["children"][0]
    thought["children"].append(node("Action", "get_time", node("Action Input", "{}")))
    trajectories = FORMATS["toolbench"].read(record, None, "file:1")
    assert [one.extra["branch"]["fork"] for one in trajectories] == [2, 4, 2, 2]
    assert trajectories[2].messages[2] == Message("assistant", "First the weather.", (Call("get_time", {}),))


def test_toolbench_conversation() -> None:
    trajectory = one(TOOLBENCH_CONVERSATION)
    assert trajectory.messages[1:] == (
        Message("user", "\nWeather in Köln?\nBegin!\n"),
        Message("assistant", "look", (KOELN,)),
        Message("tool", '{"error": "", "response": "rain"}'),
    )
    assert trajectory.tools == (
        Tool("get_weather", "Weather of a city", WEATHER["parameters"], extra={"optional": None}),
    )


def test_rotbench_history_and_alternatives() -> None:
    trajectory = one(ROTBENCH)
    assert trajectory.messages[2:] == (
        Message("assistant", "time first", (Call("get_time", {}),)),
        Message("tool", "12:00"),
        Message("assistant", None, (KOELN,)),
    )
    assert trajectory.messages[0].content == REACT_SYSTEM.format(json.dumps([WEATHER, TIME]))
    assert trajectory.tools == (WEATHER_TOOL, TIME_TOOL)
    assert trajectory.extra == {"scenario": "RS", "alternatives": [ROTBENCH["conversations"][4]["value"][1]]}


@pytest.mark.parametrize("record", [ROTBENCH, TOOLEYES])
def test_an_id_may_be_a_number(record: dict[str, Any]) -> None:
    assert one(record | {"id": 7}).id == "7"


def test_tooleyes_query_without_reply() -> None:
    trajectory = one(TOOLEYES)
    assert [message.role for message in trajectory.messages] == ["system", "user"]
    assert trajectory.tools == (WEATHER_TOOL, TIME_TOOL)
    assert trajectory.extra == {"path": "Tool_Library/Weather", "scenario": "RS"}


def test_sealtools_takes_the_called_tools_of_those_given() -> None:
    trajectory = one(SEALTOOLS, [TIME_TOOL, WEATHER_TOOL, Tool("get_city")])
    assert trajectory.messages[1].calls == (
        Call("get_city", {"person": "Ann"}, extra={"responses": ["API_call_0"]}),
        Call("get_weather", {"city": "API_call_0"}, extra={"responses": ["API_call_1"]}),
    )
    assert trajectory.tools == (Tool("get_city"), WEATHER_TOOL)
    assert [tool.inferred for tool in one(SEALTOOLS).tools] == [True, True]


def test_toolrl() -> None:
    trajectory = one(TOOLRL)
    assert trajectory.messages[1:] == (
        Message("user", "Weather and time?"),
        Message("assistant", None, (Call("Get Weather", {"city": "Köln"}), Call("Get Time", {})), thought="both"),
        Message("tool", '{"name": "Get Weather", "results": "rain"}', name="Get Weather"),
        Message("tool", '{"name": "Get Time", "results": "12:00"}', name="Get Time"),
        Message("assistant", "Rain at noon.", thought="I know."),
    )
    city = {"type": "object", "properties": {"city": {"type": "string", "default": ""}}}
    assert trajectory.tools == (
        Tool("Get Weather", "Weather of a city", city),
        Tool("Get Time", "Local time,\nin words", {}),
    )


def test_toolrl_feedback_of_one_call_stays_as_it_is() -> None:
    record = copy.deepcopy(TOOLRL)
    record["input"] = record["input"].replace('{"name": "Get Time", "parameters": {}}\n', "")
    record["input"] = record["input"].replace(', {"name": "Get Time", "results": "12:00"}', "")
    assert one(record).messages[3] == Message("tool", '[{"name": "Get Weather", "results": "rain"}]')


def test_taubench_keeps_reward_and_infers_tools() -> None:
    trajectory = one(TAUBENCH)
    assert trajectory.messages == one(OPENAI).messages
    assert trajectory.id == "3/1"
    assert trajectory.extra == {"task_id": 3, "reward": 0.0, "info": {"source": "user"}, "trial": 1}
    properties = {"city": {"type": "string"}, "days": {"type": "integer"}}
    assert trajectory.tools == (
        Tool("get_weather", parameters={"type": "object", "properties": properties}, inferred=True),
        Tool("get_time", parameters={"type": "object", "properties": {}}, inferred=True),
    )
    assert one(TAUBENCH, [TIME_TOOL]).tools == (TIME_TOOL,)
    assert one({"traj": [], "reward": 1.0}).id is None


def test_llama_factory() -> None:
    trajectory = one(LLAMA_FACTORY)
    assert trajectory.messages == (
        Message("system", "Help."),
        Message("user", "Weather and time?"),
        Message("assistant", None, (KOELN, Call("get_time", {}))),
        Message("tool", "rain"),
        Message("tool", "12:00"),
        Message("assistant", "Rain at noon."),
    )
    assert trajectory.tools == (WEATHER_TOOL, TIME_TOOL)


def test_ms_swift_joins_text_and_calls_and_reads_labels() -> None:
    trajectory = one(MS_SWIFT)
    assert trajectory.messages == (
        Message("user", "Weather and time?"),
        Message("assistant", "One moment.", (KOELN, Call("get_time", {})), weight=0.0),
        Message("tool", "rain"),
        Message("tool", "12:00"),
        Message("assistant", "Rain at noon.", weight=1),
    )
    assert trajectory.tools == (WEATHER_TOOL, TIME_TOOL)


def test_xlam_tables_become_schemas() -> None:
    trajectory = one(XLAM)
    assert trajectory.messages == (
        Message("user", "Weather in Köln?"),
        Message("assistant", None, (Call("get_weather", {"city": "Köln", "days": 2}),)),
    )
    assert trajectory.tools[0].parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The city"},
            "type": {"type": "string", "description": "rain or sun"},
            "days": {"type": "integer", "default": 1},
            "at": {"type": "array", "items": {"type": "number"}},
        },
        "required": ["city"],
    }


def test_anthropic() -> None:
    trajectory = one(ANTHROPIC)
    assert trajectory.messages == (
        Message("system", "Help."),
        Message("user", "Weather in Köln?"),
        Message(
            "assistant",
            "One moment.",
            (Call("get_weather", {"city": "Köln"}, "t1"),),
            thought="look it up",
            extra={"signature": "xyz"},
        ),
        Message("tool", "no such city", call_id="t1", extra={"is_error": True}),
        Message("user", "Try again."),
        Message("assistant", "I cannot."),
    )
    assert trajectory.tools == (WEATHER_TOOL,)


def test_anthropic_redacted_thinking_is_kept() -> None:
    blocks = [{"type": "redacted_thinking", "data": "abc"}, {"type": "text", "text": "Rain."}]
    trajectory = one({"messages": [{"role": "assistant", "content": blocks}]})
    assert trajectory.messages == (Message("assistant", "Rain.", extra={"redacted_thinking": "abc"}),)


def test_a_block_whose_type_is_no_text_is_not_anthropic() -> None:
    assert not FORMATS["anthropic"].detect({"messages": [{"role": "user", "content": [{"type": []}]}]})


def test_anthropic_user_message_of_nothing_is_kept() -> None:
    record = {"messages": [{"role": "user", "content": []}, ANTHROPIC["messages"][1]]}
    assert one(record).messages[0] == Message("user", "")


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, child in inner for place in places(child, (*here, key)))]


def replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    changed = copy.copy(value)
    changed[place[0]] = replaced(value[place[0]], place[1:], new)
    return changed


ODD = st.sampled_from(
    [None, True, 3, 0.5, "", "x", "{", "[]", '{"a": 1}', [], ["x"], [[]], {}, {"x": []}, [{"name": 1}]]
)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_record_with_an_odd_value_is_read_or_refused_with_a_reason(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(SAMPLES)))
    record = data.draw(st.sampled_from(SAMPLES[name]))
    broken = replaced(record, data.draw(st.sampled_from(places(record))), data.draw(ODD))
    for module in FORMATS.values():
        assert module.detect(broken) in (True, False)
    try:
        trajectories = FORMATS[name].read(broken, None, "file:1")
    except DataError as error:
        assert error.reason
    else:
        for trajectory in trajectories:
            assert_well_typed(trajectory)


def assert_well_typed(trajectory: Trajectory) -> None:
    assert isinstance(trajectory.id, str | None)
    for tool in trajectory.tools:
        assert (type(tool.name), type(tool.description), type(tool.parameters)) == (str, str, dict)
    for message in trajectory.messages:
        assert message.role in ("system", "user", "assistant", "tool")
        texts = (message.content, message.thought, message.call_id, message.name)
        assert all(isinstance(text, str | None) for text in texts)
        assert isinstance(message.weight, int | float | None)
        for call in message.calls:
            assert type(call.name) is str
            assert type(call.arguments) in (str, dict)
            assert isinstance(call.id, str | None)
