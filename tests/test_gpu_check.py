"""`benchmarks/gpu_check.py`: every line of it on the CPU, with tiny sizes; its table, time limits and failures."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gpu.part import Job
from gpu.table import ratios, table
from gpu_check import PARTS, Part, failed, run_part

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "gpu_check.py"
JOB = Job(part="gradients", model="Qwen3-0.6B", folder="", device="cpu", dtype="float32", peak_flops=1e9, tiny=True)
GRADIENTS = Part("gradients", "Qwen3-0.6B", 9)


def result(kind: str, setting: str, holds: bool | None = None, **figures: float) -> dict[str, Any]:
    row = {"setting": setting, "figures": figures, "holds": holds, "remarks": []}
    return {"part": kind, "kind": kind, "model": "M", "rows": [row]}


@pytest.mark.slow
def test_every_part_runs_on_a_cpu(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--tiny", "--json", str(tmp_path / "found.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert [(part["kind"], part["model"]) for part in found["parts"]] == [(part.kind, part.model) for part in PARTS]
    settings = {row["setting"] for part in found["parts"] for row in part["rows"]}
    assert {"shared tools, tltrain", "own tools, TRL", "bf16, separate sequences", "4 replies"} <= settings
    assert all(row["holds"] is not False for part in found["parts"] for row in part["rows"])
    assert "times TRL's speed" in done.stdout
    assert done.stdout.count("| gradients | Qwen3-0.6B |") == 5


def test_a_part_that_fails_is_a_line_of_the_table() -> None:
    found = run_part(GRADIENTS, replace(JOB, part="none"), sys.executable, 600)
    assert "rows" not in found
    assert "| gradients | Qwen3-0.6B | – | KeyError: 'none' |" in table([found])
    assert failed([found])


def test_a_part_has_a_time_limit() -> None:
    found = run_part(GRADIENTS, JOB, sys.executable, 0.1)
    assert found["error"] == "no result within 0 s"
    assert failed([found])


def test_the_table() -> None:
    rows = [
        result("sft", "shared tools, tltrain", **{"tokens/s": 5000.0, "MB": 8000.0, "of peak": 0.4}),
        result("trl", "shared tools, TRL", **{"tokens/s": 1000.0, "MB": 16_000.0}),
        result("gradients", "fp32", holds=False, error=0.5),
        result("decoding", "x", holds=True, **{"same replies": 1.0}),
    ]
    lines = table(rows).splitlines()
    assert lines[2] == "| sft | M | shared tools, tltrain | 5,000 tokens/s, 8.0 GB, 40.0% of the matrix peak |"
    assert lines[4] == "| gradients | M | fp32 | relative error 5.0e-01, DOES NOT HOLD |"
    assert lines[5] == "| decoding | M | x | 100% of the replies the same, holds |"
    assert ratios(rows) == ["M, shared tools, tltrain: 5.0 times TRL's speed, 0.50 of its memory."]
    assert [failed([row]) for row in rows] == [False, False, True, False]


def test_without_trl_its_parts_are_skipped() -> None:
    skipped = {"part": "trl", "kind": "trl", "model": "M", "error": "skipped: TRL is not installed", "skipped": True}
    assert not failed([skipped])
    assert "| trl | M | – | skipped: TRL is not installed |" in table([skipped])


def test_the_parts_begin_with_the_gradients() -> None:
    assert PARTS[0].kind == "gradients"
    assert {part.kind for part in PARTS} == {"gradients", "sft", "trl", "decoding", "ppo"}
