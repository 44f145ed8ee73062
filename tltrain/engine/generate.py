"""Generation with prefix reuse: the token tree of the prompts is computed once, and replies are decoded in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from transformers import GenerationConfig

from tltrain.engine.attention import KeyValues, tree_attention
from tltrain.engine.capabilities import layer_heads, prefix_sharing_obstacle
from tltrain.engine.decode_layout import DecodeLayout, buffer_room, shared_length
from tltrain.engine.decode_step import decode_step
from tltrain.engine.flex import tree_layout
from tltrain.engine.memory import cache_bytes, own_bytes
from tltrain.engine.passes import Pass, plan_passes
from tltrain.engine.tree import TokenSequence, TokenTree, common_prefix, group_by_budget

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PREFILL_TOKENS = 2_048
"""Most prompt tokens of a forward pass: bounds its memory and does not affect results."""
GPU_PREFILL_TOKENS = 8_192
"""The same on GPUs, which small passes leave idle."""
COMPACT_BELOW = 0.8
"""Finished replies are removed from the buffers, which copies them, once at most this fraction is unfinished."""
GPU_COMPACT_BELOW = 0.5
"""The same on GPUs, where each number of replies is another CUDA graph and fewer replies hardly save time."""


@dataclass(frozen=True, slots=True)
class Generated:
    """A sampled reply."""

    ids: tuple[int, ...]
    """Its token ids, stop token included."""
    finished: bool
    """Whether it ends with a stop token; False if it was truncated at `max_new_tokens`."""
    logprobs: tuple[float, ...] | None = None
    """Log-probability of each token when it was sampled, at the sampling temperature (1 if that is 0), if recorded."""


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
    record_logprobs: bool = False,
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
        record_logprobs: whether the replies have `logprobs`; those of models that cannot share prefixes never do.
        progress: called after each batch with its number of replies.

    Returns:
        The replies, in the order of the prompts.
    """
    assert temperature == 0 or len(seeds) == len(prompts), "sampling needs a seed for each prompt"
    replies: dict[int, Generated] = {}
    for batch in batches(model, prompts, batch_size, max_new_tokens):
        chosen, own_seeds = [prompts[index] for index in batch], [seeds[index] if seeds else 0 for index in batch]
        if prefix_sharing_obstacle(model) is None:
            draw = _Draw(temperature, own_seeds, max_new_tokens, model.device, record_logprobs)
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


def batches(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], batch_size: int, max_new_tokens: int
) -> list[list[int]]:
    """The batches in which `generate` decodes, as indices of prompts.

    Prompts are taken in the order of their token ids. A batch has at most `batch_size` prompts whose keys and values
    fit `cache_bytes`, and whose replies' own buffers, which are as long as the longest of them, fit `own_bytes`. Given
    the prompts of a single batch, the result is that batch again.
    """
    if prefix_sharing_obstacle(model) is not None:
        return [[index] for index in range(len(prompts))]
    if not prompts:
        return []
    sequences = [TokenSequence(prompt, len(prompt), ()) for prompt in prompts]
    size, device = _token_bytes(model), model.device
    groups = group_by_budget(sequences, max(cache_bytes(device) // size, 1))
    parts = [group[start : start + batch_size] for group in groups for start in range(0, len(group), batch_size)]
    room = buffer_room(max_new_tokens, device)
    return [half for part in parts for half in _halved(prompts, part, room, own_bytes(device) // size)]


def _halved(prompts: Sequence[Sequence[int]], batch: list[int], room: int, most: int) -> list[list[int]]:
    """The batch, halved until the buffers for the own tokens of its prompts, and `room` more for each, have at most
    `most` tokens."""
    chosen = [prompts[index] for index in batch]
    groups = [chosen[group.start : group.stop] for group in _groups(chosen)]
    own = max(max(map(len, group)) - shared_length(group) for group in groups)
    if len(batch) == 1 or len(batch) * (own + room) <= most:
        return [batch]
    middle = len(batch) // 2
    return [part for half in (batch[:middle], batch[middle:]) for part in _halved(prompts, half, room, most)]


def _token_bytes(model: PreTrainedModel) -> int:
    """Bytes of the keys and values of a token in all layers."""
    width = sum(heads.key_values * heads.size for heads in layer_heads(model.config.get_text_config()))
    return 2 * width * int(model.dtype.itemsize)


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
        record: whether to return the tokens' log-probabilities.
    """

    def __init__(
        self, temperature: float, seeds: Sequence[int], count: int, device: torch.device, record: bool = False
    ) -> None:
        self.temperature, self.record = temperature, record
        if temperature:
            generators = (torch.Generator().manual_seed(_seed(seed)) for seed in seeds)
            uniform = [torch.rand(count, dtype=torch.float64, generator=generator) for generator in generators]
            self.uniform = torch.stack(uniform).to(device)  # (B, count)

    def __call__(
        self, logits: torch.Tensor, replies: Sequence[int], number: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Draw token `number` of some of the replies.

        Args:
            logits: (b, vocabulary).
            replies: their b indices in the batch.
            number: of the token, from 0.

        Returns:
            (b,) token ids: the most likely ones, or samples by inversion of the cumulative distribution; and their (b,)
            log-probabilities, None if they are not recorded.
        """
        if not self.temperature:
            tokens = logits.argmax(-1)
            return tokens, _logprobs_of(logits.float().softmax(-1), tokens) if self.record else None
        probabilities = (logits.float() / self.temperature).softmax(-1)
        # Double precision: in fp32 the sum over a vocabulary of 150,000 loses its least likely tokens.
        cumulative = probabilities.double().cumsum(-1)
        drawn = self.uniform[replies, number, None] * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, drawn, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
        return tokens, _logprobs_of(probabilities, tokens) if self.record else None


def _logprobs_of(probabilities: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """(b, vocabulary) probabilities -> (b,) log-probabilities of the tokens."""
    return probabilities.gather(1, tokens[:, None])[:, 0].log()


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
    recorded: list[list[float]] = [[] for _ in prompts]
    finished = [False] * len(prompts)
    active = list(range(len(prompts)))  # replies in the layout; finished replies remain until a copy is worth it
    step = decode_step(model, layout)
    compact_below = GPU_COMPACT_BELOW if model.device.type == "cuda" else COMPACT_BELOW
    with tree_attention(model, layout):  # once, since switching a model's attention costs milliseconds
        for number in range(max_new_tokens):
            sampled, logprobs = draw(logits, active, number)
            known = [0.0] * len(active) if logprobs is None else logprobs.tolist()
            for index, token, logprob in zip(active, sampled.tolist(), known, strict=True):
                if not finished[index]:
                    replies[index].append(token)
                    recorded[index].append(logprob)
                    finished[index] = token in stop_ids
            unfinished = [row for row, index in enumerate(active) if not finished[index]]
            if not unfinished or number + 1 == max_new_tokens:
                break
            if len(unfinished) <= compact_below * len(active):
                layout.compact(unfinished)
                sampled, active = sampled[unfinished], [active[row] for row in unfinished]
            logits = step(sampled)
    return [
        Generated(tuple(ids), done, tuple(logprobs) if draw.record else None)
        for ids, done, logprobs in zip(replies, finished, recorded, strict=True)
    ]


def _prefill(model: PreTrainedModel, prompts: Sequence[Sequence[int]], room: int) -> tuple[torch.Tensor, DecodeLayout]:
    """(B, vocabulary) logits of each reply's first token, and the layout for decoding the following tokens."""
    tree = TokenTree([TokenSequence(prompt, len(prompt), ()) for prompt in prompts])
    last = [list(tree.path_positions(index))[-1] for index in range(len(prompts))]
    rows, row_of = torch.unique(torch.tensor(last), return_inverse=True)
    parts: list[torch.Tensor] = []
    cached: KeyValues = {}

    def run(node: Pass, past: tuple[KeyValues, ...]) -> None:
        layout = tree_layout(model, tree, node.begin, node.end, past, cache=True)
        ids, positions = layout.inputs()
        first, end = tree.segments[node.begin].begin, tree.segments[node.end - 1].end
        last_rows = rows[(rows >= first) & (rows < end)] - first
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
                whole[:, :, first:end] = part[:, :, : end - first]  # without padding
        for child in node.children:
            run(child, (*past, layout.cached))

    for node in plan_passes(tree, GPU_PREFILL_TOKENS if model.device.type == "cuda" else PREFILL_TOKENS):
        run(node, ())
    return torch.cat(parts)[row_of.to(model.device)], DecodeLayout(tree, cached, _groups(prompts), room)
