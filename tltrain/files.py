"""Writing so that a kill at any moment leaves the old content or the new, never half of it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tltrain.errors import DataError, RunError

_A_FOLDER = "expected a file to write, but this is a folder"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary sibling of `path` (file or folder, the caller creates it), renamed to `path` if the block succeeds.

    An existing folder at `path` is moved aside first and then removed. If the process is killed in between, the next
    call finds the old folder and restores it first.

    Raises:
        DataError: a file would replace a folder.
        RunError: there is no space.
    """
    if not path.name:  # such as `.`
        raise DataError(_A_FOLDER, path)
    temporary, aside = path.with_name(temporary_name(path.name)), path.with_name(f".{path.name}.old")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if aside.exists() and not path.exists():
            aside.rename(path)
        discard(temporary)
        yield temporary
        if path.is_dir():
            if not temporary.is_dir():
                raise DataError(_A_FOLDER, path)
            discard(aside)
            path.rename(aside)
            temporary.rename(path)
            discard(aside)
        else:
            temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):  # the first error says more
            discard(temporary)
        if (reason := no_space(error)) is not None:
            raise RunError(f"{path}: {reason}") from error
        raise


def temporary_name(name: str) -> str:
    """What a file or folder is called while it is written."""
    return f".{name}.writing"


def discard(path: Path) -> None:
    """Remove a file or folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def equal_modes(folder: Path) -> None:
    """Give all files of a folder the permissions that new files get; libraries that write through temporary files leave
    some readable by their owner only."""
    probe = folder / temporary_name("mode")
    probe.touch()
    mode = probe.stat().st_mode & 0o777
    probe.unlink()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)


def no_space(error: BaseException) -> str | None:
    """What an error says if a file could not be written for want of space, else None (safetensors and tokenizers hide
    the number in their text)."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT) or "os error 28" in str(error):
        return "no space left on the device"
    if number == errno.EFBIG or "os error 27" in str(error):
        return "the file is larger than the file system or the process may write"
    return None


def file_sha256(*paths: Path) -> str:
    """SHA-256 of a file, or of several files concatenated, as hexadecimal digits."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document, indented."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def write_json_lines(path: Path, values: Iterable[Any]) -> None:
    """Write JSON Lines whole."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for value in values:
            stream.write(json.dumps(value, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON document of ours.

    Raises:
        DataError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError("no such file", path) from None
    except ValueError as error:
        raise DataError(f"not JSON: {error}", path) from None


def read_json_lines(path: Path) -> list[Any]:
    """Read JSON Lines of ours; a missing file is empty; a last line cut by a kill is dropped."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    complete = lines[:-1]
    return [json.loads(line) for line in complete if line]


def append_json_line(path: Path, value: Any) -> None:
    """Append one line, on disk when this returns; if it does not fit, nothing of it is left.

    Raises:
        RunError: no space is left.
    """
    line = (json.dumps(value, ensure_ascii=False) + "\n").encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as stream:
            before = stream.tell()
            try:
                while line:  # a full disk may take a part of it
                    line = line[stream.write(line) :]
                os.fsync(stream.fileno())
            except OSError:
                with suppress(OSError):  # a device cannot be cut
                    stream.truncate(before)
                raise
    except OSError as error:
        if (reason := no_space(error)) is not None:
            raise RunError(f"{path}: {reason}") from error
        raise
