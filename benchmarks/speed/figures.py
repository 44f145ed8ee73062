"""Statistics of the runs, the ratios of both sides, and the printed table. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from speed.process import Outcome

SIDES = ("ours", "trl")
BARS = {"shared": 9.0, "own": 3.0}
"""Required speed on each workload as a multiple of TRL's."""
MEMORY_BAR = 0.5
"""Most peak memory as a multiple of TRL's."""
LOSS_TOLERANCE = 1e-2
COUNTED = (
    "6 * (parameters of the layers * processed tokens + parameters of the output matrix * scored positions); "
    "attention products and recomputation are not counted"
)


@dataclass(frozen=True, slots=True)
class Size:
    """Number of parameters that process a token."""

    layers: int
    """In the layers."""
    output: int
    """In the output matrix."""

    def flops(self, tokens: int, scored: int) -> float:
        """Floating-point operations of a training step; `scored` of the tokens reach the output matrix."""
        return 6.0 * (self.layers * tokens + self.output * scored)


@dataclass(frozen=True, slots=True)
class Measured:
    """Size of the timed logs."""

    logs: int
    """Number of logs."""
    tokens: int
    """Tokens as separate sequences."""
    distinct: int
    """Tokens after merging the logs of each batch by common prefixes."""
    trained: int
    """Tokens in the loss."""


def run_figures(outcome: Outcome, measured: Measured, size: Size, peak_flops: float) -> dict[str, Any]:
    """Rates and memory of a run."""
    return {
        "seconds_a_log": outcome.seconds / measured.logs,
        "tokens_a_second": measured.tokens / outcome.seconds,
        "distinct_tokens_a_second": measured.distinct / outcome.seconds,
        "peak_mb": outcome.peak_mb,
        "share_of_peak": size.flops(outcome.tokens, outcome.scored) / outcome.seconds / peak_flops,
        "losses": outcome.losses,
    }


def side_figures(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians and the largest peak memory over the runs that did not fail, and all runs in `runs`."""
    completed = [run for run in runs if "error" not in run]
    figures: dict[str, Any] = {"runs": list(runs)}
    if not completed:
        return figures
    for name in ("seconds_a_log", "tokens_a_second", "distinct_tokens_a_second", "share_of_peak"):
        figures[name] = median(run[name] for run in completed)
    return figures | {"peak_mb": max(run["peak_mb"] for run in completed)}


def compare(workload: str, ours: dict[str, Any], trl: dict[str, Any]) -> dict[str, Any] | None:
    """Speed and memory as multiples of TRL's, and whether they meet the requirements; None if a side failed."""
    if "peak_mb" not in ours or "peak_mb" not in trl:
        return None
    speed, memory = trl["seconds_a_log"] / ours["seconds_a_log"], ours["peak_mb"] / trl["peak_mb"]
    return {
        "speed": speed,
        "memory": memory,
        "speed_bar": BARS[workload],
        "bars_hold": speed >= BARS[workload] and memory <= MEMORY_BAR,
    }


def check(ours: Outcome, trl: Outcome) -> dict[str, Any]:
    """Whether both sides have the same number of tokens in the loss and the same loss before the first step."""
    difference = abs(ours.losses[0] - trl.losses[0])
    return {
        "trained": {"ours": ours.trained, "trl": trl.trained},
        "loss": {"ours": ours.losses[0], "trl": trl.losses[0]},
        "holds": ours.trained == trl.trained and difference <= LOSS_TOLERANCE,
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """The results of the workloads as a text table."""
    lines = [f"{'workload':9}{'side':6}{'s/log':>8}{'tokens/s':>10}{'distinct/s':>12}{'MB':>8}{'of peak':>9}"]
    for result in results:
        lines += [_line(result["name"], side, figures) for side, figures in result["sides"].items()]
        lines += _remarks(result)
    return "\n".join(lines)


def _line(workload: str, side: str, figures: dict[str, Any]) -> str:
    if "peak_mb" not in figures:
        return f"{workload:9}{side:6}failed: {figures['runs'][-1]['error']}"
    return (
        f"{workload:9}{side:6}{figures['seconds_a_log']:8.2f}{figures['tokens_a_second']:10.0f}"
        f"{figures['distinct_tokens_a_second']:12.0f}{figures['peak_mb']:8.0f}{figures['share_of_peak']:9.1%}"
    )


def _remarks(result: dict[str, Any]) -> list[str]:
    checked, ratio = result.get("check"), result.get("ratio")
    lines = [_checked(checked)] if checked else []
    if ratio:
        verdict = "bars hold" if ratio["bars_hold"] else "bars missed"
        lines.append(
            f"{ratio['speed']:.2f} times TRL's speed (bar {ratio['speed_bar']}), "
            f"{ratio['memory']:.2f} of its memory (bar {MEMORY_BAR}): {verdict}"
        )
    return [f"{'':9}{line}" for line in lines]


def _checked(found: dict[str, Any]) -> str:
    if "error" in found:
        return f"not compared: {found['error']}"
    verdict = "the same" if found["holds"] else "NOT THE SAME"
    loss, trained = found["loss"], found["trained"]
    return (
        f"{verdict}: {trained['ours']} and {trained['trl']} tokens trained on, "
        f"first loss {loss['ours']:.4f} and {loss['trl']:.4f}"
    )
