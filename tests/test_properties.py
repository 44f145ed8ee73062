"""What holds of reading and judging together, whatever is predicted: worse never pays, and order never matters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tltrain import dialects
from tltrain.dialects import Parsed
from tltrain.judging import Verdict, judge
from tltrain.trajectory import Call, Tool

PROPERTIES: dict[str, Any] = {
    "city": {"type": "string"},
    "nights": {"type": "integer"},
    "rooms": {"type": "array", "items": {"type": "object"}},
}
TOOLS = [Tool(name, parameters={"type": "object", "properties": PROPERTIES}) for name in ("book", "find", "book_all")]
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.text(max_size=4)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner), max_leaves=4
)
ARGUMENTS = st.dictionaries(st.sampled_from([*PROPERTIES, "view"]), VALUES, max_size=4)
CALLS = st.builds(Call, st.sampled_from(["book", "find", "book_all", "fly"]), ARGUMENTS)
GOLDS = st.lists(CALLS, min_size=1, max_size=3)
SETTINGS = settings(deadline=None, derandomize=True, max_examples=60)


def read_and_judged(name: str, calls: list[Call], gold: list[Call]) -> Verdict:
    dialect = dialects.get(name)
    return judge(dialect.parse(dialect.format(calls), TOOLS), [gold], TOOLS)


def scores(verdict: Verdict) -> tuple[float, bool, bool, bool]:
    return verdict.reward, verdict.TS, verdict.PI, verdict.CF


@st.composite
def perturbed(draw: st.DrawFn, gold: list[Call]) -> list[Call]:
    """The gold reply with one thing changed: a call's tool, an argument's name or value, or a call more or fewer."""
    calls = list(gold)
    at = draw(st.integers(0, len(calls) - 1))
    call, kind = calls[at], draw(st.sampled_from(["tool", "add", "drop", "value", "more", "fewer"]))
    arguments: dict[str, Any] = dict(call.arguments)  # type: ignore[arg-type]
    if kind == "more":
        return [*calls, draw(CALLS)]
    if kind == "fewer":
        return calls[:at] + calls[at + 1 :]
    if kind == "tool":
        calls[at] = Call(draw(st.sampled_from(["book", "find", "swim"])), arguments)
    elif kind == "add":
        calls[at] = Call(call.name, arguments | {draw(st.sampled_from([*PROPERTIES, "sea"])): draw(VALUES)})
    elif arguments:
        name = draw(st.sampled_from(sorted(arguments)))
        changed = {key: value for key, value in arguments.items() if key != name}
        calls[at] = Call(call.name, changed if kind == "drop" else arguments | {name: draw(VALUES)})
    return calls


@pytest.mark.parametrize("name", dialects.TEXT_FORMS)
@SETTINGS
@given(gold=GOLDS)
def test_a_gold_that_is_written_and_read_is_right(name: str, gold: list[Call]) -> None:
    assert scores(read_and_judged(name, gold, gold)) == (1, True, True, True)


@pytest.mark.parametrize("name", ["python", "hermes"])
@SETTINGS
@given(gold=GOLDS, data=st.data())
def test_a_perturbation_never_scores_above_the_gold(name: str, gold: list[Call], data: st.DataObject) -> None:
    calls = data.draw(perturbed(gold))
    verdict = read_and_judged(name, calls, gold)
    assert scores(verdict) <= scores(read_and_judged(name, gold, gold))
    if len(calls) != len(gold) or {call.name for call in calls} != {call.name for call in gold}:
        assert verdict.reward < 1 and not verdict.CF


@pytest.mark.parametrize("name", dialects.TEXT_FORMS)
@SETTINGS
@given(calls=GOLDS, gold=GOLDS, data=st.data())
def test_the_order_of_calls_and_arguments_never_matters(
    name: str, calls: list[Call], gold: list[Call], data: st.DataObject
) -> None:
    def turned(reply: list[Call]) -> list[Call]:
        return [
            Call(call.name, dict(data.draw(st.permutations(list(call.arguments.items())))))  # type: ignore[union-attr]
            for call in data.draw(st.permutations(reply))
        ]

    assert scores(read_and_judged(name, turned(calls), turned(gold))) == scores(read_and_judged(name, calls, gold))


@SETTINGS
@given(calls=GOLDS, gold=GOLDS)
def test_all_dialects_lead_to_the_same_score(calls: list[Call], gold: list[Call]) -> None:
    said = judge(calls, [gold], TOOLS)
    for name in dialects.TEXT_FORMS:
        assert scores(read_and_judged(name, calls, gold)) == scores(said)


@pytest.mark.parametrize("name", dialects.TEXT_FORMS)
@SETTINGS
@given(calls=GOLDS, data=st.data())
def test_a_reply_that_was_cut_never_scores_above_the_whole(name: str, calls: list[Call], data: st.DataObject) -> None:
    text = dialects.get(name).format(calls)
    start = dialects.get(name).parse(text[: data.draw(st.integers(0, len(text)))], TOOLS)
    assert judge(start, [calls], TOOLS).reward <= 1
    assert judge(Parsed(start.calls, start.text, "cut"), [calls], TOOLS).reward == -2


@SETTINGS
@given(calls=GOLDS, golds=st.lists(GOLDS, min_size=1, max_size=3), data=st.data())
def test_the_order_of_golds_never_matters_and_more_never_hurt(
    calls: list[Call], golds: list[list[Call]], data: st.DataObject
) -> None:
    assert scores(judge(calls, data.draw(st.permutations(golds)), TOOLS)) == scores(judge(calls, golds, TOOLS))
    assert judge(calls, [*golds, calls], TOOLS).reward == 1
