"""BFCL, the Berkeley function calling leaderboard (Patil et al. 2025), from the data files of its package `bfcl-eval`.

`exec` is the executable part of v3, whose golds are calls in Python; `ast` and `live` list possible answers for each
argument. Items are numbered through a split's files in the order simple, multiple, parallel, parallel-multiple. Calls
are not executed: a reply to `exec` is accurate if its calls equal those of the gold.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tltrain.dialects import python
from tltrain.errors import ConfigError, DataError
from tltrain.formats import jsonio
from tltrain.formats.fields import FieldError, each, list_of, record_of, text_of, text_or_none
from tltrain.formats.tools import json_type
from tltrain.judging import judge
from tltrain.testsets.base import Gold, Item, TestSet
from tltrain.testsets.bfcl_accuracy import reply_accurate
from tltrain.testsets.bfcl_answers import Answer, first_call, nearest_calls
from tltrain.testsets.checksums import version_warnings
from tltrain.trajectory import Call, Message, Role, Tool, Trajectory

PINS = {
    "exec": "072dd43c241317c64dda1cd789c287c6de8ae5ae30b411462b6640baf4673811",
    "ast": "15ce6b5a907026b90b683f073bdb21164fcd0481fdd18dbe15b09d0fa4e0d092",
    "live": "b45f4747a8ec17c29bee58b347ed5d62d3e489180702534b0dc6b2befe875928",
}
"""SHA-256 of each split's files in `bfcl-eval` 2026.3.23, as `files` lists them, one after another."""

_KINDS = ("simple", "multiple", "parallel", "parallel_multiple")
_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True)
class BFCL(TestSet):
    """One part of the Berkeley function calling leaderboard."""

    SPLITS = ("exec", "ast", "live")
    DIALECT = "python"
    OWN_ACCURACY = True

    @classmethod
    def load(cls, folder: Path, split: str) -> Self:
        """Read a split from `folder/bfcl`, laid out as the package's `data` folder.

        An item's `extra` holds its `category`, its `functions` in BFCL's own form and, except in `exec`, the possible
        `answers` that golds are chosen from; `written` are the answers before repairs.

        Raises:
            ConfigError: no such split.
            DataError: a file is missing or cannot be read.
        """
        if split not in cls.SPLITS:
            raise ConfigError(f"bfcl has no split {split!r}: expected one of {', '.join(cls.SPLITS)}")
        items: list[Item] = []
        repaired: dict[int, str] = {}
        excluded: dict[int, str] = {}
        index = -1
        for index, (path, line, record, truth) in enumerate(_records(folder / "bfcl", split)):
            try:
                prompt = _prompt(record, f"{path}:{line}")
            except FieldError as error:
                raise DataError(error.reason, path, line) from None
            try:
                gold, extra, repairs = _read_truth(truth, prompt.tools, split)
            except ValueError as error:
                excluded[index] = str(error)
                continue
            if repairs:
                repaired[index] = "; ".join(dict.fromkeys(repairs))
            extra |= {"category": path.stem.removeprefix("BFCL_v4_"), "functions": record["function"]}
            items.append(Item(index, prompt, (gold,), extra))
        paths = [folder / "bfcl" / name for pair in files(split) for name in pair]
        warnings = version_warnings(f"bfcl {split}", paths, PINS[split])
        return cls("bfcl", split, items, index + 1, repaired=repaired, excluded=excluded, warnings=warnings)

    def golds_for(self, item: Item, calls: Sequence[Call]) -> tuple[Gold, ...]:
        """The gold that a reply is judged with: the nearest to it of all that the possible answers allow."""
        if "answers" not in item.extra:
            return item.golds
        return (nearest_calls(item.extra["answers"], calls, item.prompt.tools),)

    def is_accurate(self, item: Item, calls: Sequence[Call]) -> bool:
        """Whether BFCL's own AST checker accepts the reply; for `exec`, whether its calls equal those of the gold."""
        if "answers" not in item.extra:
            return judge(calls, item.golds, item.prompt.tools).CF
        return reply_accurate(calls, item.extra["written"], item.extra["functions"])


def files(split: str) -> list[tuple[str, str]]:
    """Pairs of a file of questions and a file of answers, relative to the data folder."""
    questions, answers = ("", "possible_answer")
    if split == "exec":
        questions, answers = "unused_datasets/question/", "unused_datasets/possible_answer"
    prefix = {"exec": "exec_", "ast": "", "live": "live_"}[split]
    names = [f"BFCL_v4_{prefix}{kind}.json" for kind in _KINDS]
    if split == "ast":
        names[0] = "BFCL_v4_simple_python.json"
    return [(f"{questions}{name}", f"{answers}/{name}") for name in names]


def _records(folder: Path, split: str) -> Iterator[tuple[Path, int, dict[str, Any], Any]]:
    """The file, line and record of each question, and its ground truth (None if there is none)."""
    for questions, answers in files(split):
        truths = {record.get("id"): record.get("ground_truth") for _, record in _lines(folder / answers)}
        for line, record in _lines(folder / questions):
            yield folder / questions, line, record, truths.get(record.get("id"))


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open("rb") as stream:
            for line, value in jsonio.records(stream):
                if not isinstance(value, dict):
                    raise DataError(value.reason if isinstance(value, DataError) else "expected object", path, line)
                yield line, value
    except FileNotFoundError:
        raise DataError("no such file", path) from None


def _prompt(record: dict[str, Any], source: str) -> Trajectory:
    turns = list_of(record, "question")
    if len(turns) != 1:
        raise FieldError("question", f"expected one turn, got {len(turns)}")
    messages = each(_message, turns[0], "question[0]")
    return Trajectory(messages, each(_tool, list_of(record, "function"), "function"), text_of(record, "id"), source)


def _message(value: Any) -> Message:
    record = record_of(value)
    role = text_of(record, "role")
    if role not in _ROLES:
        raise FieldError("role", f"expected one of {', '.join(_ROLES)}, got {role!r}")
    return Message(_ROLES[role], text_of(record, "content"))


def _tool(value: Any) -> Tool:
    record = record_of(value)
    parameters = record_of(record.get("parameters"))
    record_of(parameters.get("properties"))
    return Tool(text_of(record, "name"), text_or_none(record, "description") or "", _json_schema(parameters))


def _json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with JSON Schema's type names, at every depth."""
    mapped = schema | (json_type(schema["type"]) if isinstance(schema.get("type"), str) else {})
    if "x-type" in mapped:
        del mapped["type"]
    if isinstance(schema.get("properties"), dict):
        mapped["properties"] = {
            name: _json_schema(inner) if isinstance(inner, dict) else inner
            for name, inner in schema["properties"].items()
        }
    if isinstance(schema.get("items"), dict):
        mapped["items"] = _json_schema(schema["items"])
    return mapped


def _read_truth(truth: Any, tools: Sequence[Tool], split: str) -> tuple[Gold, dict[str, Any], list[str]]:
    """The gold, entries of the item's `extra`, and the repairs.

    Raises:
        ValueError: there is no gold; with the reason.
    """
    if not isinstance(truth, list) or not truth:
        raise ValueError("no gold")
    if split == "exec":
        calls, notes = zip(*(_read_call(text, tools) for text in truth), strict=True)
        return calls, {}, [note for note in notes if note]
    written = [_read_answer(value) for value in truth]
    answers, notes = zip(*(_repaired_answer(answer, tools) for answer in written), strict=True)
    gold = tuple(first_call(answer, tools) for answer in answers)
    return gold, {"answers": answers, "written": written}, [note for note in notes if note]


def _read_answer(value: Any) -> Answer:
    """`{"tool": {"argument": [possible values]}}`."""
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError("a gold is not an object with one tool")
    ((name, options),) = value.items()
    if not isinstance(options, dict) or not all(isinstance(possible, list) for possible in options.values()):
        raise ValueError("a gold's arguments are not lists of possible values")
    return name, options


def _repaired_answer(answer: Answer, tools: Sequence[Tool]) -> tuple[Answer, str]:
    """The answer with the empty array as the value of array arguments that have no possible value, and a note of it."""
    name, options = answer
    empty = [argument for argument, possible in options.items() if not possible]
    declared = next((tool.properties for tool in tools if tool.name == name), {})
    for argument in empty:
        if declared.get(argument, {}).get("type") != "array":
            raise ValueError(f"no possible value for {argument}")
    note = f"no possible value for {', '.join(empty)}: read as the empty list" if empty else ""
    return (name, options | {argument: [[]] for argument in empty}), note


def _read_call(text: Any, tools: Sequence[Tool]) -> tuple[Call, str]:
    """The call that a Python expression writes, and a note of what had to be repaired."""
    if not isinstance(text, str):
        raise ValueError("a gold is not a text")
    readings = (
        (text, (), ""),
        (text, tools, "positional arguments named by the schema's order"),
        (_folded(text), tools, "constant arithmetic folded"),
    )
    for source, named, note in readings:
        parsed = python.parse(source, named)
        if len(parsed.calls) == 1:
            return parsed.calls[0], note
    raise ValueError(f"a gold is not a single call: {parsed.broken or f'it has {len(parsed.calls)} calls'}")


class _Folding(ast.NodeTransformer):
    """Replaces arithmetic on constants by its result."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        compute = _OPERATORS.get(type(node.op))
        try:
            if compute:
                return ast.Constant(compute(ast.literal_eval(node.left), ast.literal_eval(node.right)))
        except (ValueError, TypeError, ArithmeticError):
            pass  # the dialect reports what is wrong with it
        return node


def _folded(text: str) -> str:
    try:
        return ast.unparse(_Folding().visit(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text
