"""The feedback detector of failed calls: does the environment's feedback report failure? It ignores the call."""

from __future__ import annotations

import re
from typing import Literal

from tltrain.audit.answers import answer_failed

Mode = Literal["default", "paper"]

_PAPER_PATTERNS = (
    "is not defined",
    "positional argument",
    "unexpected keyword",
    "'related_searches'",
    "ConnectionError",
    '"error":',
    "not supported",
    "Invalid API call",
    "Response error",
    "Object of type SerpResults is not JSON serializable",
    "400 Client Error",
    "'error'",
    "slice indices must be integers or None or have an __index__ method",
    "connection error",
)
_PAPER_REMOVED = re.compile("[^a-zA-Z0-9^\u4e00-\u9fa5]+")


def _paper_form(text: str) -> str:
    return _PAPER_REMOVED.sub("", text).lower()


_PAPER_FORMS = {_paper_form(pattern): pattern for pattern in _PAPER_PATTERNS}


def feedback_failed(text: str, mode: Mode = "default") -> str | None:
    """Why `text`, the feedback of a call, reports that the call failed; None if it does not.

    `mode="paper"` is exactly the rule of the TL-Training release; its reason is the pattern that matched.
    """
    if mode == "paper":
        return _paper_failed(text)
    return answer_failed(text)


def _paper_failed(text: str) -> str | None:
    form = _paper_form(text)
    return next((f"matches {pattern}" for plain, pattern in _PAPER_FORMS.items() if plain in form), None)
