"""Generation with prefix reuse: the prompts' token tree is computed once, and replies are decoded in batches.

Shapes: B replies decoded together, b of them with a shared prefix, H query heads, G key-value heads, M the most tokens
one reply has of its own (rest of its prompt and what was generated), E head size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from transformers import GenerationConfig

from tltrain.engine.attention import Past, TreeLayout, tree_attention
from tltrain.engine.capabilities import prefix_sharing_obstacle
from tltrain.engine.passes import Pass, plan_passes
from tltrain.engine.tree import TokenSequence, TokenTree, common_prefix, group_by_budget

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PREFILL_TOKENS = 2_048
"""Most prompt tokens that go through the model together: bounds the memory of a pass, and changes no result."""
CACHE_BYTES = 2**30
"""Most memory of the keys and values of a batch's prompts: bounds how many replies are decoded together."""
GROW = 256
"""Tokens that the key-value buffers have room for, and by which they grow: each growth is a copy of them."""
STEP = 32
"""Buffers are read up to a multiple of this, so that a kernel is compiled once for as many tokens."""
NARROW = 0.8
"""Finished replies are dropped from the buffers, which is a copy of them, once at most this share goes on."""


@dataclass(frozen=True, slots=True)
class Generated:
    """One reply as sampled: its token ids, stop token included; `finished` is False if the length limit cut it."""

    ids: tuple[int, ...]
    finished: bool


@dataclass(slots=True)
class _Shared:
    """Replies `begin:end` have the first `length` tokens in common: keys and values (G, length, E) by layer."""

    begin: int
    end: int
    length: int
    kept: Past


class _DecodeLayout:
    """One new token for each of B replies (T = 1): it sees its group's shared prefix, and its own tokens up to itself.

    Attributes:
        prefix: (B,) length of each reply's shared prefix.
        lengths: (B,) own tokens so far.
    """

    def __init__(self, tree: TokenTree, kept: Past, groups: Sequence[range], room: int) -> None:
        device = kept[0][0].device
        places = [torch.tensor(list(tree.path_positions(index)), device=device) for group in groups for index in group]
        shared = [_shared_length([places[index].tolist() for index in group]) for group in groups]
        self.groups = [
            _Shared(group.start, group.stop, length, {}) for group, length in zip(groups, shared, strict=True) if length
        ]
        prefix = [length for group, length in zip(groups, shared, strict=True) for _ in group]
        self.prefix = torch.tensor(prefix, device=device)
        rest = [place[length:] for place, length in zip(places, prefix, strict=True)]
        self.lengths = torch.tensor([len(place) for place in rest], device=device)
        longest = int(self.lengths.max()) + min(room, GROW)
        self.own: Past = {}
        self._masks: dict[int | None, torch.Tensor] = {}
        for layer in list(kept):  # one by one, so that only one layer is in memory twice
            key, value = kept.pop(layer)
            for group in self.groups:
                rows = places[group.begin][: group.length]
                group.kept[layer] = (key[0][:, rows], value[0][:, rows])
            self.own[layer] = (_padded(key[0], rest, longest), _padded(value[0], rest, longest))

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None
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
        own, own_weight = scores.softmax(-1).to(query.dtype) @ values, scores.logsumexp(-1, keepdim=True)
        if not self.groups:
            return own.reshape(count, heads, 1, size)
        shared, weight = torch.zeros_like(own), torch.full_like(own_weight, -torch.inf)
        for group in self.groups:
            rows = slice(group.begin, group.end)
            shared[rows], weight[rows] = self._attend_shared(layer, group, query[rows], window)
        share = torch.sigmoid(own_weight - weight)  # the share of the attention weights on the reply's own tokens
        return (own * share + shared * (1 - share)).to(query.dtype).reshape(count, heads, 1, size)

    def _attend_shared(
        self, layer: int, group: _Shared, query: torch.Tensor, window: int | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Query (b, G, H/G, E) of a group's replies -> what they see in the prefix, and its log-sum-exp."""
        count, groups, each, size = query.shape
        keys, values = group.kept[layer]
        folded = query.transpose(0, 1).reshape(groups, count * each, size)
        scores = (folded @ keys.transpose(1, 2)).float()
        if window is not None:
            place = torch.arange(group.length, device=query.device)
            hidden = place <= (self.lengths[group.begin : group.end] + group.length - window)[:, None, None]
            # A finite number, since all of a prefix may be out of the window.
            scores.view(groups, count, each, -1).masked_fill_(hidden, torch.finfo(torch.float32).min)
        mixed = (scores.softmax(-1).to(query.dtype) @ values).view(groups, count, each, size).transpose(0, 1)
        return mixed, scores.logsumexp(-1).view(groups, count, each, 1).transpose(0, 1)

    def _used(self) -> int:
        """Places of the buffers that hold something, the new tokens included, up to a whole `STEP`."""
        return min((int(self.lengths.max()) // STEP + 1) * STEP, self.own[0][0].shape[2])

    def _mask(self, used: int, window: int | None) -> torch.Tensor:
        """(B, 1, 1, used) of 0 and -inf over the own tokens, the new one included; the same for all layers."""
        if window not in self._masks:
            place = torch.arange(used, device=self.lengths.device)[None, :]
            hidden = place > self.lengths[:, None]
            if window is not None:
                hidden = hidden | (place <= self.lengths[:, None] - window)
            mask = torch.zeros(hidden.shape, device=hidden.device).masked_fill(hidden, -torch.inf)
            self._masks[window] = mask[:, None, None, :]
        return self._masks[window]

    def positions(self) -> torch.Tensor:
        """(B, 1) position of the next token."""
        return (self.lengths + self.prefix)[:, None]

    def advance(self) -> None:
        """The last token is in the buffers: the next one goes behind it."""
        self.lengths = self.lengths + 1
        self._masks.clear()
        if int(self.lengths.max()) + 1 > self.own[0][0].shape[2]:
            for layer, (keys, values) in self.own.items():
                room = keys.new_zeros(*keys.shape[:2], GROW, keys.shape[3])
                self.own[layer] = (torch.cat([keys, room], dim=2), torch.cat([values, room], dim=2))

    def narrow(self, keep: Sequence[int]) -> None:
        """Drop finished replies; `keep` holds the indices of the others, in order."""
        for group in self.groups:
            before = sum(index < group.begin for index in keep)
            group.end = before + sum(group.begin <= index < group.end for index in keep)
            group.begin = before
        self.groups = [group for group in self.groups if group.begin < group.end]
        rows = torch.tensor(keep, device=self.lengths.device)
        self.lengths, self.prefix = self.lengths[rows], self.prefix[rows]
        for layer, pair in self.own.items():  # moved up in place: smaller buffers would only litter the heap
            for heads in pair:
                heads[: len(keep)] = heads[rows]
            self.own[layer] = (pair[0][: len(keep)], pair[1][: len(keep)])
        self._masks.clear()


def _shared_length(places: Sequence[Sequence[int]]) -> int:
    """Tokens on the path of every sequence, at least the last token of each staying its own; 0 for one sequence."""
    if len(places) == 1:
        return 0
    return min(min(map(len, places)) - 1, *(common_prefix(places[0], place) for place in places[1:]))


def _padded(values: torch.Tensor, places: Sequence[torch.Tensor], longest: int) -> torch.Tensor:
    """(G, T, E) and B index lists -> (B, G, longest, E), zero padded."""
    padded = values.new_zeros(len(places), values.shape[0], longest, values.shape[2])
    for index, place in enumerate(places):
        padded[index, :, : len(place)] = values[:, place]
    return padded


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    stop_ids: Sequence[int],
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    batch_size: int = 32,
    progress: Callable[[int], None] | None = None,
) -> list[Generated]:
    """Replies to prompts, in their order.

    Args:
        model: a causal language model.
        prompts: token ids of each prompt.
        stop_ids: a reply ends with any of these.
        max_new_tokens: a longer reply is cut and marked unfinished.
        temperature: 0 decodes greedily; otherwise tokens are sampled from softmax(logits / temperature).
        seed: of the sampling; the same prompts, seed and batch size give the same replies.
        batch_size: replies decoded together.
        progress: called with the number of replies just finished.
    """
    replies: dict[int, Generated] = {}
    for number, batch in enumerate(batches(model, prompts, batch_size)):
        chosen, batch_seed = [prompts[index] for index in batch], _seed(seed * 1_000_003 + number)
        if prefix_sharing_obstacle(model) is None:
            generator = torch.Generator(device=model.device).manual_seed(batch_seed)
            done = _decode(model, chosen, set(stop_ids), max_new_tokens, temperature, generator)
        else:
            done = [_alone(model, one, stop_ids, max_new_tokens, temperature, batch_seed) for one in chosen]
        replies.update(zip(batch, done, strict=True))
        if progress is not None:
            progress(len(batch))
    return [replies[index] for index in range(len(prompts))]


def batches(model: PreTrainedModel, prompts: Sequence[Sequence[int]], batch_size: int) -> list[list[int]]:
    """Indices of prompts in token order, at most `batch_size` together and as many as `CACHE_BYTES` allows: what
    `generate` decodes together. Given the prompts of one of these alone, it makes the same batch of them."""
    if prefix_sharing_obstacle(model) is not None:
        return [[index] for index in range(len(prompts))]
    sequences = [TokenSequence(prompt, len(prompt), ()) for prompt in prompts]
    groups = group_by_budget(sequences, max(CACHE_BYTES // _token_bytes(model), 1))
    return [group[at : at + batch_size] for group in groups for at in range(0, len(group), batch_size)]


def _token_bytes(model: PreTrainedModel) -> int:
    """Memory of a token's keys and values."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * int(config.num_hidden_layers) * int(heads) * int(size) * int(model.dtype.itemsize)


def _alone(
    model: PreTrainedModel,
    prompt: Sequence[int],
    stop_ids: Sequence[int],
    max_new_tokens: int,
    temperature: float,
    seed: int,
) -> Generated:
    """A reply of a model that cannot share prefixes, by its own method."""
    choice = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        eos_token_id=list(stop_ids) or None,
        pad_token_id=stop_ids[0] if stop_ids else 0,
        **choice,
    )
    ids = torch.tensor([list(prompt)], device=model.device)
    with torch.random.fork_rng(), _without_generation_defaults(model):
        torch.manual_seed(_seed(seed + len(prompt)))
        found = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
    reply = tuple(found[0, len(prompt) :].tolist())
    return Generated(reply, reply[-1] in set(stop_ids))


@contextmanager
def _without_generation_defaults(model: PreTrainedModel) -> Iterator[None]:
    """Inside the block the model's generation configuration is empty: `model.generate` takes from it (a temperature, a
    repetition penalty) whatever the given configuration leaves open."""
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def _seed(number: int) -> int:
    """Reduces a seed to the 64 bits that torch accepts."""
    return number % 2**64


def _groups(prompts: Sequence[Sequence[int]]) -> list[range]:
    """Runs of prompts, given in token order, that share at least half of what the first two of them share."""
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
    temperature: float,
    generator: torch.Generator,
) -> list[Generated]:
    logits, layout = _prefill(model, prompts, max_new_tokens)
    replies: list[list[int]] = [[] for _ in prompts]
    finished = [False] * len(prompts)
    active = list(range(len(prompts)))  # the replies in the layout; finished ones stay until it is worth a copy
    with tree_attention(model, layout):  # once, since switching a model's attention costs milliseconds
        for number in range(max_new_tokens):
            chosen = _choose(logits, temperature, generator)
            for index, token in zip(active, chosen.tolist(), strict=True):
                if not finished[index]:
                    replies[index].append(token)
                    finished[index] = token in stop_ids
            kept = [place for place, index in enumerate(active) if not finished[index]]
            if not kept or number + 1 == max_new_tokens:
                break
            if len(kept) <= NARROW * len(active):
                layout.narrow(kept)
                chosen, active = chosen[kept], [active[place] for place in kept]
            output = model(input_ids=chosen[:, None], position_ids=layout.positions(), use_cache=False)
            layout.advance()
            logits = output.logits[:, -1]
    return [Generated(tuple(ids), done) for ids, done in zip(replies, finished, strict=True)]


def _prefill(model: PreTrainedModel, prompts: Sequence[Sequence[int]], room: int) -> tuple[torch.Tensor, _DecodeLayout]:
    """(B, vocabulary) logits of each reply's first token, and the keys and values to go on from."""
    tree = TokenTree([TokenSequence(prompt, len(prompt), ()) for prompt in prompts])
    last = [list(tree.path_positions(index))[-1] for index in range(len(prompts))]
    rows, row_of = torch.unique(torch.tensor(last), return_inverse=True)
    found: list[torch.Tensor] = []
    kept: Past = {}

    def run(one: Pass, past: tuple[Past, ...]) -> None:
        layout = TreeLayout(tree, one.begin, one.end, past, keep=True)
        ids, positions = tree.inputs(one.begin, one.end)
        first = tree.segments[one.begin].begin
        here = rows[(rows >= first) & (rows < first + ids.shape[1])] - first
        with tree_attention(model, layout):
            output = model(
                input_ids=ids.to(model.device),
                position_ids=positions.to(model.device),
                logits_to_keep=here.to(model.device),
                use_cache=False,
            )
        found.append(output.logits[0])
        for layer, heads in layout.kept.items():
            if layer not in kept:
                key, value = (part.new_empty(*part.shape[:2], len(tree), part.shape[3]) for part in heads)
                kept[layer] = (key, value)
            for whole, part in zip(kept[layer], heads, strict=True):
                whole[:, :, first : first + ids.shape[1]] = part
        for child in one.children:
            run(child, (*past, layout.kept))

    for one in plan_passes(tree, PREFILL_TOKENS):
        run(one, ())
    return torch.cat(found)[row_of.to(model.device)], _DecodeLayout(tree, kept, _groups(prompts), room)


def _choose(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> torch.Tensor:
    """(B, vocabulary) -> (B,) token ids."""
    if temperature == 0:
        return logits.argmax(-1)
    probabilities = (logits.float() / temperature).softmax(-1)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]
