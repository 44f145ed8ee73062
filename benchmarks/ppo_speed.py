"""Speed and memory of reinforcement learning, tltrain's PPO and TRL's GRPO: `python benchmarks/ppo_speed.py`.

Both sample the same number of replies of the same length to the same prompts, which share their tools in groups, at the
same temperature and with the same weight of the KL penalty, and train adapters of the same rank on all linear layers of
the same model, once on every reply. The rewards are pseudo-random, so that no reply has an advantage of zero. Each run
has a process of its own, whose peak memory is measured; the sides alternate. Loading the model and the first rollouts
are not timed but count towards the peak.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from speed.launch import RunFailedError, call, report
from speed.rl_process import RLJob, RLOutcome
from speed.workload import make_logs
from torch.cuda import is_available as cuda_is_available

from tltrain import model as models
from tltrain.encode import Encoder
from tltrain.errors import TLTrainError

SIDES: dict[str, tuple[str, dict[str, Any]]] = {
    "leave_one_out": ("speed.rl_ours", {"advantage": "leave_one_out"}),
    "gae": ("speed.rl_ours", {"advantage": "gae"}),
    "trl": ("speed.rl_theirs", {}),
}
"""Module and settings of each side."""
BARS = {"leave_one_out": 5.0, "gae": 3.0}
"""Required speed as a multiple of TRL's."""
MEMORY_BAR = 0.5
"""Most peak memory as a multiple of TRL's."""


def write_prompts(options: argparse.Namespace, scratch: Path) -> tuple[Path, Path]:
    """The prompts of all rollouts, each the first step of a log, and the logs; returns both files."""
    count = options.prompts * (options.warmup + options.rollouts)
    encoder = Encoder(models.load_tokenizer(options.model, "hermes"))
    logs = make_logs(options.workload, count, options.seed)
    prompts = [next(encoder.prompts(log)) for log in logs]
    rows = [{"ids": prompt.ids, "text": encoder.tokenizer.decode(prompt.ids)} for prompt in prompts]
    files = scratch / "prompts.jsonl", scratch / "logs.jsonl"
    for path, values in zip(files, (rows, [log.to_json() for log in logs]), strict=True):
        path.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values), encoding="utf-8")
    return files


def run_side(side: str, job: RLJob, python: str, scratch: Path, trl: dict[str, Any]) -> dict[str, Any]:
    """The figures of one run, or its `error`. `trl` are settings of TRL's side."""
    module, settings = SIDES[side]
    settings = settings | (trl if side == "trl" else {})
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        job_file, result = Path(folder) / "job.json", Path(folder) / "result.json"
        job = replace(job, folder=str(Path(folder) / "run"), settings={**settings, **job.settings})
        job_file.write_text(json.dumps(asdict(job)), encoding="utf-8")
        try:
            call(python, module, str(job_file), str(result))
        except RunFailedError as error:
            return {"error": str(error)}
        outcome = RLOutcome(**json.loads(result.read_text(encoding="utf-8")))
    return {"seconds_a_reply": outcome.seconds / outcome.replies, **asdict(outcome)}


def table(runs: dict[str, list[dict[str, Any]]]) -> str:
    """The medians of each side as a text table, with the ratios to TRL."""
    lines = [f"{'side':14}{'s/reply':>9}{'tokens/reply':>14}{'MB':>8}{'speed':>8}{'memory':>8}"]
    medians = {side: figures for side, done in runs.items() if (figures := _medians(done))}
    trl = medians.get("trl")
    for side, done in runs.items():
        if side not in medians:
            lines.append(f"{side:14} failed: {done[-1]['error']}")
            continue
        seconds, tokens, memory = medians[side]
        line = f"{side:14}{seconds:9.2f}{tokens:14.1f}{memory:8.0f}"
        if trl and side != "trl":
            speed, share = trl[0] / seconds, memory / trl[2]
            holds = speed >= BARS[side] and share <= MEMORY_BAR
            line += (
                f"{speed:7.1f}x{share:7.2f}x  bars ({BARS[side]:g}x, {MEMORY_BAR:g}x) {'hold' if holds else 'missed'}"
            )
        lines.append(line)
    return "\n".join(lines)


def _medians(runs: list[dict[str, Any]]) -> tuple[float, float, float] | None:
    """Seconds and tokens of a reply, and the largest peak memory in MB, of the runs that did not fail."""
    completed = [run for run in runs if "error" not in run]
    if not completed:
        return None
    return (
        median(run["seconds_a_reply"] for run in completed),
        median(run["reply_tokens"] / run["replies"] for run in completed),
        max(run["peak_mb"] for run in completed),
    )


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Speed and memory of tltrain's PPO and TRL's GRPO.")
    parser.add_argument("--prompts", type=int, default=8, help="prompts of a rollout (default 8)")
    parser.add_argument("--samples", type=int, default=8, help="replies of a prompt (default 8)")
    parser.add_argument("--new-tokens", type=int, default=64, help="tokens of a reply (default 64)")
    parser.add_argument("--warmup", type=int, default=1, help="rollouts that are not timed (default 1)")
    parser.add_argument("--rollouts", type=int, default=1, help="rollouts that are timed (default 1)")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each side (default 1)")
    parser.add_argument("--workload", choices=("shared", "own"), default="shared", help="tools shared by all prompts?")
    parser.add_argument("--beta", type=float, default=0.04, help="weight of the KL penalty (default 0.04)")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--rank", type=int, default=16, help="of the adapters (default 16)")
    parser.add_argument("--model", default=models.BUILTIN, help="built-in model, folder, or hub name")
    parser.add_argument("--dtype", choices=("auto", "bfloat16", "float32"), default="auto")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if cuda_is_available() else "cpu")
    parser.add_argument("--sides", nargs="+", choices=tuple(SIDES), default=tuple(SIDES))
    parser.add_argument("--max-tree-tokens", type=int, default=4096, help="most tokens of a pass of tltrain")
    parser.add_argument("--trl", type=json.loads, default={}, help="fields of TRL's `GRPOConfig` as JSON")
    parser.add_argument("--trl-python", default=sys.executable, help="Python interpreter of an environment with TRL")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="output file for all results")
    return parser.parse_args()


def interpreters(options: argparse.Namespace) -> dict[str, str]:
    """Interpreter of each selected side; TRL is skipped with a warning if it is not installed."""
    found = {side: options.trl_python if side == "trl" else sys.executable for side in options.sides}
    if "trl" in found and subprocess.run([found["trl"], "-c", "import trl, datasets"], capture_output=True).returncode:
        report(f"TRL is skipped: not found by {found.pop('trl')}; `pip install 'tltrain[trl]'`, or use --trl-python")
    return found


def main() -> None:
    """Measure, write the JSON file, and print the table."""
    options = arguments()
    machine = json.loads(call(sys.executable, "speed.machine", options.device))
    report(f"{machine}")
    with tempfile.TemporaryDirectory(prefix="ppo-speed-") as name:
        scratch = Path(name)
        prompts, logs = write_prompts(options, scratch)
        job = RLJob(
            prompts=str(prompts),
            logs=str(logs),
            model=models.resolve(options.model),
            dtype=str(models.resolve_dtype(options.dtype, options.device)).removeprefix("torch."),
            device=options.device,
            folder="",
            warmup=options.warmup,
            rollouts=options.rollouts,
            size=options.prompts,
            samples=options.samples,
            new_tokens=options.new_tokens,
            beta=options.beta,
            temperature=options.temperature,
            learning_rate=options.learning_rate,
            rank=options.rank,
            seed=options.seed,
            max_tree_tokens=options.max_tree_tokens,
            settings={},
        )
        pythons = interpreters(options)
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in pythons}
        for repeat in range(options.repeats):
            for side, python in pythons.items():
                runs[side].append(run_side(side, job, python, scratch, options.trl))
                report(f"run {repeat + 1} of {options.repeats}, {side}: {runs[side][-1]}")
    if options.json:
        head = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine, "job": asdict(job)}
        options.json.write_text(json.dumps({**head, "runs": runs}, indent=1) + "\n", encoding="utf-8")
    print(table(runs))
    bf16, fp32 = machine["peak_flops"] / 1e9, machine["peak_flops_fp32"] / 1e9
    print(f"matrix peak {bf16:,.0f} GFLOP/s in bf16, {fp32:,.0f} in fp32")


if __name__ == "__main__":
    try:
        main()
    except (RunFailedError, TLTrainError) as error:
        sys.exit(f"ppo_speed: {error}")
