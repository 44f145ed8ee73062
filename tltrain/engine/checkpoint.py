"""Checkpoints of unfinished training: written aside and renamed, removed when the stage is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tltrain.errors import RunError
from tltrain.files import discard, is_disk_full, read_json_lines, replacing, write_json_lines

PREFIX, STATE = "checkpoint-", "state.pt"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write the state whole or not at all.

    Raises:
        RunError: no space is left.
    """
    with replacing(path) as temporary:
        _save(state, temporary, path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The saved state; None where there is none."""
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def save_numbered(folder: Path, number: int, state: dict[str, Any], beside: Callable[[Path], None]) -> None:
    """Write `checkpoint-<number>/`, as `transformers` calls it, whole or not at all; only then drop older ones.

    Args:
        folder: of the training.
        number: updates done.
        state: goes to `state.pt`.
        beside: writes what else belongs into the folder it is given.

    Raises:
        RunError: no space is left; the checkpoint before is as it was.
    """
    path, older = folder / f"{PREFIX}{number}", numbered(folder)
    with replacing(path) as temporary:
        temporary.mkdir()
        _save(state, temporary / STATE, path)
        beside(temporary)
    for checkpoint in older:
        if checkpoint != path:
            discard(checkpoint)


def numbered(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the latest last; a kill may leave two."""
    return sorted(folder.glob(f"{PREFIX}*"), key=lambda path: int(path.name.removeprefix(PREFIX)))


def discard_checkpoints(folder: Path) -> None:
    """Remove them all, of either kind, and the best weights kept beside them."""
    for path in (*numbered(folder), folder / "checkpoint.pt", folder / "best.pt"):
        discard(path)


def cut_metrics(path: Path, key: str, done: int) -> None:
    """Drop lines of `metrics.jsonl` that a killed run wrote after its last checkpoint (`key` counts from 1)."""
    lines = read_json_lines(path)
    if lines or path.exists():
        write_json_lines(path, [line for line in lines if line[key] <= done])


def _save(state: dict[str, Any], to: Path, path: Path) -> None:
    try:
        torch.save(state, to)
    except RuntimeError as error:  # torch's writer hides the system's error in a text of its own
        if is_disk_full(error) or "file write failed" in str(error) or "unexpected pos" in str(error):
            raise RunError(f"{path}: no space left on the device") from error
        raise
