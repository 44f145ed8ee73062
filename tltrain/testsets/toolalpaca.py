"""ToolAlpaca's test sets (Tang et al. 2023, arXiv 2306.05301): queries to an API each, with the calls they need.

An item is a query. Only its first step is scored, since later calls may depend on the results of earlier calls.
`getDetails`, which asks the user for missing details, belongs to every tool set; the wording of the question is not
compared. `${…}` in a gold is a placeholder for a value that the query does not give, and matches any value. A gold that
calls an unlisted tool is scored, and reported as a repair.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from tltrain.errors import ConfigError, DataError
from tltrain.formats import jsonio, toolalpaca
from tltrain.formats.fields import FieldError, list_of, record_of
from tltrain.formats.literals import json_or_literal
from tltrain.judging.equality import ANY
from tltrain.testsets.base import Gold, Item, TestSet
from tltrain.testsets.checksums import version_warnings
from tltrain.trajectory import Call, Tool, Trajectory

REPOSITORY, COMMIT = "tangqiaoyu/ToolAlpaca", "189069998d64a7baf1b4a1c3c4b2e75eb9d05532"
PINS = {
    "eval_real": "86d1392c786060e00dd6feaa963d8a87660e3042380b0abbd8ccad2b931e2778",
    "eval_simulated": "17085ffefae0a0e15c1d2d564263063932d692011edf27ce8ae3d3803432ba08",
}
"""SHA-256 of each split's file at `COMMIT`."""
GET_DETAILS = Tool(
    "getDetails",
    "Ask the user for details that the request leaves out and other functions need.",
    {
        "type": "object",
        "properties": {"Question": {"type": "string", "description": "Required. string. What to ask the user."}},
        "required": ["Question"],
    },
)

_PLACEHOLDER = re.compile(r"\$\{[^{}]*\}")
_OPTIONAL = "[Optional]"
_TEXT = r'"(?:[^"\\]|\\.)*"'
_BARE = re.compile(rf'{_TEXT}|(?P<inside>\$\{{[^{{}}",]*)(?:(?P<more>,[^{{}}"]*)?\}}"?|(?=,))')
"""A string, or a placeholder outside of a string: some lack the closing brace, some have only the closing quote."""
_DOUBLED = re.compile(rf"({_TEXT})(?:\s*:\s*\1)+(?=\s*:)")


@dataclass(frozen=True)
class ToolAlpaca(TestSet):
    """One of ToolAlpaca's two test sets."""

    SPLITS = tuple(PINS)
    DIALECT = "react"

    @classmethod
    def load(cls, folder: Path, split: str) -> Self:
        """Read `folder/toolalpaca/SPLIT.json`. Items are numbered over all APIs, in the order of the file.

        Raises:
            ConfigError: no such split.
            DataError: the file is missing or is not ToolAlpaca's.
        """
        if split not in cls.SPLITS:
            raise ConfigError(f"toolalpaca has no split {split!r}: expected one of {', '.join(cls.SPLITS)}")
        path = folder / "toolalpaca" / f"{split}.json"
        test = cls("toolalpaca", split, [], 0)
        index = -1
        for index, (prompt, golds) in enumerate(_queries(path)):
            try:
                if isinstance(prompt, DataError):
                    raise prompt
                call, repairs = _first_call(golds, prompt.tools)
            except DataError as error:
                test.excluded[index] = error.reason
                continue
            if repairs:
                test.repaired[index] = repairs
            test.items.append(Item(index, prompt, ((call,),)))
        if index < 0:
            raise DataError("holds no queries", path)
        return replace(test, total=index + 1, warnings=version_warnings(f"toolalpaca {split}", [path], PINS[split]))

    def golds_for(self, item: Item, calls: Sequence[Call]) -> tuple[Gold, ...]:
        """The golds that a reply is judged with: values that are not compared become ANY."""
        return tuple(tuple(map(_resolved, gold)) for gold in item.golds)


def _resolved(call: Call) -> Call:
    if isinstance(call.arguments, str):
        return call
    if call.name == GET_DETAILS.name:
        return replace(call, arguments=dict.fromkeys(call.arguments, ANY))
    return replace(call, arguments={name: _with_any(value) for name, value in call.arguments.items()})


def _with_any(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_any(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_any(inner) for inner in value]
    return ANY if isinstance(value, str) and _PLACEHOLDER.search(value) else value


def _queries(path: Path) -> Iterator[tuple[Trajectory | DataError, Any]]:
    """The prompt of each query, or the error that it has none, and its golds as written in the file."""
    try:
        with path.open("rb") as stream:
            for line, record in jsonio.records(stream):
                try:
                    yield from _queries_of(record, f"{path}:{line}")
                except DataError as error:
                    raise DataError(error.reason, path, line) from None
    except FileNotFoundError:
        raise DataError("no such file: download it with `tltrain fetch toolalpaca`", path) from None


def _queries_of(record: Any, source: str) -> Iterator[tuple[Trajectory | DataError, Any]]:
    """The queries of an API.

    Raises:
        DataError: the record has no queries, so it is not an API of ToolAlpaca.
    """
    if isinstance(record, DataError):
        raise record
    texts, golds = list_of(record_of(record), "Instructions"), record.get("Golden_Answers")
    golds = golds if type(golds) is list else []
    for number, text in enumerate(texts):
        yield _prompt(record, text, number, source), golds[number] if number < len(golds) else None


def _prompt(record: dict[str, Any], text: Any, number: int, source: str) -> Trajectory | DataError:
    single = {**record, "Instructions": [text], "Golden_Answers": [[]]}
    try:
        (query,) = toolalpaca.read(single, (), source)
    except DataError as error:
        return error
    listed = any(tool.name == GET_DETAILS.name for tool in query.tools)
    tools = query.tools if listed else (*query.tools, GET_DETAILS)
    return replace(query, tools=tools, id=f"{record.get('Name')}/{number}")


def _first_call(golds: Any, tools: Sequence[Tool]) -> tuple[Call, str]:
    """The first of a query's gold calls, and a note of what was repaired.

    Raises:
        DataError: there is no gold call that can be used.
    """
    if type(golds) is not list or not golds:
        raise DataError("no gold")
    first = golds[0]
    if type(first) is not dict or type(first.get("Action")) is not str:
        raise DataError("its first gold names no tool")
    name, note = _named(first["Action"].strip(), {tool.name for tool in tools})
    arguments, repairs = _arguments(first.get("Action_Input"))
    return Call(name, arguments), "; ".join(filter(None, (note, repairs)))


def _named(written: str, given: set[str]) -> tuple[str, str]:
    """The name of the tool that a gold calls, and a note of what is wrong with it. An unlisted tool is kept: the
    published figures include such items, which no model can get right."""
    if written in given:
        return written, ""
    plain = written.removeprefix(_OPTIONAL).strip()
    if plain in given:
        return plain, f"{_OPTIONAL} removed from the tool's name"
    return written, f"calls {written}, which is not among the tools"


def _arguments(written: Any) -> tuple[dict[str, Any], str]:
    """The arguments of a gold, and a note of what was repaired."""
    if type(written) is dict:
        return written, ""
    if type(written) is not str:
        raise FieldError("Action_Input", "expected text or object")
    try:
        return record_of(jsonio.loads(written)), ""
    except DataError:
        single = _DOUBLED.sub(r"\1", written)
        quoted = _BARE.sub(_quoted, single)
    try:
        value, note = _object_in(quoted)
    except (ValueError, RecursionError):
        raise DataError("the arguments of its first gold are not a JSON object") from None
    notes = (
        "doubled key collapsed" if single != written else "",
        "placeholder quoted" if quoted != single else "",
        note,
    )
    return value, "; ".join(filter(None, notes)) or "doubled key collapsed"


def _quoted(match: re.Match[str]) -> str:
    return match[0] if match["inside"] is None else f'"{match["inside"]}{match["more"] or ""}}}"'


def _object_in(text: str) -> tuple[dict[str, Any], str]:
    """The object in a text, which is JSON or else a Python literal, and a note if it is the latter."""
    try:
        value = json.loads(text, object_pairs_hook=_agreeing)
        return record_of(jsonio.loads(jsonio.dumps(value))), ""
    except json.JSONDecodeError:
        return record_of(json_or_literal(text, "")), "read as a Python literal"


def _agreeing(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if any(value[key] != inner for key, inner in pairs):
        raise ValueError("a key with two values")
    return value
