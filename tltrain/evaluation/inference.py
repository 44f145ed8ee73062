"""Inference backends, which turn prompts into predictions: a model in this process, or one behind an endpoint."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Protocol

from tltrain.encode.decoding import decode_reply
from tltrain.errors import TemplateError
from tltrain.evaluation.endpoint import Answer, Endpoint
from tltrain.evaluation.predictions import Prediction, no_reply
from tltrain.trajectory import Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tltrain.config import EvaluationConfig
    from tltrain.encode import Encoder
    from tltrain.engine.generate import Generated


class InferenceBackend(Protocol):
    """The interface of inference backends."""

    def complete(self, prompts: Mapping[int, Trajectory], done: Container[int]) -> Iterator[list[Prediction]]:
        """Yields batches of predictions, in any order, for the prompts whose index is not in `done`."""
        ...


@dataclass(frozen=True, slots=True)
class LocalBackend:
    """A model in this process, decoding greedily."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    encoder: Encoder
    _: KW_ONLY
    dialect: str
    max_new_tokens: int
    batch_size: int
    max_length: int | None = None
    """Maximum number of tokens of prompt and reply; None for the number of the model's positions."""

    def complete(self, prompts: Mapping[int, Trajectory], done: Container[int]) -> Iterator[list[Prediction]]:
        """See `InferenceBackend`. Batches are planned over all prompts, so that an interrupted evaluation resumes with
        the batches, and the rounding, of an uninterrupted one."""
        ids, refused = self._encode(prompts)
        yield [prediction for prediction in refused if prediction.index not in done]
        for batch in self.generate(ids, done):
            yield [self._prediction(index, reply) for index, reply in batch if index not in done]

    def generate(
        self, ids: Mapping[int, Sequence[int]], done: Container[int] = ()
    ) -> Iterator[list[tuple[int, Generated]]]:
        """The model's continuations of token ids, each shorter than `limit`, by index and a batch at a time; batches
        whose indices are all in `done` are skipped."""
        from tltrain.engine.generate import generate

        for batch, room in self._batches(ids):
            if all(index in done for index in batch):
                continue
            prompts = [ids[index] for index in batch]
            replies = generate(self.model, prompts, self.encoder.stop_ids, room, batch_size=len(batch))
            yield list(zip(batch, replies, strict=True))

    @property
    def limit(self) -> int:
        """Maximum number of tokens of a prompt and its reply."""
        positions = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return self.max_length or positions or 1 << 30

    def _encode(self, prompts: Mapping[int, Trajectory]) -> tuple[dict[int, list[int]], list[Prediction]]:
        """Token ids of the prompts that fit, and predictions for the others."""
        ids: dict[int, list[int]] = {}
        refused = []
        for index, prompt in prompts.items():
            try:
                encoded = self.encoder.prompt_ids(prompt)
            except TemplateError as error:
                refused.append(no_reply(index, self.dialect, str(error)))
                continue
            if len(encoded) < self.limit:
                ids[index] = encoded
            else:
                reason = f"the prompt has {len(encoded)} tokens, and the limit is {self.limit}"
                refused.append(no_reply(index, self.dialect, reason, too_long=True))
        return ids, refused

    def _batches(self, ids: Mapping[int, Sequence[int]]) -> Iterator[tuple[list[int], int]]:
        """Indices that are decoded together, and how many tokens their replies may have: prompts that leave less room
        than others are decoded alone."""
        from tltrain.engine.generate import batches

        wide = [index for index, prompt in ids.items() if len(prompt) + self.max_new_tokens <= self.limit]
        for positions in batches(self.model, [ids[index] for index in wide], self.batch_size, self.max_new_tokens):
            yield [wide[position] for position in positions], self.max_new_tokens
        for index, prompt in ids.items():
            if len(prompt) + self.max_new_tokens > self.limit:
                yield [index], self.limit - len(prompt)

    def _prediction(self, index: int, reply: Generated) -> Prediction:
        text = decode_reply(self.tokenizer, reply.ids, self.encoder.stop_ids)
        return Prediction(index, text, self.dialect, reply.finished, tokens=len(reply.ids))


@dataclass(frozen=True, slots=True)
class EndpointBackend:
    """A model behind an endpoint; `dialect` is how it writes calls where its server does not return them apart."""

    endpoint: Endpoint
    dialect: str
    max_new_tokens: int

    def complete(self, prompts: Mapping[int, Trajectory], done: Container[int]) -> Iterator[list[Prediction]]:
        """See `InferenceBackend`."""
        remaining = {index: prompt for index, prompt in prompts.items() if index not in done}
        for index, answer in self.endpoint.ask(remaining, self.max_new_tokens):
            yield [self._prediction(index, answer)]

    def _prediction(self, index: int, answer: Answer) -> Prediction:
        refused = answer.refused is not None
        return Prediction(
            index,
            "" if refused else answer.text,
            self.dialect,
            answer.finished and not refused,
            calls=answer.calls if answer.calls and not refused else None,
            reason=answer.refused,
            sampled=True if answer.sampled and not refused else None,
            tokens=answer.reply_tokens,
            prompt_tokens=answer.prompt_tokens,
        )


def local_backend(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: EvaluationConfig, dialect: str | None = None
) -> LocalBackend:
    """A loaded model with the settings of an evaluation. The dialect is that of the configuration, else the one that
    the chat template writes, if it is not given."""
    from tltrain import model as models
    from tltrain.encode import Encoder

    known = dialect or config.dialect or models.template_dialect(tokenizer) or "hermes"
    encoder = Encoder(tokenizer, stop_ids=models.end_ids(model))
    return LocalBackend(
        model,
        tokenizer,
        encoder,
        dialect=known,
        max_new_tokens=config.max_new_tokens,
        batch_size=config.batch_size,
        max_length=config.max_length,
    )


def load_backend(name: str, config: EvaluationConfig, dialect: str) -> LocalBackend:
    """A model of that name with its tokenizer, on the configuration's device; `dialect` is how it writes calls."""
    from tltrain import model as models
    from tltrain.engine.devices import pick_device

    device = pick_device(config.device)
    tokenizer = models.load_tokenizer(name, dialect, config.allow_code)
    dtype = models.resolve_dtype(config.dtype, device)
    model = models.load_model(name, dtype, device, allow_code=config.allow_code)
    return local_backend(model, tokenizer, config, dialect)
