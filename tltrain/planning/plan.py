"""The plan of a run: what it will do, how long that takes, how much memory it needs, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from tltrain import model as models
from tltrain.arms import ARMS, arm_after_ppo
from tltrain.config import RunConfig
from tltrain.data import Data, load_data
from tltrain.encode import Encoder
from tltrain.engine.devices import pick_device
from tltrain.errors import ConfigError, DataError
from tltrain.planning.costs import Machine, StageCost
from tltrain.planning.measuring import measured_rates
from tltrain.planning.model_size import model_size
from tltrain.planning.problems import data_problems, data_warnings, encoding_problems
from tltrain.planning.rates import Rates, computed_rates
from tltrain.planning.remedies import memory_problems
from tltrain.planning.replies import gold_lengths, truncation_warnings, with_reply_limit
from tltrain.planning.skipping import SkippingEncoder, refused_problems
from tltrain.planning.work import ArmWork, EvalWork, PPOWork
from tltrain.planning.workload import arm_work, eval_work, from_enough, ppo_work
from tltrain.sft import draw
from tltrain.testsets.base import TestSet
from tltrain.testsets.trajectories import TrajectorySet
from tltrain.trajectory import Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")

STAGES = ("sft", "ppo", "eval")
ENCODE_SECONDS = 3.0
"""Time for encoding each kind of data; where that is not enough, the rest is taken to be like the part encoded."""
QUICK_ENCODE_SECONDS = 0.4
QUICK_MEASURE_SECONDS = 0.3
"""Times for each kind of data and of work in a quick plan."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Work, cost and problems of a run.

    Attributes:
        config: the configuration, with the limit on replies that the run would use.
        arms: the work of SFT by arm.
        ppo: the work of PPO.
        evaluation: the work of evaluating one model.
        stages: time and memory of each stage that is estimated.
        rates: of the machine.
        problems: what to look at before the run starts.
        refused: number of trajectories, of those that were looked at, that cannot be encoded.
    """

    config: RunConfig
    arms: dict[str, ArmWork]
    ppo: PPOWork | None
    evaluation: EvalWork | None
    stages: list[StageCost]
    rates: Rates
    problems: list[str] = field(default_factory=list)
    refused: int = 0

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def peak_memory_mb(self) -> float:
        """Of the stage that needs most."""
        return max((stage.peak_memory_mb for stage in self.stages), default=0.0)

    def only(self, stages: Sequence[str]) -> Plan:
        """The plan with the cost of the named stages alone."""
        return replace(self, stages=[stage for stage in self.stages if stage.stage in stages])

    def to_json(self) -> dict[str, Any]:
        """The JSON output of `tltrain plan`: `{device, measured, sft, ppo, eval, stages, seconds, peak_memory_mb,
        capacity_mb, problems}`."""
        return {
            "device": self.rates.device,
            "measured": self.rates.measured,
            "sft": {arm: arm_json(work) for arm, work in self.arms.items()},
            "ppo": None if self.ppo is None else ppo_json(self.ppo),
            "eval": None if self.evaluation is None else {"items": self.evaluation.items},
            "stages": [stage.to_json() for stage in self.stages],
            "seconds": round(self.seconds, 1),
            "peak_memory_mb": round(self.peak_memory_mb),
            "capacity_mb": round(self.rates.capacity_mb),
            "problems": self.problems,
        }

    def last_lines(self) -> list[str]:
        """Time, memory and problems, a line each."""
        how = "measured for a moment" if self.rates.measured else "from its data sheet"
        slowest = max(self.stages, key=lambda stage: stage.seconds)
        largest = max(self.stages, key=lambda stage: stage.peak_memory_mb)
        return [
            f"time: about {duration(self.seconds)} on {self.rates.device} ({how}), "
            f"of which {duration(slowest.seconds)} for {slowest.stage}",
            f"memory: about {self.peak_memory_mb / 1e3:.1f} GB at the peak (in {largest.stage}), "
            f"of {self.rates.capacity_mb / 1e3:.1f} GB",
            f"problems: {'; '.join(self.problems) or 'none found'}",
        ]


def arm_json(work: ArmWork) -> dict[str, Any]:
    """The work of an arm by name."""
    return {
        "trajectories": work.trajectories,
        "updates": work.updates,
        "tokens": round(work.work.separate_tokens),
        "distinct_tokens": round(work.work.tokens),
        "largest_pass": work.work.largest_pass,
        **work.counts.to_json(),
    }


def ppo_json(work: PPOWork) -> dict[str, Any]:
    """The work of PPO by name."""
    return {"rollouts": work.rollouts, "replies": work.replies, "updates": work.updates}


def duration(seconds: float) -> str:
    """Such as `45 seconds`, `12 minutes` or `3.5 hours`."""
    if seconds < 90:
        return "1 second" if seconds < 1.5 else f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def base_name(config: RunConfig) -> str:
    """Name of a run's initial model in scores: `base`, or its own name if nothing is trained."""
    return "base" if config.sft or config.ppo else config.model.strip("./").replace("/", "-")


def make_plan(config: RunConfig, gpu: str | None = None) -> Plan:
    """Plan a whole run from its configuration: trains nothing, writes nothing.

    Args:
        config: of the run.
        gpu: name of a GPU of `rates.GPUS`; None measures this machine.

    Raises:
        ConfigError, DataError, ModelError: what the run itself would raise before training.
    """
    tokenizer = models.load_tokenizer(config.model, config.dialect, config.allow_code, config.template)
    data = load_data(config.data, config.data_seed)
    config = with_reply_limit(config, None, data, tokenizer)
    planned = plan_run(config, data, tokenizer, gpu=gpu, encode_seconds=ENCODE_SECONDS)
    return replace(planned, problems=[*data_warnings(config, data), *planned.problems])


def plan_run(
    config: RunConfig,
    data: Data,
    tokenizer: PreTrainedTokenizerBase,
    *,
    stages: Sequence[str] = STAGES,
    gpu: str | None = None,
    encode_seconds: float | None = None,
    measure_seconds: float = 1.0,
) -> Plan:
    """Plan some stages of a run whose data and tokenizer are loaded.

    Args:
        config: of the run; `eval.max_new_tokens` is set.
        data: its data.
        tokenizer: its tokenizer.
        stages: of `STAGES`, those that are planned.
        gpu: name of a GPU of `rates.GPUS`; None measures this machine.
        encode_seconds: encode a part of the data for so long for each kind of work; None: all data.
        measure_seconds: how long each kind of work is measured, at most.

    Raises:
        ConfigError, DataError, ModelError: what the run itself would raise before training.
    """
    if not has_work(config, data, stages):
        raise ConfigError(
            "nothing to plan: the configuration neither trains nor evaluates on test splits of its own"
            + (", and the time on public test sets is not estimated" if config.eval and config.eval.bench else "")
        )
    encoders = _Encoders(config, tokenizer)
    arms: dict[str, ArmWork] = {}
    if config.sft is not None and "sft" in stages:
        by_mask: dict[tuple[bool, bool], ArmWork] = {}
        for arm in config.sft.arms:
            kind = (ARMS[arm].mae, ARMS[arm].pkt)
            by_mask[kind] = by_mask.get(kind) or encoders.work(arm_work, data, kind, encode_seconds)
            arms[arm] = by_mask[kind]
    ppo = evaluation = None
    if config.ppo is not None and "ppo" in stages:
        ppo = encoders.work(ppo_work, data, (True, False), encode_seconds)
    if config.eval is not None and _evaluates(config, data, stages):
        sample = config.eval.trajectories
        tested = [trajectory for split in data.tests.values() for trajectory in draw(split, sample, config.data_seed)]
        golds = gold_lengths(tested, tokenizer, config.failure_mode, config.data_seed)
        evaluation = eval_work(_test_sets(config, data), golds, encoders(), config, encode_seconds)
    machine = _machine(config, gpu, arms, ppo, evaluation, measure_seconds)
    costs = _costs(config, machine, arms, ppo, evaluation)
    problems = [
        *data_problems(config, data),
        *refused_problems(encoders.refused, config.data.strict),
        *encoding_problems(arms),
        *truncation_warnings(config, data, tokenizer, stages),
        *memory_problems(machine, config, arms, ppo, costs),
    ]
    return Plan(config, arms, ppo, evaluation, costs, machine.rates, problems, len(encoders.refused))


def has_work(config: RunConfig, data: Data, stages: Sequence[str]) -> bool:
    """Whether the stages train, or evaluate on test splits of the run's own; the time on public test sets is not
    planned."""
    trains = ("sft" in stages and config.sft) or ("ppo" in stages and config.ppo)
    return bool(trains) or _evaluates(config, data, stages)


def _evaluates(config: RunConfig, data: Data, stages: Sequence[str]) -> bool:
    return config.eval is not None and config.eval.own_splits and "eval" in stages and bool(data.tests)


def quick_plan(config: RunConfig, data: Data, tokenizer: PreTrainedTokenizerBase, stages: Sequence[str]) -> Plan:
    """`plan_run` within seconds: a small part of the data is encoded, and short passes are measured."""
    return plan_run(
        config,
        data,
        tokenizer,
        stages=stages,
        encode_seconds=QUICK_ENCODE_SECONDS,
        measure_seconds=QUICK_MEASURE_SECONDS,
    )


class _Encoders:
    """Encoders of a run, which differ in masks and weights."""

    def __init__(self, config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        self.config, self.tokenizer = config, tokenizer
        self.refused: dict[str, str] = {}
        """Why trajectories cannot be encoded, by their sources."""

    def __call__(self, mae: bool = True, pkt: bool = False) -> Encoder:
        sft = self.config.sft
        encoder = SkippingEncoder(
            self.tokenizer,
            mae=mae,
            pkt=pkt,
            w_max=sft.w_max if sft else 1.0,
            mode=self.config.failure_mode,
            max_length=self.config.max_length,
            answered_only=sft is not None and sft.answered_only,
            argument_ends=sft is None or sft.argument_ends,
        )
        encoder.refused = self.refused
        return encoder

    def work(
        self,
        find: Callable[[Sequence[Trajectory], Encoder, RunConfig, float | None], T],
        data: Data,
        kind: tuple[bool, bool],
        seconds: float | None,
    ) -> T:
        """The work of a training with MAE and PKT as in `kind`; an error also says what cannot be encoded."""
        try:
            return from_enough(lambda limit: find(data.train, self(*kind), self.config, limit), seconds)
        except DataError as error:
            refused = refused_problems(self.refused, self.config.data.strict)
            raise DataError("; ".join([error.reason, *refused])) from None


def _test_sets(config: RunConfig, data: Data) -> list[TestSet]:
    return [TrajectorySet.of(data.bench, name, split, config.failure_mode) for name, split in data.tests.items()]


def _machine(
    config: RunConfig,
    gpu: str | None,
    arms: dict[str, ArmWork],
    ppo: PPOWork | None,
    evaluation: EvalWork | None,
    seconds: float,
) -> Machine:
    if gpu is not None:
        size = model_size(config.model, config.allow_code)
        recompute = config.sft is not None and config.sft.gradient_checkpointing
        return Machine(computed_rates(gpu, size, recompute), size)
    decoded = [*(ppo.decoding if ppo else ()), *(evaluation.decoding if evaluation else ())]
    sample = next((work.sample for work in arms.values()), ppo.sample if ppo else None)
    if sample is None:
        assert evaluation is not None, "a plan has work"
        sample = evaluation.sample
    replies = max((one.replies for one in decoded), default=1)
    planned = {"sft": config.sft if arms else None, "ppo": config.ppo if ppo else None}
    config = config.model_copy(update=planned)
    return Machine(*measured_rates(config, pick_device(config.device), sample, replies, seconds))


def _costs(
    config: RunConfig, machine: Machine, arms: dict[str, ArmWork], ppo: PPOWork | None, evaluation: EvalWork | None
) -> list[StageCost]:
    """In the order of the run."""
    costs = []
    if evaluation is not None:
        costs.append(machine.evaluation(base_name(config), evaluation, False))
    for arm in config.sft.arms if config.sft else ():
        if arm in arms:
            costs.append(machine.sft(arm, arms[arm], config))
        if evaluation is not None:
            costs.append(machine.evaluation(arm, evaluation, True))
    if config.ppo is not None:
        if ppo is not None:
            costs.append(machine.ppo(ppo, config))
        if evaluation is not None:
            name = arm_after_ppo(config.ppo.arm if config.sft else None)
            costs.append(machine.evaluation(name, evaluation, True))
    return costs
