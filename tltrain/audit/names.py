"""Tool names that chat templates write in another form than they have, at which training on them stops."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from tltrain.trajectory import Trajectory

SHOWN = 3
"""Records named in the warning."""


def noting_escaped_names(trajectories: Iterable[Trajectory], found: list[tuple[str, str]]) -> Iterator[Trajectory]:
    """Yield the trajectories unchanged; appends (source, name) for each that calls a tool whose name JSON escapes."""
    for trajectory in trajectories:
        names = dict.fromkeys(site.call.name for site in trajectory.call_sites())
        escaped = next((name for name in names if json.dumps(name, ensure_ascii=False) != f'"{name}"'), None)
        if escaped is not None:
            found.append((trajectory.source or trajectory.id or "?", escaped))
        yield trajectory


def escaped_names_warning(found: Sequence[tuple[str, str]]) -> str | None:
    """A sentence about these records; None if there are none."""
    if not found:
        return None
    shown = ", ".join(f"{source} ({name!r})" for source, name in found[:SHOWN])
    more = f" and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    verb = "calls a tool" if len(found) == 1 else "call tools"
    return (
        f"{len(found):,} record{'s' * (len(found) > 1)} {verb} whose name contains quotes, backslashes or control "
        f"characters: {shown}{more}. Chat templates write such names escaped, and `tltrain run` stops there, or skips "
        "these records with `data.strict: false`."
    )
