"""Compares the plan of a run with the run itself: time and peak memory of each stage.

    python benchmarks/plan_accuracy.py --out runs/plan_accuracy [--config my.yaml] [--size 0.02]

Without a configuration the run is that of `tltrain demo --size SIZE`. The plan and the run are processes of their own,
one after the other, so that neither changes the other's memory. Aims: the time of the whole run within 30 %, the peak
memory of the whole run within 15 %.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tltrain.config import RunConfig, read_config
from tltrain.demo import demo_config
from tltrain.files import read_json, write_json, write_text

TIME_WITHIN, MEMORY_WITHIN = 0.30, 0.15


def main() -> None:
    """Plan, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the run and the result")
    parser.add_argument("--config", type=Path, help="configuration of the run; by default the demo's")
    parser.add_argument("--size", type=float, default=0.02, help="size of the demo")
    arguments = parser.parse_args()
    config: RunConfig = read_config(arguments.config) if arguments.config else demo_config(arguments.size)
    path = arguments.out / "config.yaml"
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_text(path, config.to_yaml())
    planned = json.loads(_called("plan", str(path), "--json"))
    _called("run", str(path), "--out", str(arguments.out / "run"), "--json")
    result = compared(planned, read_json(arguments.out / "run" / "stages.json"))
    write_json(arguments.out / "accuracy.json", result)
    print(table(result))


def _called(*arguments: str) -> str:
    """The standard output of a command of tltrain."""
    return subprocess.run(
        [sys.executable, "-m", "tltrain", *arguments], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def compared(plan: dict[str, Any], stages: list[dict[str, Any]]) -> dict[str, Any]:
    """Planned and actual values of each stage that both have, and of the whole run."""
    actual = {row["stage"]: row for row in stages}
    rows = [
        {
            "stage": row["stage"],
            "planned_seconds": row["seconds"],
            "seconds": actual[row["stage"]]["seconds"],
            "planned_mb": row["peak_memory_mb"],
            "mb": actual[row["stage"]]["peak_memory_mb"],
        }
        for row in plan["stages"]
        if row["stage"] in actual
    ]
    seconds, planned_seconds = (sum(row[name] for row in rows) for name in ("seconds", "planned_seconds"))
    memory, planned_memory = (max(row[name] for row in rows) for name in ("mb", "planned_mb"))
    time_error, memory_error = planned_seconds / seconds - 1, planned_memory / memory - 1
    return {
        "device": plan["device"],
        "stages": rows,
        "time_error": round(time_error, 3),
        "memory_error": round(memory_error, 3),
        "time_within": abs(time_error) <= TIME_WITHIN,
        "memory_within": abs(memory_error) <= MEMORY_WITHIN,
    }


def table(result: dict[str, Any]) -> str:
    """The comparison as a Markdown table and a line."""
    lines = ["| stage | planned s | s | planned MB | MB |", "|---|---|---|---|---|"]
    for row in result["stages"]:
        cells = (row[name] for name in ("stage", "planned_seconds", "seconds", "planned_mb", "mb"))
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(
        [*lines, "", f"whole run: time {result['time_error']:+.0%}, peak memory {result['memory_error']:+.0%}"]
    )


if __name__ == "__main__":
    main()
