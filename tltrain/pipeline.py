"""The whole pipeline, one function call per arrow:

trajectories -> audit -> steps -> token trees -> SFT -> rollouts -> PPO -> predictions -> scores -> report
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterable
from contextlib import nullcontext
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
from tltrain.engine import ranks
from tltrain.engine.capabilities import prefix_sharing_obstacle
from tltrain.engine.checkpoint import discard_checkpoints
from tltrain.engine.devices import pick_device
from tltrain.errors import ConfigError, DataError
from tltrain.evaluation.inference import local_backend
from tltrain.evaluation.run import Evaluation
from tltrain.evaluation.selection import load_test_sets
from tltrain.evaluation.significance import write_significance
from tltrain.files import discard
from tltrain.progress import ProgressFactory, no_progress, no_progress_factory
from tltrain.report.pages import write_pages
from tltrain.run_directory import RunDirectory
from tltrain.sft import SFTTrainer
from tltrain.testsets.base import TestSet
from tltrain.testsets.trajectories import TrajectorySet

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

STAGES = ("audit", "sft", "ppo", "eval", "report")


class Pipeline:
    """A run: its configuration, its data and its run directory. Stages that are complete are skipped.

    Args:
        config: what the run does.
        folder: the run directory.
        progress: shows progress.
        data: the data of the configuration, if they are loaded already.

    Raises:
        ConfigError, DataError: the model, the dialect or the data cannot be used.
        RunError: the run directory belongs to another run (see `RunDirectory`).
    """

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        progress: ProgressFactory = no_progress_factory,
        data: Data | None = None,
    ) -> None:
        self.config, self.progress = config, progress
        self.device = ranks.join(pick_device(config.device))
        self.tokenizer: PreTrainedTokenizerBase = models.load_tokenizer(config.model, config.dialect)
        self.data: Data = data or load_data(config.data, config.data_seed)
        self.folder = folder
        self.warned_about_sharing = False
        ranks.on_first(self._open)

    def _open(self) -> None:
        self.run = RunDirectory(self.folder, self.config)
        self.run.check_data(digests(self.config.data))

    def all(self, stages: Iterable[str] = STAGES) -> list[dict[str, Any]]:
        """Run the stages in order. Returns the rows of `scores.json`."""
        stages = tuple(stages)
        if ranks.count() > 1:
            return self._distributed(stages)
        scored = "eval" in stages and self.config.eval is not None
        if "audit" in stages and self.data.train:
            self.audit()
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
            write_significance(self.folder)
            write_pages(self.folder)
        return self.run.scores()

    def _distributed(self, stages: tuple[str, ...]) -> list[dict[str, Any]]:
        """Run as one of several processes, which only SFT supports."""
        if stages != ("sft",):
            raise ConfigError(
                f"launched as {ranks.count()} processes, which only `tltrain sft` supports; continue with "
                "`tltrain run` or `tltrain ppo` in one process and the same run directory"
            )
        for arm in self.config.sft.arms if self.config.sft else ():
            self.sft(arm)
        return []

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
        with self.run.stage("audit"):
            show = self.progress("audit")
            found = audit(
                self.data.train,
                self.config.mode,
                self.tokenizer,
                self.config.max_length,
                lambda done: show("trajectories", done, len(self.data.train)),
            )
            write_audit(self.folder, found, self.data.problems, overlap=self.data.overlap)
            for warning in found["warnings"]:
                self.warn(warning)

    def sft(self, arm: str) -> None:
        """Supervised fine-tuning of one arm."""
        assert self.config.sft is not None
        folder, lora = self.folder / "sft" / arm, self.config.sft.lora
        if ranks.shared(self.arm_model(arm).exists()):
            ranks.on_first(lambda: discard_checkpoints(folder))  # the process may have been killed before
            return
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
                reload=lambda: models.load_model(
                    self.config.model, models.resolve_dtype(self.config.dtype, self.device)
                ),
                base=self.config.model,
            )
            trainer.train()

    def ppo(self, start: Path | None = None) -> None:
        """PPO with the judge's reward, from the model in the folder `start`; by default from this run's SFT model.

        After SFT without MAE every reply gives a prompt, as failed calls are part of what that arm learns from.
        """
        from tltrain.ppo.trainer import PPOTrainer

        assert self.config.ppo is not None
        if (self.folder / "ppo" / "model").exists():
            discard(self.folder / "ppo" / "checkpoint.pt")
            return
        path, mae = self.config.model, True
        if self.config.sft is not None:
            path, mae = str(start or self.arm_model(self.config.ppo.arm)), ARMS[self.config.ppo.arm].mae
            if not Path(path).exists():
                raise ConfigError(f"{path}: not there yet; run `tltrain sft` with this configuration first")
        with self.run.stage("ppo"):
            model = self.load(path)
            encoder = self.encoder(model)
            prompts = chain.from_iterable(encoder.prompts(one, failed=not mae) for one in self.data.train)
            PPOTrainer(
                model,
                self.tokenizer,
                prompts=list(prompts),
                stop_ids=encoder.stop_ids,
                config=self.config.ppo,
                folder=self.folder / "ppo",
                dialect=self.config.dialect,
                max_tree_tokens=self.config.max_tree_tokens,
                seed=self.config.seed,
                progress=self.progress("ppo"),
                base=path,
            ).train()

    def evaluate(self, name: str, path: str) -> None:
        """Score the model at `path` on every test split; a model that does not exist yet is skipped."""
        if self.config.eval is None or all(self.evaluation.is_scored(name, test) for test in self.test_sets):
            return
        if path != self.config.model and not Path(path).exists():
            return  # its training stage is not among those of this call
        with self.run.stage(f"eval {name}"):
            self.evaluation.use(name, local_backend(self.load(path), self.tokenizer, self.evaluation.config))
            for test in self.test_sets:
                self.evaluation.score(name, path, test)

    @cached_property
    def test_sets(self) -> list[TestSet]:
        """The run's own test splits, where every reply without a failed call is an item, and those of `eval.bench`.

        Raises:
            ConfigError: `eval.bench` names no test set.
            DataError: a split has no item, or a file of a test set is missing or cannot be read.
        """
        sets: list[TestSet] = [
            TrajectorySet.of(self.data.bench, split, trajectories, self.config.mode)
            for split, trajectories in self.data.tests.items()
        ]
        for test in sets:
            if not test.items:
                raise DataError(f"nothing to evaluate: split {test.split} has no unfailed reply")
        return [*sets, *self._public_sets()]

    def _public_sets(self) -> list[TestSet]:
        if self.config.eval is None or not self.config.eval.bench:
            return []
        try:
            return load_test_sets(",".join(self.config.eval.bench), self.evaluation.data, self.warn)
        except ConfigError as error:
            raise ConfigError(str(error).replace("--bench", "eval.bench")) from None

    def warn(self, text: str) -> None:
        """Report what the user should know."""
        logging.getLogger("tltrain").warning("%s", text)

    @cached_property
    def evaluation(self) -> Evaluation:
        """The evaluation of the run's models, in the run directory."""
        assert self.config.eval is not None, "evaluation needs config.eval"
        config = EvaluationConfig(
            data=self.config.eval.data,
            dialect=self.config.dialect,
            limit=self.config.eval.trajectories,
            max_new_tokens=self.config.eval.max_new_tokens,
            max_length=self.config.max_length,
            batch_size=self.config.eval.batch_size,
            dtype=self.config.dtype,
            device=self.config.device,
            seed=self.config.data_seed,
        )
        return Evaluation(config, self.run, progress=self.progress)

    def load(self, name: str, base: Base | None = None) -> PreTrainedModel:
        """Load a model (built-in, folder or hub name) in the run's dtype onto its device; `base` quantises it."""
        gc.collect()
        model = models.load_model(name, models.resolve_dtype(self.config.dtype, self.device), self.device, base)
        reason = prefix_sharing_obstacle(model)
        if reason is not None and not self.warned_about_sharing:
            self.warn(f"no prefix is shared, sequences run one by one: {reason}")
        self.warned_about_sharing = reason is not None
        return model

    def encoder(self, model: PreTrainedModel, mae: bool = True, pkt: bool = True) -> Encoder:
        """The encoder for a model of this run, with the run's tokenizer, limits and stop tokens."""
        return Encoder(
            self.tokenizer,
            mae=mae,
            pkt=pkt,
            w_max=self.config.sft.w_max if self.config.sft else 1.0,
            mode=self.config.mode,
            max_length=self.config.max_length,
            stop_ids=models.end_ids(model),
        )
