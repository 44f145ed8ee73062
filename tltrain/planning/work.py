"""Records of the work of a run, and the work of a token tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tltrain.encode import EncodingCounts
from tltrain.engine.passes import Pass, plan_passes
from tltrain.engine.tree import TokenSequence, TokenTree
from tltrain.planning.model_size import ModelSize


@dataclass(slots=True)
class Work:
    """Tokens that go through the model in some passes, and what their cost depends on."""

    tokens: float = 0.0
    """Distinct tokens: what the model computes."""
    separate_tokens: float = 0.0
    """Tokens of the sequences without shared prefixes."""
    context: float = 0.0
    """Sum over the tokens of the number of tokens that each attends to."""
    predicted: float = 0.0
    """Positions that are multiplied by the output matrix."""
    largest_pass: int = 0
    """Most tokens in memory at once: of a pass and the prefixes that it depends on."""
    largest_predicted: int = 0
    """Most predicting positions of a tree."""

    def add(self, other: Work) -> None:
        """Add the work of further passes."""
        self.tokens += other.tokens
        self.separate_tokens += other.separate_tokens
        self.context += other.context
        self.predicted += other.predicted
        self.largest_pass = max(self.largest_pass, other.largest_pass)
        self.largest_predicted = max(self.largest_predicted, other.largest_predicted)

    def times(self, factor: float) -> Work:
        """The work of `factor` times as many passes of the same sizes."""
        return Work(
            self.tokens * factor,
            self.separate_tokens * factor,
            self.context * factor,
            self.predicted * factor,
            self.largest_pass,
            self.largest_predicted,
        )

    def flops(self, size: ModelSize) -> float:
        """Floating-point operations of a forward pass."""
        attention = 4 * size.layers * size.attention * self.context
        return 2 * size.body * self.tokens + attention + 2 * size.vocabulary * size.hidden * self.predicted


def tree_work(sequences: Sequence[TokenSequence], max_tokens: int, keep_all: bool = False) -> Work:
    """The work of one forward pass over the tree of some sequences."""
    if not sequences:
        return Work()
    tree = TokenTree(sequences, keep_all)
    predicted = len(tree.predicted().rows)
    return Work(
        tokens=len(tree),
        separate_tokens=tree.separate_tokens,
        context=float(tree.positions.sum()) + len(tree),
        predicted=predicted,
        largest_pass=max(_in_memory(tree, plan_passes(tree, max_tokens))),
        largest_predicted=predicted,
    )


def _in_memory(tree: TokenTree, passes: Sequence[Pass], above: int = 0) -> Iterator[int]:
    """The tokens of each pass together with those of the passes that it is nested in."""
    for node in passes:
        own = above + tree.segments[node.end - 1].end - tree.segments[node.begin].begin
        yield own
        yield from _in_memory(tree, node.children, own)


@dataclass(frozen=True, slots=True)
class ArmWork:
    """SFT of one arm."""

    updates: int
    trajectories: int
    counts: EncodingCounts
    work: Work
    """Of all updates, forward passes only."""
    encode_seconds: float
    """How long encoding takes on this machine."""
    sample: list[TokenSequence]
    """The sequences of a typical update."""
    held_out: Work = field(default_factory=Work)
    """Of one evaluation of the held-out loss."""
    evaluations: int = 0


@dataclass(frozen=True, slots=True)
class Decoding:
    """Replies that are generated together: their prompts' tree, and the assumed lengths of the replies."""

    prefill: Work
    replies: int
    own_tokens: int
    """Tokens of a reply's buffer: the rest of its prompt and room for the reply."""
    context: float
    """Mean number of tokens that a new token attends to."""
    lengths: tuple[int, ...]
    """Of the golds."""
    limit: int
    """Most tokens of a reply."""


@dataclass(frozen=True, slots=True)
class PPOWork:
    """PPO. The work of passes is that of all rollouts."""

    rollouts: int
    replies: int
    """Replies that are sampled in all, without validation."""
    updates: int
    decoding: list[Decoding]
    factor: float
    """How many times as much decoding there is in all: more than 1 for a quick estimate from some rollouts."""
    validation: list[Decoding]
    """Of one validation."""
    validations: float
    """How many times as much there is in all, validations of more prompts than a quick estimate looks at included."""
    measured: Work
    """One forward pass over all rollouts."""
    update: Work
    """Forward passes of all updates of one network."""
    policy_share: float
    """Share of the rollouts that update the policy; the first ones may be the critic's."""
    encode_seconds: float
    sample: list[TokenSequence]
    """A prompt."""


@dataclass(frozen=True, slots=True)
class EvalWork:
    """Evaluation of one model."""

    items: int
    decoding: list[Decoding]
    factor: float
    """How many times as much work there is in all: more than 1 for a quick estimate from some items."""
    encode_seconds: float
    sample: list[TokenSequence]
    """A prompt."""
