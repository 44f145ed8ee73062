"""Downloads of data sets from a local HTTP server, a folder and a wheel, and the errors they report."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from support.commands import call, mistake

from tltrain.errors import ConfigError, DataError
from tltrain.testsets import bfcl, fetching
from tltrain.testsets.bfcl import BFCL
from tltrain.testsets.fetching import SOURCES, fetch

TEXTS = {"clean.json": b"[1]", "deep/union.json": b"[2]"}
requested: list[str] = []


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        requested.append(self.path)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that a local server serves as the commit, which holds the set `garden` of two files."""
    source = replace(SOURCES["rotbench"], files={name: sha256(text).hexdigest() for name, text in TEXTS.items()})
    monkeypatch.setitem(SOURCES, "garden", source)
    monkeypatch.setattr(fetching, "NAMES", (*fetching.NAMES, "garden"))
    commit = tmp_path / "host" / source.repository / source.commit / source.folder
    fill(commit)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "host"))) as server:
        monkeypatch.setattr(fetching, "HOST", f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        requested.clear()
        yield commit
        server.shutdown()
        thread.join()


def fill(folder: Path) -> None:
    for name, text in TEXTS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_of_the_pinned_commit(host: Path, tmp_path: Path) -> None:
    done = fetch("garden", tmp_path / "data")
    assert (done.folder, done.ready, done.missing) == (tmp_path / "data/garden", 2, ())
    assert files_in(tmp_path / "data") == {f"garden/{name}": text for name, text in TEXTS.items()}
    start = "/Junjie-Ye/RoTBench/637e43ae9a978036774c92bb2ab11a83609e304b/Data/"
    assert requested == [start + name for name in TEXTS]


def test_only_missing_or_changed_files_are_requested(host: Path, tmp_path: Path) -> None:
    fetch("garden", tmp_path)
    (tmp_path / "garden/clean.json").write_bytes(b"[changed]")
    requested.clear()
    assert fetch("garden", tmp_path).ready == 2
    assert [path.rpartition("/")[2] for path in requested] == ["clean.json"]
    assert files_in(tmp_path / "garden") == TEXTS


def test_another_file_is_refused_and_not_kept(host: Path, tmp_path: Path) -> None:
    (host / "deep/union.json").write_bytes(b"[3]")
    with pytest.raises(DataError) as error:
        fetch("garden", tmp_path / "data")
    found, wanted = (sha256(text).hexdigest() for text in (b"[3]", b"[2]"))
    assert str(error.value).startswith(f"union.json: SHA-256 is {found}, expected {wanted}")
    assert files_in(tmp_path / "data") == {"garden/clean.json": b"[1]"}


def test_a_host_without_the_file_or_out_of_reach(host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (host / "clean.json").unlink()
    with pytest.raises(DataError, match=r"^cannot download http://.*clean\.json: File not found; --from DIR takes a"):
        fetch("garden", tmp_path)
    monkeypatch.setattr(fetching, "HOST", "http://127.0.0.1:1")
    with pytest.raises(DataError, match=r"^cannot download http://127\.0\.0\.1:1/.*refused; --from DIR"):
        fetch("garden", tmp_path)


def test_a_download_that_breaks_off(host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(self: Handler, source: object, target: object) -> None:
        self.wfile.write(b"[")

    monkeypatch.setattr(Handler, "copyfile", short)
    with pytest.raises(DataError, match=r"clean\.json"):
        fetch("garden", tmp_path / "data")
    assert files_in(tmp_path / "data") == {}


def test_from_a_folder(host: Path, tmp_path: Path) -> None:
    fill(tmp_path / "copy/garden")
    (tmp_path / "copy/garden/deep/union.json").unlink()
    done = fetch("garden", tmp_path / "data", tmp_path / "copy")
    assert (done.ready, done.missing, requested) == (1, (tmp_path / "copy/garden/deep/union.json",), [])
    assert files_in(tmp_path / "data") == {"garden/clean.json": b"[1]"}


def test_folders_that_are_refused(host: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--from .*none: no such folder"):
        fetch("garden", tmp_path / "data", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"none of the files of garden was found, for example .*garden/clean\.json"):
        fetch("garden", tmp_path / "data", tmp_path / "empty")
    fill(tmp_path / "copy/garden")
    (tmp_path / "copy/garden/clean.json").write_bytes(b"[0]")
    with pytest.raises(DataError, match=r"clean\.json: SHA-256 is .*: the file is incomplete or of another version"):
        fetch("garden", tmp_path / "data", tmp_path / "copy")
    with pytest.raises(ConfigError, match="fetch rotbank: expected one of rotbench, toolalpaca,"):
        fetch("rotbank", tmp_path)


# BFCL


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a wheel of BFCL's layout, pinned in place of the real one."""
    names = {split: [name for pair in bfcl.files(split) for name in pair] for split in BFCL.SPLITS}
    path = tmp_path / "wheels" / "bfcl_eval-2026.3.23-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bfcl_eval/code.py", "no data")
        for name in (name for group in names.values() for name in group):
            archive.writestr(f"bfcl_eval/data/{name}", name)
    for split, group in names.items():
        monkeypatch.setitem(bfcl.PINS, split, sha256("".join(group).encode()).hexdigest())
    monkeypatch.setattr(fetching, "WHEEL_SHA256", sha256(path.read_bytes()).hexdigest())
    return path.parent


def test_bfcl_comes_out_of_its_wheel(wheel: Path, tmp_path: Path) -> None:
    done = fetch("bfcl", tmp_path / "data", wheel)
    found = files_in(tmp_path / "data/bfcl")
    assert (done.ready, len(found), done.missing) == (24, 24, ())
    assert found["possible_answer/BFCL_v4_parallel.json"] == b"possible_answer/BFCL_v4_parallel.json"
    assert "unused_datasets/question/BFCL_v4_exec_simple.json" in found
    shutil.rmtree(wheel)
    assert fetch("bfcl", tmp_path / "data").ready == 24  # nothing is downloaded


def test_another_wheel_is_refused(wheel: Path, tmp_path: Path) -> None:
    (path,) = wheel.iterdir()
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"^bfcl_eval-2026\.3\.23-py3-none-any\.whl: SHA-256 is"):
        fetch("bfcl", tmp_path / "data", wheel)
    assert not (tmp_path / "data").exists()


def test_bfcl_from_a_folder_split_by_split(wheel: Path, tmp_path: Path) -> None:
    fetch("bfcl", tmp_path / "copy", wheel)
    (tmp_path / "copy/bfcl/BFCL_v4_live_simple.json").unlink()
    done = fetch("bfcl", tmp_path / "data", tmp_path / "copy")
    assert (done.ready, [path.name for path in done.missing]) == (16, ["BFCL_v4_live_simple.json"])
    (tmp_path / "copy/bfcl/BFCL_v4_parallel.json").write_bytes(b"{}")
    with pytest.raises(DataError, match=r"copy/bfcl: the files of bfcl ast are not those of bfcl-eval==2026\.3\.23"):
        fetch("bfcl", tmp_path / "other", tmp_path / "copy")
    with pytest.raises(DataError, match=r"no complete split of bfcl was found: BFCL_v4_exec_simple\.json is missing"):
        fetch("bfcl", tmp_path / "other", tmp_path / "copy/bfcl")  # the folder itself, not the one that holds it


# The command, the real pins


def test_the_command(host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLTRAIN_CACHE", str(tmp_path / "cache"))
    code, _, err = call("fetch", "garden")
    assert (code, err.splitlines()[-1]) == (0, f"ready: {tmp_path}/cache/data/garden (2 files)")
    fill(tmp_path / "copy/garden")
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "copy/garden/clean.json").unlink()
    code, _, err = call("fetch", "garden", "--from", tmp_path / "copy")
    missing = f"missing: {tmp_path}/copy/garden/clean.json\n"
    assert code == 0
    assert err.endswith(f"{missing}ready: {tmp_path}/cache/data/garden (1 file, 1 missing)\n")
    assert mistake("fetch", "rotbank").startswith("fetch rotbank: expected smollm2-135m, rotbench, toolalpaca,")


def test_the_public_files_are_those_that_are_pinned(shared_data: Path, tmp_path: Path) -> None:
    assert [fetch(name, tmp_path, shared_data).ready for name in ("rotbench", "toolalpaca", "sealtools")] == [2, 1, 4]
    for name in ("rotbench/First_Turn/union.json", "toolalpaca/eval_simulated.json"):
        assert (tmp_path / name).read_bytes() == (shared_data / name).read_bytes()
