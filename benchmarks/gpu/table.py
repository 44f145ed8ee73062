"""The table of all parts, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

FORMATS: dict[str, Callable[[float], str]] = {
    "tokens/s": lambda value: f"{value:,.0f} tokens/s",
    "distinct tokens/s": lambda value: f"{value:,.0f} distinct tokens/s",
    "tokens": lambda value: f"{value:,.0f} tokens",
    "MB": lambda value: f"{value / 1000:,.1f} GB",
    "of peak": lambda value: f"{value:.1%} of the matrix peak",
    "seconds": lambda value: f"{value:.2f} s",
    "sampling s": lambda value: f"sampling {value:.2f} s",
    "measuring s": lambda value: f"measuring {value:.2f} s",
    "update s": lambda value: f"update {value:.2f} s",
    "error": lambda value: f"relative error {value:.1e}",
    "same replies": lambda value: f"{value:.0%} of the replies the same",
}
"""How each figure is written, in the order of the text."""


def table(results: Sequence[dict[str, Any]]) -> str:
    """A line for each row of each part; of a part that failed, its error."""
    lines = ["| part | model | setting | result |", "|---|---|---|---|"]
    for result in results:
        head = f"| {result['part']} | {result['model']} "
        if "error" in result:
            lines.append(f"{head}| – | {result['error'].replace('|', '/')} |")
        lines += [f"{head}| {row['setting']} | {_text(row)} |" for row in result.get("rows", [])]
    return "\n".join([*lines, *(f"\n{line}" for line in ratios(results))])


def _text(row: dict[str, Any]) -> str:
    parts = [write(row["figures"][name]) for name, write in FORMATS.items() if name in row["figures"]]
    verdict = {None: [], True: ["holds"], False: ["DOES NOT HOLD"]}[row["holds"]]
    return ", ".join([*parts, *verdict, *row["remarks"]]).replace("|", "/")


def ratios(results: Sequence[dict[str, Any]]) -> list[str]:
    """Speed and memory of SFT as multiples of TRL's, for each model and workload that both have measured."""
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for result in results:
        for row in result.get("rows", []):
            workload, _, side = row["setting"].partition(" tools, ")
            if result["kind"] in ("sft", "trl"):
                found[result["model"], workload, side] = row["figures"]
    lines = []
    for (model, workload, side), figures in found.items():
        trl = found.get((model, workload, "TRL"))
        if trl is not None and side != "TRL":
            speed, memory = figures["tokens/s"] / trl["tokens/s"], figures["MB"] / trl["MB"]
            lines.append(
                f"{model}, {workload} tools, {side}: {speed:.1f} times TRL's speed, {memory:.2f} of its memory."
            )
    return lines
