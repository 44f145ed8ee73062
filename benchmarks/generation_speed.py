"""Speed of greedy generation, tltrain and transformers: `python benchmarks/generation_speed.py [--json FILE]`.

The prompts are those of every reply of multi-turn logs, as in an evaluation: logs that share a large tool set, and logs
with different tool sets. `transformers` runs with static batching (`generate`, prompts sorted by length and padded on
the left) and with its own continuous batching (`generate_batch`, whose cache is limited to the same number of replies).
Each run has a process of its own, whose peak memory is measured; the sides alternate. The replies are compared token by
token with tltrain's.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from speed.generation_process import GenerationJob
from speed.launch import RunFailedError, header, peak_line, report, run_job
from speed.process import write_lines
from speed.workload import NAMES, Name, make_logs
from torch.cuda import is_available as cuda_is_available

from tltrain import model as models
from tltrain.encode import Encoder
from tltrain.errors import TLTrainError

SIDES: dict[str, tuple[str, dict[str, Any]]] = {
    "ours": ("speed.generation_ours", {}),
    "static": ("speed.generation_theirs", {"batching": "static"}),
    "continuous": ("speed.generation_theirs", {"batching": "continuous"}),
}
"""Module and settings of each side."""
BARS = {"shared": 4.0, "own": 1.5}
"""Required speed on each workload, as a multiple of that of each way of batching of transformers."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The settings that all runs share."""

    job: GenerationJob
    logs: int
    seed: int
    repeats: int
    sides: Sequence[str]
    scratch: Path
    settings: dict[str, dict[str, Any]]
    """Further settings by side."""

    def workload(self, name: Name) -> dict[str, Any]:
        """Run all sides on a workload; returns the measurements as written to the JSON file."""
        encoder = Encoder(models.load_tokenizer(self.job.model, "hermes"), stop_ids=self.job.stop_ids)
        prompts = [prompt.ids for log in make_logs(name, self.logs, self.seed) for prompt in encoder.prompts(log)]
        file = self.scratch / f"{name}.jsonl"
        write_lines(file, [{"ids": list(ids)} for ids in prompts])
        job = replace(self.job, prompts=str(file))
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in self.sides}
        for repeat in range(self.repeats):
            for side in self.sides:
                runs[side].append(self._run(side, job))
                report(f"{name}, run {repeat + 1} of {self.repeats}, {side}: {_summary(runs[side][-1])}")
        return {"name": name, "prompts": len(prompts), "prompt_tokens": sum(map(len, prompts)), **figures(name, runs)}

    def _run(self, side: str, job: GenerationJob) -> dict[str, Any]:
        module, settings = SIDES[side]
        try:
            found = run_job(
                sys.executable, module, replace(job, settings=settings | self.settings.get(side, {})), self.scratch
            )
        except RunFailedError as error:
            return {"error": str(error)}
        return {**found, "tokens_a_second": sum(map(len, found["replies"])) / found["seconds"]}


def figures(name: str, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The medians of each side, the share of replies that equal ours, and ours as multiples of the other sides."""
    sides: dict[str, dict[str, Any]] = {}
    for side, done in runs.items():
        completed = [run for run in done if "error" not in run]
        sides[side] = {"runs": done}
        if completed:
            sides[side] |= {
                "seconds": median(run["seconds"] for run in completed),
                "tokens_a_second": median(run["tokens_a_second"] for run in completed),
                "tokens": sum(map(len, completed[0]["replies"])),
                "peak_mb": max(run["peak_mb"] for run in completed),
            }
    ours = sides.get("ours", {})
    for side, found in sides.items():
        if side != "ours" and "seconds" in ours and "seconds" in found:
            found["equal"] = equal(ours["runs"][0]["replies"], found["runs"][0]["replies"])
            found["speed"] = ours["tokens_a_second"] / found["tokens_a_second"]
            found["memory"] = ours["peak_mb"] / found["peak_mb"]
            found["bar_holds"] = found["speed"] >= BARS[name]
    return {"sides": sides}


def equal(ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> float:
    """Share of the replies that are equal token by token. Nearly equal logits may differ in their rounding."""
    return sum(list(a) == list(b) for a, b in zip(ours, theirs, strict=True)) / len(ours)


def table(results: Sequence[dict[str, Any]]) -> str:
    """The results of the workloads as a text table."""
    lines = [f"{'workload':9}{'side':12}{'s':>8}{'tokens':>8}{'tokens/s':>10}{'MB':>8}"]
    for result in results:
        for side, found in result["sides"].items():
            start = f"{result['name']:9}{side:12}"
            if "seconds" not in found:
                lines.append(f"{start}failed: {found['runs'][-1]['error']}")
                continue
            line = f"{start}{found['seconds']:8.1f}{found['tokens']:8}"
            lines.append(f"{line}{found['tokens_a_second']:10.1f}{found['peak_mb']:8.0f}{_remark(result, found)}")
    return "\n".join(lines)


def _remark(result: dict[str, Any], found: dict[str, Any]) -> str:
    if "speed" not in found:
        return ""
    verdict = "holds" if found["bar_holds"] else "missed"
    return (
        f"  ours {found['speed']:.2f} times as fast (bar {BARS[result['name']]:g}, {verdict}) "
        f"at {found['memory']:.2f} of its memory, {found['equal']:.0%} of the replies equal"
    )


def _summary(run: dict[str, Any]) -> str:
    if "error" in run:
        return f"failed: {run['error']}"
    return f"{run['seconds']:.1f} s, {run['tokens_a_second']:.1f} tokens/s, {run['peak_mb']:.0f} MB"


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Speed of greedy generation with tltrain and transformers.")
    parser.add_argument("--logs", type=int, default=8, help="logs, each of which has several prompts (default 8)")
    parser.add_argument("--new-tokens", type=int, default=64, help="most tokens of a reply (default 64)")
    parser.add_argument("--batch", type=int, default=16, help="most replies decoded together (default 16)")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each side per workload (default 1)")
    parser.add_argument("--workloads", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--sides", nargs="+", choices=tuple(SIDES), default=tuple(SIDES))
    parser.add_argument("--model", default=models.BUILTIN, help="built-in model, folder, or hub name")
    parser.add_argument("--dtype", choices=("auto", "bfloat16", "float32"), default="auto")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if cuda_is_available() else "cpu")
    parser.add_argument(
        "--continuous", type=json.loads, default={}, help="fields of `ContinuousBatchingConfig` as JSON"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="output file for all results")
    return parser.parse_args()


def prepare(options: argparse.Namespace, scratch: Path) -> Bench:
    """The benchmark of the given options."""
    folder = models.resolve(options.model)
    job = GenerationJob(
        prompts="",
        model=folder,
        dtype=str(models.resolve_dtype(options.dtype, options.device)).removeprefix("torch."),
        device=options.device,
        stop_ids=list(Encoder(models.load_tokenizer(folder, "hermes")).stop_ids),
        new_tokens=options.new_tokens,
        batch=options.batch,
        settings={},
    )
    settings = {"continuous": options.continuous}
    return Bench(job, options.logs, options.seed, options.repeats, options.sides, scratch, settings)


def main() -> None:
    """Measure, write the JSON file after each workload, and print the table."""
    options = arguments()
    head = header(options.device)
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="generation-speed-") as scratch:
        bench = prepare(options, Path(scratch))
        for name in options.workloads:
            results.append(bench.workload(name))
            if options.json:
                found = {**head, "model": options.model, "batch": options.batch, "workloads": results}
                options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(results))
    print(f"{peak_line(head['machine'])}; generated in {bench.job.dtype}")


if __name__ == "__main__":
    try:
        main()
    except (RunFailedError, TLTrainError) as error:
        sys.exit(f"generation_speed: {error}")
