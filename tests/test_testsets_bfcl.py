"""BFCL: golds of all forms, possible answers beside a prediction, and its own accuracy."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tltrain.dialects import python
from tltrain.errors import ConfigError, DataError
from tltrain.judging import judge
from tltrain.testsets import bfcl
from tltrain.testsets.base import Item, TestSet
from tltrain.testsets.bfcl import BFCL
from tltrain.trajectory import Call

MIX = {
    "name": "paint.mix",
    "description": "Mixes colours.",
    "parameters": {
        "type": "dict",
        "properties": {
            "share": {"type": "float", "description": "Of the first colour."},
            "litres": {"type": "integer"},
            "colours": {"type": "tuple", "items": {"type": "string"}},
            "note": {"type": "any"},
            "buckets": {"type": "array", "items": {"type": "dict", "properties": {"size": {"type": "float"}}}},
            "lid": {"type": "dict", "properties": {"shape": {"type": "string"}, "holes": {"type": "integer"}}},
            "matt": {"type": "boolean"},
            "shares": {"type": "array", "items": {"type": "float"}},
        },
        "required": ["share"],
    },
}
DRY = {
    "name": "dry",
    "description": "",
    "parameters": {"type": "dict", "properties": {"hours": {"type": "integer"}}, "required": ["hours"]},
}
MIXED: dict[str, list[Any]] = {
    "share": [0.5],
    "litres": ["", 10],
    "colours": [["red", "blue"], ["blue", "red"]],
    "note": ["", "For the hall, 2.floor"],
    "buckets": ["", [{"size": [5.0], "handle": ["", "left"]}]],
    "lid": ["", {"shape": ["round", "oval"], "holes": ["", 2]}],
    "matt": [True, ""],
    "shares": ["", [0.5, 1.0]],
}
WANTED = {"share": 0.5, "colours": ["red", "blue"], "matt": True}


def written(folder: Path, split: str, truths: dict[int, list[list[Any]]]) -> Path:
    """A data folder with one item a truth; the key is the place of its file, of simple, multiple, parallel, …"""
    for place, (asked, answered) in enumerate(bfcl.files(split)):
        rows = list(enumerate(truths.get(place, [])))
        question = [[{"role": "user", "content": "Mix it."}]]
        for name, lines in (
            (asked, [{"id": f"{place}_{at}", "question": question, "function": [MIX, DRY]} for at, _ in rows]),
            (answered, [{"id": f"{place}_{at}", "ground_truth": truth} for at, truth in rows]),
        ):
            path = folder / "bfcl" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def item_of(folder: Path, *answers: Any) -> Item:
    return BFCL.load(written(folder, "ast", {0: [list(answers)]}), "ast").items[0]


def judged(item: Item, *calls: Call) -> tuple[bool, bool, bool, bool]:
    """TS, PI, CF and accuracy."""
    verdict = judge(calls, BFCL("bfcl", "ast", [], 0).golds_for(item, calls), item.prompt.tools)
    return verdict.TS, verdict.PI, verdict.CF, BFCL("bfcl", "ast", [], 0).is_accurate(item, calls)


def golds_right(test: TestSet) -> int:
    """Items whose gold, written in the set's dialect and read back, is judged right."""
    right = 0
    for item in test.items:
        reply = python.parse(python.format(item.golds[0]), item.prompt.tools)
        right += judge(reply, BFCL("bfcl", "ast", [], 0).golds_for(item, reply.calls), item.prompt.tools).CF
    return right


def test_golds_in_python_are_read_and_repaired(tmp_path: Path) -> None:
    truths = {
        0: [["paint.mix(share=0.5, colours=('red', 'blue'))"], ["paint.mix(share=1/4, litres=-(2 * 3 - 1))"]],
        1: [["dry(7)"], ["dry(hours=random())"]],
        3: [["paint.mix(0.5, 10)", "dry(hours=2**9)"], ["dry(hours=1)", "dry(hours=1/0)"], []],
    }
    test = BFCL.load(written(tmp_path, "exec", truths), "exec")
    assert test.total == 7
    assert "not the pinned data" in test.warnings[0]
    assert [item.index for item in test.items] == [0, 1, 2]
    assert [item.golds[0][0].arguments for item in test.items] == [
        {"share": 0.5, "colours": ["red", "blue"]},
        {"share": 0.25, "litres": -5},
        {"hours": 7},
    ]
    assert test.repaired == {
        1: "constant arithmetic folded",
        2: "positional arguments named by the schema's order",
    }
    assert set(test.excluded) == {3, 4, 5, 6}
    assert test.excluded[6] == "no gold"
    assert golds_right(test) == 3


def test_accuracy_of_the_executable_part_is_equality(tmp_path: Path) -> None:
    truth = [["dry(hours=1)", "dry(hours=2)"]]
    item = BFCL.load(written(tmp_path, "exec", {2: truth}), "exec").items[0]
    assert judged(item, Call("dry", {"hours": 2}), Call("dry", {"hours": 1.0})) == (True, True, True, True)
    assert judged(item, Call("dry", {"hours": 2}), Call("dry", {"hours": 2})) == (True, True, False, False)


def test_types_are_mapped_at_every_depth(tmp_path: Path) -> None:
    tool = item_of(tmp_path, {"dry": {"hours": [1]}}).prompt.tools[0]
    assert tool.name == "paint.mix"
    assert tool.parameters["type"] == "object"
    assert tool.properties["share"] == {"type": "number", "description": "Of the first colour."}
    assert tool.properties["colours"] == {"type": "array", "items": {"type": "string"}}
    assert tool.properties["note"] == {"x-type": "any"}
    assert tool.properties["buckets"]["items"] == {"type": "object", "properties": {"size": {"type": "number"}}}
    assert tool.required == ("share",)


def test_the_gold_has_the_first_possible_values(tmp_path: Path) -> None:
    item = item_of(tmp_path, {"paint.mix": MIXED})
    assert item.golds == ((Call("paint.mix", WANTED),),)
    required = item_of(tmp_path, {"paint.mix": {"share": ["", 0.5]}})
    assert required.golds[0][0].arguments == {"share": 0.5}


@pytest.mark.parametrize(
    ("change", "ts_pi_cf", "accurate"),
    [
        ({}, (1, 1, 1), True),
        ({"litres": 10}, (1, 1, 1), True),
        ({"litres": 10.0}, (1, 1, 1), False),  # equal, but no integer for the checker
        ({"litres": 11}, (1, 1, 0), False),
        ({"share": 1}, (1, 1, 0), False),
        ({"colours": ["blue", "red"]}, (1, 1, 1), True),
        ({"colours": ["Blue", "red."]}, (1, 1, 0), True),  # case and punctuation are nothing to the checker
        ({"colours": ["red"]}, (1, 1, 0), False),
        ({"note": "for the hall 2 floor"}, (1, 1, 0), True),
        ({"note": 5}, (1, 1, 0), False),
        ({"note": ""}, (1, 1, 1), True),
        ({"buckets": [{"size": 5.0}]}, (1, 1, 1), True),
        ({"buckets": [{"size": 5.0, "handle": "left"}]}, (1, 1, 1), True),
        ({"buckets": [{"size": 5.0, "handle": "right"}]}, (1, 1, 0), False),
        ({"buckets": [{"size": 5.0}, {"size": 5.0}]}, (1, 1, 0), False),
        ({"lid": {"shape": "oval", "holes": 2}}, (1, 1, 1), True),
        ({"lid": {"shape": "oval"}}, (1, 1, 1), True),
        ({"lid": {"holes": 2}}, (1, 1, 0), False),
        ({"lid": {"shape": "oval", "colour": "red"}}, (1, 1, 0), False),
        ({"matt": None}, (1, 1, 0), False),
        ({"matt": 1}, (1, 1, 0), False),
        ({"shares": [0.5, 1.0]}, (1, 1, 1), True),
        ({"gloss": 1}, (1, 0, 0), False),
    ],
)
def test_a_prediction_is_judged_beside_the_nearest_possible_answer(
    tmp_path: Path, change: dict[str, Any], ts_pi_cf: tuple[int, int, int], accurate: bool
) -> None:
    item = item_of(tmp_path, {"paint.mix": MIXED})
    assert judged(item, Call("paint.mix", WANTED | change)) == (*map(bool, ts_pi_cf), accurate)


def test_arguments_may_be_left_out_where_an_empty_text_says_so(tmp_path: Path) -> None:
    item = item_of(tmp_path, {"paint.mix": MIXED})
    without = {name: {key: value for key, value in WANTED.items() if key != name} for name in WANTED}
    assert judged(item, Call("paint.mix", without["matt"])) == (True, True, True, True)
    assert judged(item, Call("paint.mix", without["colours"])) == (True, False, False, False)
    assert judged(item, Call("dry", {"hours": 1})) == (False, False, False, False)
    assert judged(item) == (False, False, False, False)


def test_an_argument_with_nothing_but_an_empty_text_has_to_be_left_out(tmp_path: Path) -> None:
    item = item_of(tmp_path, {"paint.mix": {"share": [0.5], "litres": [""]}})
    assert judged(item, Call("paint.mix", {"share": 0.5})) == (True, True, True, True)
    assert judged(item, Call("paint.mix", {"share": 0.5, "litres": 3})) == (True, False, False, False)


def test_parallel_calls_in_any_order_each_have_their_own_possible_values(tmp_path: Path) -> None:
    item = item_of(tmp_path, {"dry": {"hours": [1, 2]}}, {"dry": {"hours": [2, 3]}}, {"paint.mix": MIXED})
    one, two, three = (Call("dry", {"hours": hours}) for hours in (1, 2, 3))
    mix = Call("paint.mix", WANTED | {"litres": 10})
    assert judged(item, mix, three, one) == (True, True, True, True)
    assert judged(item, one, two, mix) == (True, True, True, True)
    assert judged(item, one, one, mix) == (True, True, False, False)
    assert judged(item, one, two) == (False, False, False, False)
    assert judged(item, one, two, mix, mix) == (False, False, False, False)
    # The judge finds the best pairs; the checker takes the first that fit, as they come.
    assert judged(item, two, one, mix) == (True, True, True, False)


def test_an_array_without_possible_values_is_the_empty_one(tmp_path: Path) -> None:
    empty = {"paint.mix": {"share": [0.5], "colours": []}}
    test = BFCL.load(written(tmp_path, "live", {0: [[empty], [{"dry": {"hours": []}}]]}), "live")
    assert test.repaired == {0: "no possible value for colours: read as the empty list"}
    assert test.excluded == {1: "no possible value for hours"}
    call = Call("paint.mix", {"share": 0.5, "colours": []})
    assert judged(test.items[0], call) == (True, True, True, False)


def test_whole_numbers_pass_for_floats_but_inside_arrays(tmp_path: Path) -> None:
    item = item_of(tmp_path, {"paint.mix": {"share": [2.0], "shares": [[0.5, 1.0]]}})
    assert judged(item, Call("paint.mix", {"share": 2, "shares": [0.5, 1.0]})) == (True, True, True, True)
    assert judged(item, Call("paint.mix", {"share": 2, "shares": [0.5, 1]})) == (True, True, True, False)


def test_a_checker_s_variable_is_compared_as_it_stands(tmp_path: Path) -> None:
    item = item_of(tmp_path, {"dry": {"hours": ["", "dontcare"]}})
    assert judged(item, Call("dry", {"hours": "dontcare"})) == (True, True, True, True)
    assert judged(item, Call("dry", {"hours": "Dontcare"})) == (True, True, False, False)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bfcl has no split 'all': expected one of exec, ast, live"):
        BFCL.load(tmp_path, "all")
    with pytest.raises(DataError, match=r"BFCL_v4_simple_python\.json: no such file"):
        BFCL.load(tmp_path, "ast")
    folder = written(tmp_path, "ast", {0: [["dry"], [{"dry": {"hours": 3}}]]})
    assert BFCL.load(folder, "ast").excluded == {
        0: "a gold is not an object with one tool",
        1: "a gold's arguments are not lists of possible values",
    }
    (folder / "bfcl" / "BFCL_v4_multiple.json").write_text(
        '{"id": "x", "question": [[{"role": "me"}]], "function": []}'
    )
    with pytest.raises(DataError, match=r"BFCL_v4_multiple\.json:1: question\[0\]\[0\]\.role: expected one of"):
        BFCL.load(folder, "ast")


@pytest.fixture(scope="module")
def data() -> Path:
    """The folder with the real files, as `tltrain fetch bfcl` leaves it."""
    cache = Path(os.environ.get("TLTRAIN_CACHE") or Path.home() / ".cache" / "tltrain")
    folders = [Path(os.environ.get("TLTRAIN_DATA", cache)), cache / "data"]
    found = next((folder for folder in folders if (folder / "bfcl").is_dir()), None)
    if found is None:
        pytest.skip("needs BFCL's data (`tltrain fetch bfcl`)")
    return found


@pytest.mark.parametrize(
    ("split", "items", "accurate", "repaired"), [("exec", 240, 240, 3), ("ast", 1000, 999, 0), ("live", 1351, 1347, 2)]
)
def test_all_golds_are_right(data: Path, split: str, items: int, accurate: int, repaired: int) -> None:
    test = BFCL.load(data, split)
    assert (test.total, len(test.items), len(test.repaired), test.excluded) == (items, items, repaired, {})
    assert not test.warnings
    assert golds_right(test) == items
    assert sum(BFCL("bfcl", "ast", [], 0).is_accurate(item, item.golds[0]) for item in test.items) == accurate
