"""Attention over a token tree in a single kernel per layer: torch's FlexAttention with the tree as its block mask.

In depth-first order the descendants of a token are the tokens after it up to the end of its subtree. So query q sees
key k if `k <= q < end[k]`, where `end[k]` is the index after the last token of k's subtree, and, in a layer with a
sliding window, if `position[q] - position[k] < window`. The kernel skips blocks of 128 x 128 scores that no query sees;
neither scores nor copies of the keys of shared prefixes are ever in memory. Keys of earlier passes come before those of
the pass, visible to all of its tokens.

FlexAttention has no backward pass on CPUs; there, and where its kernel does not work, `tree_layout` returns a
`TreeLayout`. Shapes are those of `tltrain.engine.attention`; T' and N are numbers of queries and keys with padding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.functional import pad

from tltrain.engine.attention import KeyValues, TreeLayout
from tltrain.engine.capabilities import layer_heads
from tltrain.engine.tree import TokenSequence, TokenTree

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Attention = Callable[..., torch.Tensor]
BLOCK = 128
"""Queries and keys of a block of the mask. Passes are padded to a multiple of it, so that no block is incomplete, and
to at least two blocks: for the compiler a size of 1 is a special case."""
SMALLEST_HEAD = 16
"""Smallest head size that the kernel supports."""
MOST_GRAPHS = 64
"""Most compiled variants of the attention. There are fewer than ten for a model: with and without gradients, with and
without keys of earlier passes. Torch's limit is 8, after which it would compute all scores in memory."""
LARGEST_ERROR = 0.05
"""Of the kernel's output and gradients on the small tree of `kernel_works`, relative to their norm. In bf16 rounding
alone gives 0.01; a wrong mask or kernel gives 0.5 and more."""


def tree_layout(
    model: PreTrainedModel,
    tree: TokenTree,
    begin: int = 0,
    end: int | None = None,
    past: Sequence[KeyValues] = (),
    cache: bool = False,
) -> TreeLayout | FlexLayout:
    """The layout of a pass that suits the model's device; arguments are those of `TreeLayout`."""
    if uses_flex(model):
        return FlexLayout(tree, model.device, begin, end, past, cache)
    return TreeLayout(tree, begin, end, past, cache)


def uses_flex(model: PreTrainedModel) -> bool:
    """Whether passes through this model use FlexAttention: on GPUs on which its kernel works."""
    if model.device.type != "cuda" or find_spec("triton") is None:
        return False
    kinds = set(layer_heads(model.config.get_text_config()))
    return all(heads.size >= SMALLEST_HEAD and kernel_works(model.device, model.dtype, *heads) for heads in kinds)


@cache
def kernel_works(device: torch.device, dtype: torch.dtype, heads: int, groups: int, size: int) -> bool:
    """Whether the kernel gives the right output and gradients on a small tree; if not, a warning says why.

    It is generated for each GPU, dtype and head size, by a compiler that does not support all of them. What is compiled
    here is used by the passes that follow.
    """
    prefix = list(range(BLOCK + 30))
    tree = TokenTree([TokenSequence([*prefix, *[branch] * 60], 1, [1.0] * (len(prefix) + 59)) for branch in (1, 2, 3)])
    try:
        error = _kernel_error(FlexLayout(tree, device), device, dtype, (heads, groups, size))
    except Exception as raised:  # compilers raise anything
        reason = (str(raised).strip().splitlines() or [type(raised).__name__])[0]
    else:
        if error <= LARGEST_ERROR:
            return True
        reason = f"its relative error is {error:.2f}"
    warnings.warn(f"FlexAttention is not used on {device}: {reason}", stacklevel=2)
    return False


def _kernel_error(layout: FlexLayout, device: torch.device, dtype: torch.dtype, shape: tuple[int, int, int]) -> float:
    """Largest relative error of output and gradients for random queries, keys and values of `shape`: query heads,
    key-value heads, head size."""
    heads, groups, size = shape
    length = layout.inputs()[0].shape[1]
    random = torch.Generator().manual_seed(0)
    query, key, value, upstream = (
        torch.randn(1, count, length, size, generator=random).to(device, dtype)
        for count in (heads, groups, groups, heads)
    )
    inputs = [tensor.requires_grad_() for tensor in (query, key, value)]
    index = torch.arange(length, device=device)
    visible = layout.mask(None).mask_mod(index, index, index[:, None], index[None, :])
    with torch.enable_grad():
        found = layout.attend(0, query, key, value, scale=size**-0.5, window=None)
        keys, values = (heads_.repeat_interleave(heads // groups, 1).float() for heads_ in (key, value))
        scores = (query.float() @ keys.transpose(2, 3) * size**-0.5).masked_fill(~visible, -torch.inf)
        expected = scores.softmax(-1) @ values
        gradients = (torch.autograd.grad(output, inputs, upstream.to(output.dtype)) for output in (found, expected))
        pairs = [(found.detach(), expected.detach()), *zip(*gradients, strict=True)]
    return max(float((one.float() - other).norm() / other.float().norm()) for one, other in pairs)


class FlexLayout:
    """A pass over segments `begin:end` of a tree (B = 1), in the kernel of FlexAttention.

    Args:
        tree: the whole tree.
        device: device of the pass.
        begin: first segment of the pass.
        end: the segment after the last; None for all that follow.
        past: keys and values of the segments on the path from the root to these, from earlier passes with a
            `FlexLayout`, padding included.
        cache: whether to store the keys and values of each layer in `cached`, for later passes and for generation.

    Attributes:
        cached: keys and values of the pass's tokens and its padding, filled during the pass if `cache` is set.
    """

    def __init__(
        self,
        tree: TokenTree,
        device: torch.device,
        begin: int = 0,
        end: int | None = None,
        past: Sequence[KeyValues] = (),
        cache: bool = False,
    ) -> None:
        ids, positions = (padded(values) for values in tree.inputs(begin, end))
        self._inputs = (ids, positions)
        lengths = _past_lengths(tree, begin)
        assert len(lengths) == len(past), "every segment on the path to the pass has been computed before it"
        past_ends, past_positions = _past_keys(lengths)
        rows = torch.arange(ids.shape[1]) + len(past_ends)
        ends = torch.cat([past_ends, _ends(tree, begin, end, ids.shape[1]) + len(past_ends)])
        self._longest = int(positions.max()) + 1
        self._rows, self._row_positions, self._ends, self._positions = (
            values.to(device=device, dtype=torch.int32, non_blocking=True)
            for values in (rows, positions[0], ends, torch.cat([past_positions, positions[0]]))
        )
        self._masks: dict[int | None, BlockMask] = {}
        self.past = past
        self.cache = cache
        self.cached: KeyValues = {}

    def inputs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and positions of the pass, both (1, T'). The padding is invisible to the pass's tokens."""
        return self._inputs

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float,
        window: int | None,
    ) -> torch.Tensor:
        """See `Layout`; B is 1, and T is T'."""
        if self.cache:
            self.cached[layer] = (key, value)
        if self.past:
            key = torch.cat([*(past[layer][0] for past in self.past), key], dim=2)
            value = torch.cat([*(past[layer][1] for past in self.past), value], dim=2)
        attention = _compiled() if query.device.type == "cuda" else cast(Attention, flex_attention)
        shared = query.shape[1] > key.shape[1]
        return attention(query, key, value, block_mask=self.mask(window), scale=scale, enable_gqa=shared)

    def mask(self, window: int | None) -> BlockMask:
        """The block mask of all layers with this sliding window, T' x N."""
        if window is not None and window >= self._longest:
            window = None
        if window not in self._masks:
            self._masks[window] = self._block_mask(window)
        return self._masks[window]

    def _block_mask(self, window: int | None) -> BlockMask:
        # The mask holds tensors only: a number in it would be compiled into the kernel.
        rows, ends, positions = self._rows, self._ends, self._positions
        oldest = self._row_positions - (self._longest if window is None else window)

        def visible(_: torch.Tensor, __: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
            row = rows[query]
            return (key <= row) & (row < ends[key]) & (positions[key] > oldest[query])

        return create_block_mask(visible, 1, 1, len(rows), len(ends), device=rows.device, BLOCK_SIZE=BLOCK)


def padded(values: torch.Tensor) -> torch.Tensor:
    """(1, T) -> (1, T'), padded with zeros."""
    length = values.shape[1]
    return pad(values, (0, max(-length % BLOCK, 2 * BLOCK - length)))


def _past_lengths(tree: TokenTree, begin: int) -> list[int]:
    """Number of tokens of each segment on the path to segment `begin`, root first."""
    segments = [tree.segments[index] for index in tree.segments[begin].ancestors]
    return [segment.end - segment.begin for segment in segments]


def _past_keys(lengths: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ends and positions of the keys of earlier passes, which each are a segment and its padding: every row is before
    the end of a token, and none before that of padding."""
    ends = [torch.zeros(0, dtype=torch.long)]
    positions = [torch.zeros(0, dtype=torch.long)]
    start = 0
    for length in lengths:
        ends.append(padded(torch.full((1, length), torch.iinfo(torch.int32).max))[0])
        positions.append(padded(torch.arange(start, start + length)[None])[0])
        start += length
    return torch.cat(ends), torch.cat(positions)


def _ends(tree: TokenTree, begin: int, end: int | None, padded_length: int) -> torch.Tensor:
    """(T',) for each token of segments `begin:end`, the index after the last of its descendants, counted from the
    pass's first token. Every row sees a key, since a softmax needs one: that of a padding token is its own."""
    segments, after = tree.segments[begin:end], tree.subtree_ends()[begin:end]
    first = segments[0].begin
    ends = torch.tensor([tree.segments[index - 1].end - first for index in after])
    of_tokens = ends.repeat_interleave(torch.tensor([segment.end - segment.begin for segment in segments]))
    return torch.cat([of_tokens, torch.arange(len(of_tokens), padded_length) + 1])


@cache
def _compiled() -> Attention:
    """FlexAttention compiled for passes of any length. Falling back to its uncompiled form is an error."""
    settings = torch._dynamo.config
    settings.recompile_limit = max(settings.recompile_limit, MOST_GRAPHS)
    settings.specialize_float = True  # lengths are variables of the kernel, but its scale must be a number
    return cast(Attention, torch.compile(flex_attention, dynamic=True, fullgraph=True))
