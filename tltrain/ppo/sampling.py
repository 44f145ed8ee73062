"""Sampling the policy's replies to prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tltrain.config import PPOConfig
from tltrain.encode import Prompt
from tltrain.engine.generate import Generated, generate
from tltrain.ppo.actors import Actors


class Sampler(Protocol):
    """Samples replies from the policy as it is."""

    def sample(self, prompts: Sequence[Prompt], temperature: float, seeds: Sequence[int]) -> list[Generated]:
        """Reply to this process's prompts. All processes must call this, with any number of prompts.

        Args:
            prompts: of the replies, in order.
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

    def sample(self, prompts: Sequence[Prompt], temperature: float, seeds: Sequence[int]) -> list[Generated]:
        """See `Sampler`."""
        with self.actors.whole_policy() as policy:
            return generate(
                policy,
                [prompt.ids for prompt in prompts],
                self.stop_ids,
                self.config.max_new_tokens,
                temperature=temperature,
                seeds=seeds,
                batch_size=self.config.prompts * self.config.samples,
            )
