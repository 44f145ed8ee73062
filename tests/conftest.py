"""Shared fixtures. Public data is read from `TLTRAIN_DATA`, or from `shared/data` beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of public data sets; tests that need it are skipped, visibly, where it is not there."""
    folder = Path(os.environ.get("TLTRAIN_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("needs the public data sets (set TLTRAIN_DATA)")
    return folder
