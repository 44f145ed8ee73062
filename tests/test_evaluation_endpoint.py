"""A model behind an endpoint: a real server (`transformers serve`) with a micro model, on this machine alone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from support.small_run import call
from support.trained_micro import functions, known, save_trained, trained, write_bfcl

from tltrain import model as models
from tltrain.errors import ConfigError
from tltrain.evaluation.endpoint import Answer, Endpoint, messages, parse_endpoint
from tltrain.files import read_json, read_json_lines
from tltrain.trajectory import Call, Message, Trajectory

pytest.importorskip("openai")


def test_every_call_has_an_id_that_its_feedback_names() -> None:
    two = (Call("a", {"x": 1}), Call("b", "no object"))
    turns = (
        Message("user", "Do it."),
        Message("assistant", None, two, weight=0.0, thought="hm"),
        Message("tool", "first", name="a"),
        Message("tool", "second", name="b"),
        Message("assistant", "And?", (Call("a", {}, id="own"),)),
        Message("tool", None, call_id="own"),
    )
    sent = messages(Trajectory(turns))
    assert [one["id"] for one in sent[1]["tool_calls"]] == [sent[2]["tool_call_id"], sent[3]["tool_call_id"]]
    assert len({one["id"] for one in sent[1]["tool_calls"]}) == 2
    assert [one["function"]["arguments"] for one in sent[1]["tool_calls"]] == ['{"x": 1}', "no object"]
    assert sent[4]["tool_calls"][0]["id"] == sent[5]["tool_call_id"] == "own"
    assert sent[5] == {"role": "tool", "content": "", "tool_call_id": "own"}
    assert not {"weight", "reasoning_content"} & sent[1].keys()


def test_places() -> None:
    assert parse_endpoint("runs/model") is None
    assert parse_endpoint("http://h:1/v1#a/b") == Endpoint("http://h:1/v1", "a/b")
    assert parse_endpoint("https://h/v1", "c", 3) == Endpoint("https://h/v1", "c", 3)
    with pytest.raises(ConfigError, match="which model"):
        parse_endpoint("https://h/v1")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """`transformers serve` of a model in `folder/learnt`, with test items beside it."""

    def __init__(self, folder: Path, kind: str, save: Callable[[Path, str], object] = save_trained) -> None:
        save(folder / "learnt", kind)
        write_bfcl(folder, known())
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [Path(sys.executable).with_name("transformers"), "serve", self.folder / "learnt", "--device", "cpu"]
        command += ["--dtype", "float32", "--host", "127.0.0.1", "--port", str(self.port)]
        with (self.folder / "log").open("w") as log:
            environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def wait(self) -> None:
        assert self.process is not None
        wait_for(f"http://127.0.0.1:{self.port}/health", self.process, self.folder / "log")

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that tells calls apart from the text."""
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    with Server(tmp_path_factory.mktemp("served"), "qwen2") as server:
        server.wait()
        yield server


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(6000):
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"the server does not answer: {log.read_text()}")


def options(folder: Path, out: str) -> list[object]:
    settings = ["--bench", "bfcl/exec", "--data", folder, "--out", folder / out, "--max-new-tokens", 48]
    return [*settings, "--dtype", "float32"]


@pytest.mark.slow
def test_a_server_is_evaluated_like_a_folder(served: Server) -> None:
    """Calls come apart from the text, decoded greedily as here."""
    folder, url = served.folder, served.url
    remote = f"remote={url}#{folder / 'learnt'}"
    more = ["--concurrency", 3, "--price-in", 2, "--price-out", 10]
    code, _, err = call("eval", folder / "learnt", remote, *options(folder, "run"), *more)
    assert code == 0, err
    local, asked = read_json(folder / "run/scores.json")
    assert (local["CF"], asked["CF"]) == (100, 100)
    lines = read_json_lines(folder / "run/predictions/remote.bfcl.exec.jsonl")
    assert [line["index"] for line in lines] == list(range(6))
    assert lines[0]["calls"] == [{"name": "get_order", "arguments": {"order_id": "A-1"}}]
    used = asked["usage"]
    assert used["prompt_tokens"] == sum(line["prompt_tokens"] for line in lines) > 6 * 100
    assert used["cost"] == pytest.approx((2 * used["prompt_tokens"] + 10 * used["tokens"]) / 1e6)


@pytest.mark.slow
def test_calls_that_a_server_leaves_in_the_text_are_read_in_the_dialect(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    with Server(tmp_path, "llama") as server:
        server.wait()
        code, _, err = call("eval", f"remote={server.url}#{tmp_path / 'learnt'}", *options(tmp_path, "run"))
    assert code == 0, err
    (row,) = read_json(tmp_path / "run/scores.json")
    assert row["CF"] == 100
    lines = read_json_lines(tmp_path / "run/predictions/remote.bfcl.exec.jsonl")
    assert not any("calls" in line for line in lines) and "<tool_call>" in lines[0]["text"]


def save_as_a_run_does(folder: Path, kind: str) -> None:
    models.save(*trained(kind), folder)


@pytest.mark.slow
def test_a_saved_model_answers_with_tool_calls_and_has_the_local_scores(tmp_path: Path) -> None:
    """A LLaMA-like model, whose calls the server tells apart only by what tltrain saves with its tokenizer."""
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    from openai import OpenAI

    wrong = [
        ("What is order A-1?", "cancel_order(order_id='A-1')"),
        ("Please cancel A-2.", "get_order(order_id='A-2')"),
    ]
    with Server(tmp_path, "llama", save_as_a_run_does) as server:
        write_bfcl(tmp_path, known() + wrong)
        server.wait()
        tools = [{"type": "function", "function": function} for function in functions()]
        for tool in tools:
            tool["function"]["parameters"]["type"] = "object"
        asked = [{"role": "user", "content": "What is order A-1?"}]
        client = OpenAI(base_url=server.url, api_key="none")
        reply = client.chat.completions.create(
            model=str(tmp_path / "learnt"),
            messages=asked,
            tools=tools,
            max_tokens=48,  # type: ignore[arg-type]
        )
        remote = f"served={server.url}#{tmp_path / 'learnt'}"
        code, _, err = call("eval", f"local={tmp_path / 'learnt'}", remote, *options(tmp_path, "run"))
    choice = reply.choices[0]
    assert (choice.finish_reason, choice.message.content or "") == ("tool_calls", "")
    (found,) = choice.message.tool_calls or []
    assert (found.type, found.function.name) == ("function", "get_order")  # type: ignore[union-attr]
    assert json.loads(found.function.arguments) == {"order_id": "A-1"}  # type: ignore[union-attr]
    assert code == 0, err
    local, served = read_json(tmp_path / "run/scores.json")
    same = ("n", "TS", "PI", "CF", "accuracy", "errors", "unparseable", "truncated", "too_long", "refused")
    assert {key: local.get(key) for key in same} == {key: served.get(key) for key in same}
    assert local["CF"] == 75, "6 of 8 golds are what the model has learnt"
    lines = read_json_lines(tmp_path / "run/predictions/served.bfcl.exec.jsonl")
    assert all(line["calls"] for line in lines), "parsed by the server"


@pytest.mark.slow
def test_what_a_server_does_not_know_ends_in_one_line(served: Server) -> None:
    folder, url = served.folder, served.url
    code, out, err = call("eval", f"x={url}#{folder / 'none'}", *options(folder, "unknown"))
    assert (code, out) == (2, "")
    assert "model x: none of 6 prompts was answered: " in err.splitlines()[-1]
    assert not (folder / "unknown/predictions/x.bfcl.exec.jsonl").exists(), "so that the next call asks again"


@pytest.mark.slow
def test_a_server_that_is_killed_and_started_again_is_asked_on(served: Server, tmp_path: Path) -> None:
    """No request of those under way is lost, and none counts as wrong."""
    write_bfcl(tmp_path, known() * 20)
    lines = tmp_path / "run/predictions/remote.bfcl.exec.jsonl"
    outage: list[int] = []

    def restart() -> None:
        while len(read_json_lines(lines)) < 8:
            time.sleep(0.01)
        served.__exit__()
        outage.append(len(read_json_lines(lines)))
        served.start()

    thread = threading.Thread(target=restart)
    thread.start()
    remote = f"remote={served.url}#{served.folder / 'learnt'}"
    code, _, err = call("eval", remote, *options(tmp_path, "run"), "--concurrency", 2)
    thread.join()
    assert code == 0, err
    (row,) = read_json(tmp_path / "run/scores.json")
    assert (row["n"], row["CF"], row["refused"]) == (120, 100, 0)
    assert 8 <= outage[0] < 120


def test_a_server_that_is_not_there_ends_in_one_line(tmp_path: Path) -> None:
    write_bfcl(tmp_path, known()[:1])
    code, out, err = call("eval", f"http://127.0.0.1:{free_port()}/v1#m", *options(tmp_path, "run"))
    assert (code, out) == (2, "")
    said = err.splitlines()[-1]
    assert said.startswith("tltrain: model http://127.0.0.1:") and said.endswith("Connection error.")


class Particular(BaseHTTPRequestHandler):
    """Turns away what reasoning models' servers turn away, and every second request for being too many."""

    seen: ClassVar[list[dict[str, Any]]] = []
    busy = True

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).busy = not self.busy
        if self.busy:
            return self.say(429, {"error": {"message": "slow down"}})
        if "max_tokens" in asked:
            return self.say(400, {"error": {"message": "Unsupported parameter: 'max_tokens'"}})
        self.seen.append(asked)
        if "too long" in asked["messages"][0]["content"]:
            return self.say(400, {"error": {"message": "the context is full"}})
        function = {"name": "a", "arguments": "{broken"}
        reply = {"role": "assistant", "content": None,
                 "tool_calls": [{"id": "1", "type": "function", "function": function}]}  # fmt: skip
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        choice = {"index": 0, "finish_reason": "length", "message": reply}
        return self.say(200, {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice],
                              "usage": usage})  # fmt: skip

    def say(self, code: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def test_requests_are_repeated_and_adapted_and_what_is_refused_is_told() -> None:
    """What the real server cannot be brought to do."""
    server = HTTPServer(("127.0.0.1", 0), Particular)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        prompts = {4: Trajectory((Message("user", "Do it."),)), 9: Trajectory((Message("user", "too long"),))}
        endpoint = Endpoint(f"http://127.0.0.1:{server.server_port}/v1", "m", concurrency=1)
        found = dict(endpoint.ask(prompts, 50))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert found[4] == Answer(
        "",
        ({"name": "a", "arguments": "{broken"},),
        finished=False,
        sampled=True,
        prompt_tokens=7,
        reply_tokens=3,
    )
    assert "the context is full" in str(found[9].refused)
    assert [one.get("max_completion_tokens") for one in Particular.seen] == [50, 50]
    assert "temperature" not in Particular.seen[0]
