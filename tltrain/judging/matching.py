"""Optimal one-to-one assignment of rows to columns (the Hungarian algorithm)."""

from __future__ import annotations

from collections.abc import Sequence


def best_matching(gain: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """The `min(rows, columns)` pairs (row, column) of the largest total gain, sorted by row.

    Args:
        gain: integers of shape `(rows, columns)`. Time is O(`min(rows, columns)^2 * max(rows, columns)`).
    """
    if not gain or not gain[0]:
        return []
    if len(gain) == len(gain[0]) == 1:
        return [(0, 0)]
    if len(gain) > len(gain[0]):
        return sorted((row, column) for column, row in best_matching([*zip(*gain, strict=True)]))
    return sorted((row, column) for column, row in enumerate(_owners(gain)) if row >= 0)


def _owners(gain: Sequence[Sequence[int]]) -> list[int]:
    """The row assigned to each column, -1 for none. Needs at least as many columns as rows.

    Finds a shortest augmenting path per row, with dual prices that keep all distances non-negative (Kuhn 1955,
    Munkres 1957). Paths start at an extra column after the last.
    """
    start = len(gain[0])
    row_price, column_price = [0] * len(gain), [0] * (start + 1)
    owner = [-1] * (start + 1)
    for placed in range(len(gain)):
        owner[start] = placed
        column, reached, free = start, [start], dict.fromkeys(range(start))
        distance: dict[int, int] = {}
        previous: dict[int, int] = {}
        while owner[column] >= 0:
            row = owner[column]
            for other in free:
                length = -gain[row][other] - row_price[row] - column_price[other]
                if other not in distance or length < distance[other]:
                    distance[other], previous[other] = length, column
            column = min(free, key=distance.__getitem__)
            step = distance[column]
            for other in reached:
                row_price[owner[other]] += step
                column_price[other] -= step
            for other in free:
                distance[other] -= step
            reached.append(column)
            del free[column]
        while column != start:
            owner[column] = owner[previous[column]]
            column = previous[column]
    return owner[:start]
