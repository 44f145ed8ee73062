"""`tltrain convert`: any readable format to any writable one, tokens and weights included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

from tltrain import formats
from tltrain.audit.failure_detectors import assess_calls
from tltrain.encode import Encoder, EncodingCounts
from tltrain.errors import ConfigError, DataError
from tltrain.trajectory import Trajectory

MASKED_BY_DEFAULT = ("ms-swift",)
"""Formats of messages whose point is the loss; in others marks of ours would be invented fields."""


@dataclass(slots=True)
class Conversion:
    """What was done: records written, records skipped and why, and for tokens what became of the replies."""

    written: int = 0
    problems: list[formats.Problem] = field(default_factory=list)
    encoding: EncodingCounts | None = None

    def to_json(self) -> dict[str, Any]:
        """As printed by `--json`."""
        counts = None if self.encoding is None else self.encoding.to_json()
        return {"written": self.written, "skipped": [asdict(one) for one in self.problems], "encoding": counts}

    def summary(self) -> str:
        """In one line."""
        counts = self.encoding
        if counts is None:
            return f"{self.written} trajectories written, {len(self.problems)} skipped"
        unlearnt = f"{counts.masked} failed and weigh 0, {counts.dropped} dropped"
        return f"{self.written} of {counts.replies} replies written: {unlearnt}; {len(self.problems)} records skipped"


def convert_file(
    data: str,
    to: str,
    out: str,
    format: str | None = None,
    tools: str | None = None,
    model: str | None = None,
    strict: bool = False,
    mask: bool | None = None,
) -> Conversion:
    """Convert a file, folder or the standard input ("-"), in constant memory.

    `mask` writes weight 0 to failed replies (None: where the format is about the loss). `steps` and `trl` are in the
    tokens of `model`, masked by MAE unless `mask` is False; `steps` carry PKT's weights too, `trl`'s labels cannot.

    Raises:
        ConfigError: an unknown format, or tokens without a model.
        DataError: a record cannot be read or written, with `strict`; or nothing at all can be read.
    """
    done = Conversion()
    known = (*formats.WRITERS, *formats.STEP_WRITERS)
    name = formats.format_name(to, known)
    given = None if tools is None else formats.read_tools(tools)
    trajectories = _some(formats.read(data, format, given, strict, done.problems), data, done.problems)
    if name in formats.WRITERS:
        marked = name in MASKED_BY_DEFAULT if mask is None else mask
        failed = failed_replies if marked else None
        done.written = formats.write(trajectories, out, name, failed, strict, done.problems)
        return done
    if model is None:
        raise ConfigError(f"--to {name}: needs --model, whose tokens it is in")
    from tltrain import model as models

    encoder = Encoder(models.load_tokenizer(model), mae=mask is not False)
    done.encoding = encoder.counts
    steps = chain.from_iterable(encoder.steps(trajectory) for trajectory in trajectories)
    done.written = formats.write_steps(steps, out, name)
    return done


def _some(trajectories: Iterable[Trajectory], data: str, problems: list[formats.Problem]) -> Iterator[Trajectory]:
    """The trajectories, of which there has to be at least one."""
    empty = True
    for trajectory in trajectories:
        empty = False
        yield trajectory
    if empty:
        first = problems[0] if problems else None
        reason = f": {first.reason}" if first else ""
        raise DataError(f"no trajectory could be read{reason}", data, first.line if first else None)


def failed_replies(trajectory: Trajectory) -> set[int]:
    """Message indices of the replies that hold a failed call."""
    return {reading.message for reading in assess_calls(trajectory) if reading.failed}
