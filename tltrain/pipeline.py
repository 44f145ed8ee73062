"""The whole pipeline, one function call per arrow:

trajectories -> audit -> steps -> token trees -> SFT -> rollouts -> PPO -> predictions -> scores -> report
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltrain import model as models
from tltrain.arms import ARMS, arm_after_ppo
from tltrain.audit.run import audit, write_audit
from tltrain.config import Base, EvaluationConfig, RunConfig
from tltrain.data import Data, digests, load_data
from tltrain.encode import Encoder
from tltrain.encode.check import check_encoding
from tltrain.engine import ranks
from tltrain.engine.capabilities import prefix_sharing_obstacle
from tltrain.engine.checkpoint import discard_checkpoints
from tltrain.engine.devices import pick_device
from tltrain.errors import ConfigError, DataError
from tltrain.evaluation.inference import local_backend
from tltrain.evaluation.run import Evaluation
from tltrain.evaluation.significance import write_significance
from tltrain.files import discard
from tltrain.progress import ProgressFactory, counted, no_progress, no_progress_factory, showing
from tltrain.report.model_card import write_cards
from tltrain.report.pages import write_pages
from tltrain.run_directory import RunDirectory
from tltrain.sft import SFTTrainer
from tltrain.testsets.base import TestSet
from tltrain.testsets.trajectories import TrajectorySet

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SKIPPED_SHOWN = 10
"""Skipped records that are named in warnings."""
STAGES = ("audit", "sft", "ppo", "eval", "report")


class Pipeline:
    """A run: its configuration, its data and its run directory. Stages that are complete are skipped; with `overwrite`,
    a run that the directory already holds is moved aside first.

    Raises:
        ConfigError, DataError: the model, the dialect or the data cannot be used.
        RunError: the run directory belongs to another run (see `RunDirectory`).
    """

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        progress: ProgressFactory = no_progress_factory,
        overwrite: bool = False,
    ) -> None:
        self.config, self.progress = config, progress
        self.device = ranks.join(pick_device(config.device))
        self.tokenizer: PreTrainedTokenizerBase = models.load_tokenizer(
            config.model, config.dialect, config.allow_code, config.template
        )
        with showing(progress if ranks.rank() == 0 else no_progress_factory, "reading the data"):
            self.data: Data = load_data(config.data, config.seed)
        self.folder = folder
        self.warned_about_sharing = False
        self.encoding_checked = False
        ranks.on_first(lambda: self._open(overwrite))

    def _open(self, overwrite: bool) -> None:
        self.run = RunDirectory(self.folder, self.config, overwrite)
        self.run.check_data(digests(self.config.data))

    def all(self, stages: Iterable[str] = STAGES) -> list[dict[str, Any]]:
        """Run the stages in order. Returns the rows of `scores.json`."""
        stages = tuple(stages)
        scored = "eval" in stages and self.config.eval is not None
        if "audit" in stages and self.data.train:
            ranks.on_first(self.audit)
        if scored:
            self.evaluate(self.base_name, self.config.model)
        for arm in self.config.sft.arms if self.config.sft else ():
            if "sft" in stages:
                self.sft(arm)
            if scored:
                self.evaluate(arm, str(self.arm_model(arm)))
        if self.config.ppo:
            if "ppo" in stages:
                self.ppo()
            if scored:
                self.evaluate(self.policy_name, str(self.folder / "ppo" / "model"))
        if "report" in stages:
            ranks.on_first(self.report)
        return ranks.on_first(lambda: self.run.scores()) or []

    @property
    def base_name(self) -> str:
        """Name of the run's initial model in scores: `base`, or its own name if nothing is trained."""
        return "base" if self.config.sft or self.config.ppo else self.config.model.strip("./").replace("/", "-")

    @property
    def policy_name(self) -> str:
        """Name of the model after PPO in scores."""
        return arm_after_ppo(self.config.ppo.arm if self.config.sft and self.config.ppo else None)

    def arm_model(self, arm: str) -> Path:
        """Folder of an arm's trained model."""
        return self.folder / "sft" / arm / "model"

    def audit(self) -> None:
        """Audit the training data: how many calls failed, and why."""
        if (self.folder / "audit.json").exists():
            return
        self.check_encoding()
        with self.run.stage("audit"):
            show = self.progress("audit")
            found = audit(
                self.data.train,
                self.config.failure_mode,
                tokenizer=self.tokenizer,
                max_length=self.config.max_length,
                progress=lambda done: show("trajectories", done, len(self.data.train)),
            )
            write_audit(self.folder, found, self.data.problems, overlap=self.data.overlap)
            for warning in found["warnings"]:
                logging.getLogger("tltrain").warning("%s", warning)

    def check_encoding(self) -> None:
        """Encode all training data once, before anything is trained, so that an odd record does not stop a later arm.

        Raises:
            DataError: a record cannot be encoded and `data.strict` is set (otherwise it is skipped and counted among
                the problems), or none can be.
        """
        if self.encoding_checked:
            return
        arms = [ARMS[arm] for arm in self.config.sft.arms] if self.config.sft else []
        encoder = Encoder(
            self.tokenizer,
            mae=any(arm.mae for arm in arms),
            pkt=any(arm.pkt for arm in arms),
            mode=self.config.failure_mode,
            max_length=self.config.max_length,
            stop_ids=(0,),  # which ids end a reply depends on the model, but not whether a record can be encoded
        )
        kept, problems = check_encoding(
            self.data.train,
            encoder,
            strict=self.config.data.strict,
            progress=self.progress("check") if ranks.rank() == 0 else no_progress,
        )
        for problem in problems[:SKIPPED_SHOWN]:
            logging.getLogger("tltrain").warning("skipped: %s", problem)
        if len(problems) > SKIPPED_SHOWN:
            logging.getLogger("tltrain").warning("skipped: %d more records", len(problems) - SKIPPED_SHOWN)
        self.data = replace(self.data, train=kept, problems=[*self.data.problems, *problems])
        self.encoding_checked = True

    def sft(self, arm: str) -> None:
        """Supervised fine-tuning of one arm."""
        assert self.config.sft is not None
        folder, lora = self.folder / "sft" / arm, self.config.sft.lora
        if ranks.shared(self.arm_model(arm).exists()):
            ranks.on_first(lambda: discard_checkpoints(folder))  # the process may have been killed before
            ranks.on_first(lambda: write_cards(self.folder))
            return
        self.check_encoding()
        with self.run.stage(f"sft {arm}") if ranks.rank() == 0 else nullcontext():
            model = self.load(self.config.model, lora.base if lora else None)
            trainer = SFTTrainer(
                model,
                self.tokenizer,
                trajectories=self.data.train,
                encoder=self.encoder(model, mae=ARMS[arm].mae, pkt=ARMS[arm].pkt),
                config=self.config.sft,
                folder=folder,
                max_tree_tokens=self.config.max_tree_tokens,
                seed=self.config.seed,
                progress=self.progress(f"sft {arm}") if ranks.rank() == 0 else no_progress,
                encoding_progress=self.progress(f"sft {arm}: encoding") if ranks.rank() == 0 else no_progress,
                reload=lambda: models.load_model(
                    self.config.model,
                    models.resolve_dtype(self.config.dtype, self.device),
                    allow_code=self.config.allow_code,
                ),
                base=self.config.model,
            )
            trainer.train()
            ranks.on_first(lambda: write_cards(self.folder))

    def report(self) -> None:
        """Compare the models and write the pages."""
        with showing(self.progress, "report"):
            write_significance(self.folder)
            write_pages(self.folder)

    def ppo(self) -> None:
        """PPO with the judge's reward."""
        from tltrain.ppo.trainer import PPOTrainer

        assert self.config.ppo is not None
        if ranks.shared((self.folder / "ppo" / "model").exists()):
            ranks.on_first(lambda: discard(self.folder / "ppo" / "checkpoint.pt"))
            ranks.on_first(lambda: write_cards(self.folder))
            return
        start = self.config.model
        if self.config.sft is not None:
            start = str(self.arm_model(self.config.ppo.arm))
            if not Path(start).exists():
                raise ConfigError(f"{start}: not there yet; run `tltrain sft` with this configuration first")
        self.check_encoding()
        with self.run.stage("ppo") if ranks.rank() == 0 else nullcontext():
            model = self.load(start)
            encoder = self.encoder(model)
            trajectories = counted(self.data.train, self.progress("ppo: encoding"), "trajectories")
            PPOTrainer(
                model,
                self.tokenizer,
                prompts=list(chain.from_iterable(map(encoder.prompts, trajectories))),
                stop_ids=encoder.stop_ids,
                config=self.config.ppo,
                folder=self.folder / "ppo",
                dialect=self.config.dialect,
                max_tree_tokens=self.config.max_tree_tokens,
                seed=self.config.seed,
                progress=self.progress("ppo") if ranks.rank() == 0 else no_progress,
                base=start,
            ).train()
            ranks.on_first(lambda: write_cards(self.folder))

    def evaluate(self, name: str, path: str) -> None:
        """Score the model at `path` on every test split, in the first process; a model that does not exist yet is
        skipped."""
        ranks.on_first(lambda: self._evaluate(name, path))

    def _evaluate(self, name: str, path: str) -> None:
        if self.config.eval is None or all(self.evaluation.is_scored(name, test) for test in self.test_sets):
            return
        if path != self.config.model and not Path(path).exists():
            return  # its training stage is not among those of this call
        with self.run.stage(f"eval {name}"):
            self.evaluation.use(name, local_backend(self.load(path), self.tokenizer, self.evaluation.config))
            for test in self.test_sets:
                self.evaluation.score(name, path, test)
            write_cards(self.folder)

    @cached_property
    def test_sets(self) -> list[TestSet]:
        """The run's own test splits: every reply without a failed call is an item.

        Raises:
            DataError: a split has no item.
        """
        sets: list[TestSet] = [
            TrajectorySet.of(self.data.bench, split, trajectories, self.config.failure_mode)
            for split, trajectories in self.data.tests.items()
        ]
        for test in sets:
            if not test.items:
                raise DataError(f"nothing to evaluate: split {test.split} has no unfailed reply")
        return sets

    @cached_property
    def evaluation(self) -> Evaluation:
        """The evaluation of the run's models, in the run directory."""
        assert self.config.eval is not None, "evaluation needs config.eval"
        config = EvaluationConfig(
            dialect=self.config.dialect,
            limit=self.config.eval.trajectories,
            max_new_tokens=self.config.eval.max_new_tokens,
            max_length=self.config.max_length,
            batch_size=self.config.eval.batch_size,
            dtype=self.config.dtype,
            device=self.config.device,
            seed=self.config.seed,
            allow_code=self.config.allow_code,
        )
        return Evaluation(config, self.run, progress=self.progress)

    def load(self, name: str, base: Base | None = None) -> PreTrainedModel:
        """Load a model (built-in, folder or hub name) in the run's dtype onto its device; `base` quantises it."""
        gc.collect()
        dtype = models.resolve_dtype(self.config.dtype, self.device)
        with showing(self.progress if ranks.rank() == 0 else no_progress_factory, "loading the model"):
            model = models.load_model(name, dtype, self.device, base, self.config.allow_code)
        reason = prefix_sharing_obstacle(model)
        if reason is not None and not self.warned_about_sharing:
            logging.getLogger("tltrain").warning("no prefix is shared, sequences run one by one: %s", reason)
        self.warned_about_sharing = reason is not None
        return model

    def encoder(self, model: PreTrainedModel, mae: bool = True, pkt: bool = True) -> Encoder:
        """The encoder for a model of this run, with the run's tokenizer, limits and stop tokens."""
        sft = self.config.sft
        return Encoder(
            self.tokenizer,
            mae=mae,
            pkt=pkt,
            w_max=sft.w_max if sft else 1.0,
            mode=self.config.failure_mode,
            max_length=self.config.max_length,
            stop_ids=models.end_ids(model),
            answered_only=sft is not None and sft.answered_only,
            argument_ends=sft is None or sft.argument_ends,
        )
