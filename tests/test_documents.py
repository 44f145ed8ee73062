"""The examples in the documents run: with a micro model in the place of the built-in one, in a folder with logs."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import reference
import yaml
from offline import foreign_hosts
from support.documents import Block, arguments_of, blocks, execute, parse
from support.standin import save_standin

import tltrain
from tltrain.cli.main import command_line
from tltrain.config import RunConfig

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    str(path.relative_to(REPOSITORY))
    for pattern in (
        "docs/index.md",
        "docs/tutorial.md",
        "docs/method.md",
        "docs/questions/*.md",
        "examples/*/README.md",
    )
    for path in REPOSITORY.glob(pattern)
)
SLOW = ("docs/index.md", "docs/tutorial.md", "docs/questions/how-many-logs.md", "examples/own_logs/README.md")
"""Those that train a model."""
SAME_OUTPUT = ("audit", "judge")
"""Commands whose output does not depend on the model."""


def read(document: str) -> list[Block]:
    return blocks((REPOSITORY / document).read_text("utf-8"))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    save_standin(folder)
    return folder


@pytest.fixture
def place(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder: examples and logs; `tltrain` and `python` are those of this environment."""
    for name in ("own_logs", "own_tools"):
        shutil.copytree(REPOSITORY / "examples" / name, tmp_path / name)
    for name in ("own_logs/logs.jsonl", "own_tools/library.py", "own_tools/server.py"):
        shutil.copy(tmp_path / name, tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, command in (("python", sys.executable), ("tltrain", f"{sys.executable} -m tltrain")):
        (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("TLTRAIN_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_can_be_parsed(document: str) -> None:
    for block in read(document):
        if block.language == "console":
            for line, _ in block.commands():
                parse(line)
        elif block.language == "python":
            compile(block.text, document, "exec")
        elif block.language == "yaml":
            RunConfig.model_validate({"sft": {}, **yaml.safe_load(block.text)})


@pytest.mark.parametrize(
    "document", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in DOCUMENTS]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_block_runs(document: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if document.startswith("examples/own_logs"):
        monkeypatch.chdir(place / "own_logs")
    names: dict[str, object] = {}
    for block in filter(lambda block: block.runs, read(document)):
        if block.language == "python":
            exec(compile(block.text, document, "exec"), names)
        elif block.language == "console":
            run_console(block)


def run_console(block: Block) -> None:
    for line, shown in block.commands():
        printed = execute(line, Path.cwd(), dict(os.environ))
        if (arguments := arguments_of(line)) and arguments[0] in SAME_OUTPUT:
            assert [text for text in shown if text not in printed.splitlines()] == [], printed


@pytest.mark.slow
def test_the_example_of_grpo_in_trl_runs(place: Path) -> None:
    pytest.importorskip("trl")
    example = REPOSITORY / "examples" / "grpo_with_trl.py"
    execute(f"python {example} logs.jsonl smollm2-135m 1", place, dict(os.environ))
    assert (place / "runs/grpo_with_trl/model/model.safetensors").is_file()
    rows = (place / "runs/grpo_with_trl/prompts.jsonl").read_text("utf-8").splitlines()
    assert len(rows) == 25 - 3  # replies that did not fail


def test_blocks_are_found() -> None:
    text = 'a\n```console title="needs a GPU"\n$ tltrain audit x  # why\nout\n$ ls\n```\n```python\n1\n```\n'
    console, python = blocks(text)
    assert (console.runs, python.runs, python.text) == (False, True, "1\n")
    assert list(console.commands()) == [("tltrain audit x", ["out"]), ("ls", [])]
    assert arguments_of("echo x | tltrain judge -") == ["judge", "-"]
    assert arguments_of("ls") is None


@pytest.mark.parametrize("line", ["tltrain audti logs.jsonl", "tltrain audit logs.jsonl --outt x"])
def test_wrong_commands_are_found(line: str) -> None:
    with pytest.raises(Exception, match=r"audti|outt"):
        parse(line)


# The reference is made from the code


def fields(kind: type, path: str = "") -> list[str]:
    """The paths of all settings."""
    found = []
    for name in kind.model_fields:
        inner = kind.section(name)
        found += [f"{path}{name}", *(fields(inner, f"{path}{name}.") if inner else [])]
    return found


def test_the_reference_has_every_setting_with_its_description() -> None:
    rows = dict(
        re.findall(r"^\| `([\w.]+)` \|.*\| (.*) \|$", reference.configuration().split("## An evaluation")[0], re.M)
    )
    assert set(rows) == set(fields(RunConfig))
    assert [name for name, description in rows.items() if not description] == []


def test_the_reference_has_every_command_and_option() -> None:
    text = reference.commands()
    for name, command in command_line().commands.items():
        section = text.split(f"## tltrain {name}\n")[1].partition("\n## ")[0]
        options = [option for parameter in command.params for option in parameter.opts if option.startswith("-")]
        assert [option for option in options if f"`{option}" not in section and option != "--help"] == []


def test_the_reference_has_every_public_name_with_its_docstring() -> None:
    text = reference.python_api()
    assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == sorted(tltrain.__all__)
    assert "- `golds`: acceptable replies" in text
    assert "0x" not in text
    assert "<factory>" not in text


# The site loads nothing from other hosts


@pytest.mark.parametrize(
    ("name", "text", "hosts"),
    [
        ("a.html", '<script src="https://cdn.example/x.js"></script>', ["a.html: cdn.example"]),
        ("a.html", "<img alt=x src=//cdn.example/x.png>", ["a.html: cdn.example"]),
        ("a.html", '<link rel="stylesheet" href="https://fonts.example/css">', ["a.html: fonts.example"]),
        ("a.css", "@import 'http://cdn.example/x.css'; a {background: url(https://b.example/i.png)}",
         ["a.css: cdn.example", "a.css: b.example"]),
        ("a.html", '<a href="https://arxiv.org">paper</a><script src="x.js"></script><img src="assets/a.png">', []),
        ("a.html", '<link rel="canonical" href="https://own.example/a.html">', []),
    ],
)  # fmt: skip
def test_foreign_hosts_are_found(name: str, text: str, hosts: list[str], tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert foreign_hosts(tmp_path) == hosts


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(REPOSITORY / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True)
    build(config)
    assert "<math" in (tmp_path / "site/method.html").read_text("utf-8")
    assert "sft.w_max" in (tmp_path / "site/reference/configuration.html").read_text("utf-8")


def test_links_out_of_the_documents_lead_into_results() -> None:
    """The site has nothing else from beside its folder (`docs/hooks.py`), and is not built with other links."""
    folder = REPOSITORY / "docs"
    links = [
        (path, link)
        for path in sorted(folder.rglob("*.md"))
        for link in re.findall(r"\]\((\.\./[^)#]*)", path.read_text("utf-8"))
        if not (path.parent / link).resolve().is_relative_to(folder)
    ]
    assert links, "the evidence shows figures of results/"
    for path, link in links:
        assert path.parent == folder and link.startswith("../results/") and (folder / link).is_file(), (path, link)
