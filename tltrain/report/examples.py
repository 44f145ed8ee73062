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


def example_sections(files: Sequence[Path], models: Sequence[str] = ()) -> Section | None:
    """The first wrong predictions of every error category in each file of predictions.

    Files are in the order of `models`; those of the last model (the last training arm) come last, and the first of its
    files with a wrong prediction is unfolded.

    Raises:
        RunError: a line of a file is not a JSON object.
    """
    found = []
    for path in sorted(files, key=lambda path: (_position(path, models), path.name)):
        total, examples = wrong_examples(path)
        if total:
            found.append((path, total, examples))
    last = _position(found[-1][0], models) if found else -1
    unfolded = next((path for path, _, wrong in found if wrong and _position(path, models) == last), None)
    parts = []
    for path, total, examples in found:
        shown = join(_example(example) for example in examples)
        count = f"{path.stem}: {len(examples)} of the wrong answers among {total:,}"
        parts.append(details(count, shown or paragraph("No wrong answer."), open=path == unfolded))
    return Section("Example predictions", join(parts)) if parts else None


def _position(path: Path, models: Sequence[str]) -> int:
    """Index of the model whose predictions the file has (the longest name that fits); -1 if it is none of them."""
    fitting = [name for name in models if path.name.startswith(f"{name}.")]
    return list(models).index(max(fitting, key=len)) if fitting else -1


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
