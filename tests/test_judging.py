"""The judge: every entry of the reward table (IRM) by hand, boundary cases, matching, and properties."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tltrain.dialects import Parsed
from tltrain.errors import DataError
from tltrain.judging import ANY, CATEGORIES, Counts, Verdict, judge, summarize
from tltrain.judging.equality import same_value
from tltrain.judging.json_lines import judge_lines
from tltrain.judging.matching import best_matching
from tltrain.trajectory import Call, Tool


def tool(name: str, **properties: Any) -> Tool:
    return Tool(name, parameters={"type": "object", "properties": properties})


BOOK = tool("book", city={"type": "string"}, nights={"type": "integer"}, notes={"type": "string"})
FIND = tool("find", city={"type": "string"})
TOOLS = [BOOK, FIND]
GOLD = Call("book", {"city": "Rome", "nights": 2})


def book(**arguments: Any) -> Call:
    return Call("book", arguments)


@pytest.mark.parametrize(
    ("prediction", "reward", "metrics", "finding", "category"),
    [
        (book(city="Rome", nights=2), 1, "TS PI CF", "right", "right"),
        (book(nights=2, city="Rome"), 1, "TS PI CF", "right", "right"),
        (Call("fly", {"city": "Rome", "nights": 2}), -2, "", "tool_hallucinated", "tool_hallucinated"),
        (Call("find", {"city": "Rome", "nights": 2}), -1.5, "", "tool_wrong", "tool_wrong"),
        (
            book(city="Rome", night=2, notes=""),
            -1.8,
            "TS",
            "arguments_hallucinated_redundant_missing",
            "argument_hallucinated",
        ),
        (
            book(city="Rome", nights=2, night=2, notes=""),
            -1.3,
            "TS",
            "arguments_hallucinated_redundant",
            "argument_hallucinated",
        ),
        (book(city="Rome", night=2), -1.3, "TS", "arguments_hallucinated_missing", "argument_hallucinated"),
        (book(city="Rome", notes=""), -1.0, "TS", "arguments_redundant_missing", "argument_missing"),
        (book(city="Rome", nights=2, night=2), -0.8, "TS", "arguments_hallucinated", "argument_hallucinated"),
        (book(city="Rome", nights=2, notes=""), -0.5, "TS", "arguments_redundant", "argument_redundant"),
        (book(city="Rome"), -0.5, "TS", "arguments_missing", "argument_missing"),
        (book(), -0.5, "TS", "arguments_missing", "argument_missing"),
        (book(city="Roma", nights=2), -0.25, "TS PI", "value", "value"),
        (book(city="Rome", nights=True), -0.25, "TS PI", "value", "value"),
        (Call("book", '{"city": "Rome'), -2, "", "format", "format"),
    ],
)
def test_one_call(prediction: Call, reward: float, metrics: str, finding: str, category: str) -> None:
    verdict = judge([prediction], [[GOLD]], TOOLS)
    assert verdict.reward == reward
    assert [name for name in ("TS", "PI", "CF") if getattr(verdict, name)] == metrics.split()
    assert (verdict.finding, verdict.category) == (finding, category)
    assert judge(Parsed((prediction,), "beside"), [[GOLD]], TOOLS) == verdict


def test_the_sets_of_wrong_names() -> None:
    (call,) = judge([book(city="Rome", night=2, notes="")], [[GOLD]], TOOLS).calls
    assert (call.hallucinated, call.redundant, call.missing) == (("night",), ("notes",), ("nights",))
    assert (call.prediction, call.gold, call.reward) == (0, 0, -1.8)


@pytest.mark.parametrize(
    ("prediction", "gold", "reward", "right", "finding", "category"),
    [
        ([], [GOLD], -2, False, "not_a_call", "missing_call"),
        (Parsed((), "I would book it."), [GOLD], -2, False, "not_a_call", "missing_call"),
        (Parsed((), "<tool_call>", broken="open"), [GOLD], -2, False, "format", "format"),
        (Parsed((GOLD,), "", broken="cut by the length limit"), [GOLD], -2, False, "format", "format"),
        ([], [], 1, True, "right", "right"),
        (Parsed((), "Hello."), [], 1, True, "right", "right"),
        ([GOLD], [], -1.5, False, "call_unwanted", "unwanted_call"),
        ([GOLD, GOLD, GOLD], [], -1.5, False, "call_unwanted", "unwanted_call"),
        ([Call("fly")], [], -1.5, False, "call_unwanted", "unwanted_call"),
        ([Call("find"), Call("book", "{")], [], -2, False, "format", "format"),
        (Parsed((), "<tool_call>", broken="open"), [], -2, False, "format", "format"),
        (Parsed((), "Hello, ", broken="cut by the length limit"), [], -2, False, "format", "format"),
    ],
)
def test_replies_without_calls(
    prediction: Any, gold: list[Call], reward: float, right: bool, finding: str, category: str
) -> None:
    verdict = judge(prediction, [gold], TOOLS)
    assert verdict.reward == reward
    assert {verdict.TS, verdict.PI, verdict.CF} == {right}
    assert (verdict.finding, verdict.category) == (finding, category)


A, B = Call("find", {"city": "Rome"}), Call("book", {"city": "Oslo", "nights": 1})


@pytest.mark.parametrize(
    ("prediction", "gold", "reward", "metrics", "finding"),
    [
        ([A, B], [A, B], 1, "TS PI CF", "right"),
        ([B, A], [A, B], 1, "TS PI CF", "right"),
        ([A], [A, B], (1 - 1.5) / 2, "", "call_lacking"),
        ([A, B], [A], (1 - 2) / 2, "", "call_extra"),
        ([A, A], [A, B], (1 - 1.5) / 2, "", "tool_wrong"),
        ([A, Call("fly")], [A, B], (1 - 2) / 2, "", "tool_hallucinated"),
        ([B, Call("find", {"city": "Bonn"})], [A, B], (1 - 0.25) / 2, "TS PI", "value"),
        ([B, Call("find")], [A, B], (1 - 0.5) / 2, "TS", "arguments_missing"),
        ([A, B, A], [A], (1 - 2 - 2) / 3, "", "call_extra"),
        ([A, Call("find", "{")], [A, B], (1 - 2) / 2, "", "format"),
        ([A, B], [A, A, B, B], (1 + 1 - 1.5 - 1.5) / 4, "", "call_lacking"),
    ],
)
def test_several_calls(prediction: list[Call], gold: list[Call], reward: float, metrics: str, finding: str) -> None:
    verdict = judge(prediction, [gold], TOOLS)
    assert verdict.reward == pytest.approx(reward, abs=1e-12)
    assert [name for name in ("TS", "PI", "CF") if getattr(verdict, name)] == metrics.split()
    assert verdict.finding == finding


def test_the_best_matching_counts_not_the_first() -> None:
    # The first prediction is right for either gold in tool and names; only crossed over are both values right.
    golds = [Call("find", {"city": ANY}), Call("find", {"city": "Rome"})]
    verdict = judge([Call("find", {"city": "Rome"}), Call("find", {"city": "Oslo"})], [golds], TOOLS)
    assert verdict.CF
    assert [(call.prediction, call.gold) for call in verdict.calls] == [(0, 1), (1, 0)]


def test_counts_of_single_calls() -> None:
    verdict = judge([A, Call("book", {"city": "Bonn", "nights": 1}), Call("fly")], [[A, B, B, A]], TOOLS)
    assert verdict.counts == Counts(n=4, TS=2, PI=2, CF=1)
    assert judge(Parsed((A,), "", "cut"), [[A, B]], TOOLS).counts == Counts(n=2, TS=0, PI=0, CF=0)
    assert judge([A, B], [[]], TOOLS).counts == Counts(n=2, TS=0, PI=0, CF=0)


def test_several_golds_the_best_row_counts() -> None:
    golds = [[Call("find", {"city": "Rome"})], [GOLD], []]
    assert judge([GOLD], golds, TOOLS).gold == 1
    assert judge([], golds, TOOLS).CF
    near = judge([book(city="Rome", nights=3)], golds, TOOLS)
    assert (near.reward, near.finding, near.gold) == (-0.25, "value", 1)


def test_tools_and_names_may_be_right_for_another_gold_than_the_best_row() -> None:
    worst = judge([book(city="Rome", night=2, notes="")], [[GOLD], [A]], TOOLS)
    assert (worst.reward, worst.finding, worst.TS, worst.PI) == (-1.5, "tool_wrong", True, False)
    golds = [[A, book(city="Oslo")], [Call("find", {"city": "Bonn"}), book(city="Oslo", nights=2)]]
    mixed = judge([A, B], golds, TOOLS)
    assert (mixed.reward, mixed.gold, mixed.TS, mixed.PI, mixed.CF) == ((1 - 0.5) / 2, 0, True, True, False)


def test_a_gold_is_right_whatever_the_schema_says() -> None:
    odd = Call("undocumented", {"Question": "x"})
    assert judge([odd], [[odd]], []).reward == 1
    assert judge([book(room="a")], [[book(room="a")]], TOOLS).reward == 1
    text = Call("book", "no object")
    assert judge([text], [[text]], TOOLS).CF
    # Tools and argument names that golds use are given: the wrong tool, a redundant argument, not hallucinations.
    assert judge([odd, odd], [[GOLD, odd]], []).reward == (1 - 1.5) / 2
    assert judge([book(city="Rome", nights=2, room="a")], [[GOLD], [book(room="a")]], TOOLS).reward == -0.5


def test_a_name_listed_twice_has_the_arguments_of_both() -> None:
    tools = [tool("f", a={"type": "string"}), tool("f", b={"type": "integer"})]
    assert judge([Call("f", {"a": "x", "b": "1"})], [[Call("f", {"a": "x"})]], tools).reward == -0.5
    assert judge([Call("f", {"b": "1"})], [[Call("f", {"b": 1})]], tools).reward == 1


def test_no_gold_is_an_error() -> None:
    with pytest.raises(DataError, match="at least one gold"):
        judge([GOLD], [], TOOLS)


@pytest.mark.parametrize(
    ("prediction", "golds", "reason"),
    [
        ([GOLD], [GOLD], "golds[0]: expected a list of calls, got a single Call: write [Call(…)]"),
        ([GOLD], GOLD, "golds: expected a list of gold replies, each a list of calls, got Call"),
        ([GOLD], [["book"]], "golds[0][0]: expected a Call, got str"),
        ([GOLD], ["book()"], "golds[0]: expected a list of calls, got str"),
        ([GOLD], [[GOLD], None], "golds[1]: expected a list of calls, got NoneType"),
        (GOLD, [[GOLD]], "prediction: expected a list of calls, got a single Call: write [Call(…)]"),
        ("book()", [[GOLD]], "prediction: expected a list of calls, got str"),
    ],
)
def test_calls_in_place_of_replies_are_refused(prediction: Any, golds: Any, reason: str) -> None:
    with pytest.raises(DataError) as raised:
        judge(prediction, golds, TOOLS)
    assert str(raised.value) == reason


NUMBER: dict[str, Any] = {"type": "number"}


@pytest.mark.parametrize(
    ("value", "gold", "schema", "same"),
    [
        (1, 1.0, {}, True),
        (1, True, {}, False),
        (0, False, NUMBER, False),
        (True, True, {}, True),
        ("1", 1, {}, False),
        ("1", 1, {"type": "string"}, False),
        ("1", 1, {"type": "integer"}, True),
        (1, "1", {"type": "integer"}, True),
        ("1.0", 1, NUMBER, True),
        ("1e2", 100, NUMBER, True),
        ("-0.5", -0.5, NUMBER, True),
        ("01", 1, NUMBER, False),
        ("1_0", 10, NUMBER, False),
        ("١", 1, NUMBER, False),
        ("NaN", 1, NUMBER, False),
        ("9" * 5000, 1, NUMBER, False),
        ("true", True, NUMBER, False),
        ("1", True, NUMBER, False),
        ("1", "1.0", NUMBER, False),
        ("1", 1, {"type": ["null", "integer"]}, True),
        ("1", 1, {"anyOf": [{"type": "null"}, {"oneOf": [NUMBER]}]}, True),
        ("1", 1, {"type": ["null", {"bad": []}], "anyOf": 3}, False),
        (10**30, 10**30 + 1, {}, False),
        (10**30, 10**30, {}, True),
        (2**53 + 1, float(2**53), {}, False),
        (str(10**30), 10**30, {"type": "integer"}, True),
        (None, None, {}, True),
        (None, "", {}, False),
        (None, 0, {}, False),
        ([1, 2], [2, 1], {}, False),
        ([1], [1, 1], {}, False),
        ([1, 1], [1], {}, False),
        ([], {}, {}, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {}, True),
        ({"a": 1}, {"a": 1, "b": None}, {}, False),
        (["1", {"n": "2"}], [1, {"n": 2}], {"items": {**NUMBER, "properties": {"n": NUMBER}}}, True),
        (["1", "2"], [1, 2], {"prefixItems": [NUMBER], "items": {"type": "string"}}, False),
        (["1", "2"], [1, "2"], {"prefixItems": [NUMBER], "items": {"type": "string"}}, True),
        ({"a": "1"}, {"a": 1}, {"additionalProperties": NUMBER}, True),
        ({"a": "1"}, {"a": 1}, {"additionalProperties": True}, False),
        ({"a": "1"}, {"a": 1}, {"$ref": "#/$defs/t", "$defs": {"t": {"properties": {"a": NUMBER}}}}, True),
        ("1", 1, {"$ref": "#/a~1b", "a/b": NUMBER}, True),
        ("1", 1, {"$ref": "elsewhere.json#/x"}, False),
        ("1", 1, {"$ref": "#/nowhere/x"}, False),
        ({"x": [5, "y"]}, {"x": ANY}, {}, True),
        ({"x": [5, "y"]}, {"x": [ANY, "y"]}, {}, True),
        ({"x": [5, "y"]}, {"x": [ANY, "z"]}, {}, False),
        ({}, {"x": ANY}, {}, False),
        ("Rome", "rome", {}, False),
    ],
)
def test_values_as_json(value: Any, gold: Any, schema: dict[str, Any], same: bool) -> None:
    assert same_value(value, gold, [(schema, schema)]) is same


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema: dict[str, Any] = {
        "anyOf": [{"$ref": "#"}, {"$ref": "#/anyOf/0"}],
        "items": {"$ref": "#"},
        "type": "integer",
    }
    value: Any = "1"
    gold: Any = 1
    for _ in range(5000):
        value, gold = [value], [gold]
    assert same_value(value, gold, [(schema, schema)])
    assert (
        judge([Call("f", {"a": "1"})], [[Call("f", {"a": 1})]], [Tool("f", parameters={"$ref": "#"})]).finding
        == "value"
    )


def test_hundreds_of_calls_are_matched() -> None:
    """Trying every assignment of calls to golds would never end."""
    many = [Call("find", {"city": str(number)}) for number in range(500)]
    assert judge(many, [[A, B, A]], TOOLS).finding == "call_extra"
    assert judge(many[:60], [many[:60][::-1]], TOOLS).CF


# What always has to hold, on random replies over few names, so that all rows come up.

ARGUMENTS = st.dictionaries(
    st.sampled_from(["city", "nights", "notes", "room"]), st.sampled_from([1, "1", "x"]), max_size=3
)
REPLIES = st.lists(st.builds(Call, st.sampled_from(["book", "find", "fly"]), ARGUMENTS | st.just("{")), max_size=4)
GOLDS = st.lists(st.builds(Call, st.sampled_from(["book", "find"]), ARGUMENTS), max_size=4)


@settings(deadline=None)
@given(prediction=REPLIES, golds=st.lists(GOLDS, min_size=1, max_size=3))
def test_bounds_and_implications(prediction: list[Call], golds: list[list[Call]]) -> None:
    verdict = judge(prediction, golds, TOOLS)
    assert -2 <= verdict.reward <= 1
    assert verdict.CF == (verdict.reward == 1) == (verdict.finding == "right")
    assert verdict.PI >= verdict.CF
    assert verdict.TS >= verdict.PI
    counts = verdict.counts
    assert counts.CF <= counts.PI <= counts.TS <= counts.n == len(verdict.calls)
    assert verdict.category in CATEGORIES
    assert verdict.reward == max(judge(prediction, [gold], [*TOOLS, *_used(golds)]).reward for gold in golds)


def _used(golds: list[list[Call]]) -> list[Tool]:
    return [tool(call.name, **{name: {} for name in call.arguments}) for gold in golds for call in gold]


@settings(deadline=None)
@given(golds=st.lists(GOLDS, min_size=1, max_size=3))
def test_golds_are_right(golds: list[list[Call]]) -> None:
    for gold in golds:
        verdict = judge(gold, golds, TOOLS)
        assert (verdict.reward, verdict.TS, verdict.PI, verdict.CF) == (1, True, True, True)


@settings(deadline=None)
@given(prediction=REPLIES, gold=GOLDS, data=st.data())
def test_the_order_of_parallel_calls_does_not_count(
    prediction: list[Call], gold: list[Call], data: st.DataObject
) -> None:
    turned = judge(data.draw(st.permutations(prediction)), [data.draw(st.permutations(gold))], TOOLS)
    verdict = judge(prediction, [gold], TOOLS)
    assert (turned.reward, turned.TS, turned.PI, turned.CF) == (verdict.reward, verdict.TS, verdict.PI, verdict.CF)


@settings(deadline=None)
@given(prediction=REPLIES, gold=GOLDS, extra=REPLIES)
def test_padding_never_pays(prediction: list[Call], gold: list[Call], extra: list[Call]) -> None:
    assume(prediction)
    reward = judge(prediction, [gold], TOOLS).reward
    invented = [Call("fly", call.arguments) for call in extra]
    assert judge(prediction + invented, [gold], TOOLS).reward <= reward
    if extra:
        assert judge(gold + extra, [gold], TOOLS).reward < 1


@settings(deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(st.integers(-200, 100), min_size=width, max_size=width), min_size=1, max_size=4)
    )
)
def test_the_matching_is_the_best_of_all(gain: list[list[int]]) -> None:
    pairs = best_matching(gain)
    rows, columns = len(gain), len(gain[0])
    assert len(pairs) == min(rows, columns) == len({row for row, _ in pairs}) == len({column for _, column in pairs})
    if rows <= columns:
        totals = (
            sum(gain[row][column] for row, column in enumerate(order))
            for order in itertools.permutations(range(columns), rows)
        )
    else:
        totals = (
            sum(gain[row][column] for column, row in enumerate(order))
            for order in itertools.permutations(range(rows), columns)
        )
    assert sum(gain[row][column] for row, column in pairs) == max(totals)


def test_scores() -> None:
    right, value, lacking = (
        judge(reply, [[A, B]], TOOLS) for reply in ([B, A], [A, Call("book", {"city": "", "nights": 1})], [A])
    )
    scores = summarize([right, value, lacking, right])
    assert (scores.n, scores.TS, scores.PI, scores.CF) == (4, 75, 75, 50)
    assert scores.se == pytest.approx({"TS": 21.650635, "PI": 21.650635, "CF": 25})
    assert scores.errors == {"missing_call": 1, "value": 1}
    assert scores.calls == Counts(n=8, TS=7, PI=7, CF=6)
    empty = summarize([])
    assert (empty.n, empty.CF, empty.se["CF"], empty.errors) == (0, 0, 0, {})


def test_a_verdict_as_json() -> None:
    value = json.loads(json.dumps(judge([book(city="Rome")], [[GOLD]], TOOLS).to_json()))
    assert value == {
        "reward": -0.5,
        "TS": True,
        "PI": False,
        "CF": False,
        "finding": "arguments_missing",
        "category": "argument_missing",
        "gold": 0,
        "calls": [
            {
                "finding": "arguments_missing",
                "prediction": 0,
                "gold": 0,
                "hallucinated": [],
                "redundant": [],
                "missing": ["nights"],
                "reward": -0.5,
            }
        ],
        "counts": {"n": 1, "TS": 1, "PI": 0, "CF": 0},
    }


def lines(*records: Any) -> list[dict[str, Any]]:
    return list(judge_lines([json.dumps(record) + "\n" for record in records], "p.jsonl"))


BARE = {"name": "book", "parameters": BOOK.parameters}
CALL = {"name": "book", "arguments": {"city": "Rome", "nights": 2}}


def test_a_line_of_the_command() -> None:
    names = {"city": "Rome", "night": 2, "notes": ""}
    (value,) = lines({"tools": [BARE], "gold": CALL, "prediction": [CALL, {"name": "book", "arguments": names}]})
    shown = {"line": 1, "category": "unwanted_call", "reward": -0.5, "ts": False, "pi": False, "cf": False}
    assert {name: value[name] for name in shown} == shown
    (value,) = lines({"tools": [BARE], "gold": CALL, "prediction": {"name": "book", "arguments": names}})
    shown = {"category": "argument_hallucinated", "reward": -1.8, "ts": True, "pi": False, "cf": False}
    sets = {"hallucinated": ("night",), "redundant": ("notes",), "missing": ("nights",)}
    assert {name: value[name] for name in (*shown, *sets)} == shown | sets
    (value,) = lines({"tools": [], "gold": [], "prediction": ""})
    assert (value["ts"], value["cf"], value["hallucinated"], value["missing"]) == (True, True, (), ())
    assert "TS" not in value


def test_lines() -> None:
    text = '<tool_call>{"name": "book", "arguments": {"city": "Rome", "nights": "2"}}</tool_call>'
    record = {"tools": [BARE], "gold": [CALL]}
    verdicts = lines(
        record | {"prediction": [CALL]},
        record | {"prediction": text},
        record
        | {"prediction": "book('Rome', 2)", "dialect": "python", "tools": [{"type": "function", "function": BARE}]},
        record | {"prediction": text, "dialect": "react"},
        record
        | {"prediction": [{"id": "1", "type": "function", "function": CALL | {"arguments": '{"city": "Rome"}'}}]},
        {"tools": [], "golds": [[], [CALL, CALL]], "prediction": "Hello"},
        {"tools": [BARE], "gold": CALL, "prediction": {"name": "book", "arguments": "{"}},
    )
    assert [verdict["reward"] for verdict in verdicts] == [1, 1, 1, -2, -0.5, 1, -2]
    assert [verdict["line"] for verdict in verdicts] == [1, 2, 3, 4, 5, 6, 7]


def test_tools_may_stand_anywhere_on_a_line_and_differ_from_line_to_line() -> None:
    with_room = {"name": "book", "parameters": {"properties": {**BOOK.properties, "room": {}}}}
    fields = {"gold": CALL, "prediction": "book('Rome', 2, room=1)", "dialect": "python"}
    first, last = ({"tools": tools} for tools in ([BARE], [with_room]))
    verdicts = lines(first | fields, last | fields, fields | first, fields | last, first | fields)
    assert [verdict["reward"] for verdict in verdicts] == [-0.8, -0.5, -0.8, -0.5, -0.8]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "invalid JSON"),
        ("[]", "expected object, got list"),
        ('{"gold": [], "prediction": ""}', "tools"),
        ('{"tools": [], "prediction": ""}', 'either "gold"'),
        ('{"tools": [], "gold": [], "golds": [], "prediction": ""}', 'either "gold"'),
        ('{"tools": [], "golds": [], "prediction": ""}', "at least one gold"),
        ('{"tools": [], "gold": []}', "prediction"),
        ('{"tools": [], "gold": [], "prediction": null}', "prediction: expected text or a list of calls, got null"),
        ('{"tools": [], "gold": [], "prediction": [1]}', "prediction[0]: expected object, got number"),
        ('{"tools": [], "gold": [{}], "prediction": ""}', "gold[0].name: expected text"),
        ('{"tools": [], "gold": "<tool_call>", "prediction": ""}', "gold: cannot be read"),
        ('{"tools": [], "gold": [], "prediction": "", "dialect": "yaml"}', "unknown dialect 'yaml'"),
        ('{"tools": [{}], "gold": [], "prediction": ""}', "tools[0]"),
        ('{"tools": [], "gold": [], "prediction": "", "tools": []}', "duplicate key 'tools'"),
        ('{"tools": [{"name": "a", "name": "b"}], "gold": [], "prediction": ""}', "duplicate key 'name'"),
        ('{"tools": [], "gold": [], "prediction": "", }', "invalid JSON: expecting property name"),
        ('{"tools": [], "gold" [], "prediction": ""}', "at column 22: "),
        ('{"tools": [' + "[" * 5000, "nested deeper"),
    ],
)
def test_wrong_lines_say_where_and_what(line: str, reason: str) -> None:
    good = json.dumps({"tools": [], "gold": [], "prediction": ""})
    with pytest.raises(DataError) as caught:
        list(judge_lines([good, "\n", line], "p.jsonl"))
    assert str(caught.value).startswith("p.jsonl:3: ")
    assert reason in str(caught.value)


def test_verdicts_are_values() -> None:
    assert isinstance(judge([], [[]], []), Verdict)
    assert hash(judge([A], [[A]], TOOLS)) == hash(judge([A], [[A]], TOOLS))
