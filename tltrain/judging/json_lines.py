"""`tltrain judge`: verdicts on JSON Lines of predictions and gold replies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from tltrain import dialects
from tltrain.dialects import Dialect, Parsed
from tltrain.errors import ConfigError, DataError
from tltrain.formats.fields import FieldError, each, expected, list_of, record_of, text_of
from tltrain.formats.jsonio import loads
from tltrain.formats.replies import call_of
from tltrain.formats.tools import tools_of
from tltrain.judging import Verdict, judge
from tltrain.trajectory import Call, Tool

_TOOLS_FIRST = re.compile(r'\s*+\{\s*+"tools"\s*+:\s*+(?=\[)')
_COMMA = re.compile(r"\s*+,")
_DECODER = json.JSONDecoder()


def judge_lines(lines: Iterable[str], path: str | Path | None = None) -> Iterator[dict[str, Any]]:
    """Yields a verdict as JSON, with its `line` number (1-based), for each line that is not blank.

    A line is an object with `tools` (in OpenAI's format, wrapped or bare), `prediction`, and either `gold` (a reply)
    or `golds` (a list of replies). A reply is a list of calls `{"name", "arguments"}` (or in OpenAI's format), a
    single call, or the raw text, which is parsed in the line's `dialect` (default: hermes).

    A verdict has `category`, `reward`, `ts`, `pi`, `cf`, the wrong argument names of the call with the lowest reward,
    and the other fields of `Verdict.to_json`.

    Raises:
        DataError: a line cannot be read; with path and line number.
    """
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield {"line": number, **_judge_record(*_read(line))}
            except (DataError, ConfigError) as error:
                reason = error.reason if isinstance(error, DataError) else str(error)
                raise DataError(reason, path, number) from None


def _read(line: str) -> tuple[dict[str, Any], tuple[Tool, ...]]:
    """The record and its tools. Parsing tools takes most of the time, so equal texts are parsed only once."""
    if match := _TOOLS_FIRST.match(line):
        try:
            _, end = _DECODER.raw_decode(line, match.end())
            comma = _COMMA.match(line, end)
            rest = loads("{" + line[comma.end() :]) if comma else {}
            if rest and "tools" not in rest:
                return rest, _tools_in(line[match.end() : end])
        except (ValueError, RecursionError):
            pass  # raised again below, with the position in the whole line
    record = record_of(loads(line))
    return record, tools_of(list_of(record, "tools"))


@lru_cache(maxsize=1024)
def _tools_in(text: str) -> tuple[Tool, ...]:
    return tools_of(loads(text))


def _judge_record(record: dict[str, Any], tools: tuple[Tool, ...]) -> dict[str, Any]:
    dialect = dialects.get(text_of({"dialect": "hermes", **record}, "dialect"))
    if ("gold" in record) == ("golds" in record):
        raise FieldError("gold", 'expected either "gold" (a reply) or "golds" (a list of replies)')
    golds = [record["gold"]] if "gold" in record else list_of(record, "golds")
    if "prediction" not in record:
        raise FieldError("prediction", "expected text or a list of calls, but it is missing")
    prediction = _reply(record["prediction"], "prediction", dialect, tools)
    return _verdict_json(judge(prediction, [_gold(gold, dialect, tools) for gold in golds], tools))


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    """The verdict with all field names in lower case, those of the metrics included."""
    value = verdict.to_json()
    worst: dict[str, Any] = min(value["calls"], key=lambda call: call["reward"], default={})
    return {
        "category": verdict.category,
        "reward": verdict.reward,
        **{name.lower(): value.pop(name) for name in ("TS", "PI", "CF")},
        **{kind: worst.get(kind, ()) for kind in ("hallucinated", "redundant", "missing")},
        **value,
    }


def _gold(value: Any, dialect: Dialect, tools: tuple[Tool, ...]) -> tuple[Call, ...]:
    reply = _reply(value, "gold", dialect, tools)
    if reply.broken:
        raise FieldError("gold", f"cannot be read: {reply.broken}")
    return reply.calls


def _reply(value: Any, field: str, dialect: Dialect, tools: tuple[Tool, ...]) -> Parsed:
    if isinstance(value, str):
        return dialect.parse(value, tools)
    if not isinstance(value, list | dict):
        raise expected("text or a list of calls", value, field)
    return Parsed(each(_function_call, value if isinstance(value, list) else [value], field), "")


def _function_call(value: Any) -> Call:
    record = record_of(value)
    return call_of(record["function"] if isinstance(record.get("function"), dict) else record)
