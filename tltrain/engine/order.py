"""The order in which samples are drawn: random, but those that share a prefix together."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence


def batches(keys: Sequence[Hashable], batch_size: int, group_size: int, seed: int) -> list[list[int]]:
    """Indices of the samples, each once, in batches of `batch_size` (the last of them may be smaller).

    Samples of equal key are shuffled and cut into groups of `group_size`; batches are laid from whole groups in random
    order, then from what is left over, and shuffled. With all keys different this is a plain shuffle.
    """
    rng = random.Random(seed)
    members: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        members.setdefault(key, []).append(index)
    groups: list[list[int]] = []
    for same in members.values():
        rng.shuffle(same)
        groups += [same[start : start + group_size] for start in range(0, len(same), group_size)]
    rng.shuffle(groups)
    groups.sort(key=lambda group: len(group) < group_size)
    order = [index for group in groups for index in group]
    cut = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    last = [cut.pop()] if cut and len(cut[-1]) < batch_size else []
    rng.shuffle(cut)
    return cut + last


def share(batch: Sequence[int], tokens: Sequence[int], rank: int, count: int) -> list[int]:
    """The part of a batch that is one rank's: neighbours, as they share prefixes, cut so that tokens are about even.

    Args:
        batch: samples.
        tokens: of each sample.
        rank: from 0.
        count: of ranks.
    """
    total, before, part = max(sum(tokens), 1), 0, []
    for sample, own in zip(batch, tokens, strict=True):
        if min(int((before + own / 2) * count / total), count - 1) == rank:
            part.append(sample)
        before += own
    return part
