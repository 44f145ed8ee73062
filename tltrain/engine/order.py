"""The order in which samples are drawn: random, but those that share a prefix together."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence


def batches(keys: Sequence[Hashable], batch_size: int, group_size: int, seed: int) -> list[list[int]]:
    """Indices of the samples, each once, in batches of `batch_size` (the last may be smaller).

    Samples of equal key are shuffled and cut into groups of at most `group_size`; the groups are shuffled and laid
    one after another. With all keys different this is a plain shuffle.
    """
    chance = random.Random(seed)
    members: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        members.setdefault(key, []).append(index)
    groups: list[list[int]] = []
    for same in members.values():
        chance.shuffle(same)
        groups += [same[start : start + group_size] for start in range(0, len(same), group_size)]
    chance.shuffle(groups)
    order = [index for group in groups for index in group]
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
