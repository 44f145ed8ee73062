"""PPO with rewards that differ between the replies of an untrained micro model, which the judge finds equally wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tltrain.encode import Prompt
from tltrain.engine.generate import Generated
from tltrain.judging import Verdict
from tltrain.ppo.trainer import PPOTrainer


class RewardedTrainer(PPOTrainer):
    """The reward is the share of a reply's tokens that have an even id."""

    def reply(
        self, prompts: Sequence[Prompt], temperature: float, seeds: Sequence[int] = ()
    ) -> tuple[list[Generated], list[Verdict]]:
        replies, verdicts = super().reply(prompts, temperature, seeds)
        shares = [sum(token % 2 == 0 for token in reply.ids) / len(reply.ids) for reply in replies]
        return replies, [replace(verdict, reward=share) for verdict, share in zip(verdicts, shares, strict=True)]
