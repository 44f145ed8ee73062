"""Checkpoints of unfinished training: written atomically, and removed when the stage is complete."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tltrain.engine import ranks
from tltrain.errors import RunError
from tltrain.files import discard, read_json_lines, replacing, write_json_lines

PREFIX, STATE = "checkpoint-", "state.pt"
WRITE_ERRORS = ("file write failed", "unexpected pos", "iostream error")
"""What torch says when a file cannot be written; the number of the system's error is lost."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a state atomically.

    Raises:
        RunError: the disk is full.
    """
    with replacing(path) as temporary:
        _save(state, temporary, path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The saved state, on the CPU; None if the file does not exist. Several processes map the file, so that their
    machine holds it once."""
    if not path.is_file():
        return None
    several = ranks.count() > 1
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=several)
    return state


def save_numbered(folder: Path, number: int, state: dict[str, Any], write_extra: Callable[[Path], None]) -> None:
    """Write `checkpoint-<number>/`, as `transformers` names it, atomically, and then remove older checkpoints.

    Args:
        folder: output folder of the training.
        number: completed updates.
        state: is written to `state.pt`.
        write_extra: is called with the checkpoint folder to write further files into it.

    Raises:
        RunError: the disk is full; the previous checkpoint is unchanged.
    """
    path, older = folder / f"{PREFIX}{number}", numbered(folder)
    with replacing(path) as temporary:
        temporary.mkdir()
        _save(state, temporary / STATE, path)
        write_extra(temporary)
    for checkpoint in older:
        if checkpoint != path:
            discard(checkpoint)


def numbered(folder: Path) -> list[Path]:
    """The `checkpoint-<number>` folders in a folder, the latest last; a killed process may leave two."""
    return sorted(folder.glob(f"{PREFIX}*"), key=lambda path: int(path.name.removeprefix(PREFIX)))


def discard_checkpoints(folder: Path) -> None:
    """Remove all checkpoints of a folder, of SFT and of PPO, and the saved best weights."""
    for path in (*numbered(folder), folder / "checkpoint.pt", folder / "best.pt"):
        discard(path)


def cut_metrics(path: Path, key: str, done: int) -> None:
    """Remove lines of `metrics.jsonl` that a killed run wrote after its last checkpoint.

    Args:
        path: the file.
        key: field of a line that numbers the updates, from 1.
        done: number of the last update to keep.
    """
    lines = read_json_lines(path)
    if lines or path.exists():
        write_json_lines(path, [line for line in lines if line[key] <= done])


def _save(state: dict[str, Any], target: Path, path: Path) -> None:
    """Write to `target`; errors name `path`."""
    try:
        torch.save(state, target)
    except RuntimeError as error:
        if any(text in str(error) for text in WRITE_ERRORS):
            raise RunError(f"{path}: no space left on the device") from error
        raise
