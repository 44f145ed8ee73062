"""Trajectory and tokenizer to steps: prompt ids, reply ids, and a loss weight for each reply token (MAE and PKT)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from tltrain.audit.failure_detectors import CallAssessment, assess_calls
from tltrain.errors import TemplateError
from tltrain.trajectory import Call, Message, Tool, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT_W_MAX = 9.0
_PROBE = "zqprobe"
"""Stands for a name or a text where a template is asked where it writes them; no natural text holds it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One reply with all that precedes it, as token ids.

    `weights` and `notes` have one entry per reply token; a note says why a weight is not 1 ("key token", or why the
    reply or call failed). `text` is the reply as rendered, stop token included where the template writes it.
    """

    prompt_ids: list[int]
    reply_ids: list[int]
    weights: list[float]
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
        """Whether no token of the reply is in the loss."""
        return not any(self.weights)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked at one unfailed step of a trajectory: token ids, and the gold calls (none: a text)."""

    ids: list[int]
    gold: tuple[Call, ...]
    tools: tuple[Tool, ...]
    trajectory: Trajectory
    message: int

    @property
    def name(self) -> str:
        """`trajectory#message`, for reports."""
        return f"{self.trajectory.id or self.trajectory.source}#{self.message}"


@dataclass(slots=True)
class EncodingCounts:
    """What became of the replies of a data set."""

    replies: int = 0
    masked: int = 0
    """Whole replies out of the loss: failed, or labelled 0."""
    partly_masked: int = 0
    """Replies of which only some parallel calls failed."""
    cut: int = 0
    """Replies whose tail the length limit removed."""
    dropped: int = 0
    """Replies with nothing left to learn: the prompt alone reaches the length limit."""
    tokens: int = 0
    """Reply tokens within the limit."""
    learned: int = 0
    """Of these, tokens of weight > 0."""
    key: int = 0
    """Of these, key tokens."""
    reasons: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """Counts by name."""
        names = ("replies", "masked", "partly_masked", "cut", "dropped", "tokens", "learned", "key")
        return {name: getattr(self, name) for name in names}


def key_positions(name: Sequence[int], others: Iterable[Sequence[int]]) -> list[int]:
    """Positions of the key tokens of a tool name among other names, all as token sequences (PKT).

    The first token decides, and so does the token at the end of each non-empty common prefix with another name.
    Position `len(name)` is the token right after the name, where the name is itself such a prefix.
    """
    positions = {0} if name else set()
    for other in others:
        if list(other) == list(name):
            continue
        shared = 0
        while shared < min(len(name), len(other)) and name[shared] == other[shared]:
            shared += 1
        if shared:
            positions.add(shared)
    return sorted(positions)


def key_weight(other_tokens: int, key_tokens: int, w_max: float = DEFAULT_W_MAX) -> float:
    """Loss weight of a reply's key tokens: `clip(|NK| / |K|, 1, w_max)`; 1 where there is none."""
    return min(max(other_tokens / key_tokens, 1.0), w_max) if key_tokens else 1.0


class Encoder:
    """Encodes trajectories for one tokenizer.

    Args:
        tokenizer: a fast one, whose chat template knows tools.
        mae: keep failed calls out of the loss. Replies labelled 0 are out in any case.
        pkt: weigh key tokens.
        w_max: the largest weight.
        mode: of the failure readers.
        max_length: the most tokens of prompt and reply; None for no limit.
        stop_ids: further ids that end a reply, as the model's generation configuration names them.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        mae: bool = True,
        pkt: bool = True,
        w_max: float = DEFAULT_W_MAX,
        mode: Literal["default", "paper"] = "default",
        max_length: int | None = None,
        stop_ids: Sequence[int] = (),
    ) -> None:
        self.tokenizer, self.mae, self.pkt, self.w_max, self.mode = tokenizer, mae, pkt, w_max, mode
        self.max_length = max_length
        self.more_stop_ids = tuple(stop_ids)
        self.counts = EncodingCounts()

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end a reply: the end of text, what the template writes after a reply, and those given."""
        asked = [Message("user", "a"), Message("assistant", _PROBE)]
        _, found, tail = self._render(Trajectory(tuple(asked)), asked).partition(_PROBE)
        after = self._ids(tail.lstrip())[:1] if found else []
        special = [token for token in after if token in self.tokenizer.added_tokens_decoder]
        end = self.tokenizer.eos_token_id
        return tuple(dict.fromkeys([*([] if end is None else [end]), *special, *self.more_stop_ids]))

    def steps(self, trajectory: Trajectory) -> list[Step]:
        """Every reply of a trajectory as a step, masked ones too; counted in `counts`. Replies with nothing left
        within the length limit are missing, and counted as `dropped`.

        Raises:
            TemplateError: the chat template cannot render this, or its generation prompt is no prefix of the rendering.
        """
        readings = _by_message(assess_calls(trajectory, self.mode)) if self.mae else {}
        made = (self._step(trajectory, index, readings.get(index, [])) for index, _ in trajectory.replies())
        return [step for step in made if step is not None]

    def prompts(self, trajectory: Trajectory) -> Iterator[Prompt]:
        """What a model is asked at every unfailed reply, with the gold history. Prompts that reach the length limit
        are missing, and counted as `dropped`."""
        readings = _by_message(assess_calls(trajectory, self.mode))
        for index, message in trajectory.replies():
            if message.weight == 0 or any(reading.failed for reading in readings.get(index, [])):
                continue
            ids = self._ids(self._prompt_text(trajectory, index))
            if self.max_length is not None and len(ids) >= self.max_length:
                self.counts.dropped += 1
                continue
            yield Prompt(ids, message.calls, trajectory.tools, trajectory, index)

    def prompt_ids(self, trajectory: Trajectory) -> list[int]:
        """What a model receives that is to write the next reply."""
        return self._ids(self._prompt_text(trajectory, len(trajectory.messages)))

    def _step(self, trajectory: Trajectory, index: int, readings: Sequence[CallAssessment]) -> Step | None:
        prompt = self._prompt_text(trajectory, index)
        text = self._reply_text(trajectory, index, prompt)
        prompt_ids = self._ids(prompt)
        reply_ids, spans = self.reply_tokens(text)
        room = len(reply_ids) if self.max_length is None else max(self.max_length - len(prompt_ids), 0)
        self.counts.replies += 1
        self.counts.dropped += room == 0
        self.counts.cut += 0 < room < len(reply_ids)
        if room == 0:
            return None
        reply_ids, spans = reply_ids[:room], spans[:room]
        notes = self._masks(trajectory, index, readings, spans, prompt, text)
        keys = self._keys(trajectory, index, reply_ids, spans, prompt, text) if self.pkt else set()
        weights = self._weights(notes, keys)
        self.counts.tokens += len(weights)
        self.counts.learned += sum(weight > 0 for weight in weights)
        return Step(prompt_ids, reply_ids, weights, notes, text, trajectory, index)

    def _weights(self, notes: list[str], keys: set[int]) -> list[float]:
        """Weight of every token; marks the key tokens in `notes`, where the masked ones are."""
        masked = sum(map(bool, notes))
        keys = {position for position in keys if not notes[position]}
        weight = key_weight(len(notes) - masked - len(keys), len(keys), self.w_max)
        weights = [0.0 if note else weight if place in keys else 1.0 for place, note in enumerate(notes)]
        for position in keys:
            notes[position] = "key token"
        self.counts.key += len(keys)
        self.counts.masked += masked == len(notes)
        self.counts.partly_masked += 0 < masked < len(notes)
        return weights

    def _masks(
        self,
        trajectory: Trajectory,
        index: int,
        readings: Sequence[CallAssessment],
        spans: list[tuple[int, int]],
        prompt: str,
        text: str,
    ) -> list[str]:
        """Why each reply token is out of the loss; empty where it is in it."""
        if trajectory.messages[index].weight == 0:
            return ["labelled"] * len(spans)
        failed = [reading for reading in readings if reading.failed]
        for reading in failed:
            self.counts.reasons[str(reading.reason)] += 1
        if failed and len(failed) == len(readings):
            return [str(failed[0].reason)] * len(spans)
        notes = [""] * len(spans)
        if failed:
            places = self._call_spans(trajectory, index, prompt, text)
            for reading in failed:
                begin, end = places[reading.index]
                for token, (_, token_end) in enumerate(spans):
                    if begin < token_end <= end:
                        notes[token] = str(reading.reason)
        return notes

    def _call_spans(self, trajectory: Trajectory, index: int, prompt: str, text: str) -> list[tuple[int, int]]:
        """Characters of the reply that each of its calls takes, found by rendering the reply with fewer calls.

        A call ends where the rendering with one call more begins to differ, or where the reply stops; so the last
        one is rendered twice. What stands before a call and is written only with it (a separator, an opening bracket)
        is the call's. A token that two calls share belongs to the later one: tokens are told by their ends.
        """
        message = trajectory.messages[index]
        fewer = [self._with(trajectory, index, replace(message, calls=message.calls[:count]), prompt)
                 for count in range(len(message.calls))]  # fmt: skip
        more = self._with(trajectory, index, replace(message, calls=(*message.calls, message.calls[-1])), prompt)
        # A stop token may begin like a call does (`<`), so that the texts differ only inside them.
        ends = [min(_common_text(a, b), self.reply_tokens(a)[1][-1][0]) for a, b in pairwise([*fewer, text, more])]
        return list(pairwise(ends))

    def _keys(
        self,
        trajectory: Trajectory,
        index: int,
        reply_ids: list[int],
        spans: list[tuple[int, int]],
        prompt: str,
        text: str,
    ) -> set[int]:
        """Positions of the key tokens of all calls in the reply."""
        calls = trajectory.messages[index].calls
        places = self._name_places(trajectory, index, prompt, text) if calls else []
        keys: set[int] = set()
        for call, place in zip(calls, places, strict=True):
            own = _overlapping(spans, place, place + len(call.name))
            if not own:
                continue  # the length limit cut the name off
            others = dict.fromkeys(tool.name for tool in trajectory.tools if tool.name not in ("", call.name))
            there = self.names_there(text, place, len(call.name), list(others))
            for position in key_positions([reply_ids[token] for token in own], there):
                if own[0] + position < len(reply_ids):
                    keys.add(own[0] + position)
        return keys

    def names_there(self, text: str, place: int, length: int, names: list[str]) -> list[list[int]]:
        """Token ids of other names, tokenised in the place of the reply's own."""
        if not names:
            return []
        rows = zip(names, self._tokens([text[:place] + name + text[place + length :] for name in names]), strict=True)
        return [[ids[token] for token in _overlapping(spans, place, place + len(name))] for name, (ids, spans) in rows]

    def _name_places(self, trajectory: Trajectory, index: int, prompt: str, text: str) -> list[int]:
        """Where in the reply each call's name begins: where a probe stands when the names are replaced by it."""
        message = trajectory.messages[index]
        calls = tuple(replace(call, name=_PROBE) for call in message.calls)
        probed = self._with(trajectory, index, replace(message, calls=calls), prompt)
        places, position, shift = [], 0, 0
        for call in message.calls:
            found = probed.find(_PROBE, position)
            if found < 0 or not text.startswith(call.name, found + shift):
                raise TemplateError(
                    f"{_place(trajectory, index)}: the chat template does not write the name {call.name!r}"
                )
            places.append(found + shift)
            position = found + len(_PROBE)
            shift += len(call.name) - len(_PROBE)
        return places

    def _with(self, trajectory: Trajectory, index: int, reply: Message, prompt: str) -> str:
        messages = (*trajectory.messages[:index], reply)
        return self._render(trajectory, messages)[len(prompt) :]

    def _prompt_text(self, trajectory: Trajectory, index: int) -> str:
        return self._render(trajectory, trajectory.messages[:index], generation_prompt=True)

    def _reply_text(self, trajectory: Trajectory, index: int, prompt: str) -> str:
        full = self._render(trajectory, trajectory.messages[: index + 1])
        if not full.startswith(prompt):
            shared = _common_text(full, prompt)
            raise TemplateError(
                f"{_place(trajectory, index)}: the chat template's generation prompt is no prefix of the full "
                f"rendering: after {len(prompt[:shared])} equal characters it has {prompt[shared : shared + 30]!r}, "
                f"the rendering {full[shared : shared + 30]!r}"
            )
        return full[len(prompt) :]

    def _render(self, trajectory: Trajectory, messages: Sequence[Message], generation_prompt: bool = False) -> str:
        try:
            text: str = self.tokenizer.apply_chat_template(
                [template_message(message) for message in messages],
                tools=[tool.to_json() for tool in trajectory.tools] or None,
                add_generation_prompt=generation_prompt,
                tokenize=False,
            )
        except Exception as error:  # Jinja and what a template may raise by itself
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise TemplateError(
                f"{_place(trajectory, len(messages) - 1)}: the chat template fails: {reason}"
            ) from error
        return text

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _tokens(self, texts: list[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Ids and character spans of texts that stand behind a prompt."""
        lead = self._lead
        encoded = self.tokenizer([lead + text for text in texts], add_special_tokens=False, return_offsets_mapping=True)
        tokens = []
        for ids, spans in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            first = sum(end <= len(lead) for _, end in spans) if lead else 0
            tokens.append((ids[first:], [(max(a - len(lead), 0), b - len(lead)) for a, b in spans[first:]]))
        return tokens

    @cached_property
    def _lead(self) -> str:
        """Put before a text, and its tokens taken off again, where the tokenizer adds a space to the beginning of every
        text (as Llama 2's does): a reply has a prompt before it. Empty for other tokenizers."""
        written = self.tokenizer.convert_ids_to_tokens(self._ids("a"))
        return "" if "".join(written) == "a" else "\n"

    def reply_tokens(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids and character spans of a reply up to its stop token, which is added where the template writes none."""
        ids, spans = self._tokens([text])[0]
        for position in range(len(ids) - 1, -1, -1):
            if ids[position] in self.stop_ids and not text[spans[position][1] :].strip():
                return ids[: position + 1], spans[: position + 1]
        if not self.stop_ids:
            raise TemplateError("neither the tokenizer nor the chat template has a token that ends a reply")
        return [*ids, self.stop_ids[0]], [*spans, (len(text), len(text) + 1)]


def template_message(message: Message) -> dict[str, Any]:
    """A message as chat templates expect it: arguments as objects, no label, an empty text for no content."""
    value = replace(message, weight=None, extra={}).to_json()
    return value | {"content": message.content or ""}


def _by_message(readings: Iterable[CallAssessment]) -> dict[int, list[CallAssessment]]:
    grouped: dict[int, list[CallAssessment]] = {}
    for reading in readings:
        grouped.setdefault(reading.message, []).append(reading)
    return grouped


def _overlapping(spans: Sequence[tuple[int, int]], begin: int, end: int) -> list[int]:
    """Indices of the tokens that share a character with `begin:end`."""
    return [token for token, (first, last) in enumerate(spans) if first < end and last > begin]


def _common_text(a: str, b: str) -> int:
    length = min(len(a), len(b))
    return next((place for place in range(length) if a[place] != b[place]), length)


def _place(trajectory: Trajectory, index: int) -> str:
    return f"{trajectory.source or trajectory.id or 'trajectory'}, message {index}"
