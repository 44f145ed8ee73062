"""Shares of the CPU time of a block by kind of work, from torch's profiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile

KINDS: dict[str, tuple[str, ...]] = {
    "products of the layers and the output matrix": ("mm", "addmm", "linear"),
    "products of attention": ("bmm", "baddbmm"),
    "softmax": ("_softmax", "_softmax_backward_data", "_log_softmax", "exp", "exp_", "logsumexp", "masked_fill_"),
    "fused attention": (
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention_for_cpu_backward",
    ),
    "copies": ("copy_", "cat", "zero_", "fill_", "index", "_index_put_impl_", "index_select", "embedding"),
}
"""Operators (`aten::NAME`) of each kind, by their own time. All others are `OTHER`: norms, activations, sums."""
OTHER = "norms, activations, sums and others"


def shares(work: Callable[[], Any]) -> dict[str, float]:
    """Run `work` under the profiler; returns the fraction of its CPU time by kind of work."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        work()
    return shares_of(profiled)


def shares_of(profiled: profile) -> dict[str, float]:
    """The fraction of the profiled CPU time by kind of work."""
    kind_of = {f"aten::{operator}": kind for kind, operators in KINDS.items() for operator in operators}
    seconds = dict.fromkeys([*KINDS, OTHER], 0.0)
    for event in profiled.key_averages():
        seconds[kind_of.get(event.key, OTHER)] += event.self_cpu_time_total / 1e6
    total = sum(seconds.values())
    return {kind: value / total for kind, value in seconds.items()}


def share_lines(found: dict[str, float]) -> list[str]:
    """The shares as lines of text."""
    return [f"{share:7.1%}  {kind}" for kind, share in found.items()]
