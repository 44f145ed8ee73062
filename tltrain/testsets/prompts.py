"""System texts that were written for ReAct, made fit for any model."""

from __future__ import annotations

import re
from dataclasses import replace

from tltrain.formats.rotbench import MARKER
from tltrain.trajectory import Message

_FORMAT = re.compile(r"Desired format:.*?(?=Remember:|\Z)|^\d+\.[^\n]*Action Input[^\n]*\n?", re.DOTALL | re.MULTILINE)
_LAST_WORDS = re.compile(r"[^.\n]*\Z")


def without_form(message: Message) -> Message:
    """A system text without its tool list and without how ReAct writes calls; other messages as they are.

    A model's own template shows it the tools, and its dialect says how calls are written.
    """
    text = message.content or ""
    if message.role != "system" or MARKER not in text:
        return message
    start, end = text.index(MARKER), text.rfind("]")
    before = _LAST_WORDS.sub("", _FORMAT.sub("", text[:start]), count=1)
    return replace(message, content=f"{before.rstrip()}\n\n{text[end + 1 :].strip()}".strip())
