"""Models on test sets: predictions that are saved as they come, scores, comparison, report.

model + test set -> predictions/*.jsonl -> scores.json -> robustness.json, comparison.* -> report.html
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tltrain import model as models
from tltrain.config import BenchConfig
from tltrain.data import file_digests
from tltrain.errors import ModelError
from tltrain.evaluation.endpoint import Endpoint
from tltrain.evaluation.episodes import play
from tltrain.evaluation.inference import Asker, Remote, load_local
from tltrain.evaluation.lm_eval import require_lm_eval, run_tasks
from tltrain.evaluation.outcomes import is_stepwise, judged, score
from tltrain.evaluation.scoring import paper_row
from tltrain.evaluation.selection import Model, data_folder, load_tests, loader
from tltrain.evaluation.significance import compare, prediction_path, robustness
from tltrain.files import append_json_line, discard, read_json, read_json_lines, write_json, write_json_lines
from tltrain.pipeline import Tell, untold
from tltrain.report.comparison import write_comparison
from tltrain.report.report import write_report
from tltrain.run_directory import RunDirectory
from tltrain.testsets.base import TestSet
from tltrain.testsets.simulator import Simulator
from tltrain.testsets.toollibrary import Library

Say = Callable[[str], None]
Line = dict[str, Any]


class Benchmark:
    """An evaluation and its directory. Every call does what is not yet done; models and tests may join later.

    Args:
        config: what decides the figures.
        folder: the run directory.
        tell: shows progress.
        say: called with remarks, such as test files that are missing.
        prices: of a million prompt and reply tokens at an endpoint, in any currency.
    """

    def __init__(
        self,
        config: BenchConfig,
        folder: Path,
        tell: Tell = untold,
        say: Say = lambda text: None,
        prices: tuple[float | None, float | None] = (None, None),
    ) -> None:
        self.config, self.folder, self.tell, self.say, self.prices = config, folder, tell, say, prices
        self.data = models.cache_folder() / "data" if config.data is None else Path(config.data)
        self.run = RunDirectory(folder, config)
        self._askers: dict[str, Asker] = {}

    def evaluate(self, named: Mapping[str, Model], names: str, general: str | None = None) -> list[dict[str, Any]]:
        """Score models, by name, on the tests that `names` says (`rotbench,toolalpaca/eval_real`); returns all rows.
        `general` names tasks of lm-eval to run as well."""
        if general:
            require_lm_eval()
        tests = self.tests(names)
        for name, model in named.items():
            with self.run.stage(f"eval {name}"):
                for test in tests:
                    self.score(name, model, test)
                if general:
                    self.general(name, model, general)
        self.conclude()
        return self.run.scores()

    def tests(self, names: str) -> list[TestSet]:
        """The splits that are named, as many items of each as the configuration says."""
        return [self._drawn(test) for test in load_tests(names, self.data, self.say)]

    def score(self, name: str, model: Model, test: TestSet) -> None:
        """Add the row, or rows, of a model on a split, unless they are there."""
        done = {(row["model"], row["bench"], row["split"]) for row in self.run.scores()}
        if (name, test.name, test.split) not in done:
            lines = self.predictions(name, model, test)
            told = {**unanswered(lines), "usage": usage(lines, *self.prices)}
            for row in _rows(test, lines):
                self.run.add_score({"model": name, **row, **told})

    def predictions(self, name: str, model: Model, test: TestSet) -> list[Line]:
        """The judged lines of a model on a split, made as far as they are not there yet, in the items' order."""
        path = prediction_path(self.folder, name, test.name, test.split)
        done = {line["index"]: line for line in read_json_lines(path)}
        if len(done) < len(test.items) or not all("verdict" in line for line in done.values()):
            self._hold_to(name, model, test)
            write_json_lines(path, done.values())  # without a last line that a kill cut
            for line in self._asked(name, model, test, done):
                append_json_line(path, line)
                done[line["index"]] = line
            if done and all("reason" in line for line in done.values()):
                discard(path)  # no result of a model: the next call asks again
                raise ModelError(f"model {name}: none of {len(done)} prompts was answered: {_reason(done)}")
            write_json_lines(path, judged(test, [done[item.index] for item in test.items]))
        return read_json_lines(path)

    def general(self, name: str, model: Model, tasks: str) -> None:
        """Add a model's rows of lm-eval's tasks to `general.json`, unless they are there."""
        path, found = self.folder / "general.json", self.general_rows()
        known = {row["asked"] for row in found if row["model"] == name}
        left = [task for task in tasks.split(",") if task not in known]
        for task in left:
            found += [{**row, "asked": task} for row in run_tasks(name, model, task, self.config)]
            write_json(path, found)

    def general_rows(self) -> list[dict[str, Any]]:
        """The rows of `general.json` so far."""
        path = self.folder / "general.json"
        return list(read_json(path)) if path.exists() else []

    def conclude(self) -> None:
        """Write what is made of the scores: robustness, comparison, report."""
        if levels := robustness(self.folder):
            write_json(self.folder / "robustness.json", levels)
        if len({row["model"] for row in self.run.scores()}) > 1:
            beside = {"robustness": levels, "general": self.general_rows()}
            write_json(self.folder / "comparison.json", compare(self.folder) | beside)
            write_comparison(self.folder)
        write_report(self.folder)

    @property
    def pages(self) -> list[Path]:
        """What there is to look at."""
        names = ("report.html", "comparison.html", "comparison.md")
        return [self.folder / name for name in names if (self.folder / name).exists()]

    def asker(self, name: str, model: Model) -> Asker:
        """What answers for the model; one is held at a time."""
        if name not in self._askers:
            self._askers.clear()
            self._askers[name] = _asker(model, self.config)
        return self._askers[name]

    def _drawn(self, test: TestSet) -> TestSet:
        if self.config.limit is None or self.config.limit >= len(test.items):
            return test
        chosen = random.Random(self.config.seed).sample(range(len(test.items)), self.config.limit)
        return replace(test, items=[test.items[place] for place in sorted(chosen)])

    def _hold_to(self, name: str, model: Model, test: TestSet) -> None:
        """Note what the model and the test set are, or refuse if they are no longer what they were."""
        found = file_digests([data_folder(test.name, self.data) / test.name])
        if isinstance(model, Endpoint):
            found[f"model {name}"] = f"{model.url}#{model.model}"
        elif Path(place := models.resolve(model)).is_dir():
            files = {str(Path(file).relative_to(place)): digest for file, digest in file_digests([Path(place)]).items()}
            found[f"model {name}"] = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
        else:
            found[f"model {name}"] = place
        self.run.check_data(found, grows=True)

    def _asked(self, name: str, model: Model, test: TestSet, done: Mapping[int, Line]) -> Iterator[Line]:
        """Lines of the items that have none yet, as they come; shows how many there are, and how fast."""
        show, had = self.tell(f"{name}, {test.name} {test.split}"), len(done)
        asker = self.asker(name, model)
        started = time.monotonic()  # loading a model says nothing of how fast it is
        show("items", had, len(test.items))
        for lines in self._ask(asker, test, frozenset(done)):
            yield from lines
            made = len(done) - had
            show(f"items, {made / max(time.monotonic() - started, 1e-9):.2g} a second", len(done), len(test.items))

    def _ask(self, asker: Asker, test: TestSet, done: frozenset[int]) -> Iterator[list[Line]]:
        if not is_stepwise(test):
            return asker.ask({item.index: item.prompt for item in test.items}, done)
        library = self.config.library
        executor = Simulator() if library is None else Library(Path(library))
        return play(asker, test, done, executor, self.config.batch_size, self.config.max_steps)


def _rows(test: TestSet, lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The row of a split, and a second one by the published protocol where the set has one of its own."""
    if getattr(loader(test.name), "paper", None) is None:
        return [score(test, lines)]
    return [{"protocol": "default", **score(test, lines)}, {"protocol": "paper", **paper_row(test, lines)}]


def _reason(lines: Mapping[int, Line]) -> str:
    return str(next(iter(lines.values()))["reason"])


def unanswered(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many prompts were too long for the model, or not taken for another reason; both count as wrong."""
    reasons = {str(line["index"]): line["reason"] for line in lines if "reason" in line}
    long = sum(bool(line.get("too_long")) for line in lines)
    return {"too_long": long, "refused": len(reasons) - long, "unanswered": reasons}


def usage(
    lines: Sequence[Mapping[str, Any]], price_in: float | None = None, price_out: float | None = None
) -> dict[str, float]:
    """Tokens of all prompts, where an endpoint told them, and of all replies; the cost where prices are given."""
    tokens = {name: sum(line.get(name, 0) for line in lines) for name in ("prompt_tokens", "tokens")}
    if price_in is None or price_out is None:
        return tokens
    return tokens | {"cost": (price_in * tokens["prompt_tokens"] + price_out * tokens["tokens"]) / 1e6}


def _asker(model: Model, config: BenchConfig) -> Asker:
    if isinstance(model, Endpoint):
        model.reach()
        return Remote(model, config.dialect, config.max_new_tokens)
    return load_local(model, config)
