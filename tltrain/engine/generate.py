"""Generation with prefix reuse: the token tree of the prompts is computed once, and replies are decoded in batches.

The own tokens of a reply are those after the prefix that its group shares: the rest of its prompt and its generated
tokens. Shapes: B replies decoded together, b replies of a group, H query heads, G key-value heads, E head size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from transformers import GenerationConfig

from tltrain.engine.attention import KeyValues, TreeLayout, tree_attention
from tltrain.engine.capabilities import prefix_sharing_obstacle
from tltrain.engine.passes import Pass, plan_passes
from tltrain.engine.tree import TokenSequence, TokenTree, common_prefix, group_by_budget

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PREFILL_TOKENS = 2_048
"""Most prompt tokens of a forward pass: bounds its memory and does not affect results."""
CACHE_BYTES = 2**30
"""Most bytes of the keys and values of a batch's prompts: bounds how many replies are decoded together."""
BUFFER_GROWTH = 256
"""Tokens by which the key-value buffers grow when they are full. Each growth copies them."""
BUFFER_MULTIPLE = 32
"""Buffers are read up to a multiple of this many tokens, so that kernels are compiled for few different shapes."""
COMPACT_BELOW = 0.8
"""Finished replies are removed from the buffers, which copies them, once at most this fraction is unfinished."""


@dataclass(frozen=True, slots=True)
class Generated:
    """A sampled reply."""

    ids: tuple[int, ...]
    """Its token ids, stop token included."""
    finished: bool
    """Whether it ends with a stop token; False if it was truncated at `max_new_tokens`."""


@dataclass(slots=True)
class _SharedPrefix:
    """The first `length` tokens of replies `begin:end`; keys and values are (G, length, E)."""

    begin: int
    end: int
    length: int
    key_values: KeyValues


class _DecodeLayout:
    """One new token for each of B replies (T = 1), which attends to the shared prefix and to the reply's own tokens.

    Args:
        tree: the token tree of the prompts.
        cached: keys and values of the whole tree; is emptied to save memory.
        groups: indices of the prompts that share a prefix.
        room: number of tokens to be generated, at most.

    Attributes:
        prefix_lengths: (B,) length of each reply's shared prefix.
        lengths: (B,) number of own tokens so far.
        own: keys and values of the own tokens, each (B, G, M, E), where M is the buffers' capacity.
    """

    def __init__(self, tree: TokenTree, cached: KeyValues, groups: Sequence[range], room: int) -> None:
        device = cached[0][0].device
        paths = [torch.tensor(list(tree.path_positions(index)), device=device) for group in groups for index in group]
        shared = [_shared_length([paths[index].tolist() for index in group]) for group in groups]
        self.groups = [
            _SharedPrefix(group.start, group.stop, length, {})
            for group, length in zip(groups, shared, strict=True)
            if length
        ]
        prefix_lengths = [length for group, length in zip(groups, shared, strict=True) for _ in group]
        self.prefix_lengths = torch.tensor(prefix_lengths, device=device)
        own_paths = [path[length:] for path, length in zip(paths, prefix_lengths, strict=True)]
        self.lengths = torch.tensor([len(path) for path in own_paths], device=device)
        capacity = int(self.lengths.max()) + min(room, BUFFER_GROWTH)
        self.own: KeyValues = {}
        self._masks: dict[int | None, torch.Tensor] = {}
        for layer in list(cached):  # layer by layer, so that only a single layer is in memory twice
            key, value = cached.pop(layer)
            for group in self.groups:
                rows = paths[group.begin][: group.length]
                group.key_values[layer] = (key[0][:, rows], value[0][:, rows])
            self.own[layer] = (_padded(key[0], own_paths, capacity), _padded(value[0], own_paths, capacity))

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
        """See `Layout`; T is 1. Writes the new key and value to the buffers."""
        keys, values = self.own[layer]
        index = torch.arange(len(self.lengths), device=query.device)
        keys[index, :, self.lengths] = key[:, :, 0]
        values[index, :, self.lengths] = value[:, :, 0]
        used = self._used()
        keys, values = keys[:, :, :used], values[:, :, :used]
        count, heads, _, size = query.shape
        query = query.view(count, keys.shape[1], -1, size) * scale
        scores = (query @ keys.transpose(2, 3)).float() + self._mask(used, window)
        own, own_logsumexp = scores.softmax(-1).to(query.dtype) @ values, scores.logsumexp(-1, keepdim=True)
        if not self.groups:
            return own.reshape(count, heads, 1, size)
        shared, logsumexp = torch.zeros_like(own), torch.full_like(own_logsumexp, -torch.inf)
        for group in self.groups:
            rows = slice(group.begin, group.end)
            shared[rows], logsumexp[rows] = self._attend_shared(layer, group, query[rows], window)
        own_fraction = torch.sigmoid(own_logsumexp - logsumexp)  # of the attention weights
        return (own * own_fraction + shared * (1 - own_fraction)).to(query.dtype).reshape(count, heads, 1, size)

    def _attend_shared(
        self, layer: int, group: _SharedPrefix, query: torch.Tensor, window: int | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Query (b, G, H/G, E) of a group's replies -> attention output (b, G, H/G, E) over the shared prefix, and the
        log-sum-exp (b, G, H/G, 1) of its scores."""
        count, groups, heads, size = query.shape
        keys, values = group.key_values[layer]
        folded = query.transpose(0, 1).reshape(groups, count * heads, size)
        scores = (folded @ keys.transpose(1, 2)).float()
        if window is not None:
            positions = torch.arange(group.length, device=query.device)
            hidden = positions <= (self.lengths[group.begin : group.end] + group.length - window)[:, None, None]
            # A finite number, since the whole prefix may be outside the window.
            scores.view(groups, count, heads, -1).masked_fill_(hidden, torch.finfo(torch.float32).min)
        attended = (scores.softmax(-1).to(query.dtype) @ values).view(groups, count, heads, size).transpose(0, 1)
        return attended, scores.logsumexp(-1).view(groups, count, heads, 1).transpose(0, 1)

    def _used(self) -> int:
        """Used length of the buffers, the new tokens included, rounded up to `BUFFER_MULTIPLE`."""
        return min((int(self.lengths.max()) // BUFFER_MULTIPLE + 1) * BUFFER_MULTIPLE, self.own[0][0].shape[2])

    def _mask(self, used: int, window: int | None) -> torch.Tensor:
        """(B, 1, 1, used) additive mask, 0 or -inf, over the own tokens and the new token; the same for all layers."""
        if window not in self._masks:
            positions = torch.arange(used, device=self.lengths.device)[None, :]
            hidden = positions > self.lengths[:, None]
            if window is not None:
                hidden = hidden | (positions <= self.lengths[:, None] - window)
            mask = torch.zeros(hidden.shape, device=hidden.device).masked_fill(hidden, -torch.inf)
            self._masks[window] = mask[:, None, None, :]
        return self._masks[window]

    def positions(self) -> torch.Tensor:
        """(B, 1) position of each reply's next token."""
        return (self.lengths + self.prefix_lengths)[:, None]

    def advance(self) -> None:
        """Count the token that `attend` has just written, and grow the buffers if they are full."""
        self.lengths = self.lengths + 1
        self._masks.clear()
        if int(self.lengths.max()) + 1 > self.own[0][0].shape[2]:
            for layer, (keys, values) in self.own.items():
                room = keys.new_zeros(*keys.shape[:2], BUFFER_GROWTH, keys.shape[3])
                self.own[layer] = (torch.cat([keys, room], dim=2), torch.cat([values, room], dim=2))

    def compact(self, keep: Sequence[int]) -> None:
        """Remove finished replies; `keep` holds the indices of the others, in ascending order."""
        for group in self.groups:
            before = sum(index < group.begin for index in keep)
            group.end = before + sum(group.begin <= index < group.end for index in keep)
            group.begin = before
        self.groups = [group for group in self.groups if group.begin < group.end]
        rows = torch.tensor(keep, device=self.lengths.device)
        self.lengths, self.prefix_lengths = self.lengths[rows], self.prefix_lengths[rows]
        for layer, pair in self.own.items():  # moved in place: smaller buffers would fragment the heap
            for heads in pair:
                heads[: len(keep)] = heads[rows]
            self.own[layer] = (pair[0][: len(keep)], pair[1][: len(keep)])
        self._masks.clear()


def _shared_length(paths: Sequence[Sequence[int]]) -> int:
    """Length of the paths' common prefix, but not the last token of any of them; 0 for a single path."""
    if len(paths) == 1:
        return 0
    return min(min(map(len, paths)) - 1, *(common_prefix(paths[0], path) for path in paths[1:]))


def _padded(values: torch.Tensor, paths: Sequence[torch.Tensor], capacity: int) -> torch.Tensor:
    """Values (G, T, E) at B lists of positions -> (B, G, capacity, E), padded with zeros."""
    padded = values.new_zeros(len(paths), values.shape[0], capacity, values.shape[2])
    for index, path in enumerate(paths):
        padded[index, :, : len(path)] = values[:, path]
    return padded


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    stop_ids: Sequence[int],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    seeds: Sequence[int] = (),
    batch_size: int = 32,
    progress: Callable[[int], None] | None = None,
) -> list[Generated]:
    """Generate a reply to each prompt.

    Args:
        model: a causal language model.
        prompts: token ids of each prompt.
        stop_ids: token ids that end a reply.
        max_new_tokens: a longer reply is truncated and not marked as finished.
        temperature: 0 decodes greedily; otherwise tokens are sampled from softmax(logits / temperature).
        seeds: random seed of each prompt's reply, any integers; needed for sampling only. A reply depends on its
            prompt and seed alone, not on the other prompts of its batch (beyond rounding errors in the logits).
        batch_size: most replies decoded together.
        progress: called after each batch with its number of replies.

    Returns:
        The replies, in the order of the prompts.
    """
    assert temperature == 0 or len(seeds) == len(prompts), "sampling needs a seed for each prompt"
    replies: dict[int, Generated] = {}
    for batch in batches(model, prompts, batch_size):
        chosen, own_seeds = [prompts[index] for index in batch], [seeds[index] if seeds else 0 for index in batch]
        if prefix_sharing_obstacle(model) is None:
            draw = _Draw(temperature, own_seeds, max_new_tokens, model.device)
            finished = _decode(model, chosen, set(stop_ids), max_new_tokens, draw)
        else:
            finished = [
                _generate_separately(
                    model, prompt, stop_ids, max_new_tokens=max_new_tokens, temperature=temperature, seed=own_seed
                )
                for prompt, own_seed in zip(chosen, own_seeds, strict=True)
            ]
        replies.update(zip(batch, finished, strict=True))
        if progress is not None:
            progress(len(batch))
    return [replies[index] for index in range(len(prompts))]


def batches(model: PreTrainedModel, prompts: Sequence[Sequence[int]], batch_size: int) -> list[list[int]]:
    """The batches in which `generate` decodes, as indices of prompts.

    Prompts are taken in the order of their token ids; a batch has at most `batch_size` prompts whose keys and values
    fit `CACHE_BYTES`. Given the prompts of a single batch, the result is that batch again.
    """
    if prefix_sharing_obstacle(model) is not None:
        return [[index] for index in range(len(prompts))]
    if not prompts:
        return []
    sequences = [TokenSequence(prompt, len(prompt), ()) for prompt in prompts]
    groups = group_by_budget(sequences, max(CACHE_BYTES // _token_bytes(model), 1))
    return [group[start : start + batch_size] for group in groups for start in range(0, len(group), batch_size)]


def _token_bytes(model: PreTrainedModel) -> int:
    """Bytes of the keys and values of a token in all layers."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * int(config.num_hidden_layers) * int(heads) * int(size) * int(model.dtype.itemsize)


def _generate_separately(
    model: PreTrainedModel,
    prompt: Sequence[int],
    stop_ids: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
) -> Generated:
    """A reply of a model that cannot share prefixes, by its own `generate`."""
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        eos_token_id=list(stop_ids) or None,
        pad_token_id=stop_ids[0] if stop_ids else 0,
        **sampling,
    )
    ids = torch.tensor([list(prompt)], device=model.device)
    with torch.random.fork_rng(), _without_generation_defaults(model):
        torch.manual_seed(_seed(seed))
        output = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
    reply = tuple(output[0, len(prompt) :].tolist())
    return Generated(reply, reply[-1] in set(stop_ids))


@contextmanager
def _without_generation_defaults(model: PreTrainedModel) -> Iterator[None]:
    """Inside the block the model's generation configuration is empty: otherwise `model.generate` would take settings
    from it, such as a repetition penalty, that the configuration passed to it leaves unset."""
    defaults = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = defaults


def _seed(number: int) -> int:
    """Reduce a seed to the 64 bits that torch accepts."""
    return number % 2**64


class _Draw:
    """Draws the next tokens of a batch of B replies, each with random numbers of its own.

    Args:
        temperature: 0 for greedy decoding.
        seeds: random seeds of the B replies.
        count: tokens to be drawn for each reply, at most.
        device: of the logits.
    """

    def __init__(self, temperature: float, seeds: Sequence[int], count: int, device: torch.device) -> None:
        self.temperature = temperature
        if temperature:
            generators = (torch.Generator().manual_seed(_seed(seed)) for seed in seeds)
            uniform = [torch.rand(count, dtype=torch.float64, generator=generator) for generator in generators]
            self.uniform = torch.stack(uniform).to(device)  # (B, count)

    def __call__(self, logits: torch.Tensor, replies: Sequence[int], number: int) -> torch.Tensor:
        """Draw token `number` of some of the replies.

        Args:
            logits: (b, vocabulary).
            replies: their b indices in the batch.
            number: of the token, from 0.

        Returns:
            (b,) token ids: the most likely ones, or samples by inversion of the cumulative distribution.
        """
        if not self.temperature:
            return logits.argmax(-1)
        # Double precision: in fp32 the sum over a vocabulary of 150,000 loses its least likely tokens.
        cumulative = (logits.float() / self.temperature).softmax(-1).double().cumsum(-1)
        drawn = self.uniform[replies, number, None] * cumulative[:, -1:]
        return torch.searchsorted(cumulative, drawn, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)


def _groups(prompts: Sequence[Sequence[int]]) -> list[range]:
    """Group consecutive prompts, given in the order of their token ids: the prompts of a group share at least half of
    the prefix that its first two share."""
    starts, shared = [0], 0
    for index in range(1, len(prompts)):
        common = common_prefix(prompts[index - 1], prompts[index])
        if index - 1 == starts[-1]:
            shared = common
        if common * 2 < max(shared, len(prompts[index]) // 2):
            starts.append(index)
    return [range(start, end) for start, end in pairwise([*starts, len(prompts)])]


def _decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    stop_ids: set[int],
    max_new_tokens: int,
    draw: _Draw,
) -> list[Generated]:
    logits, layout = _prefill(model, prompts, max_new_tokens)
    replies: list[list[int]] = [[] for _ in prompts]
    finished = [False] * len(prompts)
    active = list(range(len(prompts)))  # replies in the layout; finished replies remain until a copy is worth it
    with tree_attention(model, layout):  # once, since switching a model's attention costs milliseconds
        for number in range(max_new_tokens):
            sampled = draw(logits, active, number)
            for index, token in zip(active, sampled.tolist(), strict=True):
                if not finished[index]:
                    replies[index].append(token)
                    finished[index] = token in stop_ids
            unfinished = [row for row, index in enumerate(active) if not finished[index]]
            if not unfinished or number + 1 == max_new_tokens:
                break
            if len(unfinished) <= COMPACT_BELOW * len(active):
                layout.compact(unfinished)
                sampled, active = sampled[unfinished], [active[row] for row in unfinished]
            output = model(input_ids=sampled[:, None], position_ids=layout.positions(), use_cache=False)
            layout.advance()
            logits = output.logits[:, -1]
    return [Generated(tuple(ids), done) for ids, done in zip(replies, finished, strict=True)]


def _prefill(model: PreTrainedModel, prompts: Sequence[Sequence[int]], room: int) -> tuple[torch.Tensor, _DecodeLayout]:
    """(B, vocabulary) logits of each reply's first token, and the layout for decoding the following tokens."""
    tree = TokenTree([TokenSequence(prompt, len(prompt), ()) for prompt in prompts])
    last = [list(tree.path_positions(index))[-1] for index in range(len(prompts))]
    rows, row_of = torch.unique(torch.tensor(last), return_inverse=True)
    parts: list[torch.Tensor] = []
    cached: KeyValues = {}

    def run(node: Pass, past: tuple[KeyValues, ...]) -> None:
        layout = TreeLayout(tree, node.begin, node.end, past, cache=True)
        ids, positions = tree.inputs(node.begin, node.end)
        first = tree.segments[node.begin].begin
        last_rows = rows[(rows >= first) & (rows < first + ids.shape[1])] - first
        with tree_attention(model, layout):
            output = model(
                input_ids=ids.to(model.device),
                position_ids=positions.to(model.device),
                logits_to_keep=last_rows.to(model.device),
                use_cache=False,
            )
        parts.append(output.logits[0])
        for layer, heads in layout.cached.items():
            if layer not in cached:
                key, value = (part.new_empty(*part.shape[:2], len(tree), part.shape[3]) for part in heads)
                cached[layer] = (key, value)
            for whole, part in zip(cached[layer], heads, strict=True):
                whole[:, :, first : first + ids.shape[1]] = part
        for child in node.children:
            run(child, (*past, layout.cached))

    for node in plan_passes(tree, PREFILL_TOKENS):
        run(node, ())
    return torch.cat(parts)[row_of.to(model.device)], _DecodeLayout(tree, cached, _groups(prompts), room)
