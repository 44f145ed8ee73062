"""All services together: the tools by name, and worlds to run them in."""

from __future__ import annotations

from tltrain.toolworld.service import Service, ToolFunction
from tltrain.toolworld.tools_calendar import calendar
from tltrain.toolworld.tools_clinic import clinic
from tltrain.toolworld.tools_contacts import contacts
from tltrain.toolworld.tools_courses import courses
from tltrain.toolworld.tools_energy import energy
from tltrain.toolworld.tools_files import files
from tltrain.toolworld.tools_fleet import fleet
from tltrain.toolworld.tools_inventory import inventory
from tltrain.toolworld.tools_library import library
from tltrain.toolworld.tools_money import money
from tltrain.toolworld.tools_orders import orders
from tltrain.toolworld.tools_recipes import recipes
from tltrain.toolworld.tools_statistics import statistics
from tltrain.toolworld.tools_text import text
from tltrain.toolworld.tools_tickets import tickets
from tltrain.toolworld.tools_travel import travel
from tltrain.toolworld.tools_units import units
from tltrain.toolworld.tools_weather import weather
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
    """A fresh world with every service's tables."""
    return World(seed, [service.tables for service in SERVICES.values() if service.tables is not None])
