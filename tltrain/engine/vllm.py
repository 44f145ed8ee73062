"""Generation by a vLLM server: token ids out, token ids with log-probabilities back, adapters loaded at runtime.

What is used of vLLM's OpenAI-compatible server: prompts as token ids and a random seed for each request (Completions
API); `/v1/load_lora_adapter` and `/v1/unload_lora_adapter` (since 0.6.1), which exist only if the server was started
with `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True` and `--enable-lora`; `--logprobs-mode processed_logprobs`, with which
log-probabilities are those at the sampling temperature; `return_token_ids` (since 0.10.2). See docs.vllm.ai,
"OpenAI-Compatible Server", "LoRA Adapters" and "Engine Arguments".
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltrain.engine.api import REACH_SECONDS, api_client, error_line
from tltrain.engine.generate import Generated
from tltrain.errors import ModelError

if TYPE_CHECKING:
    from openai.types import Completion, CompletionChoice

CONCURRENCY = 64
"""Most simultaneous requests of a process; the server batches them."""
PROBE_TEMPERATURES = (1.0, 2.0)
"""Any distribution but a uniform one has other log-probabilities at the one than at the other."""


class VLLMServer:
    """A vLLM server that samples from a base model with adapters.

    Args:
        address: the API's base, such as `http://localhost:8000/v1`, or `URL#name` with the base model's name there.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        url, _, self.named = address.partition("#")
        self.client = api_client(url, f"ppo.sampler {address}")

    def reach(self, base: str) -> str:
        """Check that the server is there and serves the base model; returns the model's name there.

        Args:
            base: folder or hub name of the base model; not compared if the address names the model.

        Raises:
            ModelError: no server, or another model.
        """
        import openai

        try:
            served = self.client.with_options(max_retries=1, timeout=REACH_SECONDS).models.list().data
        except openai.OpenAIError as error:
            raise self._error(error_line(error)) from None
        bases = {card.id: str((card.model_extra or {}).get("root") or card.id) for card in served if not _parent(card)}
        for name, root in bases.items():
            if self.named == name or (not self.named and (base in (name, root) or _same_folder(base, root))):
                return name
        found = ", ".join(bases) or "no model"
        if self.named:
            raise self._error(f"serves {found}, and not {self.named}")
        raise self._error(
            f"serves {found}, but PPO starts from {base}: start the server with that model, or name it: URL#name"
        )

    def check_temperature(self, model: str, prompt: Sequence[int]) -> None:
        """Check that log-probabilities depend on the temperature.

        Raises:
            ModelError: they do not.
        """
        best = []
        for temperature in PROBE_TEMPERATURES:
            settings = {"max_tokens": 1, "temperature": temperature, "seed": 0, "logprobs": 1}
            logprobs = self._complete(model, prompt, settings).logprobs
            top = logprobs.top_logprobs if logprobs else None
            best.append(max(top[0].values()) if top and top[0] else None)
        if best[0] == best[1]:
            raise self._error(
                "its log-probabilities are not those at the sampling temperature: "
                "start it with `--logprobs-mode processed_logprobs`, or set ppo.temperature: 1"
            )

    def load_adapter(self, name: str, folder: Path) -> None:
        """Load an adapter, which requests then use as model `name`.

        Args:
            name: must be new, since the server caches the keys and values of prompts by name.
            folder: of the adapter, on the server's file system.

        Raises:
            ModelError: the server loads no adapters at runtime, or not this one.
        """
        import openai

        body = {"lora_name": name, "lora_path": str(folder.absolute())}
        try:
            self.client.post("/load_lora_adapter", cast_to=str, body=body)
        except openai.NotFoundError as error:
            if not isinstance(error.body, dict) or "detail" not in error.body:  # as FastAPI says: no such endpoint
                raise self._error(f"does not load the adapter: {error_line(error)}") from None
            raise self._error(
                "cannot load adapters: start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment "
                "and with `--enable-lora`"
            ) from None
        except openai.OpenAIError as error:
            raise self._error(f"does not load the adapter: {error_line(error)}") from None

    def unload_adapters(self, prefix: str) -> None:
        """Unload the adapters whose names begin with `prefix`; one that the server has dropped already is ignored."""
        import openai

        try:
            for card in self.client.models.list().data:
                if card.id.startswith(prefix):
                    body = {"lora_name": card.id}
                    self.client.with_options(max_retries=0).post("/unload_lora_adapter", cast_to=str, body=body)
        except openai.APIStatusError:
            return
        except openai.OpenAIError as error:
            raise self._error(error_line(error)) from None

    def generate(
        self,
        model: str,
        prompts: Sequence[Sequence[int]],
        stop_ids: Sequence[int],
        max_new_tokens: int,
        *,
        temperature: float,
        seeds: Sequence[int],
    ) -> list[Generated]:
        """Generate a reply to each prompt, with its log-probabilities at the temperature.

        Args:
            model: name of an adapter or of the base model.
            prompts: token ids of each prompt.
            stop_ids: token ids that end a reply; no others do.
            max_new_tokens: a longer reply is truncated and not marked as finished.
            temperature: 0 decodes greedily, with log-probabilities at temperature 1.
            seeds: random seed of each prompt's reply, of at most 63 bits; may be empty if the temperature is 0.

        Raises:
            ModelError: a request fails, or a reply lacks token ids or log-probabilities.
        """
        settings: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": temperature, "logprobs": 0}
        stops = set(stop_ids)

        def reply(index: int) -> Generated:
            seed = {"seed": seeds[index]} if seeds else {}
            choice = self._complete(model, prompts[index], {**settings, **seed}, stop_ids)
            return self._generated(choice, stops)

        pool = ThreadPoolExecutor(CONCURRENCY)
        try:
            return list(pool.map(reply, range(len(prompts))))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _complete(
        self, model: str, prompt: Sequence[int], settings: dict[str, Any], stop_ids: Sequence[int] = ()
    ) -> CompletionChoice:
        """The only choice of a completion. The model's own defaults of sampling, which the server would take from its
        generation configuration, are overridden."""
        import openai

        own = {"stop_token_ids": list(stop_ids), "ignore_eos": True, "return_token_ids": True}
        neutral = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "add_special_tokens": False}
        try:
            completion: Completion = self.client.completions.create(
                model=model, prompt=list(prompt), top_p=1.0, **settings, extra_body={**own, **neutral}
            )
        except openai.NotFoundError:
            raise self._error(f"has no model {model}; if it was restarted, the same command resumes training") from None
        except openai.OpenAIError as error:
            raise self._error(error_line(error)) from None
        if not completion.choices:
            raise self._error("its answer holds no choice")
        return completion.choices[0]

    def _generated(self, choice: CompletionChoice, stops: set[int]) -> Generated:
        ids = (choice.model_extra or {}).get("token_ids")
        if not ids:
            raise self._error("its replies hold no token ids: vLLM 0.10.2 or later is needed")
        logprobs = choice.logprobs.token_logprobs if choice.logprobs else None
        if logprobs is None or len(logprobs) != len(ids):
            count = len(logprobs or ())
            raise self._error(f"a reply of {len(ids)} tokens came with {count} log-probabilities")
        finished = ids[-1] in stops
        if finished != (choice.finish_reason == "stop"):
            raise self._error(f"a reply ended with token {ids[-1]} and the finish reason {choice.finish_reason}")
        return Generated(tuple(ids), finished, tuple(logprobs))

    def _error(self, what: str) -> ModelError:
        return ModelError(f"ppo.sampler {self.address}: {what}")


def _parent(card: Any) -> Any:
    """The base model of a served adapter; None for a base model."""
    return (card.model_extra or {}).get("parent")


def _same_folder(base: str, root: str) -> bool:
    """Whether two names are paths of the same folder on this machine."""
    return Path(base).is_dir() and os.path.realpath(base) == os.path.realpath(root)
