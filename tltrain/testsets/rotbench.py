"""RoTBench (Ye et al. 2024, arXiv 2401.08326): queries with several golds, and tool sets whose names are noisy.

The last tool of a list is `finish` and the second to last `ask_to_user`, whatever names the noise gave them. Any value
is right for the arguments of these two tools, and for arguments whose gold value is the string "None"; `finish` is
always accepted under its plain name. The `paper` protocol is that of the authors' script.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tltrain.dialects import react
from tltrain.errors import ConfigError, DataError
from tltrain.formats import jsonio, rotbench
from tltrain.formats.fields import FieldError
from tltrain.judging.equality import ANY
from tltrain.testsets import rotbench_paper
from tltrain.testsets.base import Gold, Item, TestSet
from tltrain.testsets.checksums import version_warnings
from tltrain.testsets.prompts import without_react_instructions
from tltrain.testsets.rotbench_paper import ASK, FINISH, NONE
from tltrain.trajectory import Arguments, Call, Trajectory

REPOSITORY, COMMIT = "Junjie-Ye/RoTBench", "637e43ae9a978036774c92bb2ab11a83609e304b"
PINS = {
    "First_Turn/clean": "a367dc165c0bb09f4002c89ab9a6884ef2383547d8e6d21511c7c0153e7ff1cd",
    "First_Turn/slight": "a47aee08eec1d6b9519c227829a076ce05e2737455e0d7589921460f8cbe9825",
    "First_Turn/medium": "ad73ad3cad2ecd76bd2f0a2c7fb6e8dd3f599d20b6177b07ab5ad5fe6330e4be",
    "First_Turn/heavy": "061ffc421a9fa8b51abacfeab6880d42b86661d529e048f0cb09f2bee527533b",
    "First_Turn/union": "61ffacb834ebaac9aa317eb45e1e8b8c3f2c659696139b9dd3b7272491cff911",
    "Third_Turn/clean": "dee124e3df46b47cb31afb95454131030c09aaf8bc0296b7e9d15266092c125b",
    "Third_Turn/slight": "9eb3d65ef1322ae1d1281c508e81c716a8c6531678e8e23ac033e1703488327b",
    "Third_Turn/medium": "9119d71cc2371a5fb6f502a7d0298d70a1ae21908437fdd6e0c0365dbd8e3293",
    "Third_Turn/heavy": "75928e4bc969d95418883f335125da4368d67df57a1e34c94c0230b3c2ceda3d",
    "Third_Turn/union": "89427db39c7fc0db183494cc8d08746b77c57d3e720d937167635f9adc11c00d",
}
"""SHA-256 of each split's file at `COMMIT`."""


@dataclass(frozen=True)
class RoTBench(TestSet):
    """RoTBench, one turn at one noise level."""

    SPLITS = tuple(PINS)
    DIALECT = "react"
    PAPER_PROTOCOL = True

    @classmethod
    def load(cls, folder: Path, split: str) -> Self:
        """Read `folder/rotbench/SPLIT.json`.

        The tool list and the ReAct instructions are removed from the system text: the model's own template and dialect
        provide both. An item's `extra` holds the golds as written in the file, `texts`.

        Raises:
            ConfigError: no such split.
            DataError: the file is missing, cannot be read, or has no item.
        """
        if split not in cls.SPLITS:
            raise ConfigError(f"rotbench has no split {split!r}: expected one of {', '.join(cls.SPLITS)}")
        path = folder / "rotbench" / f"{split}.json"
        test = cls("rotbench", split, [], 0)
        items, repaired, excluded, index = test.items, test.repaired, test.excluded, -1
        try:
            with path.open("rb") as stream:
                for index, (line, record) in enumerate(jsonio.records(stream)):
                    try:
                        item, repairs = _item(index, record, f"{path}:{line}")
                    except DataError as error:
                        excluded[index] = error.reason
                        continue
                    items.append(item)
                    repaired |= {index: repairs} if repairs else {}
        except FileNotFoundError:
            raise DataError("no such file: download it with `tltrain fetch rotbench`", path) from None
        if not items:
            raise DataError(f"not a file of RoTBench: {excluded.get(0, 'the file is empty')}", path)
        warnings = version_warnings(f"rotbench {split}", [path], PINS[split])
        return cls("rotbench", split, items, index + 1, repaired=repaired, excluded=excluded, warnings=warnings)

    def golds_for(self, item: Item, calls: Sequence[Call]) -> tuple[Gold, ...]:
        """The golds that a reply is judged with: values that are not compared become ANY, and the last tool gets the
        name that the reply uses for it."""
        names = [tool.name for tool in item.prompt.tools]
        written = calls[0].name if len(calls) == 1 else ""
        return tuple((_resolved(gold, names, written),) for (gold,) in item.golds)

    def paper_outcome(self, item: Item, text: str) -> rotbench_paper.Outcome:
        """The reply's text by the authors' script."""
        return rotbench_paper.judge_text(text, item.extra["texts"], [tool.name for tool in item.prompt.tools])


def _resolved(gold: Call, names: Sequence[str], written: str) -> Call:
    arguments = gold.arguments
    if isinstance(arguments, dict):
        free = gold.name in names[-2:] or (gold.name in (FINISH, ASK) and gold.name not in names)
        arguments = {name: ANY if free or value == NONE else value for name, value in arguments.items()}
    return Call(written if _both_finish(gold.name, written, names) else gold.name, arguments)


def _both_finish(gold: str, written: str, names: Sequence[str]) -> bool:
    """Whether one of the two names is the last tool's and the other `finish`. If noise gave another tool the name
    `finish`, a gold with that name means that tool."""
    if {gold, written} != {FINISH, *names[-1:]}:
        return False
    return gold != FINISH or FINISH not in names


def _item(index: int, record: Any, source: str) -> tuple[Item, str]:
    """An item, and a note of what was repaired in its golds.

    Raises:
        DataError: the record cannot be read or has no gold.
    """
    if isinstance(record, DataError):
        raise record
    if not rotbench.detect(record):
        raise FieldError(
            "conversations", "expected a system text with a tool list, and a list of golds in the last turn"
        )
    (trajectory,) = rotbench.read(record, None, source)
    texts = record["conversations"][-1]["value"]
    read = [_gold(text) for text in texts]
    golds = tuple((call,) for call, _ in read if call is not None)
    if not golds:
        raise DataError(f"no gold can be read: {read[0][1]}")
    messages = tuple(map(without_react_instructions, trajectory.messages[:-1]))
    prompt = Trajectory(messages, trajectory.tools, trajectory.id, source)
    extra = {**trajectory.extra, "texts": texts}
    extra.pop("alternatives", None)
    return Item(index, prompt, golds, extra), "; ".join(
        f"gold {index}: {note}" for index, (_, note) in enumerate(read) if note
    )


def _gold(text: str) -> tuple[Call | None, str]:
    """The call of a gold (None if it has no single call), and a note of what was wrong with it."""
    parsed = react.parse(text)
    if not parsed.broken and len(parsed.calls) == 1 and isinstance(parsed.calls[0].arguments, dict):
        return parsed.calls[0], ""
    action, arguments = rotbench_paper.split_text(text)
    repaired = _dumpable(arguments)
    if action.strip() and repaired is not None:
        return Call(action.strip(), repaired), "read as the authors' script does"
    return None, f"skipped: {parsed.broken or 'not a single call'}"


def _dumpable(arguments: Any) -> Arguments | None:
    """The arguments if they are an object that JSON can hold, else None (NaN, for example)."""
    try:
        value = jsonio.loads(json.dumps(arguments))
    except (DataError, ValueError):
        return None
    return value if type(value) is dict else None
