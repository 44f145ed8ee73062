"""Small tasks of general ability that need no download: `tltrain eval --general local`.

lm-eval takes its data sets from a hub. The items of these four are generated, or taken from the documentation that
comes with Python, and read from local files. They are too easy to rank models by; they show what training for tools
costs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import yaml

from tltrain.files import write_json_lines, write_text

PRESET = "local"
ITEMS = 200
"""Items of each task; accuracies of one half then have a standard error of 3.5 points."""
SEED = 0


def arithmetic() -> Iterator[dict[str, Any]]:
    """Sums and differences of numbers up to 50, each with three wrong answers near by."""
    rng = Random(SEED)
    pairs = [(a, b) for a, b in product(range(2, 51), repeat=2) if b < a]
    for a, b in rng.sample(pairs, ITEMS):
        sign, right = rng.choice([("+", a + b), ("-", a - b)])
        wrong = rng.sample([right + shift for shift in (-10, -2, -1, 1, 2, 10) if right + shift >= 0], 3)
        yield _choice(f"{a} {sign} {b} =", [f" {value}" for value in (right, *wrong)])


def agreement() -> Iterator[dict[str, Any]]:
    """The verb agrees with its subject, not with the noun next to it."""
    nouns = ["book", "teacher", "car", "river", "student", "house", "dog", "letter", "doctor", "garden", "ship", "cook"]
    links, ends = ["near", "behind", "next to", "with"], ["old", "very small", "well known", "not ready"]
    frames = [frame for frame in product(nouns, links, nouns, ends, (False, True)) if frame[0] != frame[2]]
    for subject, link, other, end, plural in Random(SEED).sample(frames, ITEMS):
        first, second = (subject + "s", other) if plural else (subject, other + "s")
        verbs = ("are", "is") if plural else ("is", "are")
        yield _choice(f"The {first} {link} the {second}", [f" {verb} {end}." for verb in verbs])


def sequences() -> Iterator[dict[str, Any]]:
    """Numbers at equal distances go on at that distance."""
    rng = Random(SEED)
    frames = [frame for frame in product(range(1, 60), (1, 2, 3, 5, 10)) if frame[0] > 1]
    for start, step in rng.sample(frames, ITEMS):
        *shown, right = (start + step * index for index in range(6))
        wrong = [right + shift for shift in (-2 * step, step, 10 * step)]
        yield _choice(", ".join(map(str, shown)) + ",", [f" {value}" for value in (right, *wrong)])


def last_words() -> Iterator[dict[str, Any]]:
    """The last word of sentences in Python's own documentation, as in LAMBADA (arXiv 1606.06031)."""
    from pydoc_data.topics import topics

    found = []
    for name in sorted(topics):
        for paragraph in re.split(r"\n\s*\n", topics[name]):
            if paragraph[:1].isupper() and not re.search(r"::=|\n |[`*>|]", paragraph):
                sentences = re.split(r"(?<=\.) +", " ".join(paragraph.split()))
                found += [sentence for sentence in sentences if re.fullmatch(r"[A-Z].{60,300} [a-z]{4,}\.", sentence)]
    for sentence in Random(SEED).sample(sorted(set(found)), ITEMS):
        context, word = sentence[:-1].rsplit(" ", 1)
        yield {"context": context, "word": f" {word}"}


TASKS: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
    "tltrain_arithmetic": arithmetic,
    "tltrain_agreement": agreement,
    "tltrain_sequences": sequences,
    "tltrain_last_words": last_words,
}
CHOICE = {
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "{{answer}}",
}
LAST_WORD = {"output_type": "loglikelihood", "doc_to_text": "{{context}}", "doc_to_target": "{{word}}"}


def write_tasks(folder: Path) -> list[Path]:
    """Write the tasks' items and settings to a folder, for lm-eval; returns the files of settings."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, items in TASKS.items():
        data, path = folder / f"{name}.jsonl", folder / f"{name}.yaml"
        write_json_lines(data, items())
        settings = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data.resolve())}},
            "test_split": "test",
            **(LAST_WORD if items is last_words else CHOICE),
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        }
        write_text(path, yaml.safe_dump(settings))
        paths.append(path)
    return paths


def _choice(question: str, choices: list[str]) -> dict[str, Any]:
    """An item whose first choice is right, in an order that gives nothing away."""
    order = Random(question).sample(range(len(choices)), len(choices))
    return {"question": question, "choices": [choices[index] for index in order], "answer": order.index(0)}
