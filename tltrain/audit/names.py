"""Records at which training stops: a chat template cannot render them, or writes their tool names in another form."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence

from tltrain.progress import quantity
from tltrain.trajectory import Trajectory

SHOWN = 3
"""Records named in the warning."""


def noting_escaped_names(trajectories: Iterable[Trajectory], found: list[tuple[str, str]]) -> Iterator[Trajectory]:
    """Yield the trajectories unchanged; appends (source, name) for each that calls a tool whose name JSON escapes."""

    def escaped(trajectory: Trajectory) -> str | None:
        names = dict.fromkeys(site.call.name for site in trajectory.call_sites())
        return next((name for name in names if json.dumps(name, ensure_ascii=False) != f'"{name}"'), None)

    return noting(trajectories, escaped, found)


def noting(
    trajectories: Iterable[Trajectory], reason: Callable[[Trajectory], str | None], found: list[tuple[str, str]]
) -> Iterator[Trajectory]:
    """Yield the trajectories unchanged; appends (source, reason) for each that has a reason."""
    for trajectory in trajectories:
        if (said := reason(trajectory)) is not None:
            found.append((trajectory.source or trajectory.id or "?", said))
        yield trajectory


def refused_warning(found: Sequence[tuple[str, str]]) -> str | None:
    """A sentence about the records that the model's chat template refuses, with the reasons; None if there are none."""
    if not found:
        return None
    shown = "; ".join(f"{source}: {reason}" for source, reason in found[:SHOWN])
    more = f"; and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    return (
        f"{quantity(len(found), 'record')} cannot be encoded with this model, so `tltrain run` stops there, or "
        f"skips them with `data.strict: false`: {shown}{more}"
    )


def escaped_names_warning(found: Sequence[tuple[str, str]]) -> str | None:
    """A sentence about these records; None if there are none."""
    if not found:
        return None
    shown = ", ".join(f"{source} ({name!r})" for source, name in found[:SHOWN])
    more = f" and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    verb = "calls a tool" if len(found) == 1 else "call tools"
    return (
        f"{quantity(len(found), 'record')} {verb} whose name contains quotes, backslashes or control "
        f"characters: {shown}{more}. Chat templates write such names escaped, and `tltrain run` stops there, or skips "
        "these records with `data.strict: false`."
    )
