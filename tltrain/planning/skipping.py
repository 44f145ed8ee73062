"""Encoding for an estimate: records that the chat template cannot render are skipped and become problems."""

from __future__ import annotations

from collections.abc import Iterator

from tltrain.encode import Encoded, Encoder, EncodingCounts, Prompt
from tltrain.errors import TemplateError
from tltrain.trajectory import Trajectory


class SkippingEncoder(Encoder):
    """An encoder that skips what cannot be encoded, so that a plan lists such records with all other problems.

    Attributes:
        refused: the reason for each trajectory that was skipped, by its source or id.
    """

    refused: dict[str, str]

    def encode(self, trajectory: Trajectory) -> Encoded:
        """The steps of a trajectory; none if it cannot be encoded."""
        try:
            return super().encode(trajectory)
        except TemplateError as error:
            self._note(trajectory, error)
            return Encoded([], EncodingCounts())

    def prompts(self, trajectory: Trajectory, failed: bool = False) -> Iterator[Prompt]:
        """The prompts of a trajectory; none if it cannot be rendered."""
        try:
            found = list(super().prompts(trajectory, failed))
        except TemplateError as error:
            self._note(trajectory, error)
            found = []
        return iter(found)

    def prompt_ids(self, trajectory: Trajectory) -> list[int]:
        """The prompt of the next reply; a single token if it cannot be rendered, since the evaluation counts such items
        as wrong."""
        try:
            return super().prompt_ids(trajectory)
        except TemplateError as error:
            self._note(trajectory, error)
            return list(self.stop_ids[:1])

    def _note(self, trajectory: Trajectory, error: TemplateError) -> None:
        self.refused.setdefault(trajectory.source or trajectory.id or str(id(trajectory)), str(error))


def refused_problems(refused: dict[str, str], strict: bool) -> list[str]:
    """A line about the trajectories that cannot be encoded, if there are any."""
    if not refused:
        return []
    number, first = len(refused), next(iter(refused.values()))
    effect = "so training stops there; `data.strict: false` skips them" if strict else "and are skipped"
    return [f"{number:,} {'trajectories' if number > 1 else 'trajectory'} cannot be encoded, {effect}; first: {first}"]
