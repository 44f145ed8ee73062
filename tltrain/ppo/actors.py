"""Policy, critic and frozen reference, as adapters over one model or as three models."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tltrain.engine import ranks, sharding
from tltrain.engine.adapters import adapter_state, add_adapters, merged, merged_while, save_adapter
from tltrain.engine.optimiser import Optimiser

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tltrain.config import LoraConfig, OptimiserConfig, PPOConfig

POLICY, CRITIC = "policy", "critic"
HEAD_RATE = 10.0
"""Learning rate of the value head relative to the backbone's, where that starts from the SFT model and the head from
zero."""


class Actors(ABC):
    """Policy, critic and reference. All start from the SFT model; the critic's value head starts from zero. With
    `random_critic`, the critic's backbone and head start from random weights.

    Without a critic (`with_critic=False`), `critic` and `head` must not be used.

    Attributes:
        head: the value head, complete on every rank.
        sharded: whether each rank holds only its shard of every model; all passes are then those of
            `tltrain.engine.sharding`, and `rebuilt` takes the place of `finish`.
    """

    head: torch.nn.Linear
    sharded: bool

    @abstractmethod
    def policy(self) -> PreTrainedModel:
        """The policy, with its weights active."""

    @abstractmethod
    def critic(self) -> PreTrainedModel:
        """The critic's backbone, with its weights active."""

    @abstractmethod
    @contextmanager
    def reference(self) -> Iterator[PreTrainedModel]:
        """Context manager that yields the frozen reference."""

    @abstractmethod
    def save_adapter(self, folder: Path, base: str | None) -> None:
        """Save the policy's adapter as a folder; does nothing where all weights are trained. Sharded actors do this
        after `rebuilt`.

        Args:
            folder: of the adapter.
            base: name of the SFT model in the adapter's configuration; None: the name it was loaded under.
        """

    @abstractmethod
    def finish(self, seed: int) -> PreTrainedModel:
        """Return the trained policy as a model without adapters; the actors cannot be used afterwards.

        Args:
            seed: random seed of the stochastic rounding.
        """

    @contextmanager
    def whole_policy(self) -> Iterator[PreTrainedModel]:
        """Context manager that yields the policy for passes without gradients, in which ranks may differ: a sharded
        policy is gathered. All ranks must enter and leave."""
        policy = self.policy()
        with sharding.gathered(policy) if self.sharded else nullcontext():
            yield policy

    def policy_parameters(self) -> list[torch.nn.Parameter]:
        """The trained parameters of the policy."""
        return [parameter for parameter in self.policy().parameters() if parameter.requires_grad]

    def critic_parameters(self) -> list[torch.nn.Parameter]:
        """The trained parameters of the critic's backbone, without the value head."""
        return [parameter for parameter in self.critic().parameters() if parameter.requires_grad]


class AdapterActors(Actors):
    """Adapters over one frozen model, which is the reference when they are disabled."""

    def __init__(
        self,
        model: PreTrainedModel,
        lora: LoraConfig,
        seed: int,
        with_critic: bool = True,
        *,
        random_critic: bool = False,
        sharded: bool = False,
    ) -> None:
        self.model = self.critic_model = model
        self.sharded, dtype = sharded, model.dtype
        if with_critic and random_critic:
            self.critic_model, self.head = random_critic_like(model, seed)
            add_adapters(self.critic_model, lora, (CRITIC,), seed)
        elif with_critic:
            self.head = value_head(model)
        shared = with_critic and not random_critic
        names = (POLICY, CRITIC) if shared else (POLICY,)
        self.wrapped = add_adapters(model, lora, names, seed)
        if sharded:
            for name in names:  # only the active adapter's weights require gradients, by which `shard` knows them
                self.wrapped.set_adapter(name)
                sharding.float_trained(model)
            sharding.shard(model, dtype)
            if with_critic and random_critic:
                sharding.shard(self.critic_model, dtype)

    def policy(self) -> PreTrainedModel:
        """See `Actors`."""
        self.wrapped.set_adapter(POLICY)
        return self.model

    def critic(self) -> PreTrainedModel:
        """See `Actors`."""
        if self.critic_model is self.model:
            self.wrapped.set_adapter(CRITIC)
        return self.critic_model

    @contextmanager
    def reference(self) -> Iterator[PreTrainedModel]:
        """See `Actors`."""
        with self.wrapped.disable_adapter():
            yield self.model

    @contextmanager
    def whole_policy(self) -> Iterator[PreTrainedModel]:
        """See `Actors`. In fp32 the adapter is merged meanwhile; bf16 weights would round most of it away."""
        if self.sharded or self.model.dtype != torch.float32:
            with super().whole_policy() as policy:
                yield policy
        else:
            policy = self.policy()
            with merged_while(self.wrapped, POLICY):
                yield policy

    def adapter_state(self) -> dict[str, torch.Tensor | None]:
        """The complete weights of the policy's adapter on rank 0, None elsewhere. All ranks must call this."""
        return adapter_state(self.wrapped, POLICY)

    def save_adapter(
        self, folder: Path, base: str | None, state: Mapping[str, torch.Tensor | None] | None = None
    ) -> None:
        """See `Actors`; sharded actors need the result of `adapter_state`."""
        save_adapter(self.wrapped, POLICY, base, folder, state)

    def finish(self, seed: int) -> PreTrainedModel:
        """See `Actors`."""
        return merged(self.wrapped, POLICY, seed)


class FullActors(Actors):
    """Three separate models; all weights of policy and critic are trained."""

    def __init__(
        self,
        model: PreTrainedModel,
        with_critic: bool = True,
        with_reference: bool = True,
        *,
        random_critic: bool = False,
        seed: int = 0,
        sharded: bool = False,
    ) -> None:
        self._policy, self.sharded, dtype = model, sharded, model.dtype

        def placed(copied: PreTrainedModel) -> PreTrainedModel:
            if sharded:  # at once, so that no more than one copy is complete besides the model itself
                sharding.shard(copied, dtype)
            return copied

        if with_critic and random_critic:
            critic, self.head = random_critic_like(model, seed)
            self._critic = placed(critic)
        elif with_critic:
            self._critic, self.head = placed(copy.deepcopy(model)), value_head(model)
        if with_reference:
            self._reference = placed(copy.deepcopy(model).requires_grad_(False))
        placed(model)

    def policy(self) -> PreTrainedModel:
        """See `Actors`."""
        return self._policy

    def critic(self) -> PreTrainedModel:
        """See `Actors`."""
        return self._critic

    def critic_parameters(self) -> list[torch.nn.Parameter]:
        """See `Actors`; the output matrix does not influence the values, unless it is tied to the embedding."""
        return [parameter for parameter in self._critic.base_model.parameters() if parameter.requires_grad]

    @contextmanager
    def reference(self) -> Iterator[PreTrainedModel]:
        """See `Actors`."""
        yield self._reference

    def save_adapter(self, folder: Path, base: str | None) -> None:
        """See `Actors`."""

    def finish(self, seed: int) -> PreTrainedModel:
        """See `Actors`."""
        return self._policy


def make_actors(model: PreTrainedModel, config: PPOConfig, seed: int) -> Actors:
    """The models that a configuration needs, of which the SFT model is one; sharded over the ranks if there are several
    and `config.fsdp` is set."""
    with_critic, random_critic = config.advantage == "gae", config.critic_start == "random"
    sharded = config.fsdp and ranks.count() > 1
    if config.lora is not None:
        return AdapterActors(model, config.lora, seed, with_critic, random_critic=random_critic, sharded=sharded)
    return FullActors(
        model, with_critic, config.needs_reference, random_critic=random_critic, seed=seed, sharded=sharded
    )


@torch.no_grad()
def rebuilt(model: PreTrainedModel, config: PPOConfig, seed: int, weights: Sequence[torch.Tensor | None]) -> Actors:
    """A policy alone, complete in this process, with the given trained weights.

    Args:
        model: the SFT model, loaded again; changed in place.
        config: the configuration of the training.
        seed: of the training.
        weights: the complete trained weights, in the order of the policy's parameters.
    """
    policy: Actors
    if config.lora is not None:
        policy = AdapterActors(model, config.lora, seed, with_critic=False)
    else:
        policy = FullActors(model, with_critic=False, with_reference=False)
    for parameter, weight in zip(policy.policy_parameters(), weights, strict=True):
        assert weight is not None, "only called where the weights are complete"
        parameter.copy_(weight)
    return policy


def value_head(model: PreTrainedModel) -> torch.nn.Linear:
    """A linear layer from the hidden size to 1, fp32, initialised to zero: the first values are 0."""
    head = torch.nn.Linear(model.get_input_embeddings().weight.shape[1], 1, device=model.device)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    return head


def random_critic_like(model: PreTrainedModel, seed: int) -> tuple[PreTrainedModel, torch.nn.Linear]:
    """A model of the same architecture, dtype and device with random weights, determined by the seed, and a random
    value head."""
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fresh = AutoModelForCausalLM.from_config(copy.deepcopy(model.config), dtype=model.dtype)
        head = torch.nn.Linear(model.get_input_embeddings().weight.shape[1], 1)
    return fresh.to(model.device).eval(), head.to(model.device)


def make_optimiser(
    settings: OptimiserConfig,
    parameters: list[torch.nn.Parameter],
    head: list[torch.nn.Parameter],
    head_rate: float = HEAD_RATE,
) -> Optimiser:
    """The optimiser of a backbone's parameters and of the parameters of its value head, which may be none;
    `head_rate` is the head's learning rate relative to the backbone's."""
    groups = [(parameters, settings.learning_rate), (head, settings.learning_rate * head_rate)]
    betas = (settings.beta1, settings.beta2)
    return Optimiser([group for group in groups if group[0]], betas, settings.weight_decay, settings.clip_norm)
