"""A model behind an OpenAI-compatible server: parallel requests, native tool calls, retries, token counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, Any

from tltrain.engine.api import REACH_SECONDS, api_client, error_line
from tltrain.errors import ConfigError, ModelError
from tltrain.formats.jsonio import loads
from tltrain.trajectory import Message, Trajectory

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletion


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply of the served model: `calls` if the server parsed them, otherwise they are in `text`.

    `refused` is the server's reason for rejecting the request (an invalid tool name, a prompt that is too long).
    """

    text: str
    calls: tuple[dict[str, Any], ...] = ()
    _: KW_ONLY
    finished: bool = True
    refused: str | None = None
    sampled: bool = False
    """Whether the server does not decode greedily for this model."""
    prompt_tokens: int = 0
    reply_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model behind an OpenAI-compatible API.

    Attributes:
        url: the API's base, such as `http://localhost:8000/v1`.
        model: its name there.
        concurrency: maximum number of simultaneous requests.
    """

    url: str
    model: str
    concurrency: int = 8

    def reach(self) -> None:
        """Request the list of models, so that an address without a server is reported at once. The response is ignored.

        Raises:
            ConfigError: the client's package is not installed.
            ModelError: there is no server.
        """
        with self._client() as client:
            import openai

            try:
                client.with_options(max_retries=1, timeout=REACH_SECONDS).models.list()
            except openai.APITimeoutError:
                return  # the server is there, but busy
            except openai.APIConnectionError as error:
                raise ModelError(f"model {self.url}#{self.model}: {error_line(error)}") from None
            except openai.OpenAIError:
                return

    def ask(self, prompts: Mapping[int, Trajectory], max_new_tokens: int) -> Iterator[tuple[int, Answer]]:
        """Greedy answers by index, as they come in. The key is `$OPENAI_API_KEY`.

        Raises:
            ConfigError: the client's package is not installed.
            ModelError: the server cannot be reached, knows neither key nor model, or gives up.
        """
        client = self._client()
        pool = ThreadPoolExecutor(self.concurrency)
        try:
            futures = {
                pool.submit(self._complete, client, prompt, max_new_tokens): index for index, prompt in prompts.items()
            }
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            client.close()

    def _client(self) -> OpenAI:
        return api_client(self.url, f"model {self.url}")

    def _complete(self, client: OpenAI, prompt: Trajectory, max_new_tokens: int) -> Answer:
        import openai

        request: dict[str, Any] = {"model": self.model, "messages": messages(prompt)}
        request |= {"tools": [tool.to_json() for tool in prompt.tools]} if prompt.tools else {}
        greedy: dict[str, Any] = {"temperature": 0, "max_tokens": max_new_tokens}
        try:
            try:
                return _answer(client.chat.completions.create(**request, **greedy))
            except openai.BadRequestError as error:
                if not any(name in str(error) for name in greedy):
                    raise
            # Reasoning models accept neither option, so they cannot decode greedily.
            done = client.chat.completions.create(**request, max_completion_tokens=max_new_tokens)
            return replace(_answer(done), sampled=True)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            return Answer("", finished=False, refused=error_line(error))
        except openai.OpenAIError as error:
            raise ModelError(f"model {self.url}#{self.model}: {error_line(error)}") from None


def parse_endpoint(address: str, model: str | None = None, concurrency: int = 8) -> Endpoint | None:
    """The endpoint at `URL#model`, or at a URL with `model`; None if the address is not a URL.

    Raises:
        ConfigError: no model is named.
    """
    if not address.startswith(("http://", "https://")):
        return None
    url, _, named = address.partition("#")
    if not (named or model):
        raise ConfigError(f"model {address}: which model? write URL#model-name, or --endpoint-model")
    return Endpoint(url, named or str(model), concurrency)


def messages(prompt: Trajectory) -> list[dict[str, Any]]:
    """The messages as the API requires them: every call has an id, which its feedback refers to."""
    ids = {(site.message, site.index): site.call.id or f"call_{site.message}_{site.index}"
           for site in prompt.call_sites()}  # fmt: skip
    answers = {id(site.feedback): ids[site.message, site.index] for site in prompt.call_sites() if site.feedback}
    return [_message(number, message, ids, answers) for number, message in enumerate(prompt.messages)]


def _message(
    number: int, message: Message, ids: Mapping[tuple[int, int], str], answers: Mapping[int, str]
) -> dict[str, Any]:
    calls = tuple(replace(call, id=ids[number, index], extra={}) for index, call in enumerate(message.calls))
    call_id = answers.get(id(message), message.call_id)
    plain = replace(message, calls=calls, call_id=call_id, weight=None, thought=None, extra={})
    value = plain.to_json(arguments_as_text=True)
    if message.role == "tool":
        value.pop("name", None)
        value |= {"tool_call_id": call_id or "call_0", "content": message.content or ""}
    return value


def _answer(done: ChatCompletion) -> Answer:
    if not done.choices:
        return Answer("", finished=False, refused="the server's answer holds no choice")
    choice, usage = done.choices[0], done.usage
    given: Sequence[Any] = choice.message.tool_calls or ()
    calls = tuple(
        {"name": call.function.name, "arguments": _arguments(call.function.arguments)}
        for call in given
        if call.type == "function"
    )
    return Answer(
        text=choice.message.content or "",
        calls=calls,
        finished=choice.finish_reason not in ("length", "content_filter"),
        prompt_tokens=usage.prompt_tokens if usage else 0,
        reply_tokens=usage.completion_tokens if usage else 0,
    )


def _arguments(text: str) -> Any:
    """The object that the text encodes, or else the text itself, which the judge counts as not parseable."""
    try:
        value = loads(text or "{}")
    except ValueError:
        return text
    return value if isinstance(value, dict) else text
