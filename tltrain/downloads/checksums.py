"""Whether files are those that published figures are about."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tltrain.files import file_sha256


def warnings_for(name: str, files: Iterable[Path], pinned: str) -> list[str]:
    """A warning where the files, one after another, do not have this SHA-256; no warning where they have."""
    found = file_sha256(*files)
    if found == pinned:
        return []
    return [f"{name}: not the pinned data, but a part or another version of it (SHA-256 {found})"]
