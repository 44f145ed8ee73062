"""Adapts system texts that were written for ReAct to any model."""

from __future__ import annotations

import re
from dataclasses import replace

from tltrain.formats.rotbench import MARKER
from tltrain.trajectory import Message

_FORMAT = re.compile(r"Desired format:.*?(?=Remember:|\Z)|^\d+\.[^\n]*Action Input[^\n]*\n?", re.DOTALL | re.MULTILINE)
_LAST_CLAUSE = re.compile(r"[^.\n]*\Z")


def without_react_instructions(message: Message) -> Message:
    """A system message without its tool list and ReAct instructions; other messages unchanged.

    The model's own template shows the tools and says how calls are written.
    """
    text = message.content or ""
    if message.role != "system" or MARKER not in text:
        return message
    start, end = text.index(MARKER), text.rfind("]")
    before = _LAST_CLAUSE.sub("", _FORMAT.sub("", text[:start]), count=1)
    return replace(message, content=f"{before.rstrip()}\n\n{text[end + 1 :].strip()}".strip())
