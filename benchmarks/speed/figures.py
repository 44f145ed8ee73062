"""From what the runs found to figures, ratios and a table. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from speed.process import Outcome

SIDES = ("ours", "trl")
BARS = {"shared": 5.0, "own": 1.5}
"""How many times TRL's speed ours is to be on each workload, at no more than its memory."""
AIM_SPEED, AIM_MEMORY = 6.2, 0.5
"""On the first workload the aim beyond the bar; the memory's is as a share of TRL's, on both."""
LOSS_TOLERANCE = 1e-2
COUNTED = (
    "6 * (parameters of the layers * tokens through the model + output matrix * positions that reach it); "
    "the products of attention and what is computed twice are not counted"
)


@dataclass(frozen=True, slots=True)
class Size:
    """Parameters that a token meets: those of the layers, and those of the output matrix."""

    layers: int
    output: int

    def flops(self, tokens: int, scored: int) -> float:
        """Of a training step, see `COUNTED`."""
        return 6.0 * (self.layers * tokens + self.output * scored)


@dataclass(frozen=True, slots=True)
class Measured:
    """The logs that are timed: their number, and tokens as separate sequences, merged in batches, and in the loss."""

    logs: int
    tokens: int
    distinct: int
    trained: int


def run_figures(outcome: Outcome, measured: Measured, size: Size, peak_flops: float) -> dict[str, Any]:
    """Rates and memory of one run."""
    return {
        "seconds_a_log": outcome.seconds / measured.logs,
        "tokens_a_second": measured.tokens / outcome.seconds,
        "distinct_tokens_a_second": measured.distinct / outcome.seconds,
        "peak_mb": outcome.peak_mb,
        "share_of_peak": size.flops(outcome.tokens, outcome.scored) / outcome.seconds / peak_flops,
        "losses": outcome.losses,
    }


def side_figures(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the runs that did not fail, and the largest peak; all runs beside them."""
    good = [run for run in runs if "error" not in run]
    figures: dict[str, Any] = {"runs": list(runs)}
    if not good:
        return figures
    for name in ("seconds_a_log", "tokens_a_second", "distinct_tokens_a_second", "share_of_peak"):
        figures[name] = median(run[name] for run in good)
    return figures | {"peak_mb": max(run["peak_mb"] for run in good)}


def compare(workload: str, ours: dict[str, Any], trl: dict[str, Any]) -> dict[str, Any] | None:
    """Our speed and memory as multiples of TRL's, and whether bars and aims hold; None where a side has no figures."""
    if "peak_mb" not in ours or "peak_mb" not in trl:
        return None
    speed, memory = trl["seconds_a_log"] / ours["seconds_a_log"], ours["peak_mb"] / trl["peak_mb"]
    return {
        "speed": speed,
        "memory": memory,
        "speed_bar": BARS[workload],
        "bars_hold": speed >= BARS[workload] and memory <= 1,
        "aims_hold": memory <= AIM_MEMORY and (workload != "shared" or speed >= AIM_SPEED),
    }


def check(ours: Outcome, trl: Outcome) -> dict[str, Any]:
    """Whether both sides train on the same: tokens in the loss, and the loss before the first step."""
    difference = abs(ours.losses[0] - trl.losses[0])
    return {
        "trained": {"ours": ours.trained, "trl": trl.trained},
        "loss": {"ours": ours.losses[0], "trl": trl.losses[0]},
        "holds": ours.trained == trl.trained and difference <= LOSS_TOLERANCE,
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """The results of the workloads as text."""
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
        said = "bars hold" if ratio["bars_hold"] else "bars missed"
        said += ", aims hold" if ratio["aims_hold"] else ", aims missed"
        lines.append(
            f"{ratio['speed']:.2f} times TRL's speed (bar {ratio['speed_bar']}), "
            f"{ratio['memory']:.2f} of its memory (bar 1): {said}"
        )
    return [f"{'':9}{line}" for line in lines]


def _checked(found: dict[str, Any]) -> str:
    if "error" in found:
        return f"not compared: {found['error']}"
    said = "the same" if found["holds"] else "NOT THE SAME"
    loss, trained = found["loss"], found["trained"]
    return (
        f"{said}: {trained['ours']} and {trained['trl']} tokens trained on, "
        f"first loss {loss['ours']:.4f} and {loss['trl']:.4f}"
    )
