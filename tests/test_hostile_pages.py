"""Hostile markup in everything that other people write, through every page; in a browser, none of it runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.micro import micro_tokenizer
from support.pages import Reader
from support.report_sample import inspected, score, validation, write, write_lines

from tltrain.audit.run import audit
from tltrain.evaluation.significance import comparison_json
from tltrain.report.analysis_page import write_analysis
from tltrain.report.audit_page import audit_page
from tltrain.report.comparison import write_comparison
from tltrain.report.inspect_page import inspect_page
from tltrain.report.report import write_report
from tltrain.trajectory import Call, Message, Tool, Trajectory

ALARM = "document.title='RAN'"
HOSTILE = (
    f"<script>{ALARM}</script>",
    f"</script><script>{ALARM}</script>",
    f"</style><script>{ALARM}</script>",
    f"</title></h1></pre></textarea><img src=x onerror={ALARM}>",
    f'" onload="{ALARM}" onmouseover="{ALARM}" autofocus onfocus="{ALARM}" x="',
    f"' onload='{ALARM}' style='background:url(//evil.example)'",
    f"<svg onload={ALARM}><animate onbegin={ALARM} attributeName=x dur=1s>",
    f"--><script>{ALARM}</script><!--",
    f"]]><script>{ALARM}</script><![CDATA[",
    f"<iframe srcdoc='<script>parent.{ALARM}</script>'>",
    f"javascript:{ALARM}",
    f"{{{{ '<script>{ALARM}</script>' }}}}{{% raw %}}<script>{ALARM}</script>",
    f"\u202e\u2066<script>{ALARM}</script>\u2069\x00\x08\x1b[31m\ud800\uffff\ufeff",
    f"<meta http-equiv=refresh content='0;url=data:text/html,<script>{ALARM}</script>'><base href=//evil.example>",
)
OWN_TAGS = {"img", "iframe", "object", "embed", "base", "form", "animate", "textarea"}
"""Tags that no page of ours contains."""


def run_of(evil: str, folder: Path) -> None:
    """A run directory in which every text is hostile."""
    scores = [score(evil, evil, 50.0) | {"errors": {evil: 3}}, score("b", evil, 60.0) | {"warnings": [evil]}]
    write(folder / "scores.json", [*scores, score(evil, evil, 70.0, protocol="paper", executor=evil)])
    write(folder / "comparison.json", comparison_json(folder))
    found = json.loads((folder / "comparison.json").read_text())
    general = [{"model": evil, "task": evil, "metric": evil, "value": 0.5, "se": None, "n": 3}]
    level = {"model": evil, "turn": evil, "level": evil, "TS": 1.0, "PI": 1.0, "CF": 1.0, "n": 90}
    write(folder / "comparison.json", found | {"general": general, "robustness": [level], "test": evil})
    write(folder / "general.json", general)
    write(folder / "robustness.json", [level])
    write(folder / "stages.json", [{"stage": evil, "seconds": 1, "note": evil}])
    write(folder / "environment.json", {evil: {evil: evil}})
    write(folder / "audit.json", {"headline": evil, "calls": {"total": 1, "failed": 1, "by_category": {evil: 1}}})
    (folder / "config.yaml").write_text(evil, encoding="utf-8", errors="replace")
    write_lines(folder / "sft" / "x" / "metrics.jsonl", [{"step": step, "loss": 1.0, "note": evil} for step in (1, 2)])
    write_lines(folder / "ppo" / "metrics.jsonl", [{"rollout": 1, "reward": evil}, {"rollout": 2, "reward": 1.0}])
    write_lines(folder / "ppo" / "validation.jsonl", [line | {"note": evil} for line in validation()])
    line = {"item": evil, "split": evil, "prompt": evil, "text": evil, "verdict": {"category": evil}, "gold": evil}
    write_lines(folder / "predictions" / "x.jsonl", [line, line | {"gold": [[{"name": evil, "arguments": evil}]]}])
    kinds = {evil: {"calls": 3, "corrected": 3, "right": 2, "of_wrong": 1.0, "of_corrected": 1.0}}
    tokens = {"wrong_calls": 3, "unlocated": 0, "without_call": 0, "kinds": kinds}
    row = {"model": evil, "bench": evil, "split": evil, "n": 9, "right": 3, "categories": {evil: 6}, "tokens": tokens}
    write(folder / "analysis.json", [row])


def audits_of(evil: str) -> dict[str, Any]:
    """The audit of a data set in which every text is hostile; readers let no lone surrogate through."""
    evil = evil.encode("utf-8", "replace").decode()
    schema = {"type": "object", "properties": {evil: {"type": evil, "description": evil}}, "required": [evil]}
    tools = (Tool(evil, evil, schema), Tool(evil + "s", evil, {"type": "object"}), Tool("f", evil, schema))
    calls = (Call(evil, {evil: evil}), Call("f", {evil: "A"}), Call("f", evil))
    feedback = (Message("tool", evil, name=evil), Message("tool", f"Error: {evil}"), Message("tool", evil))
    messages = (Message("system", evil), Message("user", evil), Message("assistant", evil, calls), *feedback)
    data = [Trajectory((*messages, Message("assistant", evil)), tools, id=evil, source=evil)] * 2
    found = {"data": evil, "model": evil, **audit(data, tokenizer=micro_tokenizer(), max_length=99)}
    found["warnings"] = [*found["warnings"], evil]
    return found | {"problems": {"number": 1, "shown": [{"path": evil, "line": 1, "reason": evil}]}}


def inspected_of(evil: str) -> dict[str, Any]:
    """A sample whose tokens and reasons are hostile."""
    sample = inspected() | {"id": evil, "source": evil, "model": evil}
    for step in sample["steps"]:
        step["reasons"] = [evil] if step["failed"] else []
        for token in step["tokens"]:
            token["token"] = evil
            token["reason"] = evil if token.get("reason") else token.get("reason")
    return sample


def pages_of(evil: str, folder: Path) -> list[Path]:
    """Every page of the package, full of the text."""
    folder.mkdir(parents=True, exist_ok=True)
    run_of(evil, folder)
    found = audits_of(evil)
    texts = {
        "audit": audit_page(found),
        "audits": audit_page(found, found),
        "inspect": inspect_page(inspected_of(evil)),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    written = [write_report(folder), write_comparison(folder), write_analysis(folder)]
    return [*written, *(folder / f"{name}.html" for name in texts)]


@pytest.mark.parametrize("evil", [" ".join(HOSTILE), HOSTILE[4] + HOSTILE[12]], ids=["all", "attributes and controls"])
def test_hostile_text_stays_text_on_every_page(evil: str, tmp_path: Path) -> None:
    for path in pages_of(evil, tmp_path):
        text = path.read_text(encoding="utf-8")
        reader = Reader(text)
        assert not OWN_TAGS & set(reader.tags), path.name
        assert (reader.tags.count("script"), reader.tags.count("title") - text.count("<title id=")) == (1, 1), path.name
        assert not [name for name, _ in reader.attributes if name.startswith("on")], path.name
        links = reader.values("href", "src", "xlink:href", "action", "data", "srcdoc")
        assert all(link.startswith("#") for link in links), path.name
        assert not [style for style in reader.values("style") if "evil" in style], path.name
        assert not re.search("[\x00\x08\x1b\ufffe\uffff]", text), path.name


def test_markdown_of_a_comparison_shows_markup_as_text(tmp_path: Path) -> None:
    run_of(HOSTILE[0], tmp_path)
    write_comparison(tmp_path)
    text = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert not re.search(r"(?<!\\)<script", text)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serves `tmp_path`: browsers treat pages of a server as they do those on the network."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def title_in_browser(browser: str, url: str, profile: Path) -> str:
    """The title of a page after its scripts and events ran."""
    options = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={profile}",
        "--virtual-time-budget=2000",
    )
    done = subprocess.run([browser, *options, "--dump-dom", url], capture_output=True, text=True, timeout=120)
    match = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert match, done.stderr[-500:]
    return match[1]


@pytest.mark.slow
def test_no_hostile_text_runs_in_a_browser(tmp_path: Path, server: str) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("needs chromium")
    (tmp_path / "runs.html").write_text(f"<title>calm</title><p>{HOSTILE[0]}", encoding="utf-8")
    assert title_in_browser(browser, f"{server}/runs.html", tmp_path / "profile") == "RAN"  # the alarm works
    for number, evil in enumerate(HOSTILE):
        for path in pages_of(evil, tmp_path / str(number)):
            title = title_in_browser(browser, f"{server}/{number}/{path.name}", tmp_path / "profile")
            assert title != "RAN", (path.name, evil)
