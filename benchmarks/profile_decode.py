"""Time and shares of the work of decoding steps: `python benchmarks/profile_decode.py [--json FILE]`.

Replies to the first prompts of logs that share a tool set are generated greedily, for each number of replies. The
prompts' own pass is not part of the figures; a step computes one token of each reply.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from speed.shares import share_lines, shares_of
from speed.workload import make_logs
from torch.profiler import ProfilerActivity, profile

from tltrain import model as models
from tltrain.encode import Encoder
from tltrain.engine.generate import generate
from tltrain.engine.memory import set_up_memory

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROFILED = 2
"""Steps that run under the profiler, after those that are timed."""


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Time and shares of the work of decoding steps.")
    parser.add_argument("--replies", type=int, nargs="+", default=[96, 8], help="replies decoded together")
    parser.add_argument("--steps", type=int, default=8, help="timed steps (default 8)")
    parser.add_argument("--model", default=models.BUILTIN, help="built-in model, folder, or hub name")
    parser.add_argument("--dtype", choices=("auto", "bfloat16", "float32"), default="auto")
    parser.add_argument("--threads", type=int, help="threads of torch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="output file")
    return parser.parse_args()


def measure(model: PreTrainedModel, prompts: list[list[int]], steps: int) -> dict[str, Any]:
    """Seconds and CPU seconds of a step (medians), and the shares of the work."""
    ends: list[tuple[float, float]] = []
    profiler = profile(activities=[ProfilerActivity.CPU])

    def note(_: torch.nn.Module, __: Any, keywords: dict[str, Any], ___: Any) -> None:
        if keywords["input_ids"].shape != (len(prompts), 1):
            return  # the pass over the prompts
        ends.append((time.perf_counter(), time.process_time()))
        if len(ends) == steps + 1:
            profiler.start()
        elif len(ends) == steps + 1 + PROFILED:
            profiler.stop()

    hook = model.register_forward_hook(note, with_kwargs=True)
    try:
        generate(model, prompts, (), steps + 2 + PROFILED, batch_size=len(prompts))
    finally:
        hook.remove()
    timed = ends[: steps + 1]
    wall, cpu = (median(b[index] - a[index] for a, b in pairwise(timed)) for index in (0, 1))
    return {"replies": len(prompts), "seconds": wall, "cpu_seconds": cpu, "shares": shares_of(profiler)}


def main() -> None:
    """Measure, write the JSON file, and print the figures."""
    options = arguments()
    set_up_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    encoder = Encoder(models.load_tokenizer(options.model, "hermes"))
    logs = make_logs("shared", max(options.replies), options.seed)
    prompts = [list(next(encoder.prompts(log)).ids) for log in logs]
    model = models.load_model(models.resolve(options.model), models.resolve_dtype(options.dtype, "cpu"), "cpu")
    results = []
    for count in options.replies:
        results.append(measure(model, prompts[:count], options.steps))
        found = results[-1]
        print(
            f"{count} replies: {found['seconds'] * 1e3:.0f} ms a step, {found['cpu_seconds'] * 1e3:.0f} ms of CPU "
            f"time, {count / found['seconds']:.1f} tokens/s"
        )
        print("\n".join(share_lines(found["shares"])))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
