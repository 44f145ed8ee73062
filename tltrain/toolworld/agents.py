"""The agents whose logs the trajectories are: each a short system prompt and a fixed list of tools of two domains."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tltrain.toolworld.library import FUNCTIONS, SERVICES
from tltrain.toolworld.service import Chain, Service, ToolFunction
from tltrain.trajectory import Tool


@dataclass(frozen=True)
class Agent:
    """`prompt` is the system text; `names` are its tools, in the order it is given them."""

    name: str
    prompt: str
    names: tuple[str, ...]

    @cached_property
    def functions(self) -> tuple[ToolFunction, ...]:
        """The tools that run."""
        return tuple(FUNCTIONS[name] for name in self.names)

    @cached_property
    def tools(self) -> tuple[Tool, ...]:
        """The tools as a model sees them."""
        return tuple(function.tool for function in self.functions)

    @cached_property
    def services(self) -> tuple[Service, ...]:
        """The services its tools come from."""
        return tuple(SERVICES[name] for name in dict.fromkeys(function.service.name for function in self.functions))

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """The chains it has all tools for."""
        return tuple(
            chain
            for service in self.services
            for chain in service.chains
            if all(name in self.names for name, _ in chain.steps)
        )


def _agent(name: str, prompt: str, names: str) -> Agent:
    return Agent(name, f"{prompt} Make independent calls in one reply.", tuple(names.split()))


TRAINING_AGENTS = (
    _agent(
        "shop_desk",
        "You answer the phone of a web shop.",
        "get_order get_order_items get_order_tracking get_orders_by_customer cancel_order cancel_order_item "
        "find_contact get_contact_phone send_message",
    ),
    _agent(
        "office",
        "You run an office diary and address book.",
        "list_events find_event create_event create_reminder move_event cancel_event "
        "find_contact get_contact_phone get_contact_email",
    ),
    _agent(
        "warehouse",
        "You assist a wholesaler's warehouse.",
        "get_stock get_stock_price get_stock_lead_time find_article list_low_stock move_stock "
        "get_order get_order_items get_order_tracking",
    ),
    _agent(
        "help_desk",
        "You assist an IT help desk.",
        "get_ticket get_ticket_comments get_tickets_by_assignee create_ticket close_ticket assign_ticket "
        "get_contact_email get_contact_phone find_contact",
    ),
)
UNSEEN_AGENTS = (
    _agent(
        "practice",
        "You sit at the front desk of a doctors' practice and its evening school.",
        "find_patient get_patient_allergies get_patient_prescriptions get_appointments_by_patient cancel_appointment "
        "find_course get_course_schedule enrol_student",
    ),
    _agent(
        "field_service",
        "You support a power company's field technicians and their vans.",
        "get_vehicle get_vehicle_mileage get_vehicle_service list_vehicles_by_driver list_vehicles_by_depot "
        "assign_vehicle find_meters get_meter_reading list_outages report_outage",
    ),
    _agent(
        "evening_school",
        "You help the staff of an evening school, who also share some cars.",
        "find_course get_course get_course_schedule get_course_students list_courses_by_teacher "
        "list_courses_by_student grade_student get_vehicle get_vehicle_fuel log_vehicle_fuel",
    ),
    _agent(
        "health_centre",
        "You assist a health centre, its patients and its power meters.",
        "get_patient_visits get_appointments_by_doctor book_appointment find_patient get_patient_prescriptions "
        "get_meter_reading get_meter_usage get_meter_tariff get_meter_bill submit_meter_reading find_meters",
    ),
)
