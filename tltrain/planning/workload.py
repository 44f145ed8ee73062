"""The work of a run in numbers: trees, passes, updates and replies, from the steps and the order of training."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import chain, cycle, islice, pairwise
from typing import TYPE_CHECKING, TypeVar

from tltrain.arms import ARMS
from tltrain.config import PPOConfig, RunConfig, SFTConfig
from tltrain.encode import Encoder, EncodingCounts, Prompt
from tltrain.engine.generate import PREFILL_TOKENS
from tltrain.engine.order import batches
from tltrain.engine.tree import TokenSequence, common_prefix
from tltrain.errors import DataError, TLTrainError
from tltrain.planning.work import ArmWork, Decoding, EvalWork, PPOWork, Work, tree_work
from tltrain.ppo.prompts import draw_prompts, hold_back, number_of_rollouts
from tltrain.sft import check_learned, epoch_batches, hold_out, prefix_key, step_sequence
from tltrain.trajectory import Trajectory

if TYPE_CHECKING:
    from tltrain.testsets.base import TestSet

T = TypeVar("T")


class Deadline:
    """Limits the encoding for a quick estimate: `reached` once `seconds` have passed (None: never)."""

    def __init__(self, seconds: float | None) -> None:
        self.end = None if seconds is None else time.perf_counter() + seconds

    def reached(self) -> bool:
        """Whether the time is over."""
        return self.end is not None and time.perf_counter() > self.end


def from_enough(work: Callable[[float | None], T], seconds: float | None) -> T:
    """What `work` finds in a part of the data, as much as is encoded in `seconds`. Where that part is too small for a
    setting, more is encoded, up to all data.

    Raises:
        TLTrainError: what `work` raises for all data.
    """
    while True:
        started = time.perf_counter()
        try:
            return work(seconds)
        except TLTrainError:
            if seconds is None or time.perf_counter() - started < seconds:
                raise
            seconds = 4 * seconds + 0.1


def arm_order(trajectories: Sequence[Trajectory], config: SFTConfig, seed: int) -> tuple[list[list[int]], list[int]]:
    """The batches of an epoch (those that training uses), and the held-out trajectories, as indices.

    Raises:
        ConfigError: nothing or everything would be held out.
    """
    held, kept = hold_out(trajectories, config, seed)
    order = epoch_batches([trajectories[index] for index in kept], config, seed)
    return [[kept[position] for position in batch] for batch in order], held


def arm_work(
    trajectories: Sequence[Trajectory], encoder: Encoder, config: RunConfig, seconds: float | None = None
) -> ArmWork:
    """The work of SFT with an encoder; the epochs after the first are taken to be like it.

    Args:
        trajectories: the training split.
        encoder: of the arm.
        config: of the run; `sft` is set.
        seconds: encode batches for this long, and take the others to be like them; None: encode all.

    Raises:
        ConfigError: nothing or everything would be held out.
        DataError: no reply is left to learn.
    """
    assert config.sft is not None
    settings = config.sft
    order, held = arm_order(trajectories, settings, config.seed)
    deadline, encoding = Deadline(seconds), 0.0
    counts, seen = EncodingCounts(), 0
    batches_of: list[list[tuple[Trajectory, TokenSequence]]] = []
    for number, batch in enumerate(order):
        before = time.perf_counter()
        encoded = [encoder.encode(trajectories[index]) for index in batch]
        encoding += time.perf_counter() - before
        counts += sum((one.counts for one in encoded), EncodingCounts())
        steps = [step for one in encoded for step in one.steps if not step.masked]
        batches_of.append([(step.trajectory, step_sequence(step)) for step in steps])
        seen += len(batch)
        if number and deadline.reached():
            break
    check_learned(counts, config.max_length)
    drawn = sum(map(len, order))
    factor = drawn / seen
    updates = len(order)
    if settings.batch_unit == "step":
        batches_of = _batches_of_replies(list(chain(*batches_of)), settings, config.seed)
        updates = round(len(batches_of) * factor)
    updates *= settings.epochs
    total = Work()
    for samples in batches_of:
        total.add(tree_work([sequence for _, sequence in samples], config.max_tree_tokens))
    held_work = _held_out(trajectories, held, encoder, config, deadline)
    every = settings.held_out.every if settings.held_out else updates
    return ArmWork(
        updates=updates,
        trajectories=drawn,
        counts=_scaled(counts, factor),
        work=total.times(factor * settings.epochs),
        encode_seconds=encoding * factor,
        sample=next([sequence for _, sequence in samples] for samples in batches_of if samples),
        held_out=held_work,
        evaluations=-(-updates // every) if held else 0,
    )


def _batches_of_replies(
    replies: Sequence[tuple[Trajectory, TokenSequence]], config: SFTConfig, seed: int
) -> list[list[tuple[Trajectory, TokenSequence]]]:
    keys = [prefix_key(trajectory) for trajectory, _ in replies]
    return [[replies[index] for index in batch] for batch in batches(keys, config.batch_size, config.group_size, seed)]


def _held_out(
    trajectories: Sequence[Trajectory], held: Sequence[int], encoder: Encoder, config: RunConfig, deadline: Deadline
) -> Work:
    steps, seen = [], 0
    for index in held:
        steps += [step for step in encoder.steps(trajectories[index]) if not step.masked]
        seen += 1
        if deadline.reached():
            break
    return tree_work([step_sequence(step) for step in steps], config.max_tree_tokens).times(len(held) / max(seen, 1))


def _scaled(counts: EncodingCounts, factor: float) -> EncodingCounts:
    if factor == 1:
        return counts
    values = {name: round(value * factor) for name, value in counts.to_json().items()}
    return EncodingCounts(**values, reasons=counts.reasons)


def ppo_work(
    trajectories: Sequence[Trajectory], encoder: Encoder, config: RunConfig, seconds: float | None = None
) -> PPOWork:
    """The work of PPO, for replies as long as the golds.

    Arguments as for `arm_work`. Trees of rollouts are built for `seconds` too, and the others taken to be like them.

    Raises:
        ConfigError: the settings leave no prompt or no rollout to train or to validate on.
        DataError: there is no prompt.
    """
    assert config.ppo is not None
    settings = config.ppo
    started = time.perf_counter()
    prompts, golds, seen = _prompts(trajectories, encoder, config, Deadline(seconds))
    factor = len(trajectories) / seen
    encoding = (time.perf_counter() - started) * factor
    held: list[int] = []
    if settings.validation is not None:
        kept, _ = hold_back(list(prompts), settings.validation.share, config.seed)
        names = {prompt.name for prompt in kept}
        held = [index for index, prompt in enumerate(prompts) if prompt.name in names]
    trained = [index for index in range(len(prompts)) if index not in set(held)]
    left, lengths = [prompts[index] for index in trained], [golds[index] for index in trained]
    rollouts = number_of_rollouts(settings, round(len(left) * factor))
    decoding, measured, update = [], Work(), Work()
    deadline = Deadline(seconds)
    for number in range(1, rollouts + 1):
        drawn = draw_prompts(left, number, settings, config.seed)
        repeated = [index for index in drawn for _ in range(settings.samples)]
        limits = [min(lengths[index], settings.max_new_tokens) for index in repeated]
        ids = [left[index].ids for index in repeated]
        decoding.append(decoding_of(ids, limits, settings.max_new_tokens))
        sequences = [_sampled(prompt, length, at) for at, (prompt, length) in enumerate(zip(ids, limits, strict=True))]
        measured.add(tree_work(sequences, config.max_tree_tokens, keep_all=True))
        for part in range(settings.minibatches):
            update.add(tree_work(sequences[part :: settings.minibatches], config.max_tree_tokens, keep_all=True))
        if deadline.reached():
            break
    times = rollouts / len(decoding)
    return PPOWork(
        rollouts=rollouts,
        replies=rollouts * settings.prompts * settings.samples,
        updates=rollouts * settings.epochs * settings.minibatches,
        decoding=decoding,
        factor=times,
        validation=_validation([prompts[index] for index in held], [golds[index] for index in held], settings),
        validations=factor * (1 + -(-rollouts // settings.validation.every)) if settings.validation else 0,
        measured=measured.times(times),
        update=update.times(times * settings.epochs),
        policy_share=1 - settings.critic_warmup / rollouts,
        encode_seconds=encoding,
        sample=[_any_sequence(left[0].ids)],
    )


def samples_failed(config: RunConfig) -> bool:
    """Whether PPO's prompts are those of all replies: after SFT without MAE, as failed calls are part of what that arm
    learns from. Otherwise they are those of unfailed replies."""
    return config.sft is not None and config.ppo is not None and not ARMS[config.ppo.arm].mae


def _prompts(
    trajectories: Sequence[Trajectory], encoder: Encoder, config: RunConfig, deadline: Deadline
) -> tuple[list[Prompt], list[int], int]:
    """PPO's prompts, the tokens of their golds, and the number of trajectories that were encoded. As in a run, one that
    cannot be encoded gives no prompt."""
    prompts: list[Prompt] = []
    golds: list[int] = []
    failed, seen = samples_failed(config), 0
    keys = [prefix_key(trajectory) for trajectory in trajectories]
    for index in chain(*batches(keys, 16, 8, config.seed)):
        trajectory = trajectories[index]
        lengths = {step.message: len(step.reply_ids) for step in encoder.steps(trajectory)}
        found = [prompt for prompt in encoder.prompts(trajectory, failed) if prompt.message in lengths]
        prompts += found
        golds += [lengths[prompt.message] for prompt in found]
        seen += 1
        if prompts and deadline.reached():
            break
    if not prompts:
        kind = "reply" if failed else "unfailed reply"
        within = "" if config.max_length is None else f" whose prompt is shorter than max_length {config.max_length}"
        raise DataError(f"nothing to sample from: the training split has no {kind}{within}")
    return prompts, golds, seen


def _sampled(prompt: Sequence[int], length: int, number: int) -> TokenSequence:
    """A sampled reply of that length, which shares no token with other samples; ids do not matter to the work."""
    return TokenSequence(
        [*prompt, *range(-1 - number, -1 - number - length * 1_000, -1_000)], len(prompt), [1.0] * length
    )


def _validation(prompts: Sequence[Prompt], golds: Sequence[int], settings: PPOConfig) -> list[Decoding]:
    """Of one validation."""
    limits = [min(length, settings.max_new_tokens) for length in golds]
    size = settings.prompts * settings.samples
    ids = [prompt.ids for prompt in prompts for _ in range(1 + settings.samples)]
    lengths = [length for length in limits for _ in range(1 + settings.samples)]
    return [
        decoding_of(ids[at : at + size], lengths[at : at + size], settings.max_new_tokens)
        for at in range(0, len(ids), size)
    ]


def decoding_of(prompts: Sequence[Sequence[int]], lengths: Sequence[int], room: int) -> Decoding:
    """The work of generating replies of these lengths (`room` at most) to prompts in one batch."""
    ordered = sorted(map(list, prompts))
    sequences = [TokenSequence(prompt, len(prompt), ()) for prompt in ordered]
    prefill = tree_work(sequences, PREFILL_TOKENS)
    prefill.predicted = len(set(map(tuple, ordered)))
    mean = sum(map(len, ordered)) / len(ordered) + sum(lengths) / len(lengths) / 2
    return Decoding(prefill, len(ordered), _longest_own_part(ordered) + room, mean, tuple(lengths), room)


def _longest_own_part(ordered: Sequence[Sequence[int]]) -> int:
    """Most tokens of a prompt after the prefix that it shares with its neighbours, at least the last one."""
    shared = [0, *(common_prefix(one, other) for one, other in pairwise(ordered)), 0]
    return max(
        len(prompt) - min(max(before, after), len(prompt) - 1)
        for prompt, before, after in zip(ordered, shared[:-1], shared[1:], strict=True)
    )


def eval_work(
    tests: Sequence[TestSet], golds: Sequence[int], encoder: Encoder, config: RunConfig, seconds: float | None = None
) -> EvalWork:
    """The work of evaluating one model on all test splits.

    Args:
        tests: the splits.
        golds: lengths of their golds, in any order.
        encoder: of the run.
        config: of the run; `eval.max_new_tokens` is set.
        seconds: see `arm_work`.
    """
    assert config.eval is not None and config.eval.max_new_tokens is not None
    deadline, started = Deadline(seconds), time.perf_counter()
    decoding: list[Decoding] = []
    lengths = cycle(golds or [config.eval.max_new_tokens])
    items = seen = 0
    ids: list[list[int]] = []
    for test in tests:
        sampled = test.sample(config.eval.trajectories, config.data_seed)
        items += len(sampled.items)
        ids = _fitting(sampled, encoder, config, deadline)
        seen += len(ids)
        for at in range(0, len(ids), config.eval.batch_size):
            part = ids[at : at + config.eval.batch_size]
            limits = [min(length, config.eval.max_new_tokens) for length in islice(lengths, len(part))]
            decoding.append(decoding_of(part, limits, config.eval.max_new_tokens))
    factor = items / max(seen, 1)
    sample = [_any_sequence(ids[0] if ids else [0])]  # where every prompt is too long, the evaluation itself says so
    return EvalWork(items, decoding, factor, (time.perf_counter() - started) * factor, sample)


def _any_sequence(prompt: Sequence[int]) -> TokenSequence:
    """A prompt with a reply of a token, to measure with."""
    return TokenSequence([*prompt, prompt[-1]], len(prompt), [1.0])


def _fitting(test: TestSet, encoder: Encoder, config: RunConfig, deadline: Deadline) -> list[list[int]]:
    """Token ids of the prompts that are shorter than the limit, in their order; with a deadline, the first ones."""
    ids: list[list[int]] = []
    for item in test.items:
        prompt = encoder.prompt_ids(item.prompt)
        if config.max_length is None or len(prompt) < config.max_length:
            ids.append(prompt)
        if ids and deadline.reached():
            break
    return sorted(ids)
