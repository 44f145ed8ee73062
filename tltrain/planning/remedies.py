"""What does not fit into memory, and the setting that would make it fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tltrain.config import LoraConfig, PPOConfig, RunConfig, SFTConfig
from tltrain.engine.passes import BRANCH_DIVISOR
from tltrain.planning.costs import Machine, StageCost
from tltrain.planning.rates import Training, activation_bytes
from tltrain.planning.work import ArmWork, PPOWork, Work

SMALLEST_TREE = 512


def memory_problems(
    machine: Machine,
    config: RunConfig,
    arms: Mapping[str, ArmWork],
    ppo: PPOWork | None,
    costs: Sequence[StageCost],
) -> list[str]:
    """A line for each stage that does not fit into memory."""
    capacity = machine.rates.capacity_mb
    lines = []
    for cost in costs:
        if cost.peak_memory_mb <= capacity:
            continue
        kind, _, name = cost.stage.partition(" ")
        remedy = None
        if kind == "sft" and config.sft is not None:
            remedy = _sft_remedy(machine, config, config.sft, arms[name].work)
        elif kind == "ppo" and config.ppo is not None and ppo is not None:
            remedy = _ppo_remedy(machine, config, config.ppo, ppo)
        elif kind == "eval":
            remedy = "a smaller eval.batch_size may make it fit"
        found = f"{cost.stage} needs about {cost.peak_memory_mb / 1e3:.1f} GB, and there are {capacity / 1e3:.1f} GB"
        lines.append(f"{found}: {remedy or 'no setting makes this model fit; choose a smaller one'}")
    return list(dict.fromkeys(lines))


def _sft_remedy(machine: Machine, config: RunConfig, sft: SFTConfig, work: Work) -> str | None:
    """The first setting, or set of settings, with which SFT fits."""
    for changes, tried, tokens in _sft_variants(config, sft):
        with_tokens = replace(work, largest_pass=min(work.largest_pass, _in_memory(tokens, config)))
        changed = config.model_copy(update={"sft": tried, "max_tree_tokens": tokens})
        if _for(machine, sft, tried).sft_memory(with_tokens, changed) <= machine.rates.capacity_mb:
            return f"it fits with {changes}"
    return None


def _sft_variants(config: RunConfig, sft: SFTConfig) -> Iterator[tuple[str, SFTConfig, int]]:
    smaller = config.max_tree_tokens // 2
    while smaller >= SMALLEST_TREE:
        yield f"max_tree_tokens: {smaller}", sft, smaller
        smaller //= 2
    again = sft.model_copy(update={"gradient_checkpointing": True})
    if not sft.gradient_checkpointing:
        yield "sft.gradient_checkpointing: true", again, config.max_tree_tokens
    if sft.lora is None:
        yield "sft.lora: {rank: 16}", sft.model_copy(update={"lora": LoraConfig()}), config.max_tree_tokens
        both = again.model_copy(update={"lora": LoraConfig()})
        yield "sft.lora: {rank: 16} and sft.gradient_checkpointing: true", both, config.max_tree_tokens
        yield (
            f"sft.lora: {{rank: 16}}, sft.gradient_checkpointing: true and max_tree_tokens: {SMALLEST_TREE * 2}",
            both,
            SMALLEST_TREE * 2,
        )


def _ppo_remedy(machine: Machine, config: RunConfig, ppo: PPOConfig, work: PPOWork) -> str | None:
    variants = [("ppo.lora: {rank: 16}", ppo.model_copy(update={"lora": LoraConfig()}), config.max_tree_tokens)]
    tokens = config.max_tree_tokens // 2
    while tokens >= SMALLEST_TREE:
        variants.append((f"max_tree_tokens: {tokens}", ppo, tokens))
        tokens //= 2
    for changes, tried, limit in variants:
        update = replace(work.update, largest_pass=min(work.update.largest_pass, _in_memory(limit, config)))
        changed = config.model_copy(update={"ppo": tried, "max_tree_tokens": limit})
        if machine.ppo_memory(replace(work, update=update), changed) <= machine.rates.capacity_mb:
            return f"it fits with {changes}"
    return None


def _in_memory(tokens: int, config: RunConfig) -> int:
    """Tokens in memory with a budget: a sequence at its length limit is never divided further than its prefix."""
    return max(tokens, min(config.max_length or tokens, tokens + tokens // BRANCH_DIVISOR))


def _for(machine: Machine, measured: SFTConfig, sft: SFTConfig) -> Machine:
    """The machine with the memory per token of other settings, scaled from what was measured with the run's."""
    if sft.gradient_checkpointing == measured.gradient_checkpointing:
        return machine
    size, item = machine.size, machine.rates.item_bytes
    share = activation_bytes(size, item, True) / activation_bytes(size, item, False)

    def less(training: Training | None) -> Training | None:
        return None if training is None else replace(training, token_bytes=training.token_bytes * share)

    rates = replace(machine.rates, full=less(machine.rates.full), lora=less(machine.rates.lora))
    return Machine(rates, machine.size)
