"""The code blocks of Markdown files, and how they are run."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.commands import call
from tltrain.cli.main import command_line

_BLOCK = re.compile(r'^```(\w*)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A code block; one whose title says what it needs, such as a server, is parsed and not run."""

    language: str
    title: str
    text: str

    @property
    def runs(self) -> bool:
        return not self.title.startswith("needs ")

    def commands(self) -> Iterator[tuple[str, list[str]]]:
        """The command lines of a console block, each with the lines of output that are shown below it."""
        lines = self.text.replace("\\\n", "").splitlines()
        starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
        assert not lines or starts, f"a console block without a command: {self.text}"
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            yield re.split(r"\s+# ", lines[start][2:])[0], lines[start + 1 : end]


def blocks(text: str) -> list[Block]:
    """All code blocks in order."""
    return [Block(*found) for found in _BLOCK.findall(text)]


def arguments_of(line: str) -> list[str] | None:
    """What follows `tltrain` in a command line; None for other commands."""
    words = shlex.split(line.rpartition(" | ")[2])
    return words[1:] if words[0] == "tltrain" else None


def parse(line: str) -> None:
    """Raises an error unless a `tltrain` command takes these arguments."""
    if arguments := arguments_of(line):
        name, *rest = arguments
        command_line().commands[name].make_context(name, list(rest))


def execute(line: str, folder: Path, environment: dict[str, str]) -> str:
    """Run a command line in a folder; returns what it prints, standard output first. An answer is not demanded of
    `try`."""
    arguments = arguments_of(line)
    if arguments is None or " | " in line:
        done = subprocess.run(line, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
        code, out, err = done.returncode, done.stdout, done.stderr
    else:
        code, out, err = call(*arguments)
    assert code in ((0, 1) if arguments and arguments[0] == "try" else (0,)), f"{line}: {err}"
    return out + err
