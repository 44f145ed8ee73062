"""Work grows as the text does: no dialect, strict or lenient, goes back over millions of hostile characters.

No clock is read: calls are counted, and texts are so long that a quadratic search in a single call would take minutes.
"""

from __future__ import annotations

import pytest
from support.work import count_calls

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


def work(name: str, text: str, tolerant: bool) -> int:
    """How many calls it takes to find no call in the text."""
    parsed, calls = count_calls(lambda: dialects.get(name).parse(text, TOOLS, tolerant))
    assert not parsed.calls
    return calls


def is_linear(name: str, texts: tuple[str, str], tolerant: bool) -> bool:
    """Four times the text: 4 times the work where it is linear, 16 times where it is quadratic."""
    short, long = texts
    work(name, short, tolerant)  # what is imported and compiled at the first call does not count
    return work(name, long, tolerant) < 8 * work(name, short, tolerant) + 1000


@pytest.mark.parametrize("tolerant", [False, True])
@pytest.mark.parametrize("name", dialects.TEXT_FORMS)
def test_long_repeats_take_linear_work(name: str, tolerant: bool) -> None:
    for piece in (*PIECES, OPENINGS[name]):
        for opening in ("", OPENINGS[name], OPENINGS[name] + '"', OPENINGS[name] + "'"):
            texts = (opening + piece * (20_000 // len(piece)), opening + piece * (80_000 // len(piece)))
            assert is_linear(name, texts, tolerant), (opening, piece)


@pytest.mark.parametrize("name", dialects.TEXT_FORMS)
@pytest.mark.parametrize("item", ["0,", r"'\x41',", '"a",'])
def test_long_lists_take_linear_work(name: str, item: str) -> None:
    short, long = (OPENINGS[name] + "[" + item * (length // len(item)) for length in (50_000, 200_000))
    assert is_linear(name, (short, long), tolerant=True)


@pytest.mark.parametrize("name", dialects.TEXT_FORMS)
def test_a_million_brackets_and_ten_megabytes_of_backslashes(name: str) -> None:
    for text in ("[" * 10**6, "\\" * 10**7, '"' + "\\" * 10**7):
        assert not dialects.get(name).parse(OPENINGS[name] + text, TOOLS).calls
