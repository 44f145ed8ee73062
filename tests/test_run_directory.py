"""The run directory: held by one process, and by one state of the data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.small_run import call, mistake, write_run

from tltrain.config import RunConfig
from tltrain.errors import RunError
from tltrain.run_directory import RunDirectory

HOLDER = """
import sys
from pathlib import Path
from tltrain.config import RunConfig
from tltrain.run_directory import RunDirectory
run = RunDirectory(Path(sys.argv[1]), RunConfig())
print("held", flush=True)
sys.stdin.read()
"""


def test_one_process_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="another process is using this run directory"):
            RunDirectory(folder, RunConfig())
        holder.kill()
        holder.wait()
    RunDirectory(folder, RunConfig())


def test_a_run_goes_on_with_the_data_it_began_with(tmp_path: Path) -> None:
    write_run(tmp_path)
    test = tmp_path / "data" / "seen.jsonl"
    command = ("eval", tmp_path / "model", "--data", test, "--limit", "1", "--out", tmp_path / "scored")
    assert call(*command)[0] == 0
    assert call(*command)[0] == 0
    test.write_text(test.read_text() + test.read_text().splitlines()[0] + "\n")
    assert mistake(*command) == f"{tmp_path / 'scored'}: input files changed since this run started: {test}"
