"""Time grows as the text does: no dialect, strict or lenient, goes back over millions of hostile characters."""

from __future__ import annotations

import gc
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
    """Of the processor, so that other work on the machine does not count, and without the garbage of other tests."""
    gc.disable()
    try:
        started = time.process_time()
        parsed = dialects.get(name).parse(text, TOOLS, tolerant)
        taken = time.process_time() - started
    finally:
        gc.enable()
    assert not parsed.calls
    return taken


def linear(name: str, texts: tuple[str, str], tolerant: bool) -> bool:
    """Four times the text: 4 times the time where it is linear, 16 where quadratic; short ones are noise. One of three
    tries is enough, as what is too slow is so every time."""
    short, long = texts
    return any(seconds(name, long, tolerant) < 10 * seconds(name, short, tolerant) + 0.1 for _ in range(3))


@pytest.mark.parametrize("tolerant", [False, True])
@pytest.mark.parametrize("name", dialects.TEXT_FORMS)
def test_long_repeats_take_linear_time(name: str, tolerant: bool) -> None:
    for piece in (*PIECES, OPENINGS[name]):
        for opening in ("", OPENINGS[name], OPENINGS[name] + '"', OPENINGS[name] + "'"):
            texts = (opening + piece * (20_000 // len(piece)), opening + piece * (80_000 // len(piece)))
            assert linear(name, texts, tolerant), (opening, piece)


@pytest.mark.parametrize("name", dialects.TEXT_FORMS)
@pytest.mark.parametrize("item", ["0,", r"'\x41',", '"a",'])
def test_long_lists_take_linear_time(name: str, item: str) -> None:
    short, long = (OPENINGS[name] + "[" + item * (length // len(item)) for length in (50_000, 200_000))
    assert linear(name, (short, long), tolerant=True)


@pytest.mark.parametrize("name", dialects.TEXT_FORMS)
def test_a_million_brackets_and_ten_megabytes_of_backslashes(name: str) -> None:
    for text in ("[" * 10**6, "\\" * 10**7, '"' + "\\" * 10**7):
        assert seconds(name, OPENINGS[name] + text, False) < 5
