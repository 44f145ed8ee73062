"""A plan as tables for the terminal."""

from __future__ import annotations

from rich.table import Table

from tltrain.planning.plan import Plan, duration


def plan_tables(plan: Plan) -> list[Table]:
    """The work of SFT by arm, the work of PPO and evaluation, and the cost of each stage."""
    tables = []
    if plan.arms:
        tables.append(_sft_table(plan))
    if plan.ppo is not None or plan.evaluation is not None:
        tables.append(_sampling_table(plan))
    return [*tables, _cost_table(plan)]


def _sft_table(plan: Plan) -> Table:
    table = Table("SFT", *(f"{arm}" for arm in plan.arms), title_justify="left")
    works = list(plan.arms.values())
    counts = [work.counts for work in works]
    rows = {
        "trajectories": [work.trajectories for work in works],
        "replies": [one.replies for one in counts],
        "updates": [work.updates for work in works],
        "tokens of all steps": [round(work.work.separate_tokens) for work in works],
        "distinct tokens (computed)": [round(work.work.tokens) for work in works],
        "tokens of the largest pass": [work.work.largest_pass for work in works],
        "replies masked (MAE)": [one.masked for one in counts],
        "replies masked in part": [one.partly_masked for one in counts],
        "reply tokens": [one.tokens for one in counts],
        "reply tokens learned": [one.learned for one in counts],
        "key tokens (PKT)": [one.key for one in counts],
    }
    for name, values in rows.items():
        table.add_row(name, *(f"{value:,}" for value in values))
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _sampling_table(plan: Plan) -> Table:
    table = Table("evaluation" if plan.ppo is None else "PPO and evaluation", "")
    table.columns[1].justify = "right"
    if plan.ppo is not None:
        table.add_row("rollouts", f"{plan.ppo.rollouts:,}")
        table.add_row("replies to sample", f"{plan.ppo.replies:,}")
        table.add_row("updates", f"{plan.ppo.updates:,}")
    if plan.evaluation is not None:
        table.add_row("test items per model", f"{plan.evaluation.items:,}")
    return table


def _cost_table(plan: Plan) -> Table:
    table = Table("stage", "time", "peak memory")
    for stage in plan.stages:
        table.add_row(stage.stage, duration(stage.seconds), f"{stage.peak_memory_mb / 1e3:.1f} GB")
    for column in table.columns[1:]:
        column.justify = "right"
    return table
