"""The exceptions that users can cause, in a common hierarchy. Any other exception is a bug.

The command line reports a `TLTrainError` as a single line on stderr and exits with code 2.
"""

from __future__ import annotations

from pathlib import Path


class TLTrainError(ValueError):
    """Invalid input; the message names the problem, its location, and what was expected."""


class DataError(TLTrainError):
    """A file of trajectories, tools or predictions cannot be read.

    `path` and `line` (1-based) say where; `reason` is the message without them.
    """

    def __init__(self, reason: str, path: str | Path | None = None, line: int | None = None) -> None:
        self.reason, self.path, self.line = reason, path, line
        location = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(location + reason)


class ConfigError(TLTrainError):
    """A configuration file or command line option is wrong or contradicts another.

    `mistakes` holds a line for each of them.
    """

    def __init__(self, *mistakes: str) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(mistakes))


class ModelError(TLTrainError):
    """A model folder or identifier cannot be used."""


class TemplateError(ModelError):
    """A chat template does not fit the training of single replies."""


class ToolError(TLTrainError):
    """Tools that a model is to call cannot be loaded, or the server that executes them fails."""


class RunError(TLTrainError):
    """A run directory cannot be resumed or written."""
