"""ToolAlpaca: indices over all APIs, golds that are not JSON, what is not compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.testset_samples import alpaca_record, step, write_alpaca

from tltrain.dialects import react
from tltrain.errors import ConfigError, DataError
from tltrain.evaluation.predictions import Prediction
from tltrain.evaluation.scoring import judge_prediction
from tltrain.testsets.base import TestSet
from tltrain.testsets.toolalpaca import ToolAlpaca
from tltrain.trajectory import Call


def loaded(folder: Path, *records: Any) -> TestSet:
    return ToolAlpaca.load(write_alpaca(folder, records), "eval_real")


def right(test: TestSet, index: int, *calls: Call) -> bool:
    (item,) = (item for item in test.items if item.index == index)
    return judge_prediction(test, item, Prediction(index, react.format(calls), "react")).CF


def test_queries_of_all_apis_are_counted_on(tmp_path: Path) -> None:
    test = loaded(
        tmp_path,
        alpaca_record([[step("waterBed", '{"bed": "3", "litres": 2}'), step("unheardOf", "not read")], []]),
        alpaca_record([[step("listBeds", {})]], name="Field"),
    )
    assert (test.total, [item.index for item in test.items], test.excluded) == (3, [0, 2], {1: "no gold"})
    assert test.items[0].golds == ((Call("waterBed", {"bed": "3", "litres": 2}),),)
    (user,) = test.items[1].prompt.messages
    assert (user.role, user.content) == ("user", "Query 0 about the field.")
    assert [tool.name for tool in test.items[1].prompt.tools] == ["waterBed", "listBeds", "getDetails"]
    assert [item.prompt.id for item in test.items] == ["Garden/0", "Field/0"]
    assert "not the pinned data" in test.warnings[0]


@pytest.mark.parametrize(
    ("written", "arguments", "note"),
    [
        ('{"bed": "3"}', {"bed": "3"}, None),
        ({"bed": "3"}, {"bed": "3"}, None),
        ('{"bed": "bed": "3", "litres": 1}', {"bed": "3", "litres": 1}, "doubled key collapsed"),
        ('{"bed": "3", "bed": "3"}', {"bed": "3"}, "doubled key collapsed"),
        ('{"bed": ${bed from listBeds}}', {"bed": "${bed from listBeds}"}, "placeholder quoted"),
        ('{"bed": ${a, b}, "litres": 1}', {"bed": "${a, b}", "litres": 1}, "placeholder quoted"),
        ('{"bed": ${a bed}", "litres": 1}', {"bed": "${a bed}", "litres": 1}, "placeholder quoted"),
        ('{"bed": ${a bed, "litres": 1}', {"bed": "${a bed}", "litres": 1}, "placeholder quoted"),
        ('{"bed": [${one}, ${two}]}', {"bed": ["${one}", "${two}"]}, "placeholder quoted"),
        ('{"bed": ${one}, "litres": "of ${two}"}', {"bed": "${one}", "litres": "of ${two}"}, "placeholder quoted"),
        ('{"bed": "bed": ${x}}', {"bed": "${x}"}, "doubled key collapsed; placeholder quoted"),
        ("{'bed': 'three', 'dry': True}", {"bed": "three", "dry": True}, "read as a Python literal"),
    ],
)
def test_golds_with_one_reading(tmp_path: Path, written: Any, arguments: dict[str, Any], note: str | None) -> None:
    test = loaded(tmp_path, alpaca_record([[step("waterBed", written)]]))
    assert test.items[0].golds[0][0].arguments == arguments
    assert test.repaired.get(0) == note
    assert right(test, 0, *test.items[0].golds[0])


@pytest.mark.parametrize(
    ("golds", "reason"),
    [
        (None, "no gold"),
        ("waterBed", "no gold"),
        (["waterBed"], "its first gold names no tool"),
        ([{"Action_Input": "{}"}], "its first gold names no tool"),
        ([step("waterBed", None)], "Action_Input: expected text or object"),
        *(
            ([step("waterBed", written)], "the arguments of its first gold are not a JSON object")
            for written in ("", "bed 3", '{"bed": ', "[1]", '{"bed": 1, "bed": 2}', '{"bed": NaN}', '{"bed": 1e999}')
        ),
        ([step("waterBed", '{"a":' * 100_000)], "the arguments of its first gold are not a JSON object"),
    ],
)
def test_golds_that_cannot_be_repaired_are_left_out(tmp_path: Path, golds: Any, reason: str) -> None:
    test = loaded(tmp_path, alpaca_record([golds, [step("listBeds", "{}")]]))
    assert (test.total, len(test.items), test.excluded) == (2, 1, {0: reason})


@pytest.mark.parametrize(
    ("written", "name", "note"),
    [
        (" waterBed\n", "waterBed", None),
        ("fly", "fly", "calls fly, which is not among the tools"),
        ("[Optional]waterBed", "waterBed", "[Optional] removed from the tool's name"),
        ("[Optional] fly", "[Optional] fly", "calls [Optional] fly, which is not among the tools"),
    ],
)
def test_tools_that_golds_name(tmp_path: Path, written: str, name: str, note: str | None) -> None:
    test = loaded(tmp_path, alpaca_record([[step(written, '{"bed": "3"}')]]))
    assert (test.repaired.get(0), test.excluded) == (note, {})
    assert [tool.name for tool in test.items[0].prompt.tools] == ["waterBed", "listBeds", "getDetails"]
    assert right(test, 0, Call(name, {"bed": "3"}))
    assert not right(test, 0, Call(name, {"bed": "4"}))


def test_an_api_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    good = alpaca_record([[step("listBeds", "{}")]])
    broken = alpaca_record([[step("listBeds", "{}")]] * 2, Function_Description={"listBeds": "List.\nParameters: {x"})
    test = loaded(tmp_path, broken, good, alpaca_record([[], []], Golden_Answers=None))
    assert (test.total, [item.index for item in test.items]) == (5, [2])
    assert test.excluded[0].startswith("Function_Description.listBeds: invalid JSON")
    assert (test.excluded[1], test.excluded[3]) == (test.excluded[0], "no gold")


def test_what_is_not_compared(tmp_path: Path) -> None:
    test = loaded(
        tmp_path,
        alpaca_record(
            [
                [step("getDetails", '{"Question": "Which bed?"}')],
                [step("waterBed", '{"bed": ${bed from getDetails}, "litres": 5}')],
                [step("waterBed", '{"bed": {"of": ["${garden}", 1]}}')],
            ]
        ),
    )
    assert right(test, 0, Call("getDetails", {"Question": "Could you tell me the bed?"}))
    assert not right(test, 0, Call("getDetails", {"Query": "Which bed?"}))
    assert right(test, 1, Call("waterBed", {"bed": 7, "litres": 5}))
    assert right(test, 1, Call("waterBed", {"bed": {"any": []}, "litres": "5"}))  # the schema says integer
    assert not right(test, 1, Call("waterBed", {"bed": 7, "litres": 6}))
    assert not right(test, 1, Call("waterBed", {"litres": 5}))
    assert right(test, 2, Call("waterBed", {"bed": {"of": [None, 1]}}))
    assert not right(test, 2, Call("waterBed", {"bed": {"of": [None, 2]}}))
    assert not right(test, 2, Call("waterBed", {"bed": {"of": [None, 1]}}), Call("listBeds"))


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="toolalpaca has no split 'real': expected one of eval_real, eval_simulated"):
        ToolAlpaca.load(tmp_path, "real")
    with pytest.raises(DataError, match=r"eval_real\.json: no such file: download it with `tltrain fetch toolalpaca`"):
        ToolAlpaca.load(tmp_path, "eval_real")
    with pytest.raises(DataError, match=r"eval_real\.json:1: Instructions: expected list, but it is missing"):
        loaded(tmp_path, {"Name": "x"})
    with pytest.raises(DataError, match=r"eval_real\.json: holds no queries"):
        loaded(tmp_path)


def test_every_public_gold_is_right(shared_data: Path) -> None:
    test = ToolAlpaca.load(shared_data, "eval_simulated")
    assert (test.total, len(test.items), len(test.repaired), test.warnings) == (100, 100, 7, [])
    assert all(right(test, item.index, *item.golds[0]) for item in test.items)
