"""`tltrain convert`: from any format that can be read to any that can be written: trajectories, tokens with weights,
and prompts with golds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltrain import formats
from tltrain.audit.failure_detectors import assess_calls
from tltrain.encode import Encoder, EncodingCounts, Step
from tltrain.errors import ConfigError, DataError, TemplateError
from tltrain.formats import llamafactory
from tltrain.integrations import rows
from tltrain.progress import Progress, no_progress, quantity
from tltrain.trajectory import Message, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NUMBER = re.compile(r"\[\d+\]|(?<=message )\d+")

MASKED_BY_DEFAULT = ("ms-swift",)
"""Formats with a documented field for loss weights; in other formats the weights are non-standard fields."""
NAMES = (*formats.WRITERS, *formats.STEP_WRITERS, *rows.PROMPT_FORMATS)
"""The formats that can be written."""


@dataclass(slots=True)
class Conversion:
    """The result of a conversion: what was written, the records skipped and why, and how to use the file."""

    written: int = 0
    problems: list[formats.Problem] = field(default_factory=list)
    encoding: EncodingCounts | None = None
    """The encoder's counts, for tokens."""
    left_out: int | None = None
    """For prompts: the number of replies that are no golds, because they failed or are labelled 0."""
    dropped_texts: int | None = None
    """The number of texts beside calls that were dropped; None if they were to be kept."""
    dataset_info: dict[str, Any] | None = None
    """For LLaMA-Factory: the entry of `dataset_info.json`."""
    usage: str | None = None
    """For prompts: how the trainer finds the reward."""
    found: formats.Found = field(default_factory=formats.Found)
    """What the input contained."""

    def to_json(self) -> dict[str, Any]:
        """The output of `--json`."""
        return {
            "written": self.written,
            "skipped": [asdict(problem) for problem in self.problems],
            "encoding": None if self.encoding is None else self.encoding.to_json(),
            "left_out": self.left_out,
            "dropped_texts": self.dropped_texts,
            "dataset_info": self.dataset_info,
            "usage": self.usage,
        }

    def summary(self) -> str:
        """A line with the number of records written and skipped, and a line per reason for skipping."""
        reasons = Counter(_NUMBER.sub("[…]", problem.reason) for problem in self.problems)
        lines = [self._counts(), *(f"  {number} skipped: {reason}" for reason, number in reasons.most_common(5))]
        if any(reason.endswith(llamafactory.TEXT_BESIDE_CALLS) for reason in reasons):
            lines.append("  --drop-text writes these calls without the text")
        if self.dropped_texts is not None:
            lines.append(f"  dropped {quantity(self.dropped_texts, 'text')} beside calls")
        return "\n".join(lines)

    def _counts(self) -> str:
        counts, number = self.encoding, len(self.problems)
        skipped = f"{quantity(number, 'record')} skipped"
        if self.left_out is not None:
            left_out = f"{quantity(self.left_out, 'reply')} left out (failed or labelled 0)"
            return f"{quantity(self.written, 'prompt')} written; {left_out}; {skipped}"
        if counts is None:
            return f"{quantity(self.written, 'trajectory')} written, {number:,} skipped"
        masked = f"{counts.masked} failed and weigh 0, {counts.dropped} dropped"
        return f"{self.written} of {quantity(counts.replies, 'reply')} written: {masked}; {skipped}"


def convert_file(
    data: str,
    to: str,
    out: str,
    *,
    format: str | None = None,
    tools: str | None = None,
    model: str | None = None,
    strict: bool = False,
    mask: bool | None = None,
    drop_text: bool = False,
    allow_code: bool = False,
    progress: Progress = no_progress,
) -> Conversion:
    """Convert a file, a folder or standard input ("-"), in constant memory.

    Args:
        data: the input.
        to: the output format: one of `NAMES`.
        out: the output file, or "-" for standard output.
        format: the input format; by default it is detected.
        tools: a file of tools for trajectories that list none.
        model: the model whose tokenizer encodes `steps` and `trl`, and whose chat template writes the prompts of
            `trl-grpo` and `verl`. For `ms-swift-grpo`, the model whose replies will be rewarded (default: hermes
            calls).
        strict: whether a record that cannot be converted is an error; by default it is skipped.
        mask: whether failed replies get weight 0; by default only in formats with a field for weights
            (`MASKED_BY_DEFAULT`, `steps`, `trl`). `steps` also contain the weights of PKT, which `trl` cannot express.
            Prompts never have a failed reply as their gold.
        drop_text: whether the text beside calls is dropped, which LLaMA-Factory cannot store.
        allow_code: whether a tokenizer with Python code is loaded.
        progress: called after each trajectory.

    Raises:
        ConfigError: the format is unknown, `model` is missing, or the output is part of the input.
        DataError: a record cannot be read or written and `strict` is set, or no record can be read.
    """
    name = _output_format(data, to, out, mask)
    tokenizer = None
    if model is not None and name not in formats.WRITERS:
        from tltrain import model as models

        tokenizer = models.load_tokenizer(model, allow_code=allow_code)
    done = Conversion()
    given_tools = None if tools is None else formats.read_tools(tools)
    trajectories = formats.read(data, format, given_tools, strict, done.problems, done.found)
    trajectories = _shown(_require_any(trajectories, data, done.problems), progress)
    if drop_text:
        done.dropped_texts = 0
        trajectories = _without_texts(trajectories, done)
    if name in formats.WRITERS:
        _write_trajectories(trajectories, name, out, mask, strict, done)
    elif name in formats.STEP_WRITERS:
        done.written = formats.write_steps(_steps(trajectories, name, tokenizer, mask, strict, done), out, name)
    else:
        done.written = formats.write_records(_prompts(trajectories, name, tokenizer, strict, done), out)
        done.usage = usage(name)
    return done


def _output_format(data: str, to: str, out: str, mask: bool | None) -> str:
    """The full name of the output format. Raises ConfigError for what cannot be written."""
    if "-" not in (data, out) and Path(out).resolve().is_relative_to(Path(data).resolve()):
        raise ConfigError(f"--out {out}: is part of the input {data}, which is never overwritten")
    name = formats.format_name(to, NAMES)
    if name in rows.PROMPT_FORMATS and mask is False:
        raise ConfigError(f"--no-mask: {name} holds golds, and a failed reply is none")
    return name


def _write_trajectories(
    trajectories: Iterable[Trajectory], name: str, out: str, mask: bool | None, strict: bool, done: Conversion
) -> None:
    masked = name in MASKED_BY_DEFAULT if mask is None else mask
    failed = failed_replies if masked else None
    done.written = formats.write(trajectories, out, name, failed=failed, strict=strict, problems=done.problems)
    if name == "llama-factory":
        done.dataset_info = {_stem(out): llamafactory.dataset_info(Path(out).name)}


def _stem(out: str) -> str:
    return "tltrain" if out == "-" else Path(out).stem


def usage(name: str) -> str:
    """How the trainer of a format of prompts is given the reward."""
    if name == "trl-grpo":
        return (
            "from tltrain.integrations.trl_reward import ToolCallReward\n"
            "GRPOTrainer(..., reward_funcs=ToolCallReward(tokenizer))"
        )
    if name == "verl":
        return (
            "reward.custom_reward_function.path=pkg://tltrain.integrations.verl_reward "
            "reward.custom_reward_function.name=compute_score"
        )
    return f"--external_plugins {Path(rows.__file__).with_name('swift_reward.py')} --reward_funcs tool_call"


def _shown(trajectories: Iterable[Trajectory], progress: Progress) -> Iterator[Trajectory]:
    for done, trajectory in enumerate(trajectories, 1):
        yield trajectory
        progress("trajectories", done, 0)


def _without_texts(trajectories: Iterable[Trajectory], done: Conversion) -> Iterator[Trajectory]:
    """The trajectories without text beside calls; adds the number of these texts to `done`."""

    def cleared(message: Message) -> Message:
        return replace(message, content=None) if message.calls and message.content else message

    for trajectory in trajectories:
        messages = tuple(map(cleared, trajectory.messages))
        number = sum(a is not b for a, b in zip(messages, trajectory.messages, strict=True))
        done.dropped_texts = (done.dropped_texts or 0) + number
        yield replace(trajectory, messages=messages)


def _steps(
    trajectories: Iterable[Trajectory],
    name: str,
    tokenizer: PreTrainedTokenizerBase | None,
    mask: bool | None,
    strict: bool,
    done: Conversion,
) -> Iterator[Step]:
    """The steps of the trajectories; adds their counts, and what cannot be rendered, to `done`."""
    if tokenizer is None:
        raise ConfigError(f"--to {name}: needs --model for its tokenizer")
    encoder = Encoder(tokenizer, mae=mask is not False)
    done.encoding = EncodingCounts()
    for trajectory in trajectories:
        try:
            encoded = encoder.encode(trajectory)
        except TemplateError as error:
            _skip(trajectory, error, strict, done)
        else:
            done.encoding += encoded.counts
            yield from encoded.steps
    _require_written(done.encoding.replies, done)


def _prompts(
    trajectories: Iterable[Trajectory],
    name: str,
    tokenizer: PreTrainedTokenizerBase | None,
    strict: bool,
    done: Conversion,
) -> Iterator[dict[str, Any]]:
    """The rows of the trajectories; adds the replies that are no golds, and what cannot be written, to `done`."""
    row = rows.prompt_writer(name, tokenizer)
    done.left_out = written = 0
    for trajectory in trajectories:
        questions = list(rows.questions(trajectory))
        done.left_out += sum(1 for _ in trajectory.replies()) - len(questions)
        for question in questions:
            try:
                record = row(question)
            except (TemplateError, DataError) as error:
                _skip(trajectory, error, strict, done)
            else:
                written += 1
                yield record
    _require_written(written, done)


def _skip(trajectory: Trajectory, error: TemplateError | DataError, strict: bool, done: Conversion) -> None:
    """Note why a trajectory, or a reply of it, cannot be written. Raises DataError if `strict` is set."""
    path, line = formats.path_and_line(trajectory.source)
    reason = error.reason if isinstance(error, DataError) else str(error).removeprefix(f"{trajectory.source}, ")
    if strict:
        raise DataError(reason, path, line) from None
    done.problems.append(formats.Problem(path or "", line, reason))


def _require_written(written: int, done: Conversion) -> None:
    if not written and done.problems:
        first = done.problems[0]
        raise DataError(f"nothing could be written: {first.reason}", first.path, first.line)


def _require_any(
    trajectories: Iterable[Trajectory], data: str, problems: list[formats.Problem]
) -> Iterator[Trajectory]:
    """Yield the trajectories unchanged. Raises DataError if there are none."""
    empty = True
    for trajectory in trajectories:
        empty = False
        yield trajectory
    if empty:
        first = problems[0] if problems else None
        reason = f": {first.reason}" if first else ""
        raise DataError(f"no trajectory could be read{reason}", data, first.line if first else None)


def failed_replies(trajectory: Trajectory) -> set[int]:
    """The message indices of the replies that contain a failed call."""
    return {assessment.message for assessment in assess_calls(trajectory) if assessment.failed}
