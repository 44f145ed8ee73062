"""What is written is read back the same, for what each format can carry, and so is a file that is read and written."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.format_samples import OPENAI, WEATHER

from tltrain.errors import DataError
from tltrain.formats import FORMATS, Problem, convert, read, write, write_steps
from tltrain.formats import openai as openai_format
from tltrain.trajectory import Call, Message, Tool, Trajectory

TEXT = st.text(max_size=12)
NAMES = st.text(min_size=1, max_size=8)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=3)
BROKEN = st.sampled_from(["null", "{", "[1]", '{"a": 1, "a": 2}', '{"a": NaN}', "x = 1"])
EXTRA = st.dictionaries(NAMES.map(lambda name: "x_" + name), JSON, max_size=2)
WEIGHTS = st.sampled_from([None, 0, 1, 0.5])


@st.composite
def tools(draw: st.DrawFn) -> Tool:
    properties = draw(st.dictionaries(NAMES, st.fixed_dictionaries({"type": st.just("string")}), max_size=2))
    parameters = {"type": "object", "properties": properties}
    return Tool(draw(NAMES), draw(TEXT), parameters, draw(st.booleans()), draw(EXTRA))


@st.composite
def turns(draw: st.DrawFn, ids: bool) -> list[Message]:
    """A reply, and feedback for its first calls; with ids the feedback comes in any order."""
    count = draw(st.integers(0, 3))
    calls = [Call(draw(NAMES), draw(OBJECTS | BROKEN), f"c{at}" if ids else None) for at in range(count)]
    feedback = [Message("tool", draw(TEXT), call_id=call.id) for call in calls[: draw(st.integers(0, count))]]
    content = draw(TEXT.filter(bool) | st.none()) if calls else draw(TEXT)
    reply = Message("assistant", content, tuple(calls), weight=draw(WEIGHTS))
    return [reply, *(draw(st.permutations(feedback)) if ids else feedback), Message("user", draw(TEXT))]


@st.composite
def trajectories(draw: st.DrawFn, ids: bool = False) -> Trajectory:
    system = [Message("system", draw(TEXT.filter(bool)))] if draw(st.booleans()) else []
    rest = [message for _ in range(draw(st.integers(0, 3))) for message in draw(turns(ids))]
    messages = (*system, Message("user", draw(TEXT)), *rest)
    return Trajectory(messages, tuple(draw(st.lists(tools(), max_size=2))), draw(st.none() | TEXT))


def back(trajectory: Trajectory, format: str) -> Trajectory:
    """Written to a file's text and read again, every value through its JSON text."""
    stream = io.StringIO()
    assert write([trajectory], stream, format) == 1
    (line,) = stream.getvalue().removesuffix("\n").split("\n")
    (found,) = FORMATS[format].read(json.loads(line), None, "")
    return replace(found, source=None)


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types all through (1, 1.0 and true are equal)."""
    return one == other and repr(one) == repr(other)


@settings(deadline=None)
@given(trajectories(ids=True), EXTRA, EXTRA, st.none() | TEXT, st.none() | st.booleans())
def test_openai_carries_everything(
    trajectory: Trajectory, extra: dict[str, Any], more: dict[str, Any], thought: str | None, parallel: bool | None
) -> None:
    first = replace(trajectory.messages[0], thought=thought, extra=more, name="n")
    messages = (first, *trajectory.messages[1:])
    full = replace(trajectory, messages=messages, extra=extra, parallel_tool_calls=parallel)
    assert same(back(full, "openai"), full)


@settings(deadline=None)
@given(trajectories())
def test_ms_swift_carries_all_but_ids_and_thoughts(trajectory: Trajectory) -> None:
    assert same(back(trajectory, "ms-swift"), trajectory)


@settings(deadline=None)
@given(trajectories())
def test_llama_factory_carries_all_but_ids_and_text_beside_calls(trajectory: Trajectory) -> None:
    trajectory = replace(trajectory, messages=without_text_beside_calls(trajectory))
    assert same(back(trajectory, "llama-factory"), trajectory)


def without_text_beside_calls(trajectory: Trajectory) -> tuple[Message, ...]:
    return tuple(replace(one, content=None) if one.calls else one for one in trajectory.messages)


@settings(deadline=None)
@given(trajectories(ids=True), st.sampled_from(["ms-swift", "llama-factory"]))
def test_feedback_without_ids_stands_in_the_order_of_its_calls(trajectory: Trajectory, format: str) -> None:
    trajectory = replace(trajectory, messages=without_text_beside_calls(trajectory))
    try:
        found = back(trajectory, format)
    except DataError as error:
        assert "without ids it is ambiguous" in error.reason
        return
    answers = [site.feedback.content if site.feedback else None for site in trajectory.call_sites()]
    assert [site.feedback.content if site.feedback else None for site in found.call_sites()] == answers


SAMPLE = st.fixed_dictionaries(
    {
        "id": TEXT,
        "messages": st.lists(
            st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": st.none() | TEXT})
            | st.fixed_dictionaries(
                {
                    "role": st.just("assistant"),
                    "content": st.none() | TEXT,
                    "tool_calls": st.lists(
                        st.fixed_dictionaries(
                            {
                                "id": TEXT,
                                "type": st.just("function"),
                                "function": st.fixed_dictionaries(
                                    {
                                        "name": NAMES,
                                        "arguments": OBJECTS.map(lambda o: json.dumps(o, ensure_ascii=False)) | BROKEN,
                                    }
                                ),
                            }
                        ),
                        min_size=1,
                        max_size=3,
                    ),
                    "weight": st.sampled_from([0, 1]),
                    "audio": st.none(),
                }
            )
            | st.fixed_dictionaries({"role": st.just("tool"), "content": TEXT, "tool_call_id": TEXT, "name": TEXT}),
            max_size=5,
        ),
        "tools": st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.just("function"),
                    "function": st.fixed_dictionaries(
                        {"name": NAMES, "description": TEXT, "parameters": OBJECTS, "strict": st.booleans()}
                    ),
                }
            ),
            max_size=2,
        ),
        "parallel_tool_calls": st.booleans(),
        "split": JSON,
    }
)


@settings(deadline=None)
@given(st.lists(SAMPLE, min_size=1, max_size=3))
def test_an_openai_file_is_written_as_it_was_read(samples: list[dict[str, Any]]) -> None:
    found = [trajectory for sample in samples for trajectory in openai_format.read(sample, None, "")]
    stream = io.StringIO()
    write(found, stream, "openai")
    assert [json.loads(line) for line in stream.getvalue().split("\n")[:-1]] == samples


def test_failed_replies_get_weight_0(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    sample = {**OPENAI, "messages": [{**one, "weight": None} for one in OPENAI["messages"]]}
    source.write_text(json.dumps(sample))
    records = {}
    for to in ("openai", "ms-swift", "llama-factory"):
        changed = [replace(one, messages=without_text_beside_calls(one)) for one in read(source)]
        write(changed, tmp_path / to, to, failed=lambda _: {2})
        records[to] = json.loads((tmp_path / to).read_text())
    assert [one.get("weight") for one in records["openai"]["messages"]] == [None, None, 0, None, None, None]
    swift = records["ms-swift"]["messages"]
    assert [(one["role"], one.get("loss_scale")) for one in swift] == [
        ("system", None),
        ("user", None),
        ("tool_call", 0),
        ("tool_call", 0),
        ("tool_response", None),
        ("tool_response", None),
        ("assistant", None),
    ]
    turns = records["llama-factory"]["conversations"]
    assert [(one["from"], one.get("weight")) for one in turns] == [
        ("human", None),
        ("function_call", 0),
        ("observation", None),
        ("gpt", None),
    ]
    assert turns[2]["value"] == json.dumps(["rain", "12:00"])
    assert json.loads(records["llama-factory"]["tools"])[0] == WEATHER


def test_ms_swift_record() -> None:
    call = Call("f", {"x": 1}, "c1")
    messages = (Message("user", "hi"), Message("assistant", "so", (call,), thought="hm"), Message("tool", "ok"))
    stream = io.StringIO()
    write([Trajectory(messages, (Tool("f"),))], stream, "ms-swift")
    parameters = {"type": "object", "properties": {}}
    tool = {"type": "function", "function": {"name": "f", "description": "", "parameters": parameters}}
    assert json.loads(stream.getvalue()) == {
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "<think>\nhm\n</think>\n\nso"},
            {"role": "tool_call", "content": '{"name": "f", "arguments": {"x": 1}}'},
            {"role": "tool_response", "content": "ok"},
        ],
        "tools": json.dumps([tool]),
    }


def test_what_cannot_be_carried_is_refused_or_listed(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    plain = {"messages": [{"role": "user", "content": "hi"}]}
    source.write_text("\n".join(json.dumps(sample) for sample in (plain, OPENAI, plain)))
    reason = "messages[2].content: LLaMA-Factory cannot store text beside calls"
    with pytest.raises(DataError, match=r"in\.jsonl:2: messages") as raised:
        convert(source, tmp_path / "out.jsonl", "llama-factory")
    assert raised.value.reason == reason
    assert not (tmp_path / "out.jsonl").exists()
    problems: list[Problem] = []
    assert convert(source, tmp_path / "out.jsonl", "sharegpt", strict=False, problems=problems) == 2
    assert problems == [Problem(str(source), 2, reason)]


def test_feedback_that_answers_a_later_call_only_is_refused() -> None:
    calls = (Call("f", {}, "a"), Call("f", {}, "b"))
    trajectory = Trajectory((Message("assistant", None, calls), Message("tool", "x", call_id="b")), id="t")
    with pytest.raises(DataError, match="is ambiguous which calls"):
        write([trajectory], io.StringIO(), "ms-swift")


def test_nan_is_refused_and_folders_are_not_replaced(tmp_path: Path) -> None:
    trajectory = Trajectory((Message("assistant", None, (Call("f", {"x": float("nan")}),)),))
    with pytest.raises(DataError, match="JSON cannot hold"):
        write([trajectory], tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="this is a folder"):
        write([], tmp_path)
    with pytest.raises(DataError, match="unknown format 'toolbench': expected one of openai, ms-swift, llama-factory"):
        write([], tmp_path / "x", "toolbench")


@dataclass
class Tokens:
    prompt_ids: list[int]
    reply_ids: list[int]
    weights: list[float]


def test_steps_and_trl() -> None:
    steps = [Tokens([1, 2], [3, 4, 5], [9.0, 1.0, 0.0]), Tokens([], [6], [0.0])]
    trl, plain = io.StringIO(), io.StringIO()
    assert (write_steps(steps, trl, "trl"), write_steps(steps, plain)) == (2, 2)
    assert [json.loads(line) for line in trl.getvalue().splitlines()] == [
        {"input_ids": [1, 2, 3, 4, 5], "labels": [-100, -100, 3, 4, -100]},
        {"input_ids": [6], "labels": [-100]},
    ]
    assert json.loads(plain.getvalue().splitlines()[0]) == {
        "prompt_ids": [1, 2],
        "reply_ids": [3, 4, 5],
        "weights": [9.0, 1.0, 0.0],
    }
