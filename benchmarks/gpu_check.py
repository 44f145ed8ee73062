"""All that a GPU is for, measured by one command in at most 9 minutes: `python benchmarks/gpu_check.py [--json FILE]`.

For one GPU with 80 GB or more. Nothing is downloaded: models have random weights in the shapes of Qwen3-0.6B,
Qwen3-1.7B and a 7B LLaMA, the data are toolworld's, the tokenizer is trained on them. Measured are the gradients of
token trees against those of separate sequences (fp32, bf16), SFT of all weights and of adapters beside TRL's SFTTrainer
where TRL is installed, with and without shared tools, decoding beside `transformers`, and a PPO update of the 7B model.

Each part runs in a process of its own with a time limit, the most informative first; a part that fails or has no time
left is a line of the table. The exit status is 1 if a part fails or an expectation does not hold. `--tiny` runs every
line on the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from gpu.part import Job
from gpu.table import table
from speed.launch import BENCHMARKS, call, report
from speed.process import versions

MINUTES = 9.0
"""Until the last part is ended."""
RESERVE = 5
"""Seconds for the table."""
TINY_PEAK_SIZE = 128


@dataclass(frozen=True, slots=True)
class Part:
    """A part and its time limit."""

    kind: str
    model: str
    seconds: int
    rank: int | None = None
    compile: bool = False

    def name(self) -> str:
        """As shown in the table."""
        adapted = "" if self.rank is None else f", adapters of rank {self.rank}"
        return f"{self.kind}{adapted}{', compiled' if self.compile else ''}"


PARTS = (
    Part("gradients", "Qwen3-0.6B", 90),
    Part("sft", "LLaMA-7B", 90, rank=16),
    Part("decoding", "LLaMA-7B", 80),
    Part("ppo", "LLaMA-7B", 100, rank=16),
    Part("sft", "Qwen3-1.7B", 70),
    Part("trl", "LLaMA-7B", 70, rank=16),
    Part("trl", "Qwen3-1.7B", 60),
    Part("sft", "Qwen3-0.6B", 50),
    Part("trl", "Qwen3-0.6B", 50),
    Part("sft", "Qwen3-1.7B", 90, compile=True),
    Part("decoding", "Qwen3-0.6B", 50),
)
"""In the order in which they run."""


def run_part(part: Part, job: Job, python: str, seconds: float) -> dict[str, Any]:
    """The rows of a part, or its error, as written to the JSON file."""
    result: dict[str, Any] = {"part": part.name(), "kind": part.kind, "model": part.model}
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        job_file, rows = Path(folder) / "job.json", Path(folder) / "rows.json"
        job_file.write_text(json.dumps(asdict(job)), encoding="utf-8")
        path = os.pathsep.join([str(BENCHMARKS), *filter(None, [os.environ.get("PYTHONPATH")])])
        try:
            done = subprocess.run(
                [python, "-m", "gpu.part", str(job_file), str(rows)],
                env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
                capture_output=True,
                text=True,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            return {**result, "error": f"no result within {seconds:.0f} s"}
        result |= {"elapsed": time.monotonic() - started, "stderr": done.stderr[-4000:]}
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            return {**result, "error": lines[-1][:300]}
        return {**result, "rows": json.loads(rows.read_text(encoding="utf-8"))}


def has_trl(python: str) -> bool:
    """Whether an interpreter finds TRL and what its trainer needs."""
    return subprocess.run([python, "-c", "import trl, datasets"], capture_output=True).returncode == 0


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Correctness, speed and memory on a GPU, in at most 9 minutes.")
    parser.add_argument(
        "--tiny", action="store_true", help="small sizes on the CPU: tries every line, measures nothing"
    )
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"end after this time (default {MINUTES:g})")
    parser.add_argument("--parts", nargs="+", choices=sorted({part.kind for part in PARTS}), help="only these")
    parser.add_argument("--models", nargs="+", choices=sorted({part.model for part in PARTS}), help="only these")
    parser.add_argument("--trl-python", default=sys.executable, help="Python interpreter of an environment with TRL")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="output file for all results, written after each part")
    parsed = parser.parse_args()
    if not parsed.tiny and not torch.cuda.is_available():
        parser.error("no CUDA GPU; --tiny tries everything on the CPU")
    return parsed


def run_parts(options: argparse.Namespace, head: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Run the selected parts; writes the JSON file after each."""
    ends = time.monotonic() + options.minutes * 60 - RESERVE - head["seconds"]
    trl = has_trl(options.trl_python)
    device, dtype = ("cpu", "float32") if options.tiny else ("cuda", "bfloat16")
    peak = head["machine"]["peak_flops_fp32" if options.tiny else "peak_flops"]
    results: list[dict[str, Any]] = []
    for part in PARTS:
        if part.kind not in (options.parts or [part.kind]) or part.model not in (options.models or [part.model]):
            continue
        job = Job(
            part=part.kind,
            model=part.model,
            folder=str(folder),
            device=device,
            dtype=dtype,
            peak_flops=peak,
            tiny=options.tiny,
            rank=part.rank,
            compile=part.compile,
            seed=options.seed,
        )
        left = ends - time.monotonic()
        if part.kind == "trl" and not trl:
            skipped = "skipped: TRL is not installed (`pip install 'tltrain[trl]'`, or --trl-python)"
            results.append({"part": part.name(), "kind": "trl", "model": part.model, "error": skipped, "skipped": True})
        elif left <= 0:
            late = "skipped: no time left"
            results.append({"part": part.name(), "kind": part.kind, "model": part.model, "error": late})
        else:
            python = options.trl_python if part.kind == "trl" else sys.executable
            results.append(run_part(part, job, python, min(left, part.seconds)))
        done = results[-1]
        report(f"{done['part']}, {done['model']}: {done.get('error') or 'done in {:.0f} s'.format(done['elapsed'])}")
        if options.json:
            options.json.write_text(json.dumps({**head, "parts": results}, indent=1) + "\n", encoding="utf-8")
    return results


def failed(results: list[dict[str, Any]]) -> bool:
    """Whether a part failed or an expectation does not hold."""
    return any(
        ("error" in result and not result.get("skipped"))
        or any(row["holds"] is False for row in result.get("rows", []))
        for result in results
    )


def main() -> None:
    """Measure, and print the table."""
    options = arguments()
    started = time.monotonic()
    # tltrain need not be installed: the parts find that of this repository.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(BENCHMARKS.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as name:
        folder = Path(name)
        call(sys.executable, "gpu.shapes", name, str(options.seed), *(["tiny"] if options.tiny else []))
        sizes = [str(TINY_PEAK_SIZE)] if options.tiny else []
        machine = json.loads(call(sys.executable, "speed.machine", "cpu" if options.tiny else "cuda", *sizes))
        head = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine,
            "versions": versions(),
            "tiny": options.tiny,
            "seconds": time.monotonic() - started,
        }
        report(f"{machine}")
        results = run_parts(options, head, folder)
    print(table(results))
    bf16, fp32 = machine["peak_flops"] / 1e12, machine["peak_flops_fp32"] / 1e12
    print(f"\n{machine['device']}: matrix peak {bf16:,.1f} TFLOP/s in bf16, {fp32:,.1f} in fp32; {head['versions']}")
    sys.exit(failed(results))


if __name__ == "__main__":
    main()
