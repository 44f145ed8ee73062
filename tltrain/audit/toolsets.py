"""The tools a data set offers: how many, which are never called, which are easily confused or badly specified."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass, field
from functools import lru_cache
from typing import Any

from tltrain.audit.confusable import pairs
from tltrain.audit.counting import Spread, Tally, digest
from tltrain.audit.specifications import specification_problems
from tltrain.trajectory import Tool, Trajectory

MAX_TOOLS = 50_000
MAX_SETS = 20_000
SHOWN = 200


@dataclass
class ToolStatistics:
    """Counts over the tools of the trajectories seen. Of a name with several specifications, the first describes it."""

    _: KW_ONLY
    offered: Tally = field(default_factory=lambda: Tally(MAX_TOOLS))
    descriptions: dict[str, str] = field(default_factory=dict)
    inferred: set[str] = field(default_factory=set)
    sets: Tally = field(default_factory=lambda: Tally(MAX_SETS))
    per_trajectory: Spread = field(default_factory=Spread)
    without_tools: int = 0
    versions: Tally = field(default_factory=lambda: Tally(MAX_TOOLS))
    troubles: dict[tuple[str, bytes], tuple[str, ...]] = field(default_factory=dict)

    def add(self, trajectory: Trajectory) -> None:
        """Count the tools of one trajectory."""
        names = tuple(tool.name for tool in trajectory.tools)
        self.per_trajectory.add(len(names))
        self.without_tools += not names
        self.sets.add(tuple(sorted(names)))
        for name in dict.fromkeys(names):
            self.offered.add(name)
        for tool in trajectory.tools:
            self._add_specification(tool)

    def _add_specification(self, tool: Tool) -> None:
        if tool.inferred:
            self.inferred.add(tool.name)
            return
        parameters = json.dumps(tool.parameters, sort_keys=True, default=str)
        version = (tool.name, digest(tool.description, parameters))
        if version in self.versions.counts:
            self.versions.add(version)
        elif self.versions.add(version):
            self.descriptions.setdefault(tool.name, tool.description)
            found = _problems(tool.name, parameters)
            if found:
                self.troubles[version] = found

    def merge(self, later: ToolStatistics) -> None:
        """Add the tools of the part of the data that follows."""
        self.offered.merge(later.offered)
        self.descriptions = later.descriptions | self.descriptions
        self.inferred |= later.inferred
        self.sets.merge(later.sets)
        self.per_trajectory.merge(later.per_trajectory)
        self.without_tools += later.without_tools
        self.versions.merge(later.versions)
        self.troubles = later.troubles | self.troubles

    def to_json(self, called: Collection[str]) -> dict[str, Any]:
        """The `tools` part of an audit (see `run.audit`); `called` are the names that occur in calls."""
        offered = self.offered.counts
        never = [(name, count) for name, count in self.offered.common() if name not in called]
        return {
            "distinct": len(offered),
            "per_trajectory": self.per_trajectory.summary(),
            "sets": len(self.sets.counts),
            "without_tools": self.without_tools,
            "inferred": len(self.inferred),
            "several_specifications": len(self.versions.counts) - len({name for name, _ in self.versions.counts}),
            "never_used": {
                "number": len(never),
                "tools": [{"tool": name, "trajectories": count} for name, count in never[:SHOWN]],
            },
            "invalid": self._invalid(),
            "confusable": self._confusable(),
        }

    def _invalid(self) -> dict[str, Any]:
        counts = self.versions.counts
        ordered = sorted(self.troubles, key=lambda version: (-counts.get(version, 0), version))
        rows = [
            {"tool": version[0], "troubles": list(self.troubles[version]), "trajectories": counts.get(version, 0)}
            for version in ordered[:SHOWN]
        ]
        return {"number": len(ordered), "tools": rows}

    def _confusable(self) -> dict[str, Any]:
        sets = [(names, count) for names, count in self.sets.common() if len(names) > 1]
        rows, complete = pairs(sets, self.descriptions)
        involved = {row["a"] for row in rows} | {row["b"] for row in rows}
        return {"pairs": len(rows), "tools": len(involved), "complete": complete, "shown": rows[:SHOWN]}


@lru_cache(maxsize=20_000)
def _problems(name: str, parameters: str) -> tuple[str, ...]:
    """The problems of a specification, cached because tool sets repeat."""
    return tuple(specification_problems(Tool(name, parameters=json.loads(parameters))))
