"""Checks whether local files are the versions that published results refer to."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path


def warnings_for(name: str, files: Iterable[Path], pinned: str) -> list[str]:
    """Return a warning unless the SHA-256 of the concatenated files is `pinned`."""
    digest = sha256()
    for file in files:
        digest.update(file.read_bytes())
    found = digest.hexdigest()
    if found == pinned:
        return []
    return [f"{name}: not the pinned data, but a part or another version of it (SHA-256 {found})"]
