"""A small server with the endpoints of vLLM that PPO uses, in a thread of the test, which answers with a real model."""

from __future__ import annotations

import copy
import json
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from tltrain.engine.generate import generate
from tltrain.engine.passes import token_logprobs
from tltrain.engine.tree import TokenSequence, TokenTree


@dataclass
class Served:
    """What the server serves, and how it deviates from what PPO needs.

    `loaded` are the adapters that were loaded and `unloaded` those that were unloaded, in order; `requests` the bodies
    of all requests for completions.
    """

    model: PreTrainedModel
    root: str
    allows_adapters: bool = True
    """Whether it was started with VLLM_ALLOW_RUNTIME_LORA_UPDATING."""
    processed: bool = True
    """Whether log-probabilities are those at the sampling temperature."""
    omit: str | None = None
    """A field to leave out of every choice."""
    adapters: dict[str, PreTrainedModel] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    unloaded: list[str] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def models(self) -> dict[str, Any]:
        cards = [{"id": "base", "object": "model", "created": 0, "owned_by": "vllm", "root": self.root, "parent": None}]
        return {
            "object": "list",
            "data": [*cards, *({**cards[0], "id": name, "parent": "base"} for name in self.adapters)],
        }

    def load(self, body: dict[str, Any]) -> None:
        with warnings.catch_warnings():  # peft reads a property of transformers under its old name
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
            wrapped = PeftModel.from_pretrained(copy.deepcopy(self.model), body["lora_path"])
        self.adapters[body["lora_name"]] = wrapped.base_model.model.eval()
        self.loaded.append(body["lora_name"])

    def unload(self, body: dict[str, Any]) -> None:
        del self.adapters[body["lora_name"]]
        self.unloaded.append(body["lora_name"])

    @torch.no_grad()
    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(body)
        model = self.model if body["model"] == "base" else self.adapters[body["model"]]
        prompt, temperature = body["prompt"], body["temperature"]
        seeds = [body["seed"]] if temperature else []
        (reply,) = generate(
            model, [prompt], body["stop_token_ids"], body["max_tokens"], temperature=temperature, seeds=seeds
        )
        tree = TokenTree([TokenSequence([*prompt, *reply.ids], len(prompt), [1.0] * len(reply.ids))])
        shown = (temperature or 1.0) if self.processed else 1.0
        logits = model(input_ids=torch.tensor([prompt])).logits[0, -1] / shown
        top = [{"best": logits.log_softmax(-1).max().item()}] if body["logprobs"] else None
        logprobs = {"token_logprobs": token_logprobs(model, tree, shown).tolist(), "top_logprobs": top}
        choice = {"index": 0, "text": "", "finish_reason": "stop" if reply.finished else "length", "logprobs": logprobs}
        choice["token_ids"] = list(reply.ids) if body.get("return_token_ids") else None
        choice.pop(self.omit, None) if self.omit else None
        return {"id": "x", "object": "text_completion", "created": 0, "model": body["model"], "choices": [choice]}


@contextmanager
def serving(served: Served) -> Iterator[str]:
    """The URL of the running server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, served.models())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with served.lock:
                self.route(body)

        def route(self, body: dict[str, Any]) -> None:
            if self.path == "/v1/completions":
                if body["model"] in {"base", *served.adapters}:
                    return self.answer(200, served.complete(body))
                message = f"The model `{body['model']}` does not exist."
                return self.answer(404, {"error": {"message": message, "code": 404}})
            if not served.allows_adapters:
                return self.answer(404, {"detail": "Not Found"})
            (served.load if self.path == "/v1/load_lora_adapter" else served.unload)(body)
            return self.answer(200, f"Success: {body['lora_name']}")

        def answer(self, status: int, value: Any) -> None:
            text = value if isinstance(value, str) else json.dumps(value)
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(value, str) else "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
            thread.join()
