"""The whole flow, one function call an arrow:

trajectories -> audit -> steps -> token trees -> SFT -> rollouts -> PPO -> predictions -> scores -> report
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tltrain import dialects
from tltrain import model as models
from tltrain.audit.run import audit
from tltrain.config import Base, RunConfig
from tltrain.data import Data, digests, load_data
from tltrain.encode import Encoder
from tltrain.engine import ranks
from tltrain.engine.capabilities import why_not_shared
from tltrain.engine.checkpoint import discard_checkpoints
from tltrain.errors import ConfigError, DataError
from tltrain.evaluation.own_splits import evaluate, score_row
from tltrain.files import discard, write_json, write_json_lines
from tltrain.report.report import write_report
from tltrain.run_directory import RunDirectory
from tltrain.sft import Progress, SFTTrainer, draw, silent
from tltrain.trajectory import Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

STAGES = ("audit", "sft", "ppo", "eval", "report")
Tell = Callable[[str], Progress]
"""Called with a stage's name, gives what shows its progress."""


def untold(stage: str) -> Progress:
    """Shows nothing."""
    return silent


class Pipeline:
    """A run: its configuration, its data, and its directory. Each stage does what is not yet done."""

    def __init__(self, config: RunConfig, folder: Path, tell: Tell = untold) -> None:
        self.config, self.tell = config, tell
        self.device = ranks.join(pick_device(config.device))
        self.tokenizer: PreTrainedTokenizerBase = models.load_tokenizer(config.model, config.dialect)
        self.data: Data = load_data(config.data, config.seed)
        self.folder = folder
        self.run_alone = False  # whether it was said that the model cannot share prefixes
        ranks.on_first(self._open)

    def _open(self) -> None:
        self.run = RunDirectory(self.folder, self.config)
        self.run.check_data(digests(self.config.data))

    def all(self, stages: Iterable[str] = STAGES) -> list[dict[str, Any]]:
        """Run the stages in order; returns the scores."""
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
            write_report(self.folder)
        return self.run.scores()

    def _distributed(self, stages: tuple[str, ...]) -> list[dict[str, Any]]:
        """As one of several processes: SFT alone."""
        if stages != ("sft",):
            raise ConfigError(
                f"launched as {ranks.count()} processes, which only `tltrain sft` can be; `tltrain run` and "
                "`tltrain ppo` then go on in one process with the same run directory"
            )
        for arm in self.config.sft.arms if self.config.sft else ():
            self.sft(arm)
        return []

    @property
    def base_name(self) -> str:
        """Name of the model that the run begins with; its own where nothing is trained."""
        return "base" if self.config.sft or self.config.ppo else self.config.model.strip("./").replace("/", "-")

    @property
    def policy_name(self) -> str:
        """Name of the model after PPO."""
        return "irm" if self.config.sft is None or self.config.ppo is None else f"{self.config.ppo.arm}+irm"

    def arm_model(self, arm: str) -> Path:
        """Folder of an arm's trained model."""
        return self.folder / "sft" / arm / "model"

    def audit(self) -> None:
        """Who failed and why, in numbers."""
        if (self.folder / "audit.json").exists():
            return
        with self.run.stage("audit"):
            show = self.tell("audit")
            found = audit(
                self.data.train,
                self.config.mode,
                self.tokenizer,
                self.config.max_length,
                lambda done: show("trajectories", done, len(self.data.train)),
            )
            problems = [asdict(problem) for problem in self.data.problems]
            write_json(
                self.folder / "audit.json",
                found | {"overlap": self.data.overlap, "problems": {"number": len(problems), "shown": problems[:20]}},
            )

    def sft(self, arm: str) -> None:
        """Supervised fine-tuning of one arm."""
        assert self.config.sft is not None
        folder, lora = self.folder / "sft" / arm, self.config.sft.lora
        if ranks.shared(self.arm_model(arm).exists()):
            ranks.on_first(lambda: discard_checkpoints(folder))  # a kill may come between the two
            return
        with self.run.stage(f"sft {arm}") if ranks.rank() == 0 else nullcontext():
            model = self.load(self.config.model, lora.base if lora else None)
            trainer = SFTTrainer(
                model,
                self.tokenizer,
                self.data.train,
                self.encoder(model, mae="mae" in arm, pkt="pkt" in arm),
                self.config.sft,
                folder,
                self.config.max_tree_tokens,
                self.config.seed,
                self.tell(f"sft {arm}") if ranks.rank() == 0 else silent,
                lambda: models.load_model(self.config.model, models.resolve_dtype(self.config.dtype, self.device)),
                self.config.model,
            )
            trainer.train()

    def ppo(self) -> None:
        """PPO with the judge's reward."""
        from tltrain.ppo.trainer import PPOTrainer

        assert self.config.ppo is not None
        if (self.folder / "ppo" / "model").exists():
            discard(self.folder / "ppo" / "checkpoint.pt")
            return
        start = self.config.model
        if self.config.sft is not None:
            start = str(self.arm_model(self.config.ppo.arm))
            if not Path(start).exists():
                raise ConfigError(f"{start}: not there yet; run `tltrain sft` with this configuration first")
        with self.run.stage("ppo"):
            model = self.load(start)
            encoder = self.encoder(model)
            PPOTrainer(
                model,
                self.tokenizer,
                list(chain.from_iterable(encoder.prompts(trajectory) for trajectory in self.data.train)),
                encoder.stop_ids,
                self.config.ppo,
                self.folder / "ppo",
                self.config.dialect,
                self.config.max_tree_tokens,
                self.config.seed,
                self.tell("ppo"),
                start,
            ).train()

    def evaluate(self, name: str, place: str) -> None:
        """Generate, judge and count on every test split."""
        assert self.config.eval is not None, "an evaluation was asked for without a configuration of it"
        done = {(row["model"], row["split"]) for row in self.run.scores()}
        left = [split for split in self.data.tests if (name, split) not in done]
        if not left:
            return
        if place != self.config.model and not Path(place).exists():
            return  # a stage that this call was not asked to run
        with self.run.stage(f"eval {name}"):
            model = self.load(place)
            for split in left:
                self._evaluate_split(name, model, split)

    def _evaluate_split(self, name: str, model: PreTrainedModel, split: str) -> None:
        config = self.config.eval
        assert config is not None
        encoder = self.encoder(model)
        trajectories = draw(self.data.tests[split], config.trajectories, self.config.seed)
        prompts = list(chain.from_iterable(encoder.prompts(trajectory) for trajectory in trajectories))
        if not prompts:
            raise DataError(f"nothing to evaluate: split {split} has no unfailed step within the length limit")
        results = evaluate(
            model,
            self.tokenizer,
            prompts,
            encoder.stop_ids,
            dialects.get(self.config.dialect, self.tokenizer),
            config.max_new_tokens,
            config.batch_size,
            self.tell(f"eval {name}, {split}"),
        )
        write_json_lines(self.folder / "predictions" / f"{name}.{split}.jsonl", [row for row, _ in results])
        self.run.add_score(
            score_row(
                name,
                self.data.bench,
                split,
                _steps(self.data.tests[split]),
                [verdict for _, verdict in results],
                [bool(prompt.gold) for prompt in prompts],
                encoder.counts.dropped,
            )
        )

    def load(self, place: str, base: Base | None = None) -> PreTrainedModel:
        """A model in the run's arithmetic, on its device."""
        gc.collect()
        model = models.load_model(place, models.resolve_dtype(self.config.dtype, self.device), self.device, base)
        reason = why_not_shared(model)
        if reason is not None and not self.run_alone:
            logging.getLogger("tltrain").warning("no prefix is shared, sequences run one by one: %s", reason)
        self.run_alone = reason is not None
        return model

    def encoder(self, model: PreTrainedModel, mae: bool = True, pkt: bool = True) -> Encoder:
        """Encodes for the run's model."""
        return Encoder(
            self.tokenizer,
            mae,
            pkt,
            self.config.sft.w_max if self.config.sft else 1.0,
            self.config.mode,
            self.config.max_length,
            models.end_ids(model),
        )


def pick_device(name: str | None) -> str:
    """The device of that name; a GPU where there is one for None. Raises ConfigError where it cannot be used."""
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name}: cannot be used: {str(error).splitlines()[0]}") from None
    return name


def _steps(trajectories: list[Trajectory]) -> int:
    """Replies of a split: what its items are drawn from."""
    return sum(1 for trajectory in trajectories for _ in trajectory.replies())
