"""All services, their tools by name, and the worlds in which the tools run."""

from __future__ import annotations

from tltrain.toolworld.service import Service, ToolFunction
from tltrain.toolworld.services.calendar import calendar
from tltrain.toolworld.services.clinic import clinic
from tltrain.toolworld.services.contacts import contacts
from tltrain.toolworld.services.courses import courses
from tltrain.toolworld.services.energy import energy
from tltrain.toolworld.services.files import files
from tltrain.toolworld.services.fleet import fleet
from tltrain.toolworld.services.inventory import inventory
from tltrain.toolworld.services.library import library
from tltrain.toolworld.services.money import money
from tltrain.toolworld.services.orders import orders
from tltrain.toolworld.services.recipes import recipes
from tltrain.toolworld.services.statistics import statistics
from tltrain.toolworld.services.text import text
from tltrain.toolworld.services.tickets import tickets
from tltrain.toolworld.services.travel import travel
from tltrain.toolworld.services.units import units
from tltrain.toolworld.services.weather import weather
from tltrain.toolworld.world import World

TRAINING_SERVICES: tuple[Service, ...] = (
    *(calendar, contacts, orders, files, weather, units, money, text),
    *(travel, statistics, inventory, tickets, library, recipes),
)
UNSEEN_SERVICES: tuple[Service, ...] = (clinic, courses, energy, fleet)
"""Domains whose tools never occur in training."""
SERVICES: dict[str, Service] = {service.name: service for service in (*TRAINING_SERVICES, *UNSEEN_SERVICES)}
FUNCTIONS: dict[str, ToolFunction] = {
    name: function for service in SERVICES.values() for name, function in service.functions.items()
}


def open_world(seed: int = 0) -> World:
    """Create a world with every service's tables."""
    return World(seed, [service.tables for service in SERVICES.values() if service.tables is not None])
