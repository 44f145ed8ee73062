"""Time, memory and shares of the work of an SFT update: `python benchmarks/profile_sft.py [--json FILE]`.

The forward and backward passes over the token tree of some logs of `benchmarks/sft_speed.py` are timed, and then run
again under torch's profiler. The optimiser is not part of it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from speed.process import peak_memory_mb
from speed.shares import share_lines, shares
from speed.workload import NAMES, make_logs

from tltrain import model as models
from tltrain.encode import Encoder
from tltrain.engine.memory import set_up_memory, start_peak
from tltrain.engine.passes import backward, nll
from tltrain.engine.tree import TokenSequence, TokenTree


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Time, memory and shares of the work of an SFT update.")
    parser.add_argument("--logs", type=int, default=4, help="logs of the update (default 4)")
    parser.add_argument("--workload", choices=NAMES, default="shared")
    parser.add_argument("--repeats", type=int, default=1, help="timed updates (default 1)")
    parser.add_argument("--no-shares", action="store_true", help="only time and memory, without the profiled update")
    parser.add_argument("--max-tree-tokens", type=int, default=4096, help="most tokens of a pass")
    parser.add_argument("--model", default=models.BUILTIN, help="built-in model, folder, or hub name")
    parser.add_argument("--dtype", choices=("auto", "bfloat16", "float32"), default="auto")
    parser.add_argument("--threads", type=int, help="threads of torch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="output file")
    return parser.parse_args()


def sequences_of(options: argparse.Namespace) -> list[TokenSequence]:
    """The replies of the logs with their prompts."""
    encoder = Encoder(models.load_tokenizer(options.model, "hermes"), mae=False, pkt=False)
    logs = make_logs(options.workload, options.logs, options.seed)
    return [
        TokenSequence(step.prompt_ids + step.reply_ids, len(step.prompt_ids), step.weights)
        for log in logs
        for step in encoder.steps(log)
    ]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the updates; returns their figures."""
    set_up_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    sequences = sequences_of(options)
    model = models.load_model(models.resolve(options.model), models.resolve_dtype(options.dtype, "cpu"), "cpu")
    tree = TokenTree(sequences)
    start_peak()

    def update() -> None:
        backward(model, sequences, nll, options.max_tree_tokens)

    seconds = []
    for _ in range(options.repeats):
        model.zero_grad()
        started, cpu = time.perf_counter(), time.process_time()
        update()
        seconds.append((time.perf_counter() - started, time.process_time() - cpu))
    figures: dict[str, Any] = {
        "tokens": len(tree),
        "separate_tokens": tree.separate_tokens,
        "segments": len(tree.segments),
        "seconds": median(pair[0] for pair in seconds),
        "cpu_seconds": median(pair[1] for pair in seconds),
        "peak_mb": peak_memory_mb("cpu"),
    }
    if not options.no_shares:
        figures["shares"] = shares(update)
    return figures


def main() -> None:
    """Measure, write the JSON file, and print the figures."""
    options = arguments()
    figures = measure(options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(
        f"{figures['tokens']} tokens in {figures['segments']} segments ({figures['separate_tokens']} separately): "
        f"{figures['seconds']:.1f} s, {figures['cpu_seconds']:.1f} s of CPU time, {figures['peak_mb']:.0f} MB"
    )
    if "shares" in figures:
        print("\n".join(share_lines(figures["shares"])))


if __name__ == "__main__":
    main()
