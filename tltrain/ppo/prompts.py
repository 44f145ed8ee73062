"""Which prompts a rollout samples replies to, and which are held back for validation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from tltrain.config import PPOConfig
from tltrain.data import held_openings, opening
from tltrain.encode import Prompt
from tltrain.engine import ranks
from tltrain.engine.order import batches, share
from tltrain.errors import ConfigError, DataError
from tltrain.sft import prefix_key


def hold_back(prompts: Sequence[Prompt], share: float, seed: int) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts held back for validation, and the others. Trajectories with the same opening stay together.

    Raises:
        ConfigError: one of the two would be empty.
    """
    openings = held_openings([prompt.trajectory for prompt in prompts], share, seed)
    held = [prompt for prompt in prompts if opening(prompt.trajectory) in openings]
    others = [prompt for prompt in prompts if opening(prompt.trajectory) not in openings]
    if not held or not others:
        raise ConfigError(f"ppo.validation.share {share}: holds back {len(held)} of {len(prompts)} prompts")
    return held, others


def number_of_rollouts(config: PPOConfig, prompts: int) -> int:
    """The number of rollouts over so many prompts.

    Raises:
        ConfigError: all of them would update the critic only.
    """
    if config.rollouts is not None:
        return config.rollouts
    assert config.prompt_epochs is not None, "the configuration has one of the two"
    rollouts = -(-config.prompt_epochs * prompts // config.prompts)
    if config.critic_warmup >= rollouts:
        raise ConfigError(f"ppo.critic_warmup {config.critic_warmup} leaves none of the {rollouts} rollouts")
    return rollouts


def draw_prompts(prompts: Sequence[Prompt], number: int, config: PPOConfig, seed: int) -> list[int]:
    """Indices of the `config.prompts` prompts of rollout `number` (from 1).

    Rollouts follow one another through shuffled passes over all prompts. With `config.text_share`, prompts whose gold
    is a text and those whose gold is a call have passes of their own, and a rollout takes its share of each; the number
    of text prompts is rounded so that the sum over all rollouts stays within half a prompt of the share.

    Raises:
        DataError: prompts of a kind are needed, and there are none.
    """
    size, share = config.prompts, config.text_share
    if share is None:
        return _draw(prompts, range(len(prompts)), start=(number - 1) * size, count=size, config=config, seed=seed)
    before, after = (int(share * done * size + 0.5) for done in (number - 1, number))
    drawn: list[int] = []
    for wants_text, start, count in (
        (False, (number - 1) * size - before, size - (after - before)),
        (True, before, after - before),
    ):
        kind = [index for index, prompt in enumerate(prompts) if (not prompt.gold) == wants_text]
        if count and not kind:
            gold = "a text" if wants_text else "a call"
            raise DataError(f"ppo.text_share {share}: the training split has no prompt whose gold is {gold}")
        drawn += _draw(prompts, kind, start=start, count=count, config=config, seed=seed)
    return drawn


def _draw(
    prompts: Sequence[Prompt], indices: Sequence[int], *, start: int, count: int, config: PPOConfig, seed: int
) -> list[int]:
    """`count` of the indices, from position `start` on in shuffled passes over all of them."""
    keys = [prefix_key(prompts[index].trajectory) for index in indices]
    drawn: list[int] = []
    while len(drawn) < count:
        epoch, offset = divmod(start + len(drawn), len(keys))
        order = list(chain(*batches(keys, config.prompts, config.group_size, seed + epoch)))
        drawn += [indices[position] for position in order[offset : offset + count - len(drawn)]]
    return drawn


def own_replies(prompts: Sequence[Prompt], samples: int) -> range:
    """Indices of the replies that this process computes, of `samples` replies to each of the prompts."""
    lengths = [len(prompt.ids) for prompt in prompts]
    own = share(range(len(prompts)), lengths, ranks.rank(), ranks.count())
    return range(own[0] * samples, (own[-1] + 1) * samples) if own else range(0)
