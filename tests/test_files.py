"""Files and folders are replaced atomically, also when the process is killed or the disk is full."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from tltrain.errors import DataError, RunError
from tltrain.files import (
    append_json_line,
    file_sha256,
    no_space,
    read_json,
    read_json_lines,
    replacing,
    write_json,
    write_json_lines,
    write_text,
)


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_text(path, "Zürich\n")
    write_text(path, "Genève\n")
    assert path.read_bytes() == "Genève\n".encode()
    assert entries(path.parent) == ["a.txt"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert entries(tmp_path) == ["a.txt"]


def fill(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "inside").write_text(text)


def test_a_folder_is_replaced(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with replacing(tmp_path / "model") as temporary:
            fill(temporary, text)
    assert (tmp_path / "model/inside").read_text() == "new"
    assert entries(tmp_path) == ["model"]


def replace_and_die(path: Path, renames: int) -> None:
    """Replace a folder in a process that is killed after the given number of renames."""
    done, rename = 0, Path.rename

    def counting(self: Path, target: Path) -> Path:
        nonlocal done
        if done == renames:
            os.kill(os.getpid(), signal.SIGKILL)
        done += 1
        return rename(self, target)

    Path.rename = counting  # type: ignore[method-assign,assignment]
    with replacing(path) as temporary:
        fill(temporary, "new")


@pytest.mark.parametrize("renames", [0, 1])
def test_a_folder_survives_a_process_killed_while_replacing_it(tmp_path: Path, renames: int) -> None:
    path = tmp_path / "model"
    fill(path, "old")
    process = multiprocessing.get_context("spawn").Process(target=replace_and_die, args=(path, renames))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert path.exists() == (renames == 0)
    with pytest.raises(RuntimeError), replacing(path):
        assert (path / "inside").read_text() == "old", "the next call restores the old folder"
        raise RuntimeError
    assert (path / "inside").read_text() == "old"
    with replacing(path) as temporary:
        fill(temporary, "newer")
    assert (path / "inside").read_text() == "newer"
    assert entries(tmp_path) == ["model"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_the_error_of_a_full_disk_names_the_file(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "model"
    with pytest.raises(RunError) as raised, replacing(path) as temporary:
        fill(temporary, "half")
        raise error
    assert str(raised.value) == f"{path}: no space left on the device"
    assert entries(tmp_path) == []


def test_other_errors_are_not_mistaken_for_a_full_disk() -> None:
    assert no_space(OSError(errno.EACCES, "Permission denied")) is None
    assert no_space(ValueError("no space")) is None


FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@FULL
def test_appending_a_line_on_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(RunError, match="no space left on the device"):
        append_json_line(tmp_path / "metrics.jsonl", {"a": 1})


@FULL
def test_errors_of_the_libraries_on_a_full_disk(tmp_path: Path) -> None:
    """Saving a model and a checkpoint on a full disk; each library raises its own error."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("needs permission to mount a file system")
    script = """
import sys, torch
from pathlib import Path
from safetensors.torch import save_file
from tltrain.engine.checkpoint import save_checkpoint
from tltrain.errors import RunError
from tltrain.files import replacing
folder = Path(sys.argv[1])
values = {"weights": torch.zeros(1_000_000)}
def model():
    with replacing(folder / "model.safetensors") as temporary:
        save_file(values, temporary)
for save in (model, lambda: save_checkpoint(folder / "checkpoint.pt", values)):
    try:
        save()
    except RunError as error:
        print(error)
print(sorted(folder.iterdir()))
"""
    command = f'mount -t tmpfs -o size=1m none "{tmp_path}" && exec "{sys.executable}" -c "$1" "{tmp_path}"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command, "sh", script], capture_output=True, text=True, timeout=120
    )
    if "mount" in done.stderr and "Traceback" not in done.stderr:
        pytest.skip("needs permission to mount a file system")
    assert done.stdout.splitlines() == [
        f"{tmp_path}/model.safetensors: no space left on the device",
        f"{tmp_path}/checkpoint.pt: no space left on the device",
        "[]",
    ], done.stderr


def test_sha256_of_files(tmp_path: Path) -> None:
    for name, text in (("a", "ab"), ("b", "c"), ("c", "abc")):
        (tmp_path / name).write_text(text)
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "c") == file_sha256(tmp_path / "a", tmp_path / "b") == abc


def test_json_round_trip(tmp_path: Path) -> None:
    value: dict[str, Any] = {"name": "Ægir", "big": 10**30, "list": [1, 2.5, None]}
    write_json(tmp_path / "a.json", value)
    write_json_lines(tmp_path / "a.jsonl", [value, value])
    assert read_json(tmp_path / "a.json") == value
    assert read_json_lines(tmp_path / "a.jsonl") == [value, value]
    assert "Ægir" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_an_incomplete_last_line_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_json_lines(path) == []
    append_json_line(path, {"step": 1})
    with path.open("a") as stream:
        stream.write(json.dumps({"step": 2})[:5])
    assert read_json_lines(path) == [{"step": 1}]


def test_errors_of_missing_and_invalid_json_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(DataError, match=f"{path}: no such file"):
        read_json(path)
    path.write_text("{")
    with pytest.raises(DataError, match=f"{path}: not JSON"):
        read_json(path)


def test_a_file_never_replaces_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--out FOLDER` of a command that writes a file must not delete the folder."""
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "kept.txt").write_text("here")
    monkeypatch.chdir(folder)
    for path in (folder, Path()):
        with pytest.raises(DataError, match="expected a file to write, but this is a folder"):
            write_text(path, "page")
        with pytest.raises(DataError, match="expected a file to write, but this is a folder"):
            write_json_lines(path, [1])
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"kept.txt": "here"}
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]
