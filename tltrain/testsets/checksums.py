"""Checks whether local files are the versions that published results refer to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tltrain.files import file_sha256


def version_warnings(name: str, files: Iterable[Path], pinned: str) -> list[str]:
    """A warning to show beside scores if the SHA-256 of the concatenated files is not `pinned`; else none."""
    found = file_sha256(*files)
    if found == pinned:
        return []
    return [f"{name}: not the pinned data, but a part or another version of it (SHA-256 {found})"]
