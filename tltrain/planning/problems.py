"""Problems of a configuration with its data that stop no run, but change what its result means."""

from __future__ import annotations

from collections.abc import Mapping

from tltrain.config import RunConfig
from tltrain.data import TOOLWORLD, Data, opening
from tltrain.planning.work import ArmWork
from tltrain.progress import quantity


def default_data_warning(config: RunConfig) -> str | None:
    """A warning if the run trains on toolworld only because the configuration names no data."""
    named = "data" in config.model_fields_set and "train" in config.data.model_fields_set
    if named or config.data.train != TOOLWORLD or not (config.sft or config.ppo):
        return None
    return (
        "the configuration has no data.train, so the model is trained on toolworld, the built-in data; "
        "set data.train to your own data, or to `toolworld` if this is intended"
    )


def nothing_to_evaluate_warning(config: RunConfig, data: Data) -> str | None:
    """A warning if the configuration has an evaluation and there is no test split."""
    if config.eval is None or data.tests:
        return None
    openings = len({opening(trajectory) for trajectory in data.train})
    found = f"data.holdout {config.data.holdout:g} of {quantity(openings, 'distinct opening')} is none"
    reason = found if config.data.holdout else "data.holdout is 0 and data.test is empty"
    return f"nothing will be evaluated: {reason}; raise data.holdout, or name files in data.test"


def data_warnings(config: RunConfig, data: Data) -> list[str]:
    """What a run itself warns of when it starts, a line each."""
    warnings = (default_data_warning(config), nothing_to_evaluate_warning(config, data))
    return [warning for warning in warnings if warning is not None]


def data_problems(config: RunConfig, data: Data) -> list[str]:
    """Other problems of the data, a line each."""
    lines = []
    if data.problems:
        skipped = "is" if len(data.problems) == 1 else "are"
        lines.append(
            f"{quantity(len(data.problems), 'record')} cannot be read and {skipped} skipped; "
            f"the first: {data.problems[0]}"
        )
    lines += [
        f"{shared:,} of {quantity(len(data.tests[name]), 'trajectory')} of split {name} with the same beginning as "
        "one of the training split: their scores will be too high"
        for name, shared in data.overlap.items()
        if shared
    ]
    calls = [
        tool.inferred
        for trajectory in data.train
        for site in trajectory.call_sites()
        for tool in trajectory.tools
        if tool.name == site.call.name
    ]
    if inferred := sum(calls):
        lines.append(
            f"tools of {inferred:,} of {quantity(len(calls), 'call')} were inferred from the calls, so their form "
            "cannot be judged; pass the specifications with data.tools"
        )
    of_trajectories = config.sft is not None and config.sft.batch_unit == "trajectory"
    if config.sft is not None and of_trajectories and len(data.train) < config.sft.batch_size:
        trained = quantity(len(data.train), "training trajectory")
        lines.append(f"{trained}, fewer than sft.batch_size {config.sft.batch_size}: an epoch is a single update")
    return lines


def encoding_problems(arms: Mapping[str, ArmWork]) -> list[str]:
    """Replies that SFT truncates or cannot learn, a line each; the same for all arms, whose lengths are equal."""
    work = next(iter(arms.values()), None)
    if work is None:
        return []
    counts, lines = work.counts, []
    if counts.dropped:
        lines.append(
            f"{counts.dropped:,} of {quantity(counts.replies, 'reply')} not trained on: the prompt reaches max_length"
        )
    if counts.cut:
        lines.append(f"{counts.cut:,} of {quantity(counts.replies, 'reply')} truncated at max_length")
    return lines
