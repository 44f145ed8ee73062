"""Generation with prefix reuse: the prompts' token tree is computed once, replies are decoded in batches.

Shapes: B replies decoded together, H query heads, G key-value heads, P tokens that all B prompts share, M the most
tokens one reply has of its own (rest of its prompt and what was generated), E head size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tltrain.engine.attention import TreeLayout, tree_attention
from tltrain.engine.tree import TokenSequence, TokenTree, common_prefix

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GROW = 32
"""Tokens by which the key-value buffers grow."""


@dataclass(frozen=True, slots=True)
class Generated:
    """One reply as sampled: its token ids, stop token included; `finished` is False if the length limit cut it."""

    ids: tuple[int, ...]
    finished: bool


class _DecodeLayout:
    """One new token for each of B replies (T = 1): it sees the shared prefix and its own tokens up to itself."""

    def __init__(self, tree: TokenTree, kept: dict[int, tuple[torch.Tensor, torch.Tensor]], count: int) -> None:
        places = [torch.tensor(list(tree.path_positions(index))) for index in range(count)]
        self.shared = min(_shared_length(places), min(len(place) for place in places))
        device = kept[0][0].device
        self.lengths = torch.tensor([len(place) - self.shared for place in places], device=device)
        longest = int(self.lengths.max()) + GROW
        self.prefix: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.own: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        own_places = [place[self.shared :].to(device) for place in places]
        prefix_places = places[0][: self.shared].to(device)
        for layer, (key, value) in kept.items():
            self.prefix[layer] = (key[0][:, prefix_places], value[0][:, prefix_places])
            self.own[layer] = (_padded(key[0], own_places, longest), _padded(value[0], own_places, longest))

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        """See `Layout`; T is 1. Writes the new key and value to the buffers."""
        keys, values = self.own[layer]
        index = torch.arange(len(self.lengths), device=query.device)
        keys[index, :, self.lengths] = key[:, :, 0]
        values[index, :, self.lengths] = value[:, :, 0]
        count, heads, _, size = query.shape
        groups = keys.shape[1]
        per_group = heads // groups
        query = query.view(count, groups, per_group, size) * scale
        prefix_keys, prefix_values = self.prefix[layer]
        folded = query.transpose(0, 1).reshape(groups, count * per_group, size)
        shared_scores = (folded @ prefix_keys.transpose(1, 2)).view(groups, count, per_group, -1).transpose(0, 1)
        own_scores = query @ keys.transpose(2, 3)
        scores = torch.cat([shared_scores, own_scores + self._mask(keys.shape[2], window).to(query.dtype)], dim=-1)
        if window is not None:
            scores[..., : self.shared] += self._shared_mask(window).to(query.dtype)
        chances = scores.float().softmax(-1).to(query.dtype)
        from_shared = chances[..., : self.shared].transpose(0, 1).reshape(groups, count * per_group, self.shared)
        mixed = (from_shared @ prefix_values).view(groups, count, per_group, size).transpose(0, 1)
        mixed = mixed + chances[..., self.shared :] @ values
        return mixed.reshape(count, heads, 1, size)

    def _mask(self, longest: int, window: int | None) -> torch.Tensor:
        """(B, 1, 1, M) of 0 and -inf over the own tokens, the new one included."""
        place = torch.arange(longest, device=self.lengths.device)[None, :]
        hidden = place > self.lengths[:, None]
        if window is not None:
            hidden = hidden | (place <= self.lengths[:, None] - window)
        return torch.zeros(hidden.shape, device=hidden.device).masked_fill(hidden, -torch.inf)[:, None, None, :]

    def _shared_mask(self, window: int) -> torch.Tensor:
        place = torch.arange(self.shared, device=self.lengths.device)[None, :]
        hidden = place <= self.shared + self.lengths[:, None] - window
        return torch.zeros(hidden.shape, device=hidden.device).masked_fill(hidden, -torch.inf)[:, None, None, :]

    def positions(self) -> torch.Tensor:
        """(B, 1) position of the next token."""
        return (self.lengths + self.shared)[:, None]

    def advance(self) -> None:
        """The last token is in the buffers: the next one goes behind it."""
        self.lengths = self.lengths + 1
        longest = int(self.lengths.max()) + 1
        if longest > self.own[0][0].shape[2]:
            for layer, (keys, values) in self.own.items():
                room = keys.new_zeros(*keys.shape[:2], GROW, keys.shape[3])
                self.own[layer] = (torch.cat([keys, room], dim=2), torch.cat([values, room], dim=2))

    def narrow(self, keep: torch.Tensor) -> None:
        """Drop finished replies; `keep` holds the indices of the others."""
        self.lengths = self.lengths[keep]
        self.own = {layer: (keys[keep], values[keep]) for layer, (keys, values) in self.own.items()}


def _shared_length(places: Sequence[torch.Tensor]) -> int:
    """Tokens on the path of every sequence; at least the last token of each prompt stays its own."""
    first = places[0].tolist()
    return min([len(first) - 1, *(common_prefix(first, place.tolist()) for place in places[1:])])


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
    replies: list[Generated | None] = [None] * len(prompts)
    for number, batch in enumerate(_batches(prompts, batch_size)):
        generator = torch.Generator(device=model.device).manual_seed(seed * 1_000_003 + number)
        done = _decode(model, [prompts[i] for i in batch], set(stop_ids), max_new_tokens, temperature, generator)
        for index, reply in zip(batch, done, strict=True):
            replies[index] = reply
        if progress is not None:
            progress(len(batch))
    return [reply for reply in replies if reply is not None]


def _batches(prompts: Sequence[Sequence[int]], batch_size: int) -> list[list[int]]:
    """Prompts in token order, cut where a batch is full or its shared prefix would shrink to less than half."""
    order = sorted(range(len(prompts)), key=lambda index: list(prompts[index]))
    batches: list[list[int]] = []
    shared = 0
    for index in order:
        if batches and len(batches[-1]) < batch_size:
            common = common_prefix(prompts[batches[-1][0]], prompts[index])
            if len(batches[-1]) == 1 or common * 2 >= shared:
                batches[-1].append(index)
                shared = common if len(batches[-1]) == 2 else min(shared, common)
                continue
        batches.append([index])
        shared = len(prompts[index])
    return batches


def _decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    stop_ids: set[int],
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator,
) -> list[Generated]:
    logits, layout = _prefill(model, prompts)
    replies: list[list[int]] = [[] for _ in prompts]
    finished = [False] * len(prompts)
    active = list(range(len(prompts)))
    for number in range(max_new_tokens):
        chosen = _choose(logits, temperature, generator)
        for index, token in zip(active, chosen.tolist(), strict=True):
            replies[index].append(token)
            finished[index] = token in stop_ids
        kept = [place for place, index in enumerate(active) if not finished[index]]
        if not kept or number + 1 == max_new_tokens:
            break
        if len(kept) < len(active):
            keep = torch.tensor(kept, device=chosen.device)
            layout.narrow(keep)
            chosen, active = chosen[keep], [active[place] for place in kept]
        with tree_attention(model, layout):
            output = model(input_ids=chosen[:, None], position_ids=layout.positions(), use_cache=False)
        layout.advance()
        logits = output.logits[:, -1]
    return [Generated(tuple(ids), done) for ids, done in zip(replies, finished, strict=True)]


def _prefill(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, _DecodeLayout]:
    """(B, vocabulary) logits of each reply's first token, and the keys and values to go on from."""
    tree = TokenTree([TokenSequence(prompt, len(prompt), ()) for prompt in prompts])
    layout = TreeLayout(tree, keep=True)
    last = torch.tensor([list(tree.path_positions(index))[-1] for index in range(len(prompts))])
    rows, row_of = torch.unique(last, return_inverse=True)
    with tree_attention(model, layout):
        logits = model(
            input_ids=tree.ids.to(model.device),
            position_ids=tree.positions.to(model.device),
            logits_to_keep=rows.to(model.device),
            use_cache=False,
        ).logits[0]
    return logits[row_of.to(model.device)], _DecodeLayout(tree, layout.kept, len(prompts))


def _choose(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> torch.Tensor:
    """(B, vocabulary) -> (B,) token ids."""
    if temperature == 0:
        return logits.argmax(-1)
    chances = (logits.float() / temperature).softmax(-1)
    return torch.multinomial(chances, 1, generator=generator)[:, 0]
