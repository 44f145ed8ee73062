"""Patterns that group messages of the same kind: feedback and reasons without their particular values."""

from __future__ import annotations

import json
import re
from typing import Any

from tltrain.audit.counting import shorten

MAX_READ = 20_000
MAX_PATTERN = 110
_MESSAGE_KEYS = ("error", "errors", "error_message", "message", "msg", "detail", "details", "reason", "description")
_WRAPPERS = ("response", "result", "data", "output", "content", "observation")
_QUOTED_MESSAGE = re.compile(r"""['"](?:error|message|msg|detail|reason)['"]: ?(?:"([^"]{3,300})|'([^']{3,300}))""")
"""A message in a text that resembles JSON but is not: the `repr` of a Python dict."""
_MASKS = (
    (re.compile(r"https?://\S+"), "<url>"),
    (re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.]+"), "<address>"),
    (re.compile(r'"[^"\n]{0,200}"|`[^`\n]{0,200}`|“[^”\n]{0,200}”|(?<!\w)\'[^\'\n]{0,200}\'(?!\w)'), "‘…’"),
)
_NUMBER = re.compile(r"\b[0-9a-fA-F]{8,}(-[0-9a-fA-F]{4,})*\b|\b(?=\w*\d)[\w-]*\d[\w-]*(\.\d+)*")
_STATUS = re.compile(r"(?:http|status|code)\W*$", re.IGNORECASE)
_NUMBERS = re.compile(r"#([ ,:./x-]*#)+")


def feedback_pattern(text: str, reason: str = "") -> str:
    """The message in a feedback text, on one line, with placeholders for quotations, numbers and ids.

    `reason` is the reason that the feedback detector gives: it is used where an object has no message.
    """
    text = text[:MAX_READ].strip()
    message = _message(text, depth=0) or reason or text
    for mask, placeholder in _MASKS:
        message = mask.sub(placeholder, message)
    message = _NUMBERS.sub("#", _NUMBER.sub(_numberless, message))
    return shorten(" ".join(message.split()), MAX_PATTERN) or "(empty)"


def _numberless(match: re.Match[str]) -> str:
    """The placeholder of a number or id; an HTTP status is kept, as it identifies the kind of failure."""
    before = match.string[max(0, match.start() - 12) : match.start()]
    return match[0] if re.fullmatch(r"[45]\d\d", match[0]) and _STATUS.search(before) else "#"


def fault_pattern(message: str) -> str:
    """A message of the schema detector without the particular value and without the list of accepted ones."""
    message = re.sub(r" \((it has|it takes) .*\)$", "", message, flags=re.DOTALL)
    message = re.sub(r"( is ).*(, (which|where) )", r"\1…\2", message, count=1, flags=re.DOTALL)
    return shorten(re.sub(r"(not a JSON object): .*$", r"\1", message, flags=re.DOTALL), 140)


def _message(text: str, depth: int) -> str:
    """The part of the text that describes the failure: an error field, a traceback's last line, or the first line.

    Empty where the text is an object without a message.
    """
    if text[:1] in ("{", "[") and depth < 4:
        return _in_object(text, depth) or ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    return lines[-1] if any(line.startswith("Traceback (most recent") for line in lines) else lines[0]


def _in_object(text: str, depth: int) -> str | None:
    try:
        return _in_value(json.loads(text), depth)
    except (ValueError, RecursionError):
        quoted = _QUOTED_MESSAGE.search(text)
        return None if quoted is None else quoted[1] or quoted[2]


def _in_value(value: Any, depth: int) -> str | None:
    if isinstance(value, str):
        return _message(value.strip(), depth + 1) or None
    if depth > 4:
        return None
    if isinstance(value, list):
        return next((found for item in value[:3] if (found := _in_value(item, depth + 1))), None)
    if isinstance(value, dict):
        named = (value[key] for key in (*_MESSAGE_KEYS, *_WRAPPERS) if value.get(key))
        return next((found for inner in named if (found := _in_value(inner, depth + 1))), None)
    return None
