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
from tltrain.encode.check import check_encoding, skipped_lines
from tltrain.engine import ranks
from tltrain.engine.capabilities import prefix_sharing_obstacle
from tltrain.engine.checkpoint import discard_checkpoints
from tltrain.engine.devices import pick_device
from tltrain.errors import ConfigError, DataError, TLTrainError
from tltrain.evaluation.inference import local_backend
from tltrain.evaluation.run import Evaluation
from tltrain.evaluation.selection import load_test_sets
from tltrain.evaluation.significance import write_significance
from tltrain.files import discard
from tltrain.planning.fit import check_memory
from tltrain.planning.plan import Plan, base_name, has_work, quick_plan
from tltrain.planning.problems import data_warnings
from tltrain.planning.replies import with_reply_limit
from tltrain.planning.workload import samples_failed
from tltrain.progress import ProgressFactory, counted, no_progress_factory, showing
from tltrain.report.model_card import write_cards
from tltrain.report.pages import write_pages
from tltrain.run_directory import RunDirectory
from tltrain.sft import SFTTrainer
from tltrain.testsets.base import TestSet
from tltrain.testsets.trajectories import TrajectorySet

if TYPE_CHECKING:
    from transformers import PreTrainedModel

STAGES = ("audit", "sft", "ppo", "eval", "report")


class Pipeline:
    """A run: its configuration, its data and its run directory. Stages that are complete are skipped; with `overwrite`,
    a run that the directory already holds is moved aside first.

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
        overwrite: bool = False,
        data: Data | None = None,
    ) -> None:
        self.device = ranks.join(pick_device(config.device))
        self.config, self.progress = config, progress if ranks.rank() == 0 else no_progress_factory
        self.tokenizer = models.load_tokenizer(config.model, config.dialect, config.allow_code, config.template)
        with showing(self.progress, "reading the data"):
            self.data: Data = data or load_data(config.data, config.data_seed)
        for warning in data_warnings(config, self.data) if ranks.rank() == 0 else ():
            self.warn(warning)
        self.config = with_reply_limit(config, None if overwrite else folder, self.data, self.tokenizer)
        self.folder = folder
        self.warned_about_sharing = False
        self.encoding_checked = False
        ranks.on_first(lambda: self._open(overwrite))

    def _open(self, overwrite: bool) -> None:
        self.run = RunDirectory(self.folder, self.config, overwrite)
        self.run.check_data(digests(self.config.data))

    def all(self, stages: Iterable[str] = STAGES) -> list[dict[str, Any]]:
        """Run the stages in order. Returns the rows of `scores.json`.

        Raises:
            ConfigError: a training cannot fit into memory.
        """
        stages = tuple(stages)
        self.check_memory(stages)
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

    def pending(self, stages: Iterable[str] = STAGES) -> list[str]:
        """The trainings and evaluations that `all` would still do, in order, named as in `stages.json`."""
        stages, names = tuple(stages), []
        scored = "eval" in stages and self.config.eval is not None

        def add_evaluation(name: str) -> None:
            if scored and not all(self.evaluation.is_scored(name, test) for test in self.test_sets):
                names.append(f"eval {name}")

        add_evaluation(self.base_name)
        for arm in self.config.sft.arms if self.config.sft else ():
            if "sft" in stages and not self.arm_model(arm).exists():
                names.append(f"sft {arm}")
            add_evaluation(arm)
        if self.config.ppo:
            if "ppo" in stages and not (self.folder / "ppo" / "model").exists():
                names.append("ppo")
            add_evaluation(self.policy_name)
        return names

    def check_memory(self, stages: Iterable[str]) -> None:
        """Refuse trainings whose weights alone exceed the memory, before anything is loaded."""
        arms = self.config.sft.arms if self.config.sft else []
        done = {"sft": all(self.arm_model(arm).exists() for arm in arms), "ppo": (self.folder / "ppo/model").exists()}
        left = [stage for stage in stages if not done.get(stage, True)]
        check_memory(self.config, left, device=self.device, ranks=ranks.count())

    def outlook(self, stages: Iterable[str] = STAGES) -> Plan | None:
        """A quick estimate of what `all` would still do: a part of the data is encoded, and each kind of work is
        measured for a fraction of a second. None if nothing is left that can be planned, or with several processes.

        Raises:
            ConfigError, DataError: a training of these settings and data would stop.
        """
        if ranks.count() > 1:
            return None
        stages = tuple(stages)
        if not (pending := self.pending(stages)):
            return None
        if "ppo" in pending and "sft" not in stages:
            self._ppo_start()  # otherwise the mistake would be reported after measuring
        self.check_memory(stages)
        kinds = sorted({name.split()[0] for name in pending})
        if not has_work(self.config, self.data, kinds):
            return None
        trains = kinds != ["eval"]
        try:
            planned = quick_plan(self.config, self.data, self.tokenizer, kinds).only(pending)
        except TLTrainError:
            if trains:
                self.check_encoding()  # if the reason is a record, this names it
            raise
        if planned.refused and trains:
            self.check_encoding()  # which stops here, or names what is skipped
        return planned

    @property
    def base_name(self) -> str:
        """Name of the run's initial model in scores."""
        return base_name(self.config)

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
                self.warn(warning)

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
            progress=self.progress("check"),
        )
        for warning in skipped_lines(problems):
            self.warn(warning)
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
                progress=self.progress(f"sft {arm}"),
                encoding_progress=self.progress(f"sft {arm}: encoding"),
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

    def ppo(self, start: Path | None = None) -> None:
        """PPO with the judge's reward, from the model in the folder `start`; by default from this run's SFT model."""
        from tltrain.ppo.trainer import PPOTrainer

        assert self.config.ppo is not None
        if ranks.shared((self.folder / "ppo" / "model").exists()):
            ranks.on_first(lambda: discard(self.folder / "ppo" / "checkpoint.pt"))
            ranks.on_first(lambda: write_cards(self.folder))
            return
        path = str(start) if start is not None else self._ppo_start()
        failed = samples_failed(self.config)
        self.check_encoding()
        with self.run.stage("ppo") if ranks.rank() == 0 else nullcontext():
            model = self.load(path)
            encoder = self.encoder(model)
            trajectories = counted(self.data.train, self.progress("ppo: encoding"), "trajectories")
            prompts = chain.from_iterable(encoder.prompts(one, failed) for one in trajectories)
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
                reload=lambda: models.load_model(
                    path,
                    models.resolve_dtype(self.config.dtype, self.device),
                    allow_code=self.config.allow_code,
                ),
                base=path,
            ).train()
            ranks.on_first(lambda: write_cards(self.folder))

    def _ppo_start(self) -> str:
        """The model that PPO starts from.

        Raises:
            ConfigError: it is that of an arm which is not trained yet.
        """
        if self.config.sft is None or self.config.ppo is None:
            return self.config.model
        start = self.arm_model(self.config.ppo.arm)
        if not start.exists():
            raise ConfigError(f"{start}: not there yet; run `tltrain sft` with this configuration first")
        return str(start)

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
            backend = local_backend(self.load(path), self.tokenizer, self.evaluation.config)
            with self.evaluation.using(name, backend):
                for test in self.test_sets:
                    self.evaluation.score(name, path, test)
            write_cards(self.folder)

    @cached_property
    def test_sets(self) -> list[TestSet]:
        """The run's own test splits, unless `eval.own_splits` is false, and those of `eval.bench`. An own split has an
        item for every reply without a failed call.

        Raises:
            ConfigError: `eval.bench` names no test set.
            DataError: a split has no item, or a file of a test set is missing or cannot be read.
        """
        own = self.data.tests if self.config.eval is None or self.config.eval.own_splits else {}
        sets: list[TestSet] = [
            TrajectorySet.of(self.data.bench, split, trajectories, self.config.failure_mode)
            for split, trajectories in own.items()
        ]
        for test in sets:
            if not test.items:
                raise DataError(f"nothing to evaluate: split {test.split} has no unfailed reply")
        public = self.config.eval.bench if self.config.eval is not None else []
        return [*sets, *load_test_sets(",".join(public), self.evaluation.data, self.warn)] if public else sets

    def warn(self, text: str) -> None:
        """Report what the user should know."""
        logging.getLogger("tltrain").warning("%s", text)

    @cached_property
    def evaluation(self) -> Evaluation:
        """The evaluation of the run's models, in the run directory."""
        assert self.config.eval is not None, "evaluation needs config.eval"
        assert self.config.eval.max_new_tokens is not None, "set when the run starts"
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
            allow_code=self.config.allow_code,
        )
        return Evaluation(config, self.run, progress=self.progress)

    def load(self, name: str, base: Base | None = None) -> PreTrainedModel:
        """Load a model (built-in, folder or hub name) in the run's dtype onto its device; `base` quantises it."""
        gc.collect()
        dtype = models.resolve_dtype(self.config.dtype, self.device)
        with showing(self.progress, "loading the model"):
            model = models.load_model(name, dtype, self.device, base, self.config.allow_code)
        reason = prefix_sharing_obstacle(model)
        if reason is not None and not self.warned_about_sharing:
            self.warn(f"no prefix is shared, sequences run one by one: {reason}")
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
