"""Examples of wrong predictions: the end of the prompt, the gold, the prediction and its error category."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tltrain.report.page import Section, details, join, paragraph, render
from tltrain.report.run_files import json_lines
from tltrain.report.summary import category_words

PER_CATEGORY = 2
"""Examples per error category."""
PROMPT_TAIL = 320
"""Characters shown of the end of a prompt."""
MAX_CHARACTERS = 1200
"""Characters shown of a gold or a prediction."""


def example_sections(files: Sequence[Path]) -> Section | None:
    """The first wrong predictions of every error category in each file of predictions; the last file is unfolded.

    Raises:
        RunError: a line of a file is not a JSON object.
    """
    parts = []
    for path in files:
        total, examples = wrong_examples(path)
        if total:
            shown = join(_example(example) for example in examples)
            count = f"{path.stem}: {len(examples)} of the wrong answers among {total:,}"
            parts.append(details(count, shown or paragraph("No wrong answer."), open=path is files[-1]))
    return Section("Example predictions", join(parts)) if parts else None


def wrong_examples(path: Path) -> tuple[int, list[dict[str, Any]]]:
    """The number of predictions in a file, and the first `PER_CATEGORY` wrong predictions of every category."""
    total, found = 0, dict[str, list[dict[str, Any]]]()
    for line in json_lines(path):
        total += 1
        kind = category(line)
        if kind not in ("right", "") and len(found.setdefault(kind, [])) < PER_CATEGORY:
            found[kind].append(line)
    return total, [line for lines in found.values() for line in lines]


def category(line: Mapping[str, Any]) -> str:
    """The error category of a line's verdict; empty if it has none."""
    verdict = line.get("verdict")
    value = verdict.get("category") if isinstance(verdict, dict) else verdict
    return str(value or "")


def readable(value: Any) -> str:
    """A gold or a prediction as text: calls as lines `name {arguments}`, alternatives separated by `or`; else JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        arguments = value.get("arguments", {})
        return f"{value['name']} {arguments if isinstance(arguments, str) else _json(arguments)}"
    if isinstance(value, list) and value and all(isinstance(part, list) for part in value):
        return "\nor\n".join(readable(part) for part in value)
    if isinstance(value, list) and value:
        return "\n".join(readable(part) for part in value)
    return "no call" if value in ([], None) else _json(value)


def _example(line: Mapping[str, Any]) -> Markup:
    prompt = line.get("prompt")
    text = "" if prompt is None else readable(prompt)
    return render(
        "example.html.jinja",
        category=category_words(category(line)),
        item=readable(line.get("item", "")),
        split=readable(line.get("split", "")),
        prompt=("…" if len(text) > PROMPT_TAIL else "") + text[-PROMPT_TAIL:],
        gold=_cut(readable(line.get("gold"))),
        prediction=_cut(readable(line.get("text", ""))),
    )


def _cut(text: str) -> str:
    more = len(text) - MAX_CHARACTERS
    return text if more <= 0 else f"{text[:MAX_CHARACTERS]}… ({more:,} more characters)"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
