"""The feedback detector line by line of its guide, the released rule, and both detectors together."""

from __future__ import annotations

import json

import pytest
from support.work import count_calls

from tltrain.audit import assess_calls, feedback_failed
from tltrain.audit.literals import read_value
from tltrain.trajectory import Call, Message, Tool, Trajectory

# One line of the guide each: what the feedback is, and that it failed.
FAILED = {
    "exception": "TypeError: get() got an unexpected keyword argument 'ids'",
    "traceback": 'started\nTraceback (most recent call last):\n  File "a.py", line 1, in <module>\nOSError: disk',
    "bare key": "'ja'",
    "HTTP status": '{"status": 404, "message": "no such route"}',
    "HTTP status in text": "HTTP 503 Service Unavailable",
    "error field": '{"error": "the index is closed"}',
    "error field beside data": '{"rows": [1, 2, 3], "error": "row 4 could not be read"}',
    "success false": '{"success": false, "rows": []}',
    "ok false": '{"ok": false}',
    "isError": '{"isError": true, "content": []}',
    "refusal": "Permission denied: this key may only read.",
    "shell": "bash: fooo: command not found",
    "rate limit": "Rate limit exceeded, retry in 10 s",
    "correction": "Please provide a valid date and try again.",
    "nothing but not found": "Not found",
    "not found in an envelope": '{"message": "Not Found"}',
    "wrapped": '{"error": "", "response": "{\'success\': False, \'msg\': \'locked\'}"}',
    "wrapped and cut off": "{\"error\": \"\", \"response\": \"{'error': 'bad city', 'hint': 'use a",
    "another language": "Ungültige Postleitzahl",
}
GOOD = {
    "empty list": "[]",
    "empty object": "{}",
    "empty text": "",
    "a search that found nothing": '{"results": [], "message": "No results found"}',
    "no errors": '{"errors": [], "id": 7}',
    "empty error": '{"error": "", "value": 1}',
    "error code 0": '{"error_code": 0, "data": {"id": 7}}',
    "No errors found": "No errors found",
    "data about errors": '{"articles": [{"title": "Error 404: what it means", "error": "see text"}, {"title": "b"}]}',
    "data with a status": '{"orders": [{"id": 1, "status": "failed"}, {"id": 2, "status": "error"}]}',
    "number": "404",
    "prose": "A KeyError in Python means that a dictionary has no such key.",
    "log": "2024-05-01 10:00 INFO start\n2024-05-01 10:01 ERROR worker: connection refused\n2024-05-01 10:02 INFO done",
    "inner word under success": '{"success": true, "data": {"status": "failed", "reason": "no funds"}}',
}


@pytest.mark.parametrize("text", FAILED.values(), ids=FAILED.keys())
def test_reports_failure(text: str):
    assert feedback_failed(text)


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD.keys())
def test_reports_no_failure(text: str):
    assert feedback_failed(text) is None


def test_the_reason_names_the_kind_and_quotes_the_text():
    assert feedback_failed("bash: fooo: command not found") == "shell error: bash: fooo: command not found"
    assert feedback_failed('{"success": false, "message": "seat taken"}') == "success field success: False, seat taken"
    reason = feedback_failed("Error: " + "long " * 1000)
    assert reason is not None
    assert len(reason) < 160


@pytest.mark.parametrize(
    ("text", "failed"),
    [
        ('{"error": "", "response": "fine"}', True),  # `"error":` becomes `error`
        ("a terror in the night", True),
        ("Errors: none", True),
        ("E r-r:o_r", True),  # everything but letters, digits and ^ is removed first
        ("NOT SUPPORTED", True),
        ("connection  error", True),
        ("400 client e", False),
        ("'ja'", False),
        ("Forbidden", False),
        ("related searches", True),
        ("related^searches", False),
        ("invalid中API call", False),
        ("invalid é API call", True),
        ("", False),
    ],
)
def test_paper_rule(text: str, failed: bool):
    assert (feedback_failed(text, mode="paper") is not None) == failed


def test_paper_rule_says_which_pattern():
    assert feedback_failed("name 'x' is not defined", "paper") == "matches is not defined"


WEATHER = Tool(
    "weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
)


def trajectory(*replies: Message, tools: tuple[Tool, ...] = (WEATHER,)) -> Trajectory:
    return Trajectory(messages=(Message("user", "hi"), *replies), tools=tools)


def test_read_calls_gives_each_call_both_readings():
    calls = (Call("weather", {"town": "Oslo"}, "a"), Call("weather", {"city": "Oslo"}, "b"))
    sunny = Message("tool", '{"weather": "sunny"}', call_id="b")
    refused = Message("tool", "Unknown parameter: town", call_id="a")
    first, second = assess_calls(trajectory(Message("assistant", None, calls), sunny, refused))
    assert (first.message, first.index, second.message, second.index) == (1, 0, 1, 1)
    assert first.schema_reason == 'weather has no argument "town" (it has city)'
    assert first.feedback_reason == "request to correct: Unknown parameter: town"
    assert first.failed
    assert first.reason == first.schema_reason
    assert not second.failed
    assert second.reason is None


def test_a_call_without_feedback_is_read_by_the_schema_alone():
    unanswered = Message("assistant", None, (Call("weather", {"city": "Oslo"}), Call("wether", {})))
    assert [assessment.failed for assessment in assess_calls(trajectory(unanswered))] == [False, True]


@pytest.mark.parametrize(("weight", "failed"), [(0, True), (0.0, True), (1, False), (None, True)])
def test_an_explicit_label_wins(weight: float | None, failed: bool):
    reply = Message("assistant", None, (Call("weather", {}),), weight=weight)
    (assessment,) = assess_calls(trajectory(reply, Message("tool", "Error: city is missing")))
    assert assessment.failed == failed
    assert assessment.label == (None if weight is None else weight == 0)
    if weight == 0:
        assert assessment.reason == "labelled"


def test_a_label_can_fail_a_good_call_in_both_modes():
    reply = Message("assistant", None, (Call("weather", {"city": "Oslo"}),), weight=0)
    for mode in ("default", "paper"):
        (assessment,) = assess_calls(trajectory(reply, Message("tool", "sunny")), mode)
        assert assessment.failed


def test_paper_mode_reads_the_feedback_alone():
    reply = Message("assistant", None, (Call("wether", {"town": 1}),))
    (assessment,) = assess_calls(trajectory(reply, Message("tool", "sunny")), mode="paper")
    assert not assessment.failed
    (assessment,) = assess_calls(trajectory(reply, Message("tool", "sunny, terrorless")), mode="paper")
    assert assessment.feedback_reason == "matches 'error'"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("{'a': True, 'b': None, 'c': (1, 2.5)}", {"a": True, "b": None, "c": [1, 2.5]}),
        ("{'a': 'it\\'s', \"b\": \"l\\u00e4\"}", {"a": "it's", "b": "lä"}),
        ("{'a': [1, {'b': 'cut of", {"a": [1, {"b": "cut of"}]}),
        ("{'t': date(2024, 5), 'ok': False}", {"t": "date", "ok": False}),
        ("['x', 'y'", ["x", "y"]),
        ("[ERROR] no value", "[ERROR] no value"),
        ("plain", "plain"),
        ('"quoted"', "quoted"),
    ],
)
def test_literals_are_read_even_when_cut_off(text: str, value: object):
    assert read_value(text) == value


HOSTILE = {
    "brackets": "[" * 100_000,
    "braces": "{'a':" * 100_000,
    "a long line": "no " * 3_000_000,
    "a long JSON text": '{"a":"' + "x" * 10_000_000 + '"}',
    "newlines": "x" + "\n" * 1_000_000 + "at ",
    "fence": "```x\n" + "\n" * 1_000_000,
    "quotes": "'" * 100_000,
    "backslashes": '{"' + "\\" * 100_000,
    "tags": "<" * 100_000,
    "wrappers": '{"response":' * 5_000 + "1" + "}" * 5_000,
    "numbers": "[" + "1," * 1_000_000 + "1]",
    "surrogates": '{"error": "\\ud800"}',
    "sentence": ("not a " * 70)[:390] + "found",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_takes_bounded_work(text: str):
    _, calls = count_calls(lambda: feedback_failed(text))
    assert calls < 200_000


def test_wrapped_in_itself_many_times():
    text = '{"error": "x"}'
    for _ in range(12):
        text = json.dumps({"response": text})
    assert feedback_failed(text) is None  # looked through four times, then left alone
