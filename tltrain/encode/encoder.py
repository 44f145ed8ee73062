"""Encodes trajectories as steps: prompt ids, reply ids, and a loss weight for each reply token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tltrain.audit.failure_detectors import CallAssessment, assess_calls
from tltrain.encode.key_tokens import DEFAULT_W_MAX, argument_ends, reply_key_positions, token_weights
from tltrain.encode.masks import mask_reasons
from tltrain.encode.rendering import Renderer, Span
from tltrain.trajectory import Call, Tool, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KEY_TOKEN = "key token"
"""Note of the key tokens."""
UNANSWERED = "followed by another message than a tool's"
"""Note of the tokens of a reply that `answered_only` excludes."""


@dataclass(frozen=True, slots=True)
class Step:
    """One reply with everything before it, as token ids.

    `weights` and `notes` have an entry for each reply token; a note says why a weight is not 1 ("key token", or why the
    reply or call failed). `text` is the rendered reply, with the stop token if the template writes it.
    """

    prompt_ids: list[int]
    reply_ids: list[int]
    weights: list[float]
    _: KW_ONLY
    notes: list[str]
    text: str
    trajectory: Trajectory
    message: int

    @property
    def gold(self) -> tuple[Call, ...]:
        """The calls of the reply."""
        return self.trajectory.messages[self.message].calls

    @property
    def masked(self) -> bool:
        """Whether the whole reply is excluded from the loss."""
        return not any(self.weights)


@dataclass(frozen=True, slots=True)
class Prompt:
    """The input of a model at an unfailed step of a trajectory: token ids, and the gold calls (empty for a text)."""

    ids: list[int]
    gold: tuple[Call, ...]
    tools: tuple[Tool, ...]
    trajectory: Trajectory
    message: int
    room: int | None = None
    """Tokens that a reply may have within the length limit; None for no limit."""

    @property
    def name(self) -> str:
        """`trajectory#message`, for reports."""
        return f"{self.trajectory.id or self.trajectory.source}#{self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodingCounts:
    """Counts of encoded replies; those of several trajectories are added with `+`."""

    replies: int = 0
    masked: int = 0
    """Replies excluded from the loss as a whole: failed, or labelled 0."""
    partly_masked: int = 0
    """Replies of which only some parallel calls failed."""
    cut: int = 0
    """Replies truncated by the length limit."""
    dropped: int = 0
    """Replies without any token left, because the prompt alone reaches the length limit."""
    tokens: int = 0
    """Reply tokens within the limit."""
    learned: int = 0
    """Reply tokens of weight > 0."""
    key: int = 0
    """Key tokens in the loss."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Failed calls by reason."""

    def __add__(self, other: EncodingCounts) -> EncodingCounts:
        return EncodingCounts(
            replies=self.replies + other.replies,
            masked=self.masked + other.masked,
            partly_masked=self.partly_masked + other.partly_masked,
            cut=self.cut + other.cut,
            dropped=self.dropped + other.dropped,
            tokens=self.tokens + other.tokens,
            learned=self.learned + other.learned,
            key=self.key + other.key,
            reasons=self.reasons + other.reasons,
        )

    def to_json(self) -> dict[str, Any]:
        """Counts by name, without the reasons."""
        return {
            "replies": self.replies,
            "masked": self.masked,
            "partly_masked": self.partly_masked,
            "cut": self.cut,
            "dropped": self.dropped,
            "tokens": self.tokens,
            "learned": self.learned,
            "key": self.key,
        }


@dataclass(frozen=True, slots=True)
class Encoded:
    """The steps of a trajectory, and what became of its replies."""

    steps: list[Step]
    counts: EncodingCounts


class Encoder:
    """Encodes trajectories for one tokenizer.

    Args:
        tokenizer: a fast tokenizer whose chat template supports tools.
        mae: exclude failed calls from the loss. Replies labelled 0 are excluded in any case.
        pkt: weight key tokens.
        w_max: upper limit of the weight of key tokens.
        mode: mode of the failure detectors.
        max_length: maximum number of tokens of prompt and reply; None for no limit.
        stop_ids: further ids that end a reply, as listed in the model's generation configuration.
        answered_only: exclude replies that are followed by a message other than a tool's, whatever `mae` is.
        argument_ends: count tokens that end an argument among the tokens that are not key tokens.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        mae: bool = True,
        pkt: bool = True,
        w_max: float = DEFAULT_W_MAX,
        mode: Literal["default", "paper"] = "default",
        max_length: int | None = None,
        stop_ids: Sequence[int] = (),
        answered_only: bool = False,
        argument_ends: bool = True,
    ) -> None:
        self.tokenizer, self.mae, self.pkt, self.w_max, self.mode = tokenizer, mae, pkt, w_max, mode
        self.max_length, self.answered_only, self.argument_ends = max_length, answered_only, argument_ends
        self.renderer = Renderer(tokenizer, stop_ids)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end a reply: end of text, the special token the template writes after a reply, and those given."""
        return self.renderer.stop_ids

    def encode(self, trajectory: Trajectory) -> Encoded:
        """Every reply of a trajectory as a step, masked replies too, with their counts. Replies without any token left
        within the length limit have no step, and are counted as `dropped`.

        Raises:
            TemplateError: the template cannot render this, or its generation prompt is not a prefix of the rendering.
        """
        readings = self._readings(trajectory) if self.mae else {}
        steps, counts = [], EncodingCounts()
        for index, _ in trajectory.replies():
            step, counted = self._step(trajectory, index, readings.get(index, []))
            steps += [] if step is None else [step]
            counts += counted
        return Encoded(steps, counts)

    def steps(self, trajectory: Trajectory) -> list[Step]:
        """The steps of `encode`, without the counts."""
        return self.encode(trajectory).steps

    def unfailed_replies(self, trajectory: Trajectory) -> list[int]:
        """Message indices of the replies that are neither labelled 0 nor contain a failed call."""
        readings = self._readings(trajectory)
        return [
            index
            for index in self._learned_replies(trajectory)
            if not any(reading.failed for reading in readings.get(index, []))
        ]

    def prompts(self, trajectory: Trajectory, failed: bool = False) -> Iterator[Prompt]:
        """The prompt of every unfailed reply, with the gold history; with `failed`, of failed replies too. Replies
        labelled 0, those that `answered_only` excludes and prompts that reach the length limit are skipped.

        Raises:
            TemplateError: the chat template cannot render this.
        """
        for index in self._learned_replies(trajectory) if failed else self.unfailed_replies(trajectory):
            ids = self.renderer.token_ids(self.renderer.prompt(trajectory, index))
            room = None if self.max_length is None else self.max_length - len(ids)
            if room is None or room > 0:
                yield Prompt(ids, trajectory.messages[index].calls, trajectory.tools, trajectory, index, room)

    def prompt_length(self, trajectory: Trajectory, index: int) -> int:
        """Tokens of the prompt of the reply that is message `index`.

        Raises:
            TemplateError: the chat template cannot render this.
        """
        return len(self.renderer.token_ids(self.renderer.prompt(trajectory, index)))

    def prompt_ids(self, trajectory: Trajectory) -> list[int]:
        """The input of a model that is to write the next reply of a trajectory.

        Raises:
            TemplateError: the chat template cannot render this.
        """
        return self.renderer.token_ids(self.renderer.prompt(trajectory, len(trajectory.messages)))

    def reply_tokens(self, text: str) -> tuple[list[int], list[Span]]:
        """Ids and character spans of a reply up to its stop token, which is added if the template writes none."""
        return self.renderer.reply_tokens(text)

    def names_there(self, text: str, offset: int, length: int, names: list[str]) -> list[list[int]]:
        """Token ids of each of `names` when it replaces `text[offset : offset + length]`."""
        return self.renderer.substituted_names(text, offset, length, names)

    def _learned_replies(self, trajectory: Trajectory) -> list[int]:
        """Message indices of the replies that are excluded neither by their label nor by `answered_only`."""
        return [
            index
            for index, message in trajectory.replies()
            if message.weight != 0 and not self._is_unanswered(trajectory, index)
        ]

    def _is_unanswered(self, trajectory: Trajectory, index: int) -> bool:
        """Whether a reply is excluded because of the message that follows it."""
        following = trajectory.messages[index + 1 : index + 2]
        return self.answered_only and any(message.role != "tool" for message in following)

    def _readings(self, trajectory: Trajectory) -> dict[int, list[CallAssessment]]:
        """Whether each call failed, by message index."""
        grouped: dict[int, list[CallAssessment]] = {}
        for reading in assess_calls(trajectory, self.mode):
            grouped.setdefault(reading.message, []).append(reading)
        return grouped

    def _step(
        self, trajectory: Trajectory, index: int, readings: Sequence[CallAssessment]
    ) -> tuple[Step | None, EncodingCounts]:
        reply = self.renderer.reply(trajectory, index)
        prompt_ids = self.renderer.token_ids(reply.prompt)
        reply_ids, spans = self.renderer.reply_tokens(reply.text)
        room = len(reply_ids) if self.max_length is None else max(self.max_length - len(prompt_ids), 0)
        if room == 0:
            return None, EncodingCounts(replies=1, dropped=1)
        cut = room < len(reply_ids)
        reply_ids, spans = reply_ids[:room], spans[:room]
        notes = mask_reasons(self.renderer, reply, readings, spans)
        if self._is_unanswered(trajectory, index):
            notes = [note or UNANSWERED for note in notes]
        keys = reply_key_positions(self.renderer, reply, reply_ids, spans) if self.pkt else set()
        keys = {position for position in keys if not notes[position]}
        tokens = [] if self.argument_ends else self.tokenizer.convert_ids_to_tokens(reply_ids)
        weights = token_weights(notes, keys, self.w_max, argument_ends(tokens))
        for position in keys:
            notes[position] = KEY_TOKEN
        step = Step(prompt_ids, reply_ids, weights, notes=notes, text=reply.text, trajectory=trajectory, message=index)
        learned = sum(weight > 0 for weight in weights)
        labelled = reply.message.weight == 0
        counts = EncodingCounts(
            replies=1,
            masked=int(learned == 0),
            partly_masked=int(0 < learned < len(weights)),
            cut=int(cut),
            tokens=len(weights),
            learned=learned,
            key=len(keys),
            reasons=Counter(str(reading.reason) for reading in readings if reading.failed and not labelled),
        )
        return step, counts
