"""Time grows as the text does: no dialect, strict or lenient, goes back over millions of hostile characters."""

from __future__ import annotations

import time

import pytest

from tltrain import dialects
from tltrain.trajectory import Tool

OPENINGS = {
    "hermes": '<tool_call>{"name": "f", "arguments": {"a": ',
    "python": "f(a=",
    "react": "Action: f\nAction Input: ",
    "qwen": "<tool_call><function=f><parameter=a>",
    "llama3": '{"name": "f", "parameters": {"a": ',
    "mistral": "[TOOL_CALLS]f[ARGS]",
    "gemma": "<start_function_call>call:f{a:",
}
PIECES = [
    "[",
    "{",
    "(",
    "[]",
    "\\",
    "'",
    '"',
    '"\\',
    " ",
    "\n",
    "`",
    "```\n",
    "f(",
    "'''\n\"\"\"\n",
    "1-",
    "a.",
    "'\\\n",
    ";",
]
TOOLS = [Tool("f", parameters={"type": "object", "properties": {"a": {"type": "array"}}})]


def seconds(name: str, text: str, tolerant: bool) -> float:
    """Of the processor, so that other work on the machine does not count."""
    started = time.process_time()
    parsed = dialects.get(name).parse(text, TOOLS, tolerant)
    assert not parsed.calls
    return time.process_time() - started


@pytest.mark.parametrize("tolerant", [False, True])
@pytest.mark.parametrize("name", dialects.TEXT_FORMS)
def test_long_repeats_take_linear_time(name: str, tolerant: bool) -> None:
    for piece in (*PIECES, OPENINGS[name]):
        for opening in ("", OPENINGS[name], OPENINGS[name] + '"', OPENINGS[name] + "'"):
            short = seconds(name, opening + piece * (20_000 // len(piece)), tolerant)
            long = seconds(name, opening + piece * (80_000 // len(piece)), tolerant)
            # Four times the text: 4 times the time where it is linear, 16 where quadratic; short ones are noise.
            assert long < 10 * short + 0.1, (opening, piece)


@pytest.mark.parametrize("name", dialects.TEXT_FORMS)
@pytest.mark.parametrize("item", ["0,", r"'\x41',", '"a",'])
def test_long_lists_take_linear_time(name: str, item: str) -> None:
    short, long = (
        seconds(name, OPENINGS[name] + "[" + item * (length // len(item)), tolerant=True)
        for length in (50_000, 200_000)
    )
    assert long < 10 * short + 0.1


@pytest.mark.parametrize("name", dialects.TEXT_FORMS)
def test_a_million_brackets_and_ten_megabytes_of_backslashes(name: str) -> None:
    for text in ("[" * 10**6, "\\" * 10**7, '"' + "\\" * 10**7):
        assert seconds(name, OPENINGS[name] + text, False) < 5
