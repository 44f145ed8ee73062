"""Batches of samples: in random order, with samples that share a prefix in the same batch where possible."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence


def batches(keys: Sequence[Hashable], batch_size: int, group_size: int, seed: int) -> list[list[int]]:
    """Divide samples into batches.

    Samples of equal key are shuffled and split into groups of `group_size`. Batches are filled with complete groups in
    random order, then with the incomplete groups, and are shuffled. If all keys differ this is a plain shuffle.

    Args:
        keys: of each sample; samples of equal key share a prefix.
        batch_size: samples of a batch; the last batch may be smaller.
        group_size: samples of equal key that are kept together.
        seed: of the order.

    Returns:
        Indices of the samples, each in a single batch.
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
    result = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    last = [result.pop()] if result and len(result[-1]) < batch_size else []
    rng.shuffle(result)
    return result + last


def share(batch: Sequence[int], tokens: Sequence[int], rank: int, count: int) -> list[int]:
    """The samples of a batch that a rank trains on.

    They are consecutive, since neighbours share prefixes, and all ranks get about the same number of tokens.

    Args:
        batch: indices of samples.
        tokens: number of tokens of each.
        rank: of the process, from 0.
        count: number of ranks.
    """
    total, before, part = max(sum(tokens), 1), 0, []
    for sample, length in zip(batch, tokens, strict=True):
        if min(int((before + length / 2) * count / total), count - 1) == rank:
            part.append(sample)
        before += length
    return part
