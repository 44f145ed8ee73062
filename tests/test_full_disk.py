"""A full disk in every stage: one line that names the file, nothing half-written, and the run resumes.

The writes fail in the operating system: from a given file on, the process may not write a byte (RLIMIT_FSIZE), or the
run directory is a file system of a few hundred kilobytes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.small_run import SETTINGS, call, write_run

from tltrain.errors import RunError
from tltrain.files import append_json_line, read_json_lines, temporary_name

resource = pytest.importorskip("resource")

ONE_ARM = {**SETTINGS["sft"], "arms": ["mae+pkt"], "lora": {"rank": 4}}
SFT = "sft/mae+pkt"
FILES = [
    "config.yaml",
    "audit.json",
    "predictions/base.train.seen.jsonl",
    "scores.json",
    f"{SFT}/encoding.json",
    f"{SFT}/metrics.jsonl",
    f"{SFT}/checkpoint-2",
    f"{SFT}/adapter",
    f"{SFT}/model",
    f"{SFT}/model/README.md",
    "predictions/mae+pkt.train.seen.jsonl",
    "ppo/rollouts.jsonl",
    "ppo/checkpoint.pt",
    "ppo/model",
    "comparison.json",
    "report.html",
]
"""At least one file of each stage, in the order in which a run writes them."""
REASONS = ("no space left on the device", "the file is larger than the file system or the process may write")


class Disk:
    """Fills up when a given file is about to be written."""

    def __init__(self) -> None:
        self.full_at: Path | None = None
        sys.addaudithook(self._watch)  # cannot be removed, so it does nothing while `full_at` is None

    def _watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.full_at is None or event not in ("open", "os.remove") or not isinstance(arguments[0], str | Path):
            return
        path, appended = Path(arguments[0]), event == "open" and "a" in str(arguments[1])
        begun = self.full_at.with_name(temporary_name(self.full_at.name))  # removed before it is written
        if (appended and path == self.full_at) or (event == "os.remove" and path == begun):
            self.full_at = None
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    @contextmanager
    def full(self, path: Path) -> Iterator[None]:
        """From the moment `path` is written, nothing can be written until the block ends."""
        limits, self.full_at = resource.getrlimit(resource.RLIMIT_FSIZE), path
        try:
            yield
        finally:
            unused, self.full_at = self.full_at is not None, None
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert not unused, f"{path} is never written"


DISK = Disk()


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a run whose bytes do not depend on time."""
    names = (
        "scores.json",
        "audit.json",
        "comparison.json",
        f"{SFT}/model/model.safetensors",
        "ppo/model/model.safetensors",
    )
    return {name: (folder / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("place"), sft=ONE_ARM)


@pytest.fixture(scope="module")
def finished(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that had space."""
    out = tmp_path_factory.mktemp("finished") / "run"
    assert call("run", config, "--out", out)[0] == 0
    return out


@pytest.mark.slow
def test_a_run_survives_a_disk_that_is_full_in_every_stage(config: Path, finished: Path, tmp_path: Path) -> None:
    """The same command again and again: each time the disk is full at the next file."""
    out = tmp_path / "run"
    for name in FILES:
        with DISK.full(out / name):
            code, stdout, stderr = call("run", config, "--out", out)
        assert (code, stdout) == (2, ""), name
        assert "Traceback" not in stderr
        said = stderr.splitlines()[-1]
        assert said.startswith(f"tltrain: {out / name}: ")
        assert said.split(": ", 2)[2] in REASONS
        assert not list(out.rglob(temporary_name("*")))
        assert not (out / name).exists() or (out / name).read_bytes() == b"", "nothing half-written under its name"
    code, _, stderr = call("run", config, "--out", out)
    assert code == 0, stderr
    assert contents(out) == contents(finished)


def test_an_appended_line_that_fits_in_part_only_leaves_the_lines_before_it(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    append_json_line(path, {"number": 1})
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 3, limits[1]))
    try:
        with pytest.raises(RunError) as raised:
            append_json_line(path, {"number": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(raised.value) == f"{path}: {REASONS[1]}"
    assert path.read_bytes() == before
    append_json_line(path, {"number": 3})
    assert [line["number"] for line in read_json_lines(path)] == [1, 3]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_redirected_result_that_does_not_fit_ends_in_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tltrain", "judge", "--help"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (2, "tltrain: output: no space left on the device\n")


SWEEP = """
import subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from support.small_run import call
config, disk, out = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[2]) / "run"

def resize(kilobytes, *more):
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{''.join(more)}size={kilobytes}k", "none", disk], check=True)

resize(16)
for kilobytes in range(40, 20_000, 120):
    code, stdout, stderr = call("run", config, "--out", out)
    last = stderr.splitlines()[-1]
    assert not list(disk.rglob(".*.writing")), last
    if code == 0:
        break
    assert code == 2 and stdout == "" and "Traceback" not in stderr, stderr
    assert last.startswith(f"tltrain: {disk}/") and last.endswith(": no space left on the device"), last
    print(last)
    resize(kilobytes, "remount,")
assert code == 0
for name in sys.argv[4:]:
    sys.stdout.write(f"{name} {__import__('hashlib').sha256((out / name).read_bytes()).hexdigest()}\\n")
"""


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    return (
        subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode == 0
    )


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="needs a file system of its own")
def test_a_run_on_a_small_disk_that_is_enlarged_ends_like_one_with_space(
    config: Path, finished: Path, tmp_path: Path
) -> None:
    """Twenty or so attempts, each of which finds the disk full somewhere else."""
    import hashlib

    expected = {name: hashlib.sha256(value).hexdigest() for name, value in contents(finished).items()}
    support = Path(__file__).parent
    command = ["unshare", "-rm", sys.executable, "-c", SWEEP, config, tmp_path, support, *expected]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert len(lines) > len(expected) + 3, "the disk was full several times"
    assert dict(line.split() for line in lines[-len(expected) :]) == expected
