"""Speed and memory of SFT on multi-turn logs, tltrain and TRL: `python benchmarks/sft_speed.py [--json FILE]`.

There are two workloads from toolworld: logs that share a large tool set, and logs with different tool sets. Both
trainers use the same model in the same dtype, the same token ids, the same tokens in the loss (all replies, weight 1),
and AdamW on all weights. Each run has a process of its own, whose peak memory is measured; the two trainers alternate.
Loading the model and the first updates (`--warmup`), on other logs, are not timed but count towards the peak. Before
the runs both trainers make an update on two logs, to check that the number of tokens trained on and the loss are equal.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from speed.figures import COUNTED, Measured, Size, check, compare, run_figures, side_figures, table
from speed.launch import RunFailedError, header, installed, report, run_job
from speed.process import Job, Outcome, write_lines
from speed.size import model_folder, model_size
from speed.workload import NAMES, Name, Row, distinct_tokens, make_logs, make_row
from torch.cuda import is_available as cuda_is_available

from tltrain import model as models
from tltrain.encode import Encoder
from tltrain.errors import TLTrainError

MODULES = {"ours": "speed.ours", "trl": "speed.theirs"}
CHECKED = 2
"""Logs of the update that checks that both sides compute the same loss."""
LEARNING_RATE = 1e-5
TRL_CANDIDATES: tuple[dict[str, Any], ...] = (
    {},
    {"gradient_checkpointing": True},
    {"load_dtype": "float32", "bf16": True},
    {"per_device_train_batch_size": 2},
    {"torch_compile": True},
    {"attn_implementation": "eager", "gradient_checkpointing": True},
    {"attn_implementation": "eager"},
)
"""Settings that `--tune-trl` tries. Packing and padding-free batches need flash attention, and the liger kernels need
Triton, both of which need a GPU; with a single log per pass nothing is padded."""
TUNED = 2
"""Logs per update of a trial, which has two updates: the first is not timed."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The settings that all runs share."""

    job: Job
    logs: int
    repeats: int
    sides: dict[str, str]
    """The Python interpreter of each side."""
    size: Size
    peak_flops: float
    scratch: Path

    def workload(self, name: Name) -> dict[str, Any]:
        """Run all sides on a workload; returns the measurements as written to the JSON file."""
        rows = self._write(name, self.logs + self.job.warmup)
        timed = rows[self.job.warmup :]
        measured = Measured(
            len(timed),
            sum(len(row.input_ids) for row in timed),
            distinct_tokens(timed, self.job.batch),
            sum(row.trained for row in timed),
        )
        result: dict[str, Any] = {"name": name, **asdict(measured)}
        if len(self.sides) > 1:
            result["check"] = self._check(name)
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in self.sides}
        for repeat in range(self.repeats):
            for side in self.sides:
                runs[side].append(self._run(name, side, measured))
                report(f"{name}, run {repeat + 1} of {self.repeats}, {side}: {_summary(runs[side][-1])}")
        result["sides"] = {side: side_figures(done) for side, done in runs.items()}
        if len(self.sides) > 1:
            result["ratio"] = compare(name, result["sides"]["ours"], result["sides"]["trl"])
        return result

    def tuned(self) -> tuple[Bench, list[dict[str, Any]]]:
        """This benchmark with the fastest of `TRL_CANDIDATES` added to TRL's settings, and the trials' results."""
        self._write("shared", 2 * TUNED)
        trials = []
        for candidate in TRL_CANDIDATES:
            settings = {**self.job.trl, **candidate}
            job = replace(self._job("shared"), warmup=TUNED, batch=TUNED, trl=settings)
            trial: dict[str, Any] = {"settings": settings}
            try:
                outcome = self._process("trl", job)
                trial |= {"seconds_a_log": outcome.seconds / TUNED, "peak_mb": outcome.peak_mb}
            except RunFailedError as error:
                trial["error"] = str(error)
            trials.append(trial)
            report(f"TRL with {settings}: {_summary(trial)}")
        best = min(trials, key=lambda trial: trial.get("seconds_a_log", float("inf")))
        return replace(self, job=replace(self.job, trl=best["settings"])), trials

    def _write(self, name: Name, count: int) -> list[Row]:
        """Write the input files of both sides; returns the rows."""
        logs = make_logs(name, count, self.job.seed)
        encoder = Encoder(models.load_tokenizer(self.job.model, "hermes"), mae=False, pkt=False)
        rows = [make_row(log, encoder) for log in logs]
        write_lines(self._file(name, "logs"), [log.to_json() for log in logs])
        write_lines(self._file(name, "rows"), [asdict(row) for row in rows])
        checked = [(log, row) for log, row in zip(logs, rows, strict=True) if row.trained][:CHECKED]
        write_lines(self._file(name, "logs", "check"), [log.to_json() for log, _ in checked])
        write_lines(self._file(name, "rows", "check"), [asdict(row) for _, row in checked])
        return rows

    def _file(self, name: str, kind: str, part: str = "all") -> Path:
        return self.scratch / f"{name}-{part}-{kind}.jsonl"

    def _job(self, name: str, part: str = "all") -> Job:
        return replace(self.job, logs=str(self._file(name, "logs", part)), rows=str(self._file(name, "rows", part)))

    def _check(self, name: str) -> dict[str, Any]:
        job = replace(self._job(name, "check"), warmup=0, batch=CHECKED)
        try:
            result = check(*(self._process(side, job) for side in MODULES))
        except RunFailedError as error:
            return {"holds": False, "error": str(error)}
        report(f"{name}: both sides train on the same: {result}")
        return result

    def _run(self, name: str, side: str, measured: Measured) -> dict[str, Any]:
        try:
            outcome = self._process(side, self._job(name))
        except RunFailedError as error:
            return {"error": str(error)}
        figures = run_figures(outcome, measured, self.size, self.peak_flops)
        return figures | {"versions": outcome.versions, "settings": outcome.settings}

    def _process(self, side: str, job: Job) -> Outcome:
        return Outcome(**run_job(self.sides[side], MODULES[side], job, self.scratch))


def _summary(run: dict[str, Any]) -> str:
    if "error" in run:
        return f"failed: {run['error']}"
    return f"{run['seconds_a_log']:.2f} s per log, {run['peak_mb']:.0f} MB"


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="SFT speed and memory of tltrain and TRL.")
    parser.add_argument("--logs", type=int, default=16, help="timed logs, a multiple of --batch (default 16)")
    parser.add_argument("--batch", type=int, default=8, help="logs per update (default 8)")
    parser.add_argument("--warmup", type=int, default=1, help="updates that are not timed (default 1)")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each side per workload (default 2)")
    parser.add_argument("--workloads", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--model", default=models.BUILTIN, help="built-in model, folder, hub name, or llama-7b-random")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if cuda_is_available() else "cpu")
    parser.add_argument("--dtype", choices=("auto", "bfloat16", "float32"), default="auto")
    parser.add_argument("--sides", nargs="+", choices=tuple(MODULES), default=tuple(MODULES))
    parser.add_argument("--max-tree-tokens", type=int, default=4096, help="most tokens of a pass of tltrain")
    parser.add_argument("--trl-python", default=sys.executable, help="Python interpreter of an environment with TRL")
    parser.add_argument("--ours", type=json.loads, default={}, help="fields of tltrain's `SFTConfig` as JSON")
    parser.add_argument("--trl", type=json.loads, default={}, help="settings of TRL as JSON, see speed/theirs.py")
    parser.add_argument("--tune-trl", action="store_true", help="first compare settings of TRL and use the fastest")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="output file for all results")
    parsed = parser.parse_args()
    if parsed.logs < 1 or parsed.logs % parsed.batch:
        parser.error("--logs must be a multiple of --batch")
    return parsed


def sides(options: argparse.Namespace) -> dict[str, str]:
    """Interpreters of the selected sides; TRL is skipped with a warning if it is not installed."""
    interpreters = {"ours": sys.executable, "trl": options.trl_python}
    return installed({side: interpreters[side] for side in MODULES if side in options.sides})


def prepare(options: argparse.Namespace, scratch: Path) -> tuple[Bench, dict[str, Any]]:
    """The benchmark, and the results' metadata."""
    folder = model_folder(options.model, scratch)
    head = header(options.device)
    dtype = str(models.resolve_dtype(options.dtype, options.device)).removeprefix("torch.")
    job = Job(
        logs="",
        rows="",
        warmup=options.warmup * options.batch,
        batch=options.batch,
        model=folder,
        device=options.device,
        folder="",
        learning_rate=LEARNING_RATE,
        seed=options.seed,
        max_tree_tokens=options.max_tree_tokens,
        dtype=dtype,
        ours=options.ours,
        trl=options.trl,
    )
    size = model_size(folder)
    peak = head["machine"]["peak_flops" if dtype == "bfloat16" else "peak_flops_fp32"]
    head |= {
        "model": {"name": options.model, **asdict(size)},
        "counted": COUNTED,
        "batch": options.batch,
        "seed": options.seed,
    }
    return Bench(job, options.logs, options.repeats, sides(options), size, peak, scratch), head


def main() -> None:
    """Measure, write the JSON file after each workload, and print the table."""
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="sft-speed-") as scratch:
        bench, head = prepare(options, Path(scratch))
        if options.tune_trl and "trl" in bench.sides:
            bench, head["trl_trials"] = bench.tuned()
        results: list[dict[str, Any]] = []
        for name in options.workloads:
            results.append(bench.workload(name))
            if options.json:
                options.json.write_text(json.dumps({**head, "workloads": results}, indent=1) + "\n", encoding="utf-8")
    print(table(results))
    print(f"matrix peak {bench.peak_flops / 1e9:,.0f} GFLOP/s in {bench.job.dtype}; counted: {COUNTED}")


if __name__ == "__main__":
    try:
        main()
    except (RunFailedError, TLTrainError) as error:
        sys.exit(f"sft_speed: {error}")
