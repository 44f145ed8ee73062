"""The command line, called in this process. Loads no model library."""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import pytest

from tltrain.cli import main


def call(*arguments: object) -> tuple[int, str, str]:
    """The command line in this process: exit code, standard output, error output."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err, pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


def mistake(*arguments: object) -> str:
    """What the command line says of a user's mistake: exit code 2, nothing on the output, one line."""
    code, out, err = call(*arguments)
    assert (code, out) == (2, ""), err
    assert err.startswith("tltrain: ") and err.count("\n") == 1 and err.endswith("\n"), err
    return err.removeprefix("tltrain: ").rstrip("\n")
