"""A sample as the model sees it: every token with its weight and the reason for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltrain import formats
from tltrain import model as models
from tltrain.arms import ARMS, SFT_ARMS
from tltrain.config import RunConfig
from tltrain.data import load_data
from tltrain.encode import DEFAULT_W_MAX, Encoder, Step
from tltrain.errors import ConfigError, DataError
from tltrain.progress import quantity
from tltrain.trajectory import Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def sample_at(data: str, index: int, format: str | None = None, tools: str | None = None) -> Trajectory:
    """The trajectory at `index` (from 0) in a file.

    Raises:
        DataError: the file cannot be read, or `index` is out of range.
    """
    if index < 0:
        raise DataError(f"index {index}: expected 0 or more", data)
    given = None if tools is None else formats.read_tools(tools)
    count = 0
    for trajectory in formats.read(data, format, given):
        if count == index:
            return trajectory
        count += 1
    raise DataError(f"index {index}: the data contain {quantity(count, 'trajectory')}, numbered from 0", data)


def sample_from(data: str, location: str, format: str | None = None, tools: str | None = None) -> Trajectory:
    """The trajectory at `location`, as audits name it: `FILE:LINE`, or a line's number alone.

    Raises:
        DataError: the file cannot be read, or no trajectory starts there.
    """
    given = None if tools is None else formats.read_tools(tools)
    return find_location(formats.read(data, format, given), location, data)


def find_location(trajectories: Iterable[Trajectory], location: str, data: str) -> Trajectory:
    """The trajectory whose source is `location`, see `sample_from`; `data` names the trajectories in the error."""
    path, _, line = location.strip().rpartition(":")
    for trajectory in trajectories:
        own_path, _, own_line = (trajectory.source or "").rpartition(":")
        if line == own_line and (not path or Path(path).resolve() == Path(own_path).resolve()):
            return trajectory
    raise DataError(f"--at {location}: no trajectory starts there; expected FILE:LINE as in an audit", data)


def inspect_run(
    config: RunConfig, arm: str | None = None, *, index: int = 0, location: str | None = None
) -> dict[str, Any]:
    """`inspect_sample` with everything as a run of that configuration has it: its data and splits, the model, the
    dialect, the rule for failed calls, the length limit, and the masks and weights of an arm.

    Args:
        config: the configuration.
        arm: an arm of SFT; None: the last one of the configuration.
        index: position in the training split, from 0.
        location: in place of `index`: `FILE:LINE`, in any split.

    Raises:
        ConfigError: the configuration has no such arm.
        DataError: the data cannot be read, or there is no such trajectory.
    """
    arms = config.sft.arms if config.sft else list(SFT_ARMS[:1])
    arm = arm or arms[-1]
    if arm not in arms:
        raise ConfigError(f"--arm {arm}: expected one of {', '.join(arms)}")
    splits = _splits(config)
    chosen = find_location(chain(*splits.values()), location, config.data.train or "data") if location else None
    if chosen is None:
        train = splits["train"]
        if not 0 <= index < len(train):
            raise DataError(
                f"index {index}: the training split contains {quantity(len(train), 'trajectory')}, numbered from 0"
            )
        chosen = train[index]
    encoder = Encoder(
        models.load_tokenizer(config.model, config.dialect, config.allow_code, config.template),
        mae=ARMS[arm].mae,
        pkt=ARMS[arm].pkt,
        w_max=config.sft.w_max if config.sft else DEFAULT_W_MAX,
        mode=config.failure_mode,
        max_length=config.max_length,
        stop_ids=models.configured_end_ids(config.model, config.allow_code),
        answered_only=bool(config.sft and config.sft.answered_only),
        argument_ends=config.sft is None or config.sft.argument_ends,
    )
    split = next(name for name, members in splits.items() if any(member is chosen for member in members))
    settings = {
        "arm": arm,
        "dialect": config.dialect,
        "mode": config.mode,
        "max_length": config.max_length,
        "split": split,
    }
    return inspect_sample(chosen, config.model, encoder, settings)


def _splits(config: RunConfig) -> dict[str, list[Trajectory]]:
    data = load_data(config.data, config.data_seed)
    return {"train": data.train, **data.tests}


def inspect_sample(
    trajectory: Trajectory,
    model: str,
    encoder: Encoder | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    allow_code: bool = False,
) -> dict[str, Any]:
    """The JSON output of `tltrain inspect`: `{id, source, model, settings, steps, dropped}`.

    A step is `{index, step, message, failed, reasons, tokens}`: `index` counts replies from 0, `step` counts replies
    with calls from 1, as audits do (None for a text). A token is `{token, id, weight, reason, part, key, struck}`. A
    dropped reply is `{message, prompt_tokens, limit}`: its prompt leaves no room for a reply. Without an encoder,
    that of the model is used, with the default settings; `allow_code` as for `load_tokenizer`.
    """
    encoder = encoder or Encoder(models.load_tokenizer(model, allow_code=allow_code))
    numbers: dict[int, int] = {}
    for site in trajectory.call_sites():
        numbers.setdefault(site.message, len(numbers) + 1)
    steps = encoder.steps(trajectory)
    known = {step.message for step in steps}
    dropped = [
        {"message": index, "prompt_tokens": encoder.prompt_length(trajectory, index), "limit": encoder.max_length}
        for index, _ in trajectory.replies()
        if index not in known
    ]
    return {
        "id": trajectory.id,
        "source": trajectory.source,
        "model": model,
        "settings": dict(settings or {}),
        "steps": [_step(encoder.tokenizer, index, step, numbers.get(step.message)) for index, step in enumerate(steps)],
        "dropped": dropped,
    }


def _step(tokenizer: PreTrainedTokenizerBase, index: int, step: Step, number: int | None) -> dict[str, Any]:
    reasons = [note for note, weight in zip(step.notes, step.weights, strict=True) if not weight]
    context = [_token(tokenizer, token, 0.0, "context", "prompt") for token in step.prompt_ids]
    reply = [
        _token(tokenizer, token, weight, note, "reply")
        for token, weight, note in zip(step.reply_ids, step.weights, step.notes, strict=True)
    ]
    return {
        "index": index,
        "step": number,
        "message": step.message,
        "failed": step.masked,
        "reasons": list(dict.fromkeys(reasons)),
        "tokens": context + reply,
    }


def _token(tokenizer: PreTrainedTokenizerBase, token: int, weight: float, reason: str, part: str) -> dict[str, Any]:
    return {
        "token": tokenizer.decode([token]),
        "id": token,
        "weight": weight,
        "reason": reason,
        "part": part,
        "key": reason == "key token",
        "struck": part == "reply" and weight == 0,
    }
