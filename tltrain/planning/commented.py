"""A configuration as YAML in which every setting has a comment that gives its reason."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import yaml

from tltrain.planning.proposal import Proposal, Setting

WIDTH = 100


def commented_yaml(proposal: Proposal) -> str:
    """The settings of a proposal as YAML; the first lines are the audit's headline."""
    lines = [*_comment(f"Settings for {proposal.data}, by `tltrain init`. {proposal.audit['headline']}", "")]
    for warning in proposal.audit["warnings"]:
        lines += _comment(f"Warning: {warning}", "")
    lines += _comment("Settings that are not listed have their defaults; a stage that is null is skipped.", "")
    opened: tuple[str, ...] = ()
    for setting in proposal.settings:
        lines += _written(setting, opened)
        opened = setting.path[:-1]
    return "\n".join(lines) + "\n"


def _written(setting: Setting, opened: tuple[str, ...]) -> Iterator[str]:
    *sections, name = setting.path
    for depth, section in enumerate(sections):
        if setting.path[: depth + 1] != opened[: depth + 1]:
            yield f"{'  ' * depth}{section}:"
    indent = "  " * len(sections)
    yield from _comment(setting.reason, indent)
    listed = yaml.safe_dump([setting.value], default_flow_style=True, allow_unicode=True, width=10_000)
    yield f"{indent}{name}: {listed.strip()[1:-1]}"


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
