"""Causal attention of the last L of N consecutive tokens on a CPU, and its gradients.

Two kernels do the same. `Fused` is torch's flash attention, which is faster in fp32: its backward pass takes the
log-sum-exp of the forward pass, so that it only exponentiates. `Products` are plain matrix products, with the query
heads of a group folded into rows; in bf16 they take half of the time of the fused backward pass.

Shapes: H query heads, G key-value heads, E head size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch

BLOCK = 256
"""Queries that are processed together where attention weights or a mask are in memory. Keys after the last query of a
block are not computed."""


class Kernel(Protocol):
    """Attention of the last L of N tokens."""

    folds: bool
    """Whether keys and values have G heads; otherwise they are repeated for each of the H query heads."""

    def forward(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, window: int | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attention output and what the backward pass needs of the forward pass.

        Args:
            query: (1, H, L, E).
            keys: (G or H, N, E).
            values: (G or H, N, E).
            scale: factor of the attention scores.
            window: if given, a token attends only to the last `window` tokens up to and including itself.

        Returns:
            The output (1, H, L, E), and the log-sum-exp (1, H, L) of the scores, which may be empty.
        """
        ...

    def backward(
        self,
        gradient: torch.Tensor,
        saved: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        keys: torch.Tensor,
        values: torch.Tensor,
        sums: tuple[torch.Tensor, torch.Tensor],
        *,
        scale: float,
        window: int | None,
    ) -> torch.Tensor:
        """Gradient (1, H, L, E) of the query; those of keys and values are added to `sums`.

        Args:
            gradient: (1, H, L, E) of the output.
            saved: the query, and both results of `forward`.
            keys: as in `forward`.
            values: as in `forward`.
            sums: gradients of keys and values so far, in their shapes.
            scale: as in `forward`.
            window: as in `forward`.
        """
        ...


def kernel_for(dtype: torch.dtype) -> Kernel:
    """The faster kernel for heads of this dtype."""
    return Fused() if dtype == torch.float32 else Products()


class Fused:
    """The CPU kernels behind torch's `scaled_dot_product_attention`, which does not return the log-sum-exp."""

    folds = False

    def forward(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, window: int | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Kernel`."""
        attended, logsumexp = torch.zeros_like(query), query.new_full(query.shape[:3], -torch.inf)
        for rows, columns, mask, causal in _parts(query.shape[2], keys.shape[1], window, query):
            part, own = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                query[:, :, rows], keys[None, :, columns], values[None, :, columns], 0.0, causal, **mask, scale=scale
            )
            before = logsumexp[:, :, rows]
            both = torch.logaddexp(before, own)
            attended[:, :, rows] *= (before - both).exp()[..., None]
            attended[:, :, rows] += part * (own - both).exp()[..., None]
            logsumexp[:, :, rows] = both
        return attended, logsumexp

    def backward(
        self,
        gradient: torch.Tensor,
        saved: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        keys: torch.Tensor,
        values: torch.Tensor,
        sums: tuple[torch.Tensor, torch.Tensor],
        *,
        scale: float,
        window: int | None,
    ) -> torch.Tensor:
        """See `Kernel`. Given the log-sum-exp of all keys, the gradients of each part of the keys are exact."""
        query = saved[0]
        query_gradient = torch.zeros_like(query)
        for rows, columns, mask, causal in _parts(query.shape[2], keys.shape[1], window, query):
            own, *parts = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                gradient[:, :, rows],
                query[:, :, rows],
                keys[None, :, columns],
                values[None, :, columns],
                *(heads[:, :, rows] for heads in saved[1:]),
                0.0,
                causal,
                **mask,
                scale=scale,
            )
            query_gradient[:, :, rows] += own
            for total, part in zip(sums, parts, strict=True):
                total[:, columns] += part[0]
        return query_gradient


def _parts(
    length: int, known: int, window: int | None, like: torch.Tensor
) -> Iterator[tuple[slice, slice, dict[str, torch.Tensor], bool]]:
    """Queries and keys of each call of a fused kernel, its mask if there is one, and whether it is causal."""
    if window is None or known <= window:
        if known > length:
            yield slice(0, length), slice(0, known - length), {}, False
        yield slice(0, length), slice(known - length, known), {}, True
        return
    for start in range(0, length, BLOCK):
        stop = min(start + BLOCK, length)
        last = known - length + stop
        first = max(last - (stop - start) - window + 1, 0)
        hidden = hidden_keys(stop - start, last - first, window, like.device)
        mask = like.new_zeros(hidden.shape).masked_fill_(hidden, -torch.inf)
        yield slice(start, stop), slice(first, last), {"attn_mask": mask}, False


class Products:
    """Matrix products with explicit attention weights, which the backward pass computes again."""

    folds = True

    def forward(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, window: int | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Kernel`."""
        attended = torch.empty_like(query)
        for start, stop, visible in _blocks(query.shape[2], keys.shape[1]):
            folded = _fold(query[:, :, start:stop], len(keys)) * scale
            weights = _attention_weights(folded, keys[:, :visible], stop - start, window)
            attended[:, :, start:stop] = (weights @ values[:, :visible]).view(1, query.shape[1], stop - start, -1)
        return attended, query.new_empty(1, 0, query.shape[2])

    def backward(
        self,
        gradient: torch.Tensor,
        saved: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        keys: torch.Tensor,
        values: torch.Tensor,
        sums: tuple[torch.Tensor, torch.Tensor],
        *,
        scale: float,
        window: int | None,
    ) -> torch.Tensor:
        """See `Kernel`."""
        query, (key_sums, value_sums) = saved[0], sums
        query_gradient = torch.empty_like(query)
        for start, stop, visible in _blocks(query.shape[2], keys.shape[1]):
            folded = _fold(query[:, :, start:stop], len(keys)) * scale
            out = _fold(gradient[:, :, start:stop], len(keys))
            weights = _attention_weights(folded, keys[:, :visible], stop - start, window)
            value_sums[:, :visible] += weights.transpose(1, 2) @ out
            scores = out @ values[:, :visible].transpose(1, 2)
            scores = torch.ops.aten._softmax_backward_data(scores, weights, -1, weights.dtype)
            rows = (scores @ keys[:, :visible]).view(1, query.shape[1], stop - start, -1)
            query_gradient[:, :, start:stop] = rows * scale
            key_sums[:, :visible] += scores.transpose(1, 2) @ folded
        return query_gradient


def _blocks(length: int, known: int) -> Iterator[tuple[int, int, int]]:
    """Start and end of each block of `length` queries, the last of `known` tokens, and its number of visible keys."""
    for start in range(0, length, BLOCK):
        stop = min(start + BLOCK, length)
        yield start, stop, known - length + stop


def _fold(heads: torch.Tensor, groups: int) -> torch.Tensor:
    """(1, H, L, E) -> (G, H/G * L, E): the query heads that share a key head become rows of one matrix."""
    return heads.reshape(groups, -1, heads.shape[-1])


def _attention_weights(folded: torch.Tensor, key: torch.Tensor, count: int, window: int | None) -> torch.Tensor:
    """(G, H/G * count, visible) attention weights of the last `count` of the tokens with keys (G, visible, E); 0 where
    a key is not visible."""
    scores = folded @ key.transpose(1, 2)
    visible = key.shape[1]
    if window is not None and visible <= window:
        window = None
    if count > 1 or window is not None:
        # Without a window, only keys of the block itself can be invisible to its queries.
        masked = count if window is None else visible
        hidden = hidden_keys(count, masked, window, key.device)
        scores.view(key.shape[0], -1, count, visible)[..., visible - masked :].masked_fill_(hidden, -torch.inf)
    return scores.softmax(-1)


def hidden_keys(count: int, known: int, window: int | None, device: torch.device) -> torch.Tensor:
    """(count, known) mask of the last `count` of `known` tokens, True where a key is not visible."""
    keys = torch.arange(known, device=device)[None, :]
    queries = torch.arange(known - count, known, device=device)[:, None]
    return keys > queries if window is None else (keys > queries) | (keys <= queries - window)
