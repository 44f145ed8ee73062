"""Lines of `predictions/*.jsonl`, as this version and earlier ones write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tltrain.evaluation.predictions import Prediction, prediction_path, saved_predictions
from tltrain.files import write_json_lines


@pytest.mark.parametrize(
    ("line", "broken", "calls"),
    [
        ({"text": '<tool_call>\n{"name": "a", "arguments": {}}\n</tool_call>'}, False, 1),
        ({"text": '<tool_call>\n{"name": "a", "arguments": {}}\n</tool_call>', "finished": False}, True, 0),
        ({"text": "", "calls": [{"name": "a", "arguments": {}}]}, False, 1),
        ({"text": "", "finished": False, "reason": "too long"}, True, 0),
    ],
)
def test_a_reply_is_parsed_only_where_it_is_finished(line: dict[str, Any], broken: bool, calls: int) -> None:
    parsed = Prediction.from_json({"index": 0, "dialect": "hermes", **line}).parse(())
    assert (bool(parsed.broken), len(parsed.calls)) == (broken, calls)


CALL = {"name": "get_order", "arguments": {"order_id": "A-1"}}
TEXT = '<tool_call>\n{"name": "get_order", "arguments": {"order_id": "A-1"}}\n</tool_call>'
RIGHT = {"TS": True, "PI": True, "CF": True, "reward": 1.0, "category": "right"}
WRONG = {"TS": False, "PI": False, "CF": False, "reward": -1.0, "category": "format"}
EARLIER_RUN_LINES = [
    {
        "item": "log-7#1",
        "prompt": "What is order A-1?",
        "text": TEXT,
        "ids": [5, 6, 2],
        "finished": True,
        "broken": None,
        "calls": [CALL],
        "gold": [CALL],
        "verdict": RIGHT,
    },
    {
        "item": "log-7#3",
        "prompt": "And A-2?",
        "text": "<tool_call>",
        "ids": [5],
        "finished": False,
        "broken": "cut off at the length limit",
        "calls": [],
        "gold": [CALL],
        "verdict": WRONG,
    },
]
"""As `tltrain run` wrote them before its own splits were test sets: without `index`, with `broken` and token ids."""
LINE = {
    "index": 4,
    "text": TEXT,
    "dialect": "hermes",
    "finished": True,
    "tokens": 21,
    "item": "exec 4",
    "query": "What is order A-1?",
    "prompt": "What is order A-1?",
    "gold": [[CALL]],
    "verdict": RIGHT,
}
"""As `tltrain eval` and `tltrain run` write them."""


def test_lines_of_earlier_runs_are_read(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "predictions/sft.seen.jsonl", EARLIER_RUN_LINES)
    first, second = saved_predictions(tmp_path, "sft", "own", "seen")
    assert (first.index, first.item, first.prompt) == (0, "log-7#1", "What is order A-1?")
    assert first.outcomes == {"TS": True, "PI": True, "CF": True}
    assert [call.name for call in first.parse(()).calls] == ["get_order"]
    assert (first.verdict, first.gold, first.truncated) == (RIGHT, (CALL,), False)
    assert (second.index, second.truncated, second.outcomes["CF"]) == (1, True, False)
    assert second.parse(()).broken


def test_the_present_file_is_preferred_to_that_of_an_earlier_version(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "predictions/sft.seen.jsonl", EARLIER_RUN_LINES)
    write_json_lines(prediction_path(tmp_path, "sft", "own", "seen"), [LINE])
    assert [line.index for line in saved_predictions(tmp_path, "sft", "own", "seen")] == [4]
    assert saved_predictions(tmp_path, "base", "own", "seen") == []


def test_a_line_is_written_as_it_was_read() -> None:
    prediction = Prediction.from_json(LINE)
    assert [call.name for call in prediction.parse(()).calls] == ["get_order"]
    assert {**prediction.to_json(), "gold": [[CALL]]} == LINE
    assert list(prediction.to_json()) == list(LINE)


def test_unknown_fields_are_ignored() -> None:
    assert Prediction.from_json({**LINE, "temperature": 0.7}) == Prediction.from_json(LINE)


def test_a_line_of_several_steps_is_read() -> None:
    line = {
        "index": 2,
        "dialect": "hermes",
        "tokens": 30,
        "replies": [{"text": TEXT, "finished": True}, {"text": "<tool_", "finished": False}],
        "feedback": ["sent"],
        "executor": "simulator",
        "valid": False,
        "query": "What is order A-1?",
        "verdict": {"VA": False},
    }
    prediction = Prediction.from_json(line)
    assert (prediction.truncated, prediction.valid, prediction.outcomes) == (True, False, {"VA": False})
    assert {**prediction.to_json(), "replies": line["replies"], "feedback": line["feedback"]} == line
