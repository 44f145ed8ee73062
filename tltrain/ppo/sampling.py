"""Sampling the policy's replies to prompts."""

from __future__ import annotations

import hashlib
import secrets
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch

from tltrain.config import PPOConfig
from tltrain.encode import Prompt
from tltrain.engine import ranks
from tltrain.engine.generate import Generated, generate
from tltrain.engine.vllm import VLLMServer
from tltrain.files import discard
from tltrain.ppo.actors import Actors, AdapterActors


class Sampler(Protocol):
    """Samples replies from the policy as it is."""

    def changed(self) -> None:
        """Say that the policy's weights have changed."""
        ...

    def close(self) -> None:
        """Free what the sampler holds outside this process. All processes must call this."""
        ...

    def sample(self, prompts: Sequence[Prompt], temperature: float, seeds: Sequence[int]) -> list[Generated]:
        """Reply to this process's prompts. All processes must call this, with any number of prompts.

        Args:
            prompts: of the replies, in order; a reply has at most the tokens for which its prompt has room.
            temperature: 0 decodes greedily.
            seeds: random seed of each reply; may be empty if the temperature is 0.
        """
        ...


class LocalSampler:
    """Samples with the policy of this process; a sharded policy is gathered once for all replies.

    Args:
        actors: of which the policy replies.
        stop_ids: tokens that end a reply.
        config: see `PPOConfig`.
    """

    def __init__(self, actors: Actors, stop_ids: Sequence[int], config: PPOConfig) -> None:
        self.actors, self.stop_ids, self.config = actors, stop_ids, config

    def changed(self) -> None:
        """See `Sampler`; nothing to do."""

    def close(self) -> None:
        """See `Sampler`; nothing to do."""

    def sample(self, prompts: Sequence[Prompt], temperature: float, seeds: Sequence[int]) -> list[Generated]:
        """See `Sampler`."""
        with self.actors.whole_policy() as policy:
            return _within_limit(
                prompts,
                seeds,
                self.config.max_new_tokens,
                lambda ids, own_seeds, room: generate(
                    policy,
                    ids,
                    self.stop_ids,
                    room,
                    temperature=temperature,
                    seeds=own_seeds,
                    batch_size=self.config.prompts * self.config.samples,
                    record_logprobs=True,
                ),
            )


class ServerSampler:
    """Samples with a vLLM server, which loads the policy's adapter after each update.

    Each process sends the requests of its own prompts; rank 0 writes the adapter and has it loaded. Every version has a
    name of its own, also after a restart, since the server caches the keys and values of prompts by the adapter's name.

    Args:
        address: see `VLLMServer`.
        actors: of which the policy replies; with adapters.
        stop_ids: tokens that end a reply.
        config: see `PPOConfig`.
        folder: receives the adapter while it is in use; the server reads it under the same path.
        base: folder or hub name of the model that the server must serve.
        prompt: token ids of any prompt, to try the server with.

    Raises:
        ConfigError: the client's package is not installed.
        ModelError: there is no server, it serves another model, or its log-probabilities are of no use.
    """

    def __init__(
        self,
        address: str,
        actors: Actors,
        *,
        stop_ids: Sequence[int],
        config: PPOConfig,
        folder: Path,
        base: str,
        prompt: Sequence[int],
    ) -> None:
        assert isinstance(actors, AdapterActors), "the configuration allows a sampler with adapters only"
        self.server, self.actors = VLLMServer(address), actors
        self.stop_ids, self.config, self.folder, self.base = stop_ids, config, folder, base
        digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()
        self.prefix = f"tltrain-{digest[:8]}-"
        self.launch = ranks.shared(secrets.token_hex(4))
        self.version, self.outdated = 0, True
        ranks.on_first(lambda: self._try(prompt))

    def _try(self, prompt: Sequence[int]) -> None:
        model = self.server.reach(self.base)
        if self.config.temperature not in (0.0, 1.0):
            self.server.check_temperature(model, prompt)

    @property
    def adapter(self) -> str:
        """Name of the adapter on the server."""
        return f"{self.prefix}{self.launch}-{self.version}"

    def changed(self) -> None:
        """See `Sampler`."""
        self.outdated = True

    def close(self) -> None:
        """See `Sampler`."""
        ranks.on_first(self._remove)

    def _remove(self) -> None:
        self.server.unload_adapters(self.prefix)
        discard(self.folder)

    def sample(self, prompts: Sequence[Prompt], temperature: float, seeds: Sequence[int]) -> list[Generated]:
        """See `Sampler`."""
        if self.outdated:
            self.version += 1
            state = self.actors.adapter_state()
            ranks.on_first(lambda: self._load(state))
            self.outdated = False
        return ranks.on_all(
            lambda: _within_limit(
                prompts,
                seeds,
                self.config.max_new_tokens,
                lambda ids, own_seeds, room: self.server.generate(
                    self.adapter, ids, self.stop_ids, room, temperature=temperature, seeds=own_seeds
                ),
            )
        )

    def _load(self, state: Mapping[str, torch.Tensor | None]) -> None:
        """Put the current adapter in the place of the one before, or of those that a killed process left."""
        self._remove()
        self.actors.save_adapter(self.folder / self.adapter, self.base, state)
        self.server.load_adapter(self.adapter, self.folder / self.adapter)


def _within_limit(
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    most: int,
    generate_replies: Callable[[list[list[int]], list[int], int], list[Generated]],
) -> list[Generated]:
    """Replies of at most `most` tokens, by a function of token ids, random seeds and a number of tokens: prompts that
    leave less room than others are replied to apart from them."""
    rooms: defaultdict[int, list[int]] = defaultdict(list)
    for index, prompt in enumerate(prompts):
        rooms[most if prompt.room is None else min(prompt.room, most)].append(index)
    replies: dict[int, Generated] = {}
    for room, chosen in rooms.items():
        own_seeds = [seeds[index] for index in chosen] if seeds else []
        found = generate_replies([prompts[index].ids for index in chosen], own_seeds, room)
        replies.update(zip(chosen, found, strict=True))
    return [replies[index] for index in range(len(prompts))]
