"""An audit from a file to its two files: token lengths, processes, the page, comparison."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support.micro import micro_tokenizer

from tltrain.audit import run
from tltrain.audit.compare import compare
from tltrain.audit.lengths import Masking, Tokens, without_calls
from tltrain.encode import Encoder
from tltrain.errors import DataError, ModelError, RunError
from tltrain.report.audit_page import audit_page
from tltrain.trajectory import Call, Message, Tool, Trajectory

PARAMETERS = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
TOOLS = (Tool("get_order", "An order by its id.", PARAMETERS), Tool("get_order_items", "Its items.", PARAMETERS))
VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}


def trajectory(number: int, fails: bool = False) -> Trajectory:
    argument = "ordr_id" if fails else "order_id"
    feedback = f"TypeError: unexpected keyword argument '{argument}'" if fails else '{"items": 3}'
    return Trajectory(
        (
            Message("system", "You help."),
            Message("user", f"What is in order A-{number}?"),
            Message("assistant", "Let me see.", (Call("get_order", {argument: f"A-{number}"}, "c1"),)),
            Message("tool", feedback, call_id="c1"),
            Message("assistant", f"Order {number} holds three items."),
        ),
        TOOLS,
        id=f"t{number}",
    )


def write(path: Path, trajectories: list[Trajectory]) -> Path:
    lines = [json.dumps(each.to_json()) for each in trajectories]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "data.jsonl", [trajectory(number, fails=number % 4 == 0) for number in range(12)])


def rendered(tokenizer: Any, messages: list[Message], tools: tuple[Tool, ...] = (), **options: Any) -> list[int]:
    values = [message.to_json() | {"content": message.content or ""} for message in messages]
    given = [tool.to_json() for tool in tools] or None
    text = tokenizer.apply_chat_template(values, tools=given, tokenize=False, **options)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_lengths_are_those_of_the_rendered_template() -> None:
    tokenizer = micro_tokenizer()
    tokens = Tokens(tokenizer)
    assert tokens.splitter is not None
    one = trajectory(1, fails=True)
    measured = tokens.measure([(one, [Masking(True, frozenset({0})), Masking(False)])])[0]
    assert not isinstance(measured, str)
    assert measured.total == len(rendered(tokenizer, list(one.messages), TOOLS))
    steps = Encoder(tokenizer, mae=False, pkt=False).steps(one)
    assert measured.replies == tuple(len(step.reply_ids) for step in steps)
    assert measured.masked == (measured.replies[0], 0)


def test_replies_without_a_stop_token_get_one() -> None:
    tokenizer = micro_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    one = Trajectory((Message("user", "What?"), Message("assistant", "This.")))
    measured = Tokens(tokenizer).measure([(one, [Masking(False)])])[0]
    (step,) = Encoder(tokenizer, pkt=False).steps(one)
    assert not isinstance(measured, str) and measured.replies == (len(step.reply_ids),)


def test_lengths_without_splitting_are_the_same() -> None:
    tokens, whole = Tokens(micro_tokenizer()), Tokens(micro_tokenizer())
    whole.splitter = None
    work = [(trajectory(number), [Masking(False)] * 2) for number in range(5)]
    assert tokens.measure(work) == whole.measure(work)


def test_failed_parallel_calls_are_masked_alone() -> None:
    calls = (Call("get_order", {"order_id": "A-1"}, "c1"), Call("get_order", {"order_id": "A-22222"}, "c2"))
    both = Message("assistant", None, calls)
    parallel = Trajectory((Message("user", "Both?"), both), TOOLS)
    tokens = Tokens(micro_tokenizer())
    measured = tokens.measure([(parallel, [Masking(False, frozenset({1}))])])[0]
    alone = tokens.measure([(Trajectory((Message("user", "?"), without_calls(both, {1})), TOOLS), [Masking(False)])])[0]
    assert not isinstance(measured, str) and not isinstance(alone, str)
    assert measured.masked[0] == measured.replies[0] - alone.replies[0] > 0


def test_what_a_template_refuses_is_counted() -> None:
    tokenizer = micro_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.content == 'no' %}{{ raise_exception('not this') }}{% endif %}"
        "<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    )
    refused = Trajectory((Message("user", "no"), Message("assistant", "yes")))
    lengths = run.audit([trajectory(1), refused], tokenizer=tokenizer)["lengths"]
    assert lengths["number"] == 1
    assert lengths["refused"] == {"number": 1, "reasons": [["not this", 1]]}


def test_a_tokenizer_without_template_is_refused() -> None:
    tokenizer = micro_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="chat template"):
        run.audit([trajectory(1)], tokenizer=tokenizer)


def test_limits() -> None:
    data = [trajectory(1), trajectory(22)]
    lengths = run.audit(data, tokenizer=micro_tokenizer(), max_length=100)["lengths"]
    total = lengths["sum"]
    row = next(row for row in lengths["limits"] if row["limit"] == 100)
    assert row == {
        "limit": 100,
        "cut": 2,
        "share": 1.0,
        "tokens_lost": total - 200,
        "share_lost": round((total - 200) / total, 4),
    }
    assert [row["limit"] for row in lengths["limits"]][:2] == [100, 512]


def test_processes_count_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data = [trajectory(number % 17, fails=number % 5 == 0) for number in range(60)]
    alone = run.audit(data)
    monkeypatch.setattr(run, "CHUNK", 9)
    monkeypatch.setattr(run, "POOL_FROM", 18)
    told: list[int] = []
    assert run.audit(iter(data), workers=2, progress=told.append) == alone
    assert told == [9, 18, 27, 36, 45, 54, 60]
    assert run.audit(data) == alone


def test_run_audit_writes_the_audit_that_the_page_shows(file: Path, tmp_path: Path) -> None:
    with file.open("a") as stream:
        stream.write('{"messages": 5}\n')
    result, other = run.run_audit(str(file), tmp_path / "out")
    assert other is None
    assert json.loads((tmp_path / "out" / "audit.json").read_text(encoding="utf-8")) == result
    assert result["calls"]["share"] == 0.25
    assert result["headline"] == "3 of 12 calls failed; all of them name an argument that does not exist."
    assert result["problems"]["number"] == 1
    assert result["problems"]["shown"][0]["line"] == 13
    page = audit_page(result)
    assert result["headline"] in page
    assert "1 record could not be read and was skipped." in page
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["audit.json"]


def test_run_audit_refuses_what_it_cannot_read(file: Path, tmp_path: Path) -> None:
    file.write_text('{"messages": 5}\n')
    with pytest.raises(DataError, match="no trajectory could be read"):
        run.run_audit(str(file), tmp_path / "out", format="openai")
    with pytest.raises(DataError, match=r"data\.jsonl:1"):
        run.run_audit(str(file), tmp_path / "out", format="openai", strict=True)
    assert not list((tmp_path / "out").iterdir())
    with pytest.raises(RunError, match="cannot be written to"):
        run.run_audit(str(file), file)


def test_compare(file: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.jsonl", [trajectory(number) for number in range(8)])
    result, second = run.run_audit(str(file), tmp_path / "out", compare=str(other))
    rows = {row["name"]: row for row in result["comparison"]["measures"]}
    assert rows["trajectories"] == {"name": "trajectories", "unit": "number", "a": 12, "b": 8, "difference": -4}
    assert (rows["calls that failed"]["a"], rows["calls that failed"]["difference"]) == (0.25, -0.25)
    category = next(row for row in result["comparison"]["by_category"] if row["category"] == "unknown_argument")
    assert category == {"category": "unknown_argument", "a": 0.25, "b": 0.0, "difference": -0.25}
    same = compare(result, result)
    assert {row["difference"] for row in same["measures"]} <= {0, None}
    page = audit_page(result, second)
    assert "Side by side" in page and "\u221225.0 points" in page


class _Tags(HTMLParser):
    """Notes tags that do not close and everything that could reach the network."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href", "xlink:href", "action")]

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


def test_the_page_is_escaped_and_self_contained() -> None:
    evil = '<script>alert("x")</script>&<img src=http://evil.example/a.png>'
    data = [
        Trajectory(
            (
                Message("user", evil),
                Message("assistant", None, (Call(evil, {evil: evil}), Call("get_order", {evil: "A"}))),
                Message("tool", evil),
                Message("tool", f"Error: {evil}"),
            ),
            (*TOOLS, Tool(evil, evil, {"type": evil}), Tool(evil + "s", evil, {"type": "object"})),
            id=evil,
            source=evil,
        )
    ] * 2
    audit = {"data": evil, "model": evil, **run.audit(data, tokenizer=micro_tokenizer(), max_length=99)}
    audit["problems"] = {"number": 1, "shown": [{"path": evil, "line": 1, "reason": evil}]}
    for page in (audit_page(audit), audit_page(audit, audit)):
        assert "<img" not in page and "<script>alert" not in page and "&lt;script&gt;alert(" in page
        assert re.search(r"<script>(?!\s*\"use strict\")", page) is None
        tags = _Tags()
        tags.feed(page)
        assert tags.open == []
        assert all(link.startswith("#") for link in tags.links)
        assert "@import" not in page and "url(http" not in page


def test_pages_of_very_little() -> None:
    for data in ([], [Trajectory((Message("user", "Hi"),))], [trajectory(1)]):
        audit = run.audit(data)
        assert audit["headline"] in audit_page(audit)
        assert audit["headline"] in audit_page(audit, audit)


def test_no_torch_is_imported() -> None:
    import subprocess
    import sys

    code = "import sys, tltrain.audit.run; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_data(shared_data: Path, tmp_path: Path) -> None:
    """The public logs are audited whole; what is counted here is counted otherwise too."""
    source = shared_data / "taubench" / "gpt-4o-airline.json"
    if not source.is_file():
        pytest.skip("needs tau-bench's logs")
    records = json.loads(source.read_text(encoding="utf-8"))
    result, _ = run.run_audit(str(source), tmp_path)
    assert result["trajectories"]["total"] == len(records)
    calls = sum(len(message.get("tool_calls") or []) for record in records for message in record["traj"])
    assert result["calls"]["total"] == calls
    assert 0 < result["calls"]["share"] < 0.2
