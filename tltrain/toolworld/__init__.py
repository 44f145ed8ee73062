"""The built-in data: executable tools in a small seeded world, tasks for them, and trajectories of solving them."""

from tltrain.toolworld.dispatch import execute
from tltrain.toolworld.library import open_world
from tltrain.toolworld.trajectories import ToolWorld, generate
from tltrain.toolworld.world import World

__all__ = ["ToolWorld", "World", "execute", "generate", "open_world"]
