"""Asking a model, here or behind an endpoint: prompts by index go in, lines of a prediction file come out.

A line is `{"index", "text", "dialect", "finished"}`, with `calls` where an endpoint told them apart, `reason` where
there is no answer (then `finished` is false, and the judge finds nothing to read), and `tokens`.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tltrain.errors import TemplateError
from tltrain.evaluation.endpoint import Answer, Endpoint
from tltrain.trajectory import Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tltrain.config import BenchConfig
    from tltrain.encode import Encoder
    from tltrain.engine.generate import Generated

Line = dict[str, Any]


class Asker(Protocol):
    """What answers prompts."""

    def ask(self, prompts: Mapping[int, Trajectory], done: Container[int]) -> Iterator[list[Line]]:
        """Lines of the prompts whose index is not in `done`, some at a time, in any order."""
        ...


@dataclass(frozen=True, slots=True)
class Local:
    """A model in this process, decoding greedily."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    encoder: Encoder
    dialect: str
    max_new_tokens: int
    batch_size: int
    max_length: int | None = None
    """Most tokens of a prompt and its reply; None: as many as the model has positions for."""

    def ask(self, prompts: Mapping[int, Trajectory], done: Container[int]) -> Iterator[list[Line]]:
        """See `Asker`. Batches are planned over all prompts, so that a run that goes on has those of one that was not
        stopped, and the same rounding."""
        ids, refused = self._encode(prompts)
        yield [line for line in refused if line["index"] not in done]
        for batch in self.replies(ids, done):
            yield [self._line(index, list(one.ids), one.finished) for index, one in batch if index not in done]

    def replies(
        self, ids: Mapping[int, Sequence[int]], done: Container[int] = ()
    ) -> Iterator[list[tuple[int, Generated]]]:
        """What the model says after token ids, each shorter than `limit`, by index and a batch at a time; batches of
        which all are `done` are left out."""
        from tltrain.engine.generate import generate

        for batch, room in self._batches(ids):
            if all(index in done for index in batch):
                continue
            asked = [ids[index] for index in batch]
            given = generate(self.model, asked, self.encoder.stop_ids, room, batch_size=len(batch))
            yield list(zip(batch, given, strict=True))

    @property
    def limit(self) -> int:
        """Most tokens of a prompt and its reply."""
        positions = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return self.max_length or positions or 1 << 30

    def _encode(self, prompts: Mapping[int, Trajectory]) -> tuple[dict[int, list[int]], list[Line]]:
        """Token ids of the prompts that can be asked, and lines for the others."""
        ids: dict[int, list[int]] = {}
        refused = []
        for index, prompt in prompts.items():
            try:
                encoded = self.encoder.prompt_ids(prompt)
            except TemplateError as error:
                refused.append(unanswered(index, self.dialect, str(error)))
                continue
            if len(encoded) < self.limit:
                ids[index] = encoded
            else:
                reason = f"the prompt has {len(encoded)} tokens, and the model takes {self.limit}"
                refused.append(unanswered(index, self.dialect, reason) | {"too_long": True})
        return ids, refused

    def _batches(self, ids: Mapping[int, Sequence[int]]) -> Iterator[tuple[list[int], int]]:
        """Indices that are decoded together, and how many tokens a reply of theirs may have: prompts that leave less
        room than others are decoded alone."""
        from tltrain.engine.generate import batches

        wide = [index for index, prompt in ids.items() if len(prompt) + self.max_new_tokens <= self.limit]
        for places in batches(self.model, [ids[index] for index in wide], self.batch_size):
            yield [wide[place] for place in places], self.max_new_tokens
        for index, prompt in ids.items():
            if len(prompt) + self.max_new_tokens > self.limit:
                yield [index], self.limit - len(prompt)

    def _line(self, index: int, ids: list[int], finished: bool) -> Line:
        text = self.tokenizer.decode(ids[:-1] if finished else ids, skip_special_tokens=False)
        return {"index": index, "text": text, "dialect": self.dialect, "finished": finished, "tokens": len(ids)}


@dataclass(frozen=True, slots=True)
class Remote:
    """A model behind an endpoint; `dialect` is how it writes calls where its server does not tell them apart."""

    endpoint: Endpoint
    dialect: str
    max_new_tokens: int

    def ask(self, prompts: Mapping[int, Trajectory], done: Container[int]) -> Iterator[list[Line]]:
        """See `Asker`."""
        left = {index: prompt for index, prompt in prompts.items() if index not in done}
        for index, answer in self.endpoint.ask(left, self.max_new_tokens):
            yield [self._line(index, answer)]

    def _line(self, index: int, answer: Answer) -> Line:
        usage = {"prompt_tokens": answer.prompt_tokens, "tokens": answer.reply_tokens}
        if answer.refused is not None:
            return unanswered(index, self.dialect, answer.refused) | usage
        line = {"index": index, "text": answer.text, "dialect": self.dialect, "finished": answer.finished}
        line |= {"calls": list(answer.calls)} if answer.calls else {}
        return line | ({"sampled": True} if answer.sampled else {}) | usage


def load_local(place: str, config: BenchConfig) -> Local:
    """A model with its tokenizer, on the configuration's device."""
    from tltrain import model as models
    from tltrain.encode import Encoder
    from tltrain.pipeline import pick_device

    device = pick_device(config.device)
    tokenizer = models.load_tokenizer(place, config.dialect)
    model = models.load_model(place, models.resolve_dtype(config.dtype, device), device)
    encoder = Encoder(tokenizer, stop_ids=models.end_ids(model))
    return Local(model, tokenizer, encoder, config.dialect, config.max_new_tokens, config.batch_size, config.max_length)


def unanswered(index: int, dialect: str, reason: str) -> Line:
    """The line of a prompt that could not be asked: counted as wrong, with the reason."""
    return {"index": index, "text": "", "dialect": dialect, "finished": False, "tokens": 0, "reason": reason}
