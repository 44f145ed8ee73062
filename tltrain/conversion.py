"""`tltrain convert`: from any format that can be read to any that can be written, including tokens with weights."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tltrain import formats
from tltrain.audit.failure_detectors import assess_calls
from tltrain.encode import Encoder, EncodingCounts, Step
from tltrain.errors import ConfigError, DataError
from tltrain.trajectory import Trajectory

_NUMBER = re.compile(r"\[\d+\]")

MASKED_BY_DEFAULT = ("ms-swift",)
"""Formats with a documented field for loss weights; in other formats the weights are non-standard fields."""


@dataclass(slots=True)
class Conversion:
    """The result of a conversion: the records written, the records skipped and why, and the encoder's counts for
    tokens."""

    written: int = 0
    problems: list[formats.Problem] = field(default_factory=list)
    encoding: EncodingCounts | None = None
    found: formats.Found = field(default_factory=formats.Found)
    """What the input contained."""

    def to_json(self) -> dict[str, Any]:
        """The output of `--json`."""
        counts = None if self.encoding is None else self.encoding.to_json()
        return {"written": self.written, "skipped": [asdict(problem) for problem in self.problems], "encoding": counts}

    def summary(self) -> str:
        """A line with the number of records written and skipped, and a line per reason for skipping."""
        counts = self.encoding
        if counts is None:
            first = f"{self.written} trajectories written, {len(self.problems)} skipped"
        else:
            masked = f"{counts.masked} failed and weigh 0, {counts.dropped} dropped"
            skipped = f"{len(self.problems)} records skipped"
            first = f"{self.written} of {counts.replies} replies written: {masked}; {skipped}"
        reasons = Counter(_NUMBER.sub("[…]", problem.reason) for problem in self.problems)
        return "\n".join([first, *(f"  {number} skipped: {reason}" for reason, number in reasons.most_common(5))])


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
) -> Conversion:
    """Convert a file, a folder or standard input ("-"), in constant memory.

    Args:
        data: the input.
        to: the output format: a name in `formats.WRITERS` or `formats.STEP_WRITERS`.
        out: the output file, or "-" for standard output.
        format: the input format; by default it is detected.
        tools: a file of tools for trajectories that list none.
        model: the model whose tokenizer encodes the formats `steps` and `trl`.
        strict: whether a record that cannot be converted is an error; by default it is skipped.
        mask: whether failed replies get weight 0; by default only in formats with a field for weights
            (`MASKED_BY_DEFAULT`, `steps`, `trl`). `steps` also contain the weights of PKT, which `trl` cannot express.

    Raises:
        ConfigError: the format is unknown, `model` is missing, or the output is part of the input.
        DataError: a record cannot be read or written and `strict` is set, or no record can be read.
    """
    if "-" not in (data, out) and Path(out).resolve().is_relative_to(Path(data).resolve()):
        raise ConfigError(f"--out {out}: is part of the input {data}, which is never overwritten")
    done = Conversion()
    known = (*formats.WRITERS, *formats.STEP_WRITERS)
    name = formats.format_name(to, known)
    given_tools = None if tools is None else formats.read_tools(tools)
    trajectories = _require_any(
        formats.read(data, format, given_tools, strict, done.problems, done.found), data, done.problems
    )
    if name in formats.WRITERS:
        masked = name in MASKED_BY_DEFAULT if mask is None else mask
        failed = failed_replies if masked else None
        done.written = formats.write(trajectories, out, name, failed, strict, done.problems)
        return done
    if model is None:
        raise ConfigError(f"--to {name}: needs --model for its tokenizer")
    from tltrain import model as models

    encoder = Encoder(models.load_tokenizer(model), mae=mask is not False)
    done.written = formats.write_steps(_encoded(trajectories, encoder, done), out, name)
    return done


def _encoded(trajectories: Iterable[Trajectory], encoder: Encoder, done: Conversion) -> Iterator[Step]:
    """The steps of the trajectories; adds their counts to `done`."""
    done.encoding = EncodingCounts()
    for trajectory in trajectories:
        encoded = encoder.encode(trajectory)
        done.encoding += encoded.counts
        yield from encoded.steps


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
