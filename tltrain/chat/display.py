"""How a conversation is shown in a terminal. Every text of a model or a tool is shown as it is: never as markup, and
with its control characters escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from tltrain.chat.conversation import CallEvent, EndEvent, Event, TextEvent, shown_arguments
from tltrain.chat.text import excerpt, one_line, visible
from tltrain.trajectory import Tool

LABEL_WIDTH = 7
NARROWEST_PAIR = 76
"""Columns that two models side by side need; narrower terminals show one below the other."""
Line = tuple[str, str, Text]
"""A label, its style, and what follows it."""


def lines_of(event: Event) -> Iterator[Line]:
    """An event as labelled lines."""
    match event:
        case TextEvent(text):
            yield "text", "bold", Text(visible(text))
        case CallEvent(call, faults, result, failed):
            yield "call", "bold cyan", Text(f"{one_line(call.name, 100)}({excerpt(visible(shown_arguments(call)))})")
            yield "form", "dim", _form([fault.message for fault in faults])
            yield "result", "bold yellow" if failed else "bold", _result(result, failed)
        case EndEvent("answer", text):
            yield "answer", "bold green", Text(visible(text))
        case EndEvent(end, text, reason):
            if text:
                yield "reply", "bold", Text(excerpt(visible(text)))
            yield "end", "bold red", Text(f"no answer: {_ending(end)}{one_line(reason or '')}", "red")


def _form(faults: Sequence[str]) -> Text:
    if not faults:
        return Text("well-formed", "green")
    return Text(f"not well-formed: {'; '.join(one_line(fault) for fault in faults)}", "red")


def _result(result: str, failed: str | None) -> Text:
    text = Text(excerpt(visible(result)))
    return text if failed is None else text.append(f"\nreports failure: {one_line(failed)}", "yellow")


def _ending(end: str) -> str:
    return {"unparseable": "the reply cannot be parsed: ", "refused": "the model could not be asked: "}.get(end, "")


class Display:
    """Prints conversations; wrapped and coloured on a terminal, as plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def event(self, event: Event) -> None:
        """Print an event."""
        self._print(lines_of(event))

    def pair(self, named: Sequence[tuple[str, Sequence[Event]]]) -> None:
        """Print the same turn of several models, side by side where there is room."""
        if not self.console.is_terminal or self.console.width < NARROWEST_PAIR:
            for name, events in named:
                self._print([("model", "bold magenta", Text(visible(name)))])
                for event in events:
                    self.event(event)
            return
        table = Table.grid(padding=(0, 3), expand=True)
        for _ in named:
            table.add_column(ratio=1, overflow="fold")
        table.add_row(*[Text(visible(name), "bold magenta underline") for name, _ in named])
        table.add_row(*[Group(*[_grid(lines_of(event)) for event in events]) for _, events in named])
        self.console.print(table)

    def tools(self, tools: Iterable[Tool]) -> None:
        """Print the tools with their arguments; optional ones have a question mark."""
        for tool in tools:
            arguments = ", ".join(name if name in tool.required else f"{name}?" for name in tool.properties)
            text = Text(f"{one_line(tool.name)}({one_line(arguments, 400)})", "cyan")
            self._print([("tool", "dim", text.append(f"\n{one_line(tool.description)}", "default"))])

    def note(self, text: str) -> None:
        """Print a remark of ours."""
        self.console.print(Text(visible(text), "dim"), soft_wrap=not self.console.is_terminal)

    def _print(self, lines: Iterable[Line]) -> None:
        if self.console.is_terminal:
            self.console.print(_grid(lines))
            return
        for label, style, text in lines:
            indented = Text(f"\n{' ' * (LABEL_WIDTH + 1)}").join(text.split("\n", allow_blank=True))
            self.console.print(Text(f"{label:<{LABEL_WIDTH}} ", style) + indented, soft_wrap=True)


def _grid(lines: Iterable[Line]) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=LABEL_WIDTH, no_wrap=True)
    grid.add_column(overflow="fold")
    for label, style, text in lines:
        grid.add_row(Text(label, style), text)
    return grid
