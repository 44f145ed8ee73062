"""Precision and recall of the feedback detector on the labelled set, by half and by kind, ours beside the paper's rule.

    python tests/support/score_failure_detectors.py [FOLDER OF PUBLIC DATA]

`data/feedback_labels.jsonl` was labelled by reading, before the rules were written. Its own texts stand in it;
messages of public data sets are referenced by location (`at`: file and JSON pointer; `obs`: which <obs> part of that
text) and a SHA-256, and are skipped without the data. The halves are drawn by hash: rules were written looking at
`dev` alone. `data/feedback_probes.jsonl` are messages written afterwards to break the rules, which learned from them.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tltrain.audit import feedback_failed

LABELS = Path(__file__).parent.parent / "data" / "feedback_labels.jsonl"
PROBES = Path(__file__).parent.parent / "data" / "feedback_probes.jsonl"


@dataclass(frozen=True)
class Labelled:
    text: str
    failed: bool
    kind: str

    @property
    def half(self) -> str:
        return "dev" if int(hashlib.sha256(self.text.encode()).hexdigest(), 16) % 2 == 0 else "held"


@dataclass(frozen=True)
class Score:
    right: int
    false_alarms: int
    missed: int
    passed: int

    @property
    def precision(self) -> float:
        return self.right / max(1, self.right + self.false_alarms)

    @property
    def recall(self) -> float:
        return self.right / max(1, self.right + self.missed)

    @property
    def f1(self) -> float:
        return 2 * self.right / max(1, 2 * self.right + self.false_alarms + self.missed)


def load(data: Path | None, path: Path = LABELS) -> list[Labelled]:
    """The labelled messages: all of them with the public data, the committed texts without."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [
        Labelled(row["text"] if "text" in row else resolve(data, row), row["failed"], row["kind"])
        for row in rows
        if "text" in row or data is not None
    ]


def resolve(data: Path | None, row: dict[str, Any]) -> str:
    """The text of a public message; an error where another text is found there."""
    assert data is not None
    file, pointer = row["at"].split("#")
    node: Any = _document(data / file)
    for key in pointer.split("/")[1:]:
        node = node[int(key)] if isinstance(node, list) else node[key]
    text: str = node if "obs" not in row else re.findall(r"<obs>(.*?)</obs>", node, re.S)[row["obs"]].strip()
    assert hashlib.sha256(text.encode()).hexdigest() == row["sha256"], f"another text at {row['at']}"
    return text


@cache
def _document(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def score(labelled: Sequence[Labelled], mode: Any) -> Score:
    """Counts of one rule on some messages."""
    found = [(message.failed, feedback_failed(message.text, mode) is not None) for message in labelled]
    return Score(
        found.count((True, True)), found.count((False, True)), found.count((True, False)), found.count((False, False))
    )


def wrong(labelled: Sequence[Labelled]) -> Iterator[Labelled]:
    """Messages on which our rule and the label differ."""
    return (message for message in labelled if (feedback_failed(message.text) is not None) != message.failed)


def table(labelled: Sequence[Labelled]) -> str:
    """One line a kind and half: of how many, how many are said to have failed by us and by the paper's rule."""
    lines = []
    parts = {half: [message for message in labelled if message.half == half] for half in ("dev", "held")}
    for half, part in {**parts, "probes": load(None, PROBES)}.items():
        lines.append(f"\n{half}: {len(part)} messages, {sum(message.failed for message in part)} failed")
        for name, mode in (("ours", "default"), ("paper", "paper")):
            s = score(part, mode)
            counts = f"({s.right} right, {s.false_alarms} false alarms, {s.missed} missed)"
            lines.append(f"  {name:6} precision {s.precision:.3f}  recall {s.recall:.3f}  F1 {s.f1:.3f}  {counts}")
        lines.append(f"  {'kind':20} {'label':6} {'n':>4}  right: ours  paper")
        for kind, failed in sorted(
            {(message.kind, message.failed) for message in part}, key=lambda pair: (not pair[1], pair[0])
        ):
            some = [message for message in part if (message.kind, message.failed) == (kind, failed)]
            ours, paper = (score(some, mode) for mode in ("default", "paper"))
            label = "failed" if failed else "good"
            lines.append(
                f"  {kind:20} {label:6} {len(some):>4}  {ours.right + ours.passed:>11}  {paper.right + paper.passed:>5}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[3] / "shared" / "data"
    print(table(load(folder if folder.is_dir() else None)))
