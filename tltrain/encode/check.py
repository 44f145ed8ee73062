"""Finds the trajectories that cannot be encoded before anything is trained on the others."""

from __future__ import annotations

from collections.abc import Sequence

from tltrain.encode.encoder import Encoder
from tltrain.encode.rendering import Renderer
from tltrain.errors import DataError, TemplateError
from tltrain.formats import Problem
from tltrain.progress import Progress, no_progress
from tltrain.trajectory import Trajectory

SHOWN = 10
"""Skipped records that are named."""


def check_encoding(
    trajectories: Sequence[Trajectory],
    encoder: Encoder,
    *,
    strict: bool = True,
    progress: Progress = no_progress,
) -> tuple[list[Trajectory], list[Problem]]:
    """The trajectories that can be encoded, and a problem for each of the others.

    Nothing of the encoding is kept, so memory does not grow. An encoder with `mae` and `pkt` needs whatever those with
    fewer of them need, so a single check serves all arms.

    Raises:
        DataError: with `strict`, a trajectory cannot be encoded; or none can be.
    """
    kept, problems = [], []
    for number, trajectory in enumerate(trajectories, 1):
        try:
            encoder.encode(trajectory)
            kept.append(trajectory)
        except TemplateError as error:
            path, line, reason = _location(trajectory, str(error))
            if strict:
                raise DataError(f"{reason}; `data.strict: false` skips such records", path, line) from None
            problems.append(Problem(path, line, reason))
        progress("trajectories", number, len(trajectories))
    if problems and not kept:
        first = problems[0]
        raise DataError(f"no trajectory can be encoded: {first.reason}", first.path, first.line)
    return kept, problems


def refusal(trajectory: Trajectory, renderer: Renderer) -> str | None:
    """Why a trajectory cannot be encoded; None if it can be. Renders, but tokenises nothing."""
    try:
        for index, message in trajectory.replies():
            reply = renderer.reply(trajectory, index)
            if message.calls:
                renderer.name_offsets(reply)
    except TemplateError as error:
        return _location(trajectory, str(error))[2]
    return None


def skipped_lines(problems: Sequence[Problem]) -> list[str]:
    """A line for each of the first `SHOWN` records that are skipped, and the number of the others."""
    lines = [f"skipped: {problem}" for problem in problems[:SHOWN]]
    return [*lines, f"skipped: {len(problems) - SHOWN} more records"] if len(problems) > SHOWN else lines


def _location(trajectory: Trajectory, reason: str) -> tuple[str, int | None, str]:
    """Path and line of the trajectory's source, and the reason without them."""
    source = trajectory.source or trajectory.id or "trajectory"
    path, _, line = source.rpartition(":")
    reason = reason.removeprefix(f"{source}, ")
    return (path, int(line), reason) if path and line.isdecimal() else (source, None, reason)
