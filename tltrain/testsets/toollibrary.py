"""Executes ToolEyes' calls in the user's copy of its public tool library, each in a separate process.

A tool is the function of the same name in a Python file of the folder that the query's `path` names. The user provides
whatever it needs, such as API keys and network access. The resulting figures do not compare with the simulator's.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

from tltrain.audit.feedback import feedback_failed
from tltrain.errors import ConfigError, DataError
from tltrain.testsets.base import Item
from tltrain.testsets.episodes import Outcome
from tltrain.trajectory import Call

_ROOT = "Tool_Library"
_RUNNER = """
import contextlib, importlib.util, json, os, sys
answer = os.fdopen(os.dup(1), "w")
file, name = sys.argv[1:]
with contextlib.redirect_stdout(sys.stderr):
    module = importlib.util.module_from_spec(spec := importlib.util.spec_from_file_location("tool", file))
    spec.loader.exec_module(module)
    result = getattr(module, name)(**json.load(sys.stdin))
answer.write(result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str))
answer.flush()
"""


class Library:
    """The public tool library.

    Args:
        path: its folder, which contains a folder for each kind of tool.
        timeout: seconds after which a call counts as failed.

    Raises:
        ConfigError: there is no such folder.
    """

    name = "library"

    def __init__(self, path: Path, timeout: float = 60) -> None:
        inside = path / _ROOT
        self.path, self.timeout = (inside if inside.is_dir() else path).resolve(), timeout
        if not self.path.is_dir():
            raise ConfigError(f"no tool library at {path}: expected its folder {_ROOT}")

    def execute(self, call: Call, item: Item) -> Outcome:
        """Execute the call.

        Raises:
            DataError: the copy lacks the tool.
        """
        file = self._file(call.name, item)
        command = [sys.executable, "-c", _RUNNER, str(file), call.name]
        above = [file.parent, self.path, *self.path.parents[:2]]
        paths = os.pathsep.join([*map(str, above), *filter(None, [os.environ.get("PYTHONPATH")])])
        try:
            done = subprocess.run(
                command,
                input=json.dumps(call.arguments),
                capture_output=True,
                text=True,
                timeout=self.timeout,
                cwd=file.parent,
                env=os.environ | {"PYTHONPATH": paths},
                check=False,
            )
        except subprocess.TimeoutExpired:
            reason = f"timeout: no answer within {self.timeout:g} seconds"
            return Outcome(reason, reason)
        if done.returncode != 0:
            reason = next(reversed(done.stderr.strip().splitlines()), f"exit code {done.returncode}")
            return Outcome(reason, reason)
        return Outcome(done.stdout, feedback_failed(done.stdout))

    def _file(self, name: str, item: Item) -> Path:
        """The Python file that defines the tool."""
        parts = str(item.extra.get("path", "")).split("/")
        folder = self.path.joinpath(*parts[parts.index(_ROOT) + 1 if _ROOT in parts else 0 :])
        for file in sorted(folder.glob("*.py")):
            if _defines(file, name):
                return file
        raise DataError(f"the tool library has no function {name} here", folder)


def _defines(file: Path, name: str) -> bool:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return False
    return any(isinstance(node, ast.FunctionDef) and node.name == name for node in tree.body)
