"""A PPO update with adapters: sampling, measuring, and the updates of policy and critic, with random rewards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from speed.process import peak_memory_mb
from torch.nn.utils.rnn import pad_sequence

from gpu.data import prompts
from gpu.part import Job, Row, timed
from gpu.sft import LEARNING_RATE, MAX_TREE_TOKENS, Lora
from gpu.shapes import make_model
from tltrain.engine.generate import Generated, generate
from tltrain.engine.optimiser import Optimiser
from tltrain.engine.outputs import LogProbs, Values
from tltrain.engine.passes import backward, measure
from tltrain.engine.tree import Predicted, TokenSequence
from tltrain.ppo import maths
from tltrain.ppo.actors import HEAD_RATE, AdapterActors

if TYPE_CHECKING:
    from tltrain.config import LoraConfig

PROMPTS, SAMPLES, TOKENS = 8, 4, 64
TINY = (2, 2, 3)
TEMPERATURE, BETA, CLIP = 0.7, 0.05, 0.2
OUTPUT = LogProbs(TEMPERATURE)


class Update:
    """A rollout and the update on it.

    Attributes:
        actors: policy, critic and reference.
        sequences: prompts with the sampled replies, the samples of a prompt next to each other.
    """

    def __init__(self, job: Job) -> None:
        assert job.rank is not None
        self.job = job
        lora: LoraConfig = Lora(job.rank, 2.0 * job.rank)  # type: ignore[assignment]
        self.actors = AdapterActors(make_model(job), lora, job.seed)
        head = list(self.actors.head.parameters())
        settings = ((0.9, 0.95), 0.0, 1.0)
        self.policy = Optimiser([(self.actors.policy_parameters(), LEARNING_RATE)], *settings)
        critic = [(self.actors.critic_parameters(), LEARNING_RATE), (head, LEARNING_RATE * HEAD_RATE)]
        self.critic = Optimiser(critic, *settings)
        self.sequences: list[TokenSequence] = []

    def sample(self) -> list[Generated]:
        """Replies to each prompt; sets `sequences`."""
        count, samples, length = TINY if self.job.tiny else (PROMPTS, SAMPLES, TOKENS)
        texts = [text for text in prompts("shared", count, self.job) for _ in range(samples)]
        seeds = range(len(texts))
        replies = generate(self.actors.policy(), texts, [], length, temperature=TEMPERATURE, seeds=seeds)
        self.sequences = [
            TokenSequence([*text, *reply.ids], len(text), [1.0] * len(reply.ids))
            for text, reply in zip(texts, replies, strict=True)
        ]
        return replies

    def measure(self) -> None:
        """Log-probabilities under policy and reference, values, and from them advantages and returns."""
        self.old = self._rows(measure(self.actors.policy(), self.sequences, OUTPUT, MAX_TREE_TOKENS))
        with self.actors.reference() as model:
            reference = self._rows(measure(model, self.sequences, OUTPUT, MAX_TREE_TOKENS))
        output = Values(self.actors.head)
        self.values = self._rows(measure(self.actors.critic(), self.sequences, output, MAX_TREE_TOKENS))
        self.mask = self._rows([torch.ones(len(one.weights)) for one in self.sequences])
        scores = torch.randn(len(self.sequences), generator=torch.Generator().manual_seed(self.job.seed))
        rewards = maths.token_rewards(scores, self.old, reference, self.mask, BETA)
        self.advantages, self.returns = maths.advantages_and_returns(rewards, self.values, self.mask, 1.0, 0.95)

    def update(self) -> tuple[float, float]:
        """Losses and gradients of policy and critic, and a step of each optimiser; returns the losses."""
        total = self.mask.sum()

        def at(values: torch.Tensor, predicted: Predicted) -> torch.Tensor:
            return values[predicted.owner, predicted.offset][None]

        def policy_loss(logprobs: torch.Tensor, predicted: Predicted) -> torch.Tensor:
            old, advantages, mask = (at(values, predicted) for values in (self.old, self.advantages, self.mask))
            now = logprobs.cpu()[None]
            return maths.policy_loss(now, old, advantages=advantages, mask=mask, clip=CLIP, total=total).loss

        def value_loss(values: torch.Tensor, predicted: Predicted) -> torch.Tensor:
            old, returns, mask = (at(rows, predicted) for rows in (self.values, self.returns, self.mask))
            now = values.cpu()[None]
            return maths.value_loss(now, old, returns=returns, mask=mask, clip=CLIP, total=total).loss

        losses = []
        for model, loss, output, optimiser in (
            (self.actors.policy, policy_loss, OUTPUT, self.policy),
            (self.actors.critic, value_loss, Values(self.actors.head), self.critic),
        ):
            done = backward(
                model(), self.sequences, loss, MAX_TREE_TOKENS, output=output, accumulate=optimiser.accumulate
            )
            optimiser.step(1.0, 1.0)
            losses.append(done.loss)
        return losses[0], losses[1]

    @staticmethod
    def _rows(values: list[torch.Tensor]) -> torch.Tensor:
        return pad_sequence(values, batch_first=True)


def run(job: Job) -> list[Row]:
    """Seconds of each phase of the second update; the first compiles."""
    update = Update(job)
    for _ in range(2):
        sampling, replies = timed(job.device, update.sample)
        measuring, _ = timed(job.device, update.measure)
        training, losses = timed(job.device, update.update)
    seconds = sampling + measuring + training
    finite = all(abs(loss) < float("inf") for loss in losses)
    figures = {"seconds": seconds, "sampling s": sampling, "measuring s": measuring, "update s": training}
    return [Row(f"{len(replies)} replies", figures | {"MB": peak_memory_mb(job.device)}, finite)]
