"""The client of an OpenAI-compatible API, from the optional package `openai`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tltrain.errors import ConfigError

if TYPE_CHECKING:
    from openai import OpenAI

RETRIES = 12
"""Retries of a request that was rejected temporarily or lost. The client waits longer each time, up to 8 seconds or as
long as the server says: about a minute in total, enough to restart a server."""
SECONDS = 600.0
"""Timeout of a request."""
REACH_SECONDS = 10.0
"""Timeout of the request that finds out whether there is a server."""


def api_client(url: str, name: str) -> OpenAI:
    """A client for the API at `url`, with the key `$OPENAI_API_KEY`.

    Args:
        url: the API's base, such as `http://localhost:8000/v1`.
        name: what the user called it, for the error message.

    Raises:
        ConfigError: the package is not installed.
    """
    try:
        from openai import OpenAI
    except ImportError:
        raise ConfigError(f"{name}: endpoints need the extra: pip install 'tltrain[openai]'") from None
    key = os.environ.get("OPENAI_API_KEY") or "none"
    return OpenAI(base_url=url, api_key=key, max_retries=RETRIES, timeout=SECONDS)


def error_line(error: Exception) -> str:
    """An error of the client as a single line of at most 200 characters."""
    return " ".join(str(error).split())[:200]
