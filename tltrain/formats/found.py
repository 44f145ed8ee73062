"""What a reader found in its files: formats, trajectories, tools, and fields that a format does not know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tltrain.progress import quantity
from tltrain.trajectory import Trajectory

_ANNOTATIONS = {
    "tau-bench": frozenset(("task_id", "trial", "reward", "info")),
    "rotbench": frozenset(("path", "scenario", "alternatives")),
    "tooleyes": frozenset(("path", "scenario")),
    "hermes": frozenset(("category", "subcategory", "task")),
    "openai": frozenset(("toolworld",)),
}
"""Top-level fields that a format documents, and that say nothing about the dialogue."""
_OF_MANY = {
    "toolalpaca": frozenset(
        ("Name", "Description", "Category", "Introduction", "Link", "Functions", "Documentation", "NLDocumentation",
         "Function_Description", "Function_Projection", "Authentication", "Instances", "Instructions", "Golden_Answers")
    ),
    "toolbench": frozenset(
        ("win", "try_count", "trys", "tree", "compare_candidates", "forward_args", "answer_generation")
    ),
}  # fmt: skip
"""All top-level fields of formats whose records contain several trajectories, which keep only fields of their own."""
_FIELDS_SHOWN = 20
"""Unknown fields with a line of their own, for each format; more are only counted."""


@dataclass(slots=True)
class Found:
    """What was found; filled by `read`.

    `unknown` counts records by (format, field) for top-level fields that the format does not know. Readers keep these
    in `Trajectory.extra`, where neither training nor the audit looks at them.
    """

    files: dict[str, set[str]] = field(default_factory=dict)
    """Files by format."""
    trajectories: int = 0
    tools: set[str] = field(default_factory=set)
    """Names of the tools that are listed."""
    inferred: set[str] = field(default_factory=set)
    """Names of the tools that were inferred from calls."""
    unknown: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, format: str, file: str, record: Any, trajectories: Iterable[Trajectory]) -> None:
        """Count the trajectories that `record`, of `file`, contains."""
        self.files.setdefault(format, set()).add(file)
        fields: set[str] = set()
        for trajectory in trajectories:
            self.trajectories += 1
            fields |= trajectory.extra.keys()
            for tool in trajectory.tools:
                (self.inferred if tool.inferred else self.tools).add(tool.name)
        if format in _OF_MANY and isinstance(record, dict) and "conversations" not in record:
            fields = record.keys() - _OF_MANY[format]
        self.unknown.update((format, name) for name in fields - _ANNOTATIONS.get(format, frozenset()))

    def lines(self, source: str) -> list[str]:
        """A line that says what was found in `source`, and a line for each unknown field."""
        shown = [f"{name} ({len(files):,} files)" if len(files) > 1 else name for name, files in self.files.items()]
        tools = quantity(len(self.tools | self.inferred), "tool")
        if self.inferred - self.tools:
            tools += (
                " inferred from the calls"
                if not self.tools
                else f", {len(self.inferred - self.tools):,} of them inferred"
            )
        first = (
            f"{source}: {', '.join(shown) or 'no known format'}, {quantity(self.trajectories, 'trajectory')}, {tools}"
        )
        rows = sorted(self.unknown.items(), key=lambda row: (-row[1], row[0]))
        lines = [
            f"{source}: unknown field {name!r} in {quantity(number, 'record')}: {format} has no such field, "
            "so it is not used"
            for (format, name), number in rows[:_FIELDS_SHOWN]
        ]
        more = len(rows) - len(lines)
        return [first, *lines, *([f"{source}: {quantity(more, 'more unknown field')}, not used"] if more else [])]
