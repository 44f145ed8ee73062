"""How a call is written in a reply's text and read back. Knows nothing of trainers or test sets."""

from __future__ import annotations

from tltrain.dialects import hermes, python, react
from tltrain.dialects.base import Dialect, Parsed
from tltrain.errors import ConfigError

__all__ = ["NAMES", "Dialect", "Parsed", "get"]

_DIALECTS: dict[str, Dialect] = {"hermes": hermes, "python": python, "react": react}
NAMES = tuple(_DIALECTS)


def get(name: str) -> Dialect:
    """The dialect of that name. Raises ConfigError where there is none."""
    if name not in _DIALECTS:
        raise ConfigError(f"unknown dialect {name!r}: expected one of {', '.join(NAMES)}")
    return _DIALECTS[name]
