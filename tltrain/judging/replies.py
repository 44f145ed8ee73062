"""Judging a reply as text: read in its dialect, unless it was truncated, and compared with the golds."""

from __future__ import annotations

from collections.abc import Sequence

from tltrain.dialects import Dialect, Parsed
from tltrain.judging.verdicts import Verdict, judge
from tltrain.trajectory import Call, Tool

TRUNCATED = "truncated at the length limit"
"""Why a reply that was cut off at the length limit is not parseable, whatever its text."""


def parse_reply(text: str, finished: bool, dialect: Dialect, tools: Sequence[Tool]) -> Parsed:
    """The calls of a reply; a truncated one (`finished` is False) is not parseable."""
    return dialect.parse(text, tools) if finished else Parsed((), text, TRUNCATED)


def judge_reply(
    text: str, finished: bool, dialect: Dialect, golds: Sequence[Sequence[Call]], tools: Sequence[Tool]
) -> Verdict:
    """The verdict on a sampled reply."""
    return judge(parse_reply(text, finished, dialect, tools), golds, tools)
