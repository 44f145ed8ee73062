"""Our BFCL accuracy beside the verdicts of its own checker, over golds and perturbed golds of all ast and live items.

    python tests/support/compare_bfcl.py PACKAGE DATA

PACKAGE is the folder that holds `bfcl_eval` (`pip install --no-deps --target PACKAGE bfcl-eval==2026.3.23`), DATA the
folder of test sets. Only the checker's own module is imported; its table of models gets an empty one in its place.
Prints for each split and perturbation: replies, right by the checker, agreeing. Exit code 1 where any disagrees.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tltrain.judging import judge
from tltrain.testsets.base import Item
from tltrain.testsets.bfcl import BFCL
from tltrain.trajectory import Call

Reply = tuple[Call, ...]
Arguments = dict[str, Any]


def checker_of(package: Path) -> Any:
    """The package's `ast_checker`, as a function of item and calls."""
    sys.path.insert(0, str(package))
    models = types.ModuleType("bfcl_eval.constants.model_config")
    models.MODEL_CONFIG_MAPPING = {"plain": types.SimpleNamespace(underscore_to_dot=False)}  # type: ignore[attr-defined]
    sys.modules[models.__name__] = models
    checker = importlib.import_module("bfcl_eval.eval_checker.ast_eval.ast_checker")
    language = importlib.import_module("bfcl_eval.constants.enums").Language.PYTHON

    def verdict(item: Item, calls: Sequence[Call]) -> bool:
        output = [{call.name: call.arguments} for call in calls]
        answers = [{name: options} for name, options in item.extra["written"]]
        category = item.extra["category"]
        try:
            found = checker.ast_checker(item.extra["functions"], output, answers, language, category, "plain")
        except (AttributeError, TypeError, KeyError, IndexError):
            return False  # it stops on some values of wrong types, which its caller counts as wrong
        return bool(found["valid"])

    return verdict


def replies(item: Item) -> Iterator[tuple[str, Reply]]:
    """The gold, other possible values, and what can be wrong with them."""
    gold = item.golds[0]
    yield "gold", gold
    yield "reversed calls", gold[::-1]
    yield "call left out", gold[1:]
    yield "call doubled", (*gold, gold[-1])
    yield "other tool", (Call("no_such_tool", gold[0].arguments), *gold[1:])
    for at, (call, (_, options)) in enumerate(zip(gold, item.extra["answers"], strict=True)):
        for kind, arguments in _changes(call.arguments, options, item.extra["functions"]):  # type: ignore[arg-type]
            yield kind, (*gold[:at], Call(call.name, arguments), *gold[at + 1 :])


def _changes(arguments: Arguments, options: dict[str, list[Any]], functions: Any) -> Iterator[tuple[str, Arguments]]:
    yield "argument added", arguments | {"no_such_argument": 1}
    for name in {name for function in functions for name in function["parameters"]["properties"]} - arguments.keys():
        yield "other argument added", arguments | {name: "x"}
    for name, possible in options.items():
        yield "argument left out", {key: value for key, value in arguments.items() if key != name}
        for value in possible:
            yield "possible value", arguments | {name: value}
            for kind, other in _values(value):
                yield kind, arguments | {name: other}


def _values(value: Any) -> Iterator[tuple[str, Any]]:
    yield from (("other type", other) for other in (None, True, 3, 3.0, 2.5, "x", "", [], ["x"], [1], {}, {"x": 1}))
    yield "as text", str(value)
    yield "in a list", [value]
    if isinstance(value, str):
        yield "case", value.swapcase()
        yield "punctuation", f" {value}.,-_*^/"
        yield "quotes", value.replace("'", '"')
        yield "text changed", value + "x"
    elif isinstance(value, bool):
        yield "value changed", not value
    elif isinstance(value, int | float):
        yield "value changed", value + 1
        yield "other number type", float(value) if isinstance(value, int) else int(value)
    elif isinstance(value, list):
        yield "list reversed", value[::-1]
        yield "list shortened", value[:-1]
        yield "items doubled", value + value
        for at, item in enumerate(value):
            yield from ((f"item: {kind}", [*value[:at], other, *value[at + 1 :]]) for kind, other in _values(item))
    elif isinstance(value, dict):
        first = {key: one[0] if isinstance(one, list) and one else one for key, one in value.items()}
        yield "table of first values", first
        yield "table with another key", first | {"no_such_key": 1}
        for key, possible in value.items():
            yield "table without a key", {name: one for name, one in first.items() if name != key}
            for one in possible if isinstance(possible, list) else []:
                yield from ((f"field: {kind}", first | {key: other}) for kind, other in _values(one))


def main() -> int:
    """Compare, and print the counts."""
    verdict = checker_of(Path(sys.argv[1]))
    disagreements = 0
    for split in ("ast", "live"):
        test = BFCL.load(Path(sys.argv[2]), split)
        seen: Counter[str] = Counter()
        right: Counter[str] = Counter()
        agreeing: Counter[str] = Counter()
        ours_right = 0
        for item in test.items:
            for kind, calls in replies(item):
                theirs = verdict(item, calls)
                seen[kind] += 1
                right[kind] += theirs
                if theirs == BFCL("bfcl", "ast", [], 0).is_accurate(item, calls):
                    agreeing[kind] += 1
                else:
                    print(f"{split} {item.index} {item.prompt.id} {kind}: checker says {theirs}: {calls}"[:400])
                if kind == "gold":
                    ours_right += judge(calls, BFCL("bfcl", "ast", [], 0).golds_for(item, calls), item.prompt.tools).CF
        print(f"{split}: {len(test.items)} items, CF of golds {ours_right}")
        for kind in seen:
            print(f"  {kind:30} {seen[kind]:7} replies {right[kind]:7} right {agreeing[kind]:7} agree")
        print(f"  {'all':30} {seen.total():7} replies {right.total():7} right {agreeing.total():7} agree")
        disagreements += seen.total() - agreeing.total()
    return 1 if disagreements else 0


if __name__ == "__main__":
    raise SystemExit(main())
