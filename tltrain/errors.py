"""Errors a user can cause, as one tree. Anything else that escapes is a bug of ours.

The command line turns every `TLTrainError` into one line on the error output and exit code 2.
"""

from __future__ import annotations

from pathlib import Path


class TLTrainError(ValueError):
    """Something the user gave is wrong; the message says what, where, and what was expected."""


class DataError(TLTrainError):
    """A file of trajectories, tools or predictions cannot be read.

    `path` and `line` (1-based) say where; `reason` is the message without them.
    """

    def __init__(self, reason: str, path: str | Path | None = None, line: int | None = None) -> None:
        self.reason, self.path, self.line = reason, path, line
        place = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(place + reason)


class ConfigError(TLTrainError):
    """A configuration file or command line option is wrong or contradicts another."""


class ModelError(TLTrainError):
    """A model folder or identifier cannot be used."""


class TemplateError(ModelError):
    """A chat template does not fit the training of single replies."""


class RunError(TLTrainError):
    """A run directory cannot be continued or written."""
