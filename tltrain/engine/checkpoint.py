"""Checkpoints of unfinished training: one file, replaced whole, removed when the stage is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tltrain.errors import RunError
from tltrain.files import is_disk_full, read_json_lines, replacing, write_json_lines


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write the state whole or not at all.

    Raises:
        RunError: no space is left.
    """
    with replacing(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch's writer hides the system's error in a text of its own
            if is_disk_full(error) or "file write failed" in str(error) or "unexpected pos" in str(error):
                raise RunError(f"{path}: no space left on the device") from error
            raise


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The saved state; None where there is none."""
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def cut_metrics(path: Path, key: str, done: int) -> None:
    """Drop lines of `metrics.jsonl` that a killed run wrote after its last checkpoint (`key` counts from 1)."""
    lines = read_json_lines(path)
    if lines or path.exists():
        write_json_lines(path, [line for line in lines if line[key] <= done])
