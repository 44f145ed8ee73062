"""The statistics of an audit on data small enough to count by hand."""

from __future__ import annotations

import copy
import json

import pytest

from tltrain.audit.calls import kappa
from tltrain.audit.confusable import likeness, nearest, pairs, shared_prefix
from tltrain.audit.counting import Sample, Spread, Tally
from tltrain.audit.duplicates import PERMUTATIONS, Duplicates, signature, units
from tltrain.audit.headline import headline
from tltrain.audit.lengths import Characters
from tltrain.audit.patterns import fault_pattern, feedback_pattern
from tltrain.audit.run import audit
from tltrain.audit.specifications import specification_problems
from tltrain.audit.statistics import Statistics, count, ending
from tltrain.report.audit_page import audit_page
from tltrain.trajectory import Call, Message, Tool, Trajectory

WEATHER = Tool(
    "get_weather",
    "The weather in a city on a day.",
    {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]},
)
FORECAST = Tool("get_weather_forecast", "The forecast for a city.", {"type": "object", "properties": {}})
FINISH = Tool("finish", "End with an answer.", {"type": "object", "properties": {"answer": {"type": "string"}}})
TOOLS = (WEATHER, FORECAST, FINISH)


def ask(*turns: Message, query: str = "How is the weather in Oslo?", **fields: object) -> Trajectory:
    return Trajectory((Message("user", query), *turns), TOOLS, **fields)  # type: ignore[arg-type]


def call(name: str, weight: float | None = None, **arguments: object) -> Message:
    return Message("assistant", None, (Call(name, arguments),), weight=weight)


def said(text: str) -> Message:
    return Message("tool", text)


ANSWER = Message("assistant", "Sunny.")


@pytest.fixture
def data() -> list[Trajectory]:
    """Ten calls, six of them failed: one of each category, one by its label, none twice."""
    fine = ask(call("get_weather", city="Oslo"), said('{"sky": "clear"}'), ANSWER, query="What is the sky like?")
    unknown_tool = ask(call("get_wether", city="Oslo"), said("NameError: name 'get_wether' is not defined"))
    argument = ask(
        call("get_weather", town="Oslo"),
        said("TypeError: got an unexpected keyword argument 'town'"),
        call("get_weather", city="Oslo", days=2),
        said('{"sky": "clear"}'),
        ANSWER,
    )
    missing = ask(call("get_weather"), said("TypeError: missing 1 required positional argument: 'city'"), ANSWER)
    bad = ask(call("get_weather", city="Oslo", days="many"), said("ValueError: invalid literal for int()"), ANSWER)
    executed = ask(
        Message("assistant", None, (Call("get_weather", {"city": "Oslo"}), Call("get_weather", {"city": "Atlantis"}))),
        said('{"sky": "clear"}'),
        said('{"error": "no city called Atlantis"}'),
        ANSWER,
    )
    labelled = ask(call("get_weather", weight=0, city="Rome"), said('{"sky": "clear"}'), ANSWER)
    trusted = ask(call("get_weather", weight=1, city="Bonn"), said("Error: 500 Internal Server Error"), ANSWER)
    return [fine, unknown_tool, argument, missing, bad, executed, labelled, trusted]


def test_calls(data: list[Trajectory]) -> None:
    found = audit(data)
    calls = found["calls"]
    assert (calls["total"], calls["failed"], calls["share"], calls["with_feedback"]) == (10, 6, 0.6, 10)
    assert calls["by_category"] == {
        "unknown_tool": 1,
        "not_an_object": 0,
        "unknown_argument": 1,
        "missing_argument": 1,
        "bad_value": 1,
        "execution": 1,
        "labelled": 1,
    }
    assert calls["any_fault"]["missing_argument"] == 2  # the call with `town` lacks `city` too
    assert calls["put_right"] == 1
    assert calls["by_tool"] == [
        {"tool": "get_weather", "calls": 9, "failed": 5, "share": 0.5556},
        {"tool": "get_wether", "calls": 1, "failed": 1, "share": 1.0},
    ]
    assert calls["by_step"] == [
        {"step": 1, "calls": 9, "failed": 6, "share": 0.6667},
        {"step": 2, "calls": 1, "failed": 0, "share": 0.0},
    ]
    assert calls["unknown_tools"] == [{"name": "get_wether", "nearest": "get_weather", "count": 1}]
    assert calls["unknown_arguments"] == [{"tool": "get_weather", "name": "town", "nearest": None, "count": 1}]
    assert found["headline"].startswith("6 of 10 calls failed; 17 % of them")


def test_failures_carry_examples(data: list[Trajectory]) -> None:
    failures = audit([*data, *data])["calls"]["failures"]
    assert (failures["kinds"], failures["rest"]) == (6, 0)
    executed = next(row for row in failures["shown"] if row["category"] == "execution")
    assert executed["pattern"] == "no city called Atlantis"
    assert (executed["count"], executed["share"]) == (2, 0.1667)
    (example,) = executed["examples"]  # the same call twice is one example
    assert example["arguments"] == '{"city": "Atlantis"}'
    assert example["query"] == "How is the weather in Oslo?"
    assert (example["tool"], example["step"], example["place"]) == ("get_weather", 1, "trajectory 6")


def test_readers(data: list[Trajectory]) -> None:
    readers = audit(data)["readers"]
    assert [readers[key] for key in ("both_failed", "schema_only", "feedback_only", "neither")] == [4, 0, 2, 4]
    assert (readers["read_by_both"], readers["agreement"]) == (10, 0.8)
    assert readers["kappa"] == 0.6154  # (0.8 - 0.48) / 0.52; by chance 0.4 * 0.6 + 0.6 * 0.4
    assert kappa(0, 0, 0, 5) is None
    assert kappa(3, 0, 0, 0) is None
    assert kappa(0, 2, 2, 0) == -1.0


def test_readers_leave_out_what_one_cannot_read() -> None:
    alone = ask(call("get_weather", city="Oslo"))
    guessed = Trajectory(
        (Message("user", "?"), call("get_weather", city="Oslo"), said("{}")), (Tool("get_weather", inferred=True),)
    )
    assert audit([alone, guessed])["readers"]["read_by_both"] == 0


def test_mae_and_weights(data: list[Trajectory]) -> None:
    found = audit(data)
    mae, labels = found["mae"], found["trajectories"]["labelled_replies"]
    assert (mae["replies"], mae["masked_whole"], mae["masked_in_part"]) == (16, 5, 1)
    assert labels == {"masked": 1, "trained": 1, "unlabelled": 14}
    assert mae["trajectories_with_nothing_left"] == 1  # the one whose only reply calls get_wether
    assert mae["unit"] == "characters"
    assert mae["kept"] + mae["masked"] == mae["length"]
    parallel = audit([data[5]])["mae"]
    assert parallel["masked"] == len("get_weather" + str({"city": "Atlantis"}))
    assert parallel["length"] == len("get_weather" * 2 + str({"city": "Oslo"}) + str({"city": "Atlantis"}) + "Sunny.")


def test_paper_mode_reads_feedback_alone() -> None:
    quiet = ask(call("get_weather", city="Oslo", days="many"), said('{"sky": "clear"}'), ANSWER)
    loud = ask(call("get_weather", city="Oslo", days="many"), said("ValueError: many"), ANSWER)
    paper = audit([quiet, loud], mode="paper")
    assert (paper["calls"]["failed"], paper["calls"]["by_category"]["bad_value"]) == (1, 1)
    assert (paper["readers"]["both_failed"], paper["readers"]["schema_only"]) == (1, 1)
    assert audit([quiet, loud])["calls"]["failed"] == 2


@pytest.mark.parametrize(
    ("turns", "how"),
    [
        ((ANSWER,), "answer"),
        ((call("finish", answer="Sunny."),), "finish"),
        ((call("Finish", return_type="give_up_and_restart"),), "gave_up"),
        ((call("get_weather", city="Oslo"),), "call"),
        ((call("get_weather", city="Oslo"), said("{}")), "feedback"),
        ((Message("assistant", " "),), "empty"),
        ((), "no_reply"),
        ((ANSWER, Message("user", "Thanks.")), "user"),
    ],
)
def test_ending(turns: tuple[Message, ...], how: str) -> None:
    assert ending(ask(*turns)) == how


def test_trajectories(data: list[Trajectory]) -> None:
    trajectories = audit(data)["trajectories"]
    assert (trajectories["total"], trajectories["messages"], trajectories["with_failed_calls"]) == (8, 34, 6)
    assert (trajectories["with_parallel_calls"], trajectories["without_calls"]) == (1, 0)
    assert trajectories["endings"]["feedback"] == trajectories["without_answer"] == 1
    assert trajectories["calls_each"]["max"] == 2


def test_tools(data: list[Trajectory]) -> None:
    other = Tool("get_weather", "Another text.", {"type": "object", "properties": {"x": {"type": "float"}}})
    tools = audit([*data, Trajectory((Message("user", "Hi"), ANSWER), (other,))])["tools"]
    assert (tools["distinct"], tools["sets"], tools["without_tools"], tools["several_specifications"]) == (3, 2, 0, 1)
    assert [row["tool"] for row in tools["never_used"]["tools"]] == ["finish", "get_weather_forecast"]
    assert tools["invalid"]["tools"] == [
        {
            "tool": "get_weather",
            "troubles": ["/properties/x/type: 'float' is not a JSON Schema type"],
            "trajectories": 1,
        }
    ]
    (pair,) = tools["confusable"]["shown"]
    assert (pair["a"], pair["b"], pair["prefix"], pair["trajectories"]) == (
        "get_weather",
        "get_weather_forecast",
        "get_weather",
        8,
    )


@pytest.mark.parametrize(
    ("one", "other", "prefix"),
    [
        ("getPaperDetails", "getPapersByKeywords", "getPaper"),
        ("get_order", "get_order_items", "get_order"),
        ("get_order_items", "get_order_tracking", "get_order"),
        ("search", "search_flights", "search"),
        ("get_cat", "get_dog", ""),
        ("create_event", "create_email", ""),
        ("alpha", "beta", ""),
    ],
)
def test_shared_prefix(one: str, other: str, prefix: str) -> None:
    assert shared_prefix(one, other) == prefix


def test_likeness() -> None:
    same_words = likeness("get_order", "getOrder", "", "")
    assert same_words is not None and same_words.spelling == 1.0
    described = likeness("alpha", "omega", "Read the file at a path.", "Read the file at a path now.")
    assert described is not None and described.descriptions == 0.86  # six words of seven
    assert likeness("alpha", "omega", "Read the file.", "Send the parcel.") is None
    assert nearest("fetch_order", ["get_order", "cancel_booking"]) == "get_order"
    assert nearest("fetch_order", ["zebra"]) is None
    rows, complete = pairs([(("finish", "finish"), 3)], {})
    assert complete and rows[0]["reasons"] == ["the same name twice in one tool set"]


def test_specifications() -> None:
    def found(schema: object) -> list[str]:
        return specification_problems(Tool("t", parameters=schema))  # type: ignore[arg-type]

    tree = {"type": "object", "properties": {"child": {"$ref": "#"}}}
    assert found(tree) == []
    assert found({"$ref": "#"}) == ["/: # is a circular reference"]
    loop = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
    assert found(loop)[0] == "/$defs/b: #/$defs/a is a circular reference"
    assert found({"properties": {"a": {"$ref": "#/$defs/a"}}}) == ["/properties/a: #/$defs/a cannot be resolved"]
    assert found({"properties": {}, "required": ["a"]}) == ["required names 'a', which is not declared"]
    assert found({"properties": {"a": {"required": True}}}) == ["/properties/a/required: True is not of type 'array'"]
    assert found([]) == ["the parameters are not a JSON Schema object"]
    deep: dict[str, object] = {}
    for _ in range(1000):
        deep = {"properties": {"a": deep}}
    assert found(deep)[0].startswith("too large to check")


def test_duplicates() -> None:
    words = " ".join(f"word{number}" for number in range(60))
    originals = [
        ask(call("get_weather", city="Oslo"), ANSWER, query=words),
        ask(call("get_weather", city="Rome"), ANSWER, query="Something else altogether, please, about Rome"),
        ask(call("get_weather", city="Oslo"), ANSWER, query=words),
        ask(call("get_weather", city="Oslo"), Message("assistant", "Rain."), query=words + " please"),
    ]
    found = audit(originals)["duplicates"]
    assert (found["exact"]["copies"], found["exact"]["groups"]) == (1, 1)
    assert found["exact"]["largest"][0]["positions"] == [1, 3]
    assert (found["near"]["copies"], found["near"]["groups"]) == (1, 1)
    assert found["near"]["largest"][0] == {"size": 2, "query": words[:99] + "…", "positions": [1, 4]}


def test_empty_trajectories_are_no_near_duplicates() -> None:
    nothing = [Trajectory((Message("assistant", text),)) for text in ("one", "two", "one")]
    found = audit(nothing)["duplicates"]
    assert (found["exact"]["copies"], found["near"]["copies"]) == (1, 0)


def test_signatures_estimate_the_jaccard_index() -> None:
    one, other = {f"a{number}" for number in range(90)}, {f"a{number}" for number in range(30, 120)}
    agreement = float((signature(one) == signature(other)).sum()) / PERMUTATIONS
    assert abs(agreement - 0.5) < 0.2  # 60 of 120; three standard errors
    assert units(ask(query="one two three four")) == {"one two three", "two three four"}
    assert units(ask(call("f", x=1), query="天气")) == {"天 气", "f", "f x=1"}


def test_labels() -> None:
    sites = [{"message": 1, "index": 0, "error": "bad value"}, {"message": 3, "index": 0, "error": "silent"}]
    trajectory = ask(
        call("get_weather", city="Oslo", days="many"),
        said("ValueError: no"),
        call("get_weather", city="Rome"),
        said("{}"),
        call("get_weather", city="Oslo"),
        said('{"error": "down"}'),
        extra={"toolworld": {"sites": sites}},
    )
    labels = audit([trajectory])["labels"]
    assert [labels[key] for key in ("calls", "wrong", "found", "missed", "false_alarms")] == [3, 2, 1, 1, 1]
    assert (labels["precision"], labels["recall"]) == (0.5, 0.5)
    assert labels["by_error"][1] == {"error": "silent", "calls": 1, "found": 0, "missed": 1}
    assert audit([ask()])["labels"] is None


def test_merging_is_associative(data: list[Trajectory]) -> None:
    many = [*data, *data[:3]]
    parts = [count(many[start : start + 4], "default", Characters(), start) for start in (0, 4, 8)]
    first, second, third = (copy.deepcopy(part) for part in parts)
    first.merge(second)
    first.merge(third)
    one, two, three = (copy.deepcopy(part) for part in parts)
    two.merge(three)
    one.merge(two)
    whole = count(many, "default", Characters()).to_json("characters")
    assert first.to_json("characters") == one.to_json("characters") == whole
    empty = Statistics()
    empty.merge(count(many, "default", Characters()))
    assert empty.to_json("characters") == whole


def test_merging_keeps_what_only_the_first_part_has() -> None:
    alike = (Tool("alpha", "Read the file at a path."), Tool("omega", "Read the file at a path."))
    first = count([Trajectory((Message("user", "a"), ANSWER), alike)], "default", Characters())
    first.merge(count([Trajectory((Message("user", "b"), ANSWER), TOOLS)], "default", Characters()))
    shown = first.to_json("characters")["tools"]["confusable"]["shown"]
    assert [row["a"] for row in shown] == ["alpha", "get_weather"]


def test_put_right_needs_a_next_reply_that_works() -> None:
    wrong, right, error = call("get_weather"), call("get_weather", city="Oslo"), said("Error: no")
    again = ask(wrong, error, wrong, error, right, said("{}"), ANSWER)
    given_up = ask(wrong, error, ANSWER)
    calls = audit([again, given_up])["calls"]
    assert (calls["failed"], calls["put_right"]) == (3, 1)


def test_bounds_lose_only_the_tail() -> None:
    tally = Tally(limit=2)
    for key in "abcab":
        tally.add(key)
    assert (tally.counts, tally.other, tally.total) == ({"a": 2, "b": 2}, 1, 5)
    sample = Sample(2)
    for number in (5, 1, 4, 2, 1):
        sample.add(bytes([number]), number)
    assert sample.values() == [1, 2]
    later = Sample(2)
    later.add(bytes([0]), 0)
    sample.merge(later)
    assert sample.values() == [0, 1]


def test_spread() -> None:
    spread = Spread()
    for value in range(1, 101):
        spread.add(value)
    summary = spread.summary()
    assert [summary[key] for key in ("min", "p5", "p50", "p95", "max", "mean", "sum")] == [
        1,
        5,
        50,
        95,
        100,
        50.5,
        5050,
    ]
    rows = spread.histogram(10)
    assert sum(row["count"] for row in rows) == 100
    assert rows[0] == {"from": 0, "to": 10, "count": 9}
    assert Spread().histogram() == [] and Spread().percentile(0.5) == 0


def test_patterns() -> None:
    assert feedback_pattern("Error: flight HAT030 not available on 2024-05-13") == "Error: flight # not available on #"
    assert feedback_pattern('{"error": {"message": "no user \'Jo\'"}}') == "no user ‘…’"
    assert feedback_pattern('{"error": "", "response": "{\'message\': \\"It doesn\'t exist\\"}"}') == "It doesn't exist"
    assert feedback_pattern("Traceback (most recent call last):\n  File\nKeyError: 'ja'") == "KeyError: ‘…’"
    assert feedback_pattern("HTTP 404 for order 404") == "HTTP 404 for order #"
    assert feedback_pattern("{'title': 'Bad Request', 'status': 400}", "status: 400") == "status: 400"
    assert feedback_pattern("  ") == "(empty)"
    assert feedback_pattern("[" * 50_000) == "[" * 109 + "…"
    assert fault_pattern('f has no argument "x" (it has a, b)') == 'f has no argument "x"'
    assert fault_pattern('f: x is "5 is", which is none of "a"') == 'f: x is …, which is none of "a"'


@pytest.mark.parametrize(
    ("categories", "sentence"),
    [
        (
            {"unknown_argument": 130, "execution": 83},
            "213 of 1,217 calls failed; 61 % of them name an argument that does not exist.",
        ),
        ({"execution": 2}, "2 of 1,217 calls failed; both of them were well-formed, but failed when executed."),
        ({"labelled": 9}, "9 of 1,217 calls failed; all of them are labelled as bad in the data."),
        ({"bad_value": 1}, "1 of 1,217 calls failed: it gives a value that the tool cannot take."),
        (
            {"unknown_tool": 3, "missing_argument": 3, "bad_value": 2, "execution": 2},
            "10 of 1,217 calls failed; 30 % of them call a tool that was not offered, "
            "30 % leave out a required argument.",
        ),
        ({}, "None of 1,217 calls failed."),
    ],
)
def test_headline(categories: dict[str, int], sentence: str) -> None:
    everything = dict.fromkeys(("unknown_tool", "unknown_argument", "missing_argument", "bad_value"), 0)
    everything |= {"execution": 0, "labelled": 0, "not_an_object": 0} | categories
    calls = {"total": 1217, "failed": sum(categories.values()), "by_category": everything}
    calls |= {"form_not_judged": 0, "not_judged": 0}
    assert headline(900, calls) == sentence


def test_headline_of_little() -> None:
    def sentence(trajectories: int, total: int, without_answer: int = 0) -> str:
        calls = {"total": total, "failed": 0, "form_not_judged": 0, "not_judged": 0}
        return headline(trajectories, calls, without_answer)

    assert sentence(0, 0) == "Nothing could be read: there is no trajectory to audit."
    assert sentence(1, 0) == "1 trajectory, and not one call to a tool."
    assert sentence(1, 1) == "The only call did not fail."
    assert sentence(9, 4, 2) == "None of 4 calls failed, but 2 of 9 trajectories end without an answer."


def test_an_audit_is_json(data: list[Trajectory]) -> None:
    assert json.loads(json.dumps(audit(data))) == audit(data)
    nothing = audit([])
    assert nothing["calls"]["share"] == 0.0 and nothing["trajectories"]["total"] == 0
    lone = ask(Message("assistant", None, (Call("f", "{not json"),)), said("\ud800"), query="\ud800")
    assert audit([lone])["calls"]["by_category"]["unknown_tool"] == 1
    assert Duplicates().to_json()["exact"]["copies"] == 0


def inferred(name: str = "get_weather", feedback: str | None = "{}") -> Trajectory:
    """A log without specifications, as `formats.read` returns it."""
    turns = (call(name, city="Oslo"), *(() if feedback is None else (said(feedback),)), ANSWER)
    return Trajectory((Message("user", "How is the weather?"), *turns), (Tool(name, inferred=True),))


def test_an_audit_of_inferred_tools_reports_what_it_could_not_judge() -> None:
    found = audit([inferred(), inferred(feedback="Error: down"), inferred(feedback=None)])
    assert (found["calls"]["form_not_judged"], found["calls"]["not_judged"]) == (3, 1)
    assert found["headline"] == (
        "1 of 3 calls failed: it failed when executed. "
        "Tools were inferred from the calls, so the form of calls was not judged; pass them with --tools."
    )
    (warning,) = found["warnings"]
    for part in ("for 3 of 3 calls", "unknown tools", "bad values cannot be detected", "1 of them has", "--tools FILE"):
        assert part in warning
    page = audit_page(found)
    assert found["headline"] in page and warning in page
    assert f"B: {warning}" in audit_page(audit([ask(ANSWER)]), found)


def test_calls_without_specification_and_feedback_are_not_reported_as_good() -> None:
    assert audit([inferred(feedback=None)] * 2)["headline"].startswith("None of 2 calls could be judged: ")


def test_broken_arguments_are_judged_although_the_tool_was_inferred() -> None:
    broken = Message("assistant", None, (Call("get_weather", "{broken"),))
    calls = audit([Trajectory((broken,), (Tool("get_weather", inferred=True),))])["calls"]
    assert (calls["failed"], calls["form_not_judged"], calls["not_judged"]) == (1, 0, 0)
    assert calls["by_category"]["not_an_object"] == 1


def test_only_the_calls_of_inferred_tools_are_reported(data: list[Trajectory]) -> None:
    assert audit(data)["warnings"] == [] and "--tools" not in audit(data)["headline"]
    mixed = audit([*data, inferred()])
    assert mixed["calls"]["form_not_judged"] == 1 and "for 1 of 11 calls" in mixed["warnings"][0]
    assert audit([inferred()], mode="paper")["warnings"] == []
