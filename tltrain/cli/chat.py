"""The command that talks to a model: try."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from tltrain.cli.app import INTERRUPTED, AllowCode, app, print_status, silence_libraries, stderr
from tltrain.errors import ConfigError
from tltrain.progress import quantity

if TYPE_CHECKING:
    from tltrain.chat.conversation import Speaker
    from tltrain.chat.session import Session
    from tltrain.chat.toolbox import Toolbox

NO_ANSWER = 1
"""Exit code of `--query` where a model did not answer."""
PROMPT = "you     "


@app.command("try")
def try_model(
    model: Annotated[
        str,
        typer.Argument(help="A folder, a run directory, a hub name, the built-in model, or URL#model of an endpoint."),
    ],
    query: Annotated[str | None, typer.Option(help="Ask this and exit; exit code 1 if there is no answer.")] = None,
    compare: Annotated[str | None, typer.Option(help="A second model, asked the same.")] = None,
    tools: Annotated[
        str | None,
        typer.Option(help="FILE.py with typed functions, or services of toolworld such as weather,units."),
    ] = None,
    tools_seed: Annotated[int, typer.Option(help="Random seed for the choice of toolworld's tools and examples.")] = 0,
    mcp: Annotated[str | None, typer.Option(help="Tools of an MCP server: its command, or its URL.")] = None,
    mcp_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that an MCP server may take to answer.")] = 30.0,
    system: Annotated[str | None, typer.Option(help="System prompt, instead of that of the tools.")] = None,
    save: Annotated[
        Path | None, typer.Option(help="JSON Lines to append the conversation to, as a trajectory.")
    ] = None,
    max_calls: Annotated[int, typer.Option(min=1, help="Calls that are executed for one user turn.")] = 10,
    dialect: Annotated[
        str | None, typer.Option(help="How the model writes calls; by default as its chat template does.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of a reply.")] = 512,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of a prompt and its reply; by default the model's own limit.")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="bfloat16, float32, or auto: bfloat16 where the device supports it.")
    ] = "auto",
    endpoint_model: Annotated[
        str | None, typer.Option(help="The model's name, where the URL of an endpoint has none.")
    ] = None,
    allow_code: AllowCode = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --query: print the whole exchange as one JSON document.")
    ] = False,
) -> None:
    """Talk to a model: it calls tools, the calls are executed, and each is shown with its verdict on form."""
    if as_json and query is None:
        raise ConfigError("--json prints the exchange of one query: it needs --query")
    if tools is not None and mcp is not None:
        raise ConfigError("--tools and --mcp exclude each other")
    from tltrain.config import EvaluationConfig, parse_config

    limits = {"max_new_tokens": max_new_tokens, "max_length": max_length, "batch_size": 1, "dtype": dtype}
    limits |= {"dialect": dialect or "hermes", "allow_code": allow_code}
    config = parse_config(limits, "options", EvaluationConfig)
    silence_libraries()
    from tltrain.chat.conversation import Conversation
    from tltrain.chat.display import Display
    from tltrain.chat.session import Session, check_writable

    if save is not None:
        check_writable(save)
    names = [model, *([] if compare is None else [compare])]
    with ExitStack() as stack:
        boxes = [_toolbox(stack, tools, tools_seed, mcp, mcp_timeout) for _ in names]
        speakers = _speakers(names, endpoint_model, config, dialect)
        conversations = [Conversation(one, box, max_calls, system) for one, box in zip(speakers, boxes, strict=True)]
        session = Session(conversations, None if as_json else Display(Console()), save)
        code = _conversation(session, query, as_json)
    raise typer.Exit(code)


def _conversation(session: Session, query: str | None, as_json: bool) -> int:
    """The whole conversation, which is saved however it ends; the exit code."""
    try:
        code = _converse(session) if query is None else _answer(session, query, as_json)
    except KeyboardInterrupt:
        stderr.print("interrupted")
        code = INTERRUPTED
    session.finish()
    if session.saved:
        print_status(f"saved: {quantity(session.saved, 'trajectory')} in {session.save}")
    return code


def _toolbox(stack: ExitStack, tools: str | None, seed: int, mcp: str | None, timeout: float) -> Toolbox:
    """Tools of their own for one model, open until the stack is closed."""
    if mcp is not None:
        if find_spec("mcp") is None:
            raise ConfigError("--mcp needs the extra: pip install 'tltrain[mcp]'")
        from tltrain.chat.mcp_server import open_mcp

        return stack.enter_context(open_mcp(mcp, timeout, warn=lambda text: print_status(f"warning: {text}")))
    if tools is not None and tools.endswith(".py"):
        from tltrain.chat.functions import load_functions

        return load_functions(Path(tools))
    from tltrain.chat.toolbox import toolworld_tools

    return toolworld_tools([name.strip() for name in (tools or "").split(",") if name.strip()], seed)


def _speakers(names: list[str], endpoint_model: str | None, config: Any, dialect: str | None) -> list[Speaker]:
    from tltrain.chat.loading import load_speaker, trained_model
    from tltrain.evaluation.selection import name_models

    found = [trained_model(name) for name in names]
    for name, path in zip(names, found, strict=True):
        if path != name:
            print_status(f"model: {path}")
    return [load_speaker(name, one, config, dialect) for name, one in name_models(found, endpoint_model).items()]


def _answer(session: Session, query: str, as_json: bool) -> int:
    """One user turn; the exit code."""
    turns = session.ask(query)
    if as_json:
        print(json.dumps(session.to_json(query, turns), ensure_ascii=False))
    return 0 if all(session.answered(turn) for turn in turns) else NO_ANSWER


def _converse(session: Session) -> int:
    """User turns until the input ends; the exit code."""
    if sys.stdin.isatty():
        with suppress(ImportError):
            import readline  # noqa: F401  editing and history of lines
        session.greet()
    for line in _lines():
        if line.startswith("/"):
            if not session.command(line):
                break
        elif line.strip():
            session.ask(line)
    return 0


def _lines() -> Iterator[str]:
    """Lines of the user; without a prompt where the input is no terminal. Ctrl-D and Ctrl-C end them."""
    interactive = sys.stdin.isatty()
    while True:
        try:
            yield input(PROMPT if interactive else "")
        except EOFError:
            if interactive:
                print()
            return
