"""Who failed, and why: the schema and the feedback reader side by side, for every call of a trajectory (MAE)."""

from __future__ import annotations

from dataclasses import dataclass

from tltrain.audit.feedback import Mode, feedback_failed
from tltrain.audit.schema import schema_failed
from tltrain.trajectory import CallSite, Trajectory


@dataclass(frozen=True, slots=True)
class CallReading:
    """What the readers say of `messages[message].calls[index]`: a reason each, None where they find nothing.

    `label` is the source's own word on the reply (its `weight`): True where labelled failed (weight 0), False where
    labelled good, None where unlabelled. It wins over both readers.
    """

    message: int
    index: int
    schema: str | None
    feedback: str | None
    label: bool | None

    @property
    def failed(self) -> bool:
        """Whether this call is to be kept out of the loss."""
        return self.reason is not None

    @property
    def reason(self) -> str | None:
        """Why the call is failed, in one sentence; None where it is not."""
        if self.label is not None:
            return "labelled" if self.label else None
        return self.schema or self.feedback


def read_calls(trajectory: Trajectory, mode: Mode = "default") -> list[CallReading]:
    """A reading of every call, in order. `mode="paper"` looks at the feedback alone, by the released rule."""
    return [_read(trajectory, site, mode) for site in trajectory.call_sites()]


def _read(trajectory: Trajectory, site: CallSite, mode: Mode) -> CallReading:
    weight = trajectory.messages[site.message].weight
    schema = None if mode == "paper" else schema_failed(site.call, trajectory.tools)
    text = None if site.feedback is None else site.feedback.content
    feedback = None if text is None else feedback_failed(text, mode)
    return CallReading(site.message, site.index, schema, feedback, None if weight is None else weight == 0)
