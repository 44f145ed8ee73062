"""Evaluates models on test sets, and saves predictions as they come.

test set -> items -> inference backend -> predictions/*.jsonl -> verdicts -> scores.json -> significance
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltrain import model as models
from tltrain.config import EvaluationConfig
from tltrain.data import file_digests
from tltrain.errors import ModelError, RunError
from tltrain.evaluation.endpoint import Endpoint
from tltrain.evaluation.episodes import run_episodes
from tltrain.evaluation.inference import EndpointBackend, InferenceBackend, LocalBackend, load_backend
from tltrain.evaluation.lm_eval import require_lm_eval, run_tasks
from tltrain.evaluation.predictions import Prediction, prediction_path, read_predictions
from tltrain.evaluation.scores import Score
from tltrain.evaluation.scoring import protocols, score, with_verdicts
from tltrain.evaluation.selection import Model, data_folder
from tltrain.evaluation.significance import write_significance
from tltrain.files import append_json_line, discard, read_json, write_json, write_json_lines
from tltrain.progress import ProgressFactory, no_progress_factory, showing
from tltrain.run_directory import RunDirectory
from tltrain.testsets.base import TestSet
from tltrain.testsets.simulator import Simulator
from tltrain.testsets.toollibrary import Library

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Prices = tuple[float | None, float | None]
"""Prices of a million prompt tokens and of a million reply tokens at an endpoint, in any currency."""


def evaluate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, test: TestSet, config: EvaluationConfig | None = None
) -> tuple[Score, list[Prediction]]:
    """Scores a loaded model on a test set in memory: the score, and the judged predictions in the items' order."""
    from tltrain.evaluation.inference import local_backend

    config = config or EvaluationConfig()
    test = test.sample(config.limit, config.seed)
    replies = _complete(local_backend(model, tokenizer, config), test, frozenset(), config)
    found = {prediction.index: prediction for batch in replies for prediction in batch}
    predictions = with_verdicts(test, [found[item.index] for item in test.items])
    return score(test, predictions), predictions


class Evaluation:
    """An evaluation and its run directory. Calls skip what is already done; models and test sets may be added.

    Args:
        config: the settings that affect the scores.
        run: the run directory.
        progress: shows progress.
        prices: of tokens at an endpoint.
        dialects: how models write calls, by name; the others follow the configuration or their chat template.
    """

    def __init__(
        self,
        config: EvaluationConfig,
        run: RunDirectory,
        *,
        progress: ProgressFactory = no_progress_factory,
        prices: Prices = (None, None),
        dialects: Mapping[str, str] | None = None,
    ) -> None:
        self.config, self.run, self.folder, self.progress, self.prices = config, run, run.folder, progress, prices
        self.data = models.cache_folder() / "data" if config.data is None else Path(config.data)
        self.dialects: dict[str, str] = dict(dialects or {})
        self._backends: dict[str, InferenceBackend] = {}

    def evaluate(
        self, named: Mapping[str, Model], tests: Sequence[TestSet], general: str | None = None
    ) -> list[dict[str, Any]]:
        """Score models, by name, on test sets, and on lm-eval's tasks named in `general`; returns all rows of
        `scores.json`."""
        if general:
            require_lm_eval()
        for test in tests:
            self.run.check_data(file_digests(test.sources), grows=True)
        self._check_given_dialects(named, tests)
        for name, model in named.items():
            with self.run.stage(f"eval {name}"):
                try:
                    for test in tests:
                        self.score(name, model, test)
                finally:
                    self._backends.clear()  # lm-eval loads the model itself
                if general:
                    self.general(name, model, general)
        write_significance(self.folder)
        return self.run.scores()

    def _check_given_dialects(self, named: Mapping[str, Model], tests: Sequence[TestSet]) -> None:
        """Refuse dialects that contradict a model's chat template before the first model is evaluated."""
        for name, model in named.items():
            given = self.dialects.get(name)
            if given and not isinstance(model, Endpoint) and not all(self.is_scored(name, test) for test in tests):
                models.load_tokenizer(model, given, self.config.allow_code)

    def is_scored(self, name: str, test: TestSet) -> bool:
        """Whether `scores.json` has a row of the model on the split for each of its protocols."""
        return not self._unscored(name, test)

    def _unscored(self, name: str, test: TestSet) -> list[str]:
        """The protocols of the split that the model has no row for."""
        rows = [row for row in self.run.scores() if (row["model"], row["bench"]) == (name, test.name)]
        done = {row.get("protocol", "default") for row in rows if row["split"] == test.split}
        return [protocol for protocol in protocols(test) if protocol not in done]

    def score(self, name: str, model: Model, test: TestSet) -> None:
        """Add the row of a model on a split, and that of the set's published protocol, unless they are there."""
        unscored = self._unscored(name, test)
        if not unscored:
            self._check_dialect(
                name, (row["dialect"] for row in self.run.scores() if row["model"] == name and "dialect" in row)
            )
            return
        test = test.sample(self.config.limit, self.config.seed)
        predictions = self.predictions(name, model, test)
        counts = {**unanswered(predictions), "usage": usage(predictions, *self.prices)}
        counts["dialect"] = self.dialect(name, model)
        for protocol in unscored:
            row = score(test, predictions, name, protocol).model_copy(update=counts)
            if row.truncated:
                row = row.model_copy(update={"max_new_tokens": self.config.max_new_tokens})
            self.run.add_score(row.to_json())

    def predictions(self, name: str, model: Model, test: TestSet) -> list[Prediction]:
        """The judged predictions of a model on a split, in the items' order; missing predictions are made first."""
        path = prediction_path(self.folder, name, test.name, test.split)
        done = {prediction.index: prediction for prediction in read_predictions(path)}
        self._check_dialect(name, (prediction.dialect for prediction in done.values()))
        if len(done) < len(test.items) or any(prediction.verdict is None for prediction in done.values()):
            self._check_inputs_unchanged(name, model, test)
            write_json_lines(
                path, (prediction.to_json() for prediction in done.values())
            )  # without an incomplete last line
            for prediction in self._remaining(name, model, test, done):
                append_json_line(path, prediction.to_json())
                done[prediction.index] = prediction
            if done and all(prediction.reason is not None for prediction in done.values()):
                discard(path)  # the failure is not the model's: the next call tries again
                reason = next(iter(done.values())).reason
                raise ModelError(f"model {name}: none of {len(done)} prompts was answered: {reason}")
            judged = with_verdicts(test, [done[item.index] for item in test.items])
            write_json_lines(path, (prediction.to_json() for prediction in judged))
        return list(read_predictions(path))

    def general(self, name: str, model: Model, tasks: str) -> None:
        """Add a model's rows of lm-eval's tasks to `general.json`, unless they are there."""
        path, found = self.folder / "general.json", self.general_rows()
        known = {row["asked"] for row in found if row["model"] == name}
        for task in (task for task in tasks.split(",") if task not in known):
            found += [{**row, "asked": task} for row in run_tasks(name, model, task, self.config)]
            write_json(path, found)

    def general_rows(self) -> list[dict[str, Any]]:
        """The rows of `general.json` so far."""
        path = self.folder / "general.json"
        return list(read_json(path)) if path.exists() else []

    def backend(self, name: str, model: Model) -> InferenceBackend:
        """The inference backend of a model; only the last is kept in memory."""
        if name not in self._backends:
            self._backends.clear()
            with showing(self.progress, f"loading {name}"):
                self._backends[name] = self._load(name, model)
        return self._backends[name]

    @contextmanager
    def using(self, name: str, backend: LocalBackend) -> Iterator[None]:
        """Within the block, use a model that is already loaded for the scores of `name`; then let go of it."""
        self._backends = {name: backend}
        self.dialects[name] = backend.dialect
        try:
            yield
        finally:
            self._backends.clear()

    def dialect(self, name: str, model: Model) -> str:
        """How a model writes calls: as given for it, else as configured for all, else as its chat template does."""
        if name not in self.dialects:
            self.dialects[name] = self.config.dialect or _detected(name, model, self.config.allow_code)
        return self.dialects[name]

    def _check_dialect(self, name: str, saved: Iterable[str]) -> None:
        """Refuse to mix replies of a model that were read in several dialects."""
        given = self.dialects.get(name) or self.config.dialect
        if given is not None and (others := sorted(set(saved) - {given})):
            raise RunError(
                f"{self.folder}: replies of {name} were read as {others[0]}, not as {given}; use another --out"
            )

    def _load(self, name: str, model: Model) -> InferenceBackend:
        if isinstance(model, Endpoint):
            model.reach()
            return EndpointBackend(model, self.dialect(name, model), self.config.max_new_tokens)
        return load_backend(model, self.config, self.dialect(name, model))

    def _check_inputs_unchanged(self, name: str, model: Model, test: TestSet) -> None:
        """Record the digests of the model and the test set, or refuse if they are no longer the recorded ones."""
        found = file_digests([data_folder(test.name, self.data) / test.name] if test.SPLITS else test.sources)
        if isinstance(model, Endpoint):
            found[f"model {name}"] = f"{model.url}#{model.model}"
        elif Path(path := models.resolve(model)).is_dir():
            files = {str(Path(file).relative_to(path)): digest for file, digest in file_digests([Path(path)]).items()}
            files.pop(models.CARD, None)  # the model card is updated with the scores
            found[f"model {name}"] = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
        else:
            found[f"model {name}"] = path
        self.run.check_data(found, grows=True)

    def _remaining(
        self, name: str, model: Model, test: TestSet, done: Mapping[int, Prediction]
    ) -> Iterator[Prediction]:
        """Predictions for the remaining items, as they come; reports progress and speed."""
        show, before = self.progress(f"eval {name}, {test.name} {test.split}"), len(done)
        backend = self.backend(name, model)
        started = time.monotonic()  # the time for loading the model does not count
        show("items", before, len(test.items))
        for batch in _complete(backend, test, frozenset(done), self.config):
            yield from batch
            rate = (len(done) - before) / max(time.monotonic() - started, 1e-9)
            show(f"items, {rate:.2g} a second", len(done), len(test.items))


def _complete(
    backend: InferenceBackend, test: TestSet, done: frozenset[int], config: EvaluationConfig
) -> Iterator[list[Prediction]]:
    if not test.MULTI_STEP:
        return backend.complete({item.index: item.prompt for item in test.items}, done)
    executor = Simulator() if config.library is None else Library(Path(config.library))
    return run_episodes(
        backend,
        test,
        done=done,
        executor=executor,
        batch_size=config.batch_size,
        max_steps=config.max_steps,
    )


def _detected(name: str, model: Model, allow_code: bool) -> str:
    """The dialect of a model that none was given for; text beside an endpoint's own calls is read as hermes."""
    if isinstance(model, Endpoint):
        return "hermes"
    if (found := models.detect_dialect(model, allow_code)) is None:
        logging.getLogger("tltrain").warning(
            "%s: its chat template writes calls in no dialect known here; its replies are read as hermes "
            "(another one: --dialect %s=NAME)", name, name
        )  # fmt: skip
    return found or "hermes"


def unanswered(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """How many prompts were too long for the model, or rejected for another reason; both count as wrong."""
    reasons = {str(prediction.index): prediction.reason for prediction in predictions if prediction.reason is not None}
    long = sum(prediction.too_long is True for prediction in predictions)
    return {"too_long": long, "refused": len(reasons) - long, "unanswered": reasons}


def usage(
    predictions: Sequence[Prediction], price_in: float | None = None, price_out: float | None = None
) -> dict[str, float]:
    """Tokens of all prompts, if an endpoint reports them, and of all replies; the cost if prices are given."""
    prompt_tokens = sum(prediction.prompt_tokens or 0 for prediction in predictions)
    tokens = sum(prediction.tokens or 0 for prediction in predictions)
    counts: dict[str, float] = {"prompt_tokens": prompt_tokens, "tokens": tokens}
    if price_in is None or price_out is None:
        return counts
    return counts | {"cost": (price_in * prompt_tokens + price_out * tokens) / 1e6}
