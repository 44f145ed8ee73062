"""Runs the experiments of `recipes/evidence/experiments.yaml`: `make evidence`, or some of them by name.

    python benchmarks/evidence.py [NAME ...] [--list]

Each command resumes where it was stopped, so this does too. Results are in `results/`.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

EXPERIMENTS = Path("recipes/evidence/experiments.yaml")


class Experiment(BaseModel):
    """One experiment of the list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    question: str
    hours: float
    """Estimate for two idle CPU cores."""
    commands: list[str]
    """Commands of `tltrain`."""
    needs: list[str] = []
    """Files or folders without which it is skipped."""
    get: str = ""
    """How to get what it needs."""

    @property
    def missing(self) -> list[str]:
        """What it needs and is not there."""
        return [path for path in self.needs if not Path(path).exists()]


def read_experiments(path: Path = EXPERIMENTS) -> list[Experiment]:
    """The list of experiments."""
    return [Experiment.model_validate(row) for row in yaml.safe_load(path.read_text(encoding="utf-8"))]


def overview(experiments: Sequence[Experiment]) -> str:
    """The experiments with their estimated times, and the sum."""
    lines = []
    for one in experiments:
        note = (
            f" (needs {', '.join(one.missing)}: {one.get})" if one.missing else f" (first: {one.get})" * bool(one.get)
        )
        lines.append(f"{one.name:<18}about {one.hours:g} h   {one.question}{note}")
    return "\n".join([*lines, f"together about {sum(one.hours for one in experiments):g} hours on two idle CPU cores"])


def run(experiment: Experiment) -> bool:
    """Run the commands of an experiment; returns whether all succeeded."""
    for command in experiment.commands:
        print(f"\n{experiment.name}: {command}", flush=True)
        if subprocess.run([sys.executable, "-m", *shlex.split(command)]).returncode:
            return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is named, all by default; returns the exit code."""
    parser = argparse.ArgumentParser(description="Run the experiments behind docs/EVIDENCE.md.")
    parser.add_argument("names", nargs="*", help="names of experiments; by default all")
    parser.add_argument("--list", action="store_true", help="only show the experiments and their estimated times")
    given = parser.parse_args(arguments)
    known = {one.name: one for one in read_experiments()}
    if unknown := [name for name in given.names if name not in known]:
        parser.error(f"no such experiment: {', '.join(unknown)}; expected some of {', '.join(known)}")
    chosen = [known[name] for name in given.names or known]
    print(overview(chosen), flush=True)
    if given.list:
        return 0
    failed = [one.name for one in chosen if not one.missing and not run(one)]
    skipped = [one.name for one in chosen if one.missing]
    for what, names in (("failed", failed), ("skipped", skipped)):
        if names:
            print(f"{what}: {', '.join(names)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
