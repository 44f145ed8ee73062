"""RoTBench: what the loader makes of a file, the default protocol's conventions, the authors' script by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.testset_samples import noisy_tools, react, rotbench_record, write_rotbench

from tltrain.dialects import react as dialect
from tltrain.errors import ConfigError, DataError
from tltrain.evaluation.predictions import Prediction
from tltrain.evaluation.scoring import judge_prediction
from tltrain.testsets.base import Item, TestSet
from tltrain.testsets.rotbench import RoTBench
from tltrain.testsets.rotbench_paper import judge_text
from tltrain.trajectory import Call

WATER = react("water", '{"bed": "3", "litres": "None"}')
TOOLS = ("water", "dig", "ask_to_user", "finish")


def loaded(folder: Path, *records: Any, split: str = "First_Turn/clean") -> TestSet:
    return RoTBench.load(write_rotbench(folder, records, split), split)


def judged(test: TestSet, text: str, item: int = 0) -> tuple[bool, bool, bool]:
    verdict = judge_prediction(test, test.items[item], Prediction(item, text, "react"))
    return verdict.TS, verdict.PI, verdict.CF


def passes(*held: str) -> tuple[bool, bool, bool]:
    return "TS" in held, "PI" in held, "CF" in held


NOTHING, TOOL, NAMES, ALL = passes(), passes("TS"), passes("TS", "PI"), passes("TS", "PI", "CF")


# Loading


def test_the_prompt_has_the_tools_and_no_format(tmp_path: Path) -> None:
    item = loaded(tmp_path, rotbench_record([WATER, react("dig", '{"bed": "3"}')])).items[0]
    assert [tool.name for tool in item.prompt.tools] == list(TOOLS)
    system, user = item.prompt.messages
    assert system.content == (
        "You use tools for gardeners.\n\nRemember:\n1. Think.\n3. Stay polite.\n\n"
        "Task description: Water what is dry.\n\nLet's Begin!"
    )
    assert (user.role, user.content) == ("user", "Water bed 3.\nBegin!\n")
    assert item.golds == ((Call("water", {"bed": "3", "litres": "None"}),), (Call("dig", {"bed": "3"}),))
    assert item.extra["scenario"] == "garden"


def test_history_stays_in_the_prompt(tmp_path: Path) -> None:
    history = [
        ("assistant", react("dig", '{"bed": "1"}')),
        ("function", "Dug."),
        ("assistant", WATER),
        ("function", ""),
    ]
    record = rotbench_record([react("finish", '{"answer": "Done."}')], history=history)
    item = loaded(tmp_path, record, split="Third_Turn/heavy").items[0]
    assert [one.role for one in item.prompt.messages] == ["system", "user", "assistant", "tool", "assistant", "tool"]
    assert item.prompt.messages[2].calls == (Call("dig", {"bed": "1"}),)
    assert item.prompt.messages[3].content == "Dug."


def test_golds_that_cannot_be_read(tmp_path: Path) -> None:
    test = loaded(
        tmp_path,
        rotbench_record(["no call at all", WATER]),
        rotbench_record([react("dig", '{"bed": "3", "bed": "4"}')]),
        rotbench_record(["Action: water"]),
        rotbench_record([]),
        {"id": "x"},
        rotbench_record([react("dig", "{}")]),
    )
    assert [item.index for item in test.items] == [0, 1, 5]
    assert test.total == 6
    assert test.items[1].golds == ((Call("dig", {"bed": "4"}),),)
    assert test.repaired == {0: "gold 0: skipped: not a single call", 1: "gold 0: read as the authors' script does"}
    assert test.excluded[2] == "no gold can be read: skipped: Action without Action Input"
    assert set(test.excluded) == {2, 3, 4}


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="rotbench has no split 'First_Turn/cleen': expected one of First_Turn/clean,"
    ):
        RoTBench.load(tmp_path, "First_Turn/cleen")
    with pytest.raises(DataError, match=r"clean\.json: no such file: download it with `tltrain fetch rotbench`"):
        RoTBench.load(tmp_path, "First_Turn/clean")
    with pytest.raises(DataError, match=r"clean\.json: not a file of RoTBench: conversations: expected a system text"):
        loaded(tmp_path, {"messages": []})


def test_a_changed_file_is_said(tmp_path: Path) -> None:
    (warning,) = loaded(tmp_path, rotbench_record([WATER])).warnings
    assert warning.startswith("rotbench First_Turn/clean: not the pinned data")


# The default protocol


@pytest.mark.parametrize(
    ("text", "held"),
    [
        (WATER, ALL),
        (react("water", '{"bed": "3", "litres": "20"}'), ALL),  # "None" in the gold: not compared
        (react("water", '{"bed": "4", "litres": "None"}'), NAMES),
        (react("water", '{"bed": "3"}'), TOOL),  # names are compared as they are given
        (react("dig", '{"bed": "9"}'), NAMES),  # the second gold
        (react("dig", '{"bed": "None"}'), NAMES),
        (react("water", '{"bed": "3", "litres": "None"}') + "\n" + react("dig", '{"bed": "3"}'), NOTHING),
        (react("water", "bed 3"), NOTHING),
        (react("water", ""), NOTHING),
    ],
)
def test_values_and_names(tmp_path: Path, text: str, held: tuple[bool, ...]) -> None:
    test = loaded(tmp_path, rotbench_record([WATER, react("dig", '{"bed": "3"}')]))
    assert judged(test, text) == held


@pytest.mark.parametrize(
    ("ask", "finish", "gold", "text", "held"),
    [
        ("ask_to_user", "finish", ("finish", "answer"), ("finish", "answer"), ALL),
        ("ask_to_user", "finish", ("ask_to_user", "question"), ("ask_to_user", "question"), ALL),
        ("ask_to_user", "finish", ("finish", "answer"), ("finish", "text"), TOOL),
        ("ask", "fniish", ("fniish", "answer"), ("fniish", "answer"), ALL),
        ("ask", "fniish", ("fniish", "answer"), ("finish", "answer"), ALL),
        ("ask", "fniish", ("ask", "question"), ("ask_to_user", "question"), NOTHING),
        ("ask", "fniish", ("finish", "answer"), ("fniish", "answer"), ALL),
        ("finish", "fniish", ("finish", "question"), ("fniish", "question"), NOTHING),  # another tool's name
        ("finish", "fniish", ("fniish", "answer"), ("finish", "answer"), ALL),
    ],
)
def test_the_last_two_tools(
    tmp_path: Path, ask: str, finish: str, gold: tuple[str, str], text: tuple[str, str], held: tuple[bool, ...]
) -> None:
    record = rotbench_record([react(gold[0], f'{{"{gold[1]}": "right"}}')], noisy_tools(ask, finish))
    assert judged(loaded(tmp_path, record), react(text[0], f'{{"{text[1]}": "else"}}')) == held


def test_a_tool_that_noise_calls_finish_is_compared_by_values(tmp_path: Path) -> None:
    tools = noisy_tools("ask_to_user", "dig")
    tools[1]["name"] = "finish"
    test = loaded(tmp_path, rotbench_record([react("finish", '{"bed": "3"}')], tools))
    assert judged(test, react("finish", '{"bed": "4"}')) == NAMES
    assert judged(test, react("dig", '{"bed": "3"}')) == NOTHING


# The paper's protocol, each case worked out from its description


@pytest.mark.parametrize(
    ("text", "golds", "tools", "held"),
    [
        (WATER, [WATER], TOOLS, ALL),
        # An empty input, a text, a list and no JSON are wrong for all three.
        (react("dig", "{}"), [react("dig", "{}")], TOOLS, NOTHING),
        (react("dig", '"{}"'), [react("dig", '{"a": 1}')], TOOLS, NOTHING),
        (react("dig", "[1]"), [react("dig", '{"a": 1}')], TOOLS, NOTHING),
        (react("dig", '{"a": 1}. Done.'), [react("dig", '{"a": 1}')], TOOLS, NOTHING),
        (react("dig", '{"a": 1}\n '), [react("dig", '{"a": 1}')], TOOLS, ALL),
        # Fixed distances: without the blank, or with two, the name is another.
        ('Action:dig\nAction Input: {"a": 1}', [react("dig", '{"a": 1}')], TOOLS, NOTHING),
        ('Action:  dig\nAction Input: {"a": 1}', [react("dig", '{"a": 1}')], TOOLS, NOTHING),
        ('Action: dig\n\nAction Input: {"a": 1}', [react("dig", '{"a": 1}')], TOOLS, NOTHING),
        ('Action: dig\nAction Input:{"a": 1}', [react("dig", '{"a": 1}')], TOOLS, NOTHING),
        ('Thought: Action: x\nAction: dig\nAction Input: {"a": 1}', [react("dig", '{"a": 1}')], TOOLS, NOTHING),
        # Names, names of arguments, values.
        (react("dug", '{"a": 1}'), [react("dig", '{"a": 1}')], TOOLS, NOTHING),
        (react("dig", '{"a": 1, "b": 2}'), [react("dig", '{"a": 1}')], TOOLS, TOOL),
        (react("dig", '{"a": "1"}'), [react("dig", '{"a": 1}')], TOOLS, NAMES),
        (react("dig", '{"a": 1.0}'), [react("dig", '{"a": 1}')], TOOLS, ALL),
        (react("dig", '{"a": 2}'), [react("dig", '{"a": 1}'), react("dig", '{"a": 2}')], TOOLS, ALL),
        (react("dig", '{"b": 2}'), [react("dig", '{"a": 1}'), react("water", '{"b": 2}')], TOOLS, TOOL),
        # "None" is not compared, but its name is.
        (react("dig", '{"a": 1, "b": 7}'), [react("dig", '{"a": 1, "b": "None"}')], TOOLS, ALL),
        (react("dig", '{"a": 1}'), [react("dig", '{"a": 1, "b": "None"}')], TOOLS, TOOL),
        # What the first gold deletes stays deleted: now the second has other names.
        (
            react("dig", '{"a": 2, "b": 7}'),
            [react("dig", '{"a": 1, "b": "None"}'), react("dig", '{"a": 2, "b": 7}')],
            TOOLS,
            NAMES,
        ),
        (
            react("dig", '{"a": 2, "b": 7}'),
            [react("dig", '{"a": 1, "b": "None"}'), react("dig", '{"a": 2}')],
            TOOLS,
            ALL,
        ),
        # The last two tools, and the two plain names whatever tool has them, get CF for the names.
        (react("finish", '{"answer": "x"}'), [react("finish", '{"answer": "y"}')], TOOLS, ALL),
        (react("ask_to_user", '{"q": "x"}'), [react("ask_to_user", '{"q": "y"}')], TOOLS, ALL),
        (react("end", '{"answer": "x"}'), [react("end", '{"answer": "y"}')], ("dig", "ask", "end"), ALL),
        (react("ask", '{"q": "x"}'), [react("ask", '{"q": "y"}')], ("dig", "ask", "end"), ALL),
        (react("finish", '{"a": "x"}'), [react("finish", '{"a": "y"}')], ("finish", "dig", "ask", "end"), ALL),
        (react("end", '{"answer": "x"}'), [react("end", '{"text": "x"}')], ("dig", "ask", "end"), TOOL),
        # `finish` becomes the last tool's name, and stays so.
        (react("finish", '{"answer": "x"}'), [react("end", '{"answer": "y"}')], ("dig", "ask", "end"), ALL),
        (react("end", '{"answer": "x"}'), [react("finish", '{"answer": "y"}')], ("dig", "ask", "end"), NOTHING),
        (
            react("finish", '{"answer": "x"}'),
            [react("end", '{"text": "y"}'), react("finish", '{"answer": "y"}')],
            ("dig", "ask", "end"),
            TOOL,
        ),
        (
            react("finish", '{"answer": "x"}'),
            [react("finish", '{"answer": "y"}'), react("end", '{"text": "y"}')],
            ("dig", "ask", "end"),
            ALL,
        ),
    ],
)
def test_the_papers_protocol(text: str, golds: list[str], tools: tuple[str, ...], held: tuple[bool, ...]) -> None:
    assert judge_text(text, golds, tools)[:3] == held


@pytest.mark.parametrize(
    "text", ["", "Action Input:", "Action:", "{}", "Action: dig", '{"a": ' * 100_000, "9" * 10_000]
)
def test_the_papers_protocol_takes_any_text(text: str) -> None:
    assert judge_text(text, [react("dig", '{"a": 1}')], TOOLS) == (False, False, False, False)


# The public data


def right(test: TestSet, item: Item, text: str) -> bool:
    return judge_prediction(test, item, Prediction(item.index, text, "react")).CF


@pytest.mark.parametrize("level", ["clean", "union"])
def test_every_public_gold_is_right(shared_data: Path, level: str) -> None:
    test = RoTBench.load(shared_data, f"First_Turn/{level}")
    assert (test.total, len(test.items), test.warnings, test.repaired) == (105, 105, [], {})
    assert all(right(test, item, dialect.format(gold)) for item in test.items for gold in item.golds)
    assert all(right(test, item, text) for item in test.items for text in item.extra["texts"])
    outcomes_of_paper = [test.paper_outcome(item, item.extra["texts"][0]) for item in test.items]
    assert [sum(held) for held in zip(*outcomes_of_paper, strict=True)] == [97, 97, 97, 97]
