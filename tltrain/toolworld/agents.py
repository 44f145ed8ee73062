"""The agents that produce the trajectories: each has a short system prompt and a fixed list of tools from two domains.

Each agent is deployed several times with different subsets of its tools; logs of a deployment share their tool set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from tltrain.toolworld.library import FUNCTIONS, SERVICES
from tltrain.toolworld.service import Chain, Service, ToolFunction
from tltrain.trajectory import Tool


@dataclass(frozen=True)
class Agent:
    """`prompt` is the system text; `names` lists its tools in the order of the prompt."""

    name: str
    prompt: str
    names: tuple[str, ...]

    @cached_property
    def functions(self) -> tuple[ToolFunction, ...]:
        """The executable tools."""
        return tuple(FUNCTIONS[name] for name in self.names)

    @cached_property
    def tools(self) -> tuple[Tool, ...]:
        """The tools as a model sees them."""
        return tuple(function.tool for function in self.functions)

    @cached_property
    def services(self) -> tuple[Service, ...]:
        """The services that its tools belong to."""
        return tuple(SERVICES[name] for name in dict.fromkeys(function.service.name for function in self.functions))

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """The chains for which the agent has every tool."""
        return tuple(
            chain
            for service in self.services
            for chain in service.chains
            if all(name in self.names for name, _ in chain.steps)
        )


def _agent(name: str, prompt: str, names: str) -> Agent:
    return Agent(name, f"{prompt} Make independent calls in one reply.", tuple(names.split()))


_TRAINING = (
    _agent(
        "shop_desk",
        "You answer the phone of a web shop.",
        "get_order get_order_items get_order_tracking get_orders_by_customer find_customer cancel_order "
        "cancel_order_item get_contact_phone send_message",
    ),
    _agent(
        "office",
        "You run a manager's diary and address book.",
        "list_events list_events_by_guest find_event create_event move_event cancel_event find_contact "
        "get_contact_phone get_contact_email",
    ),
    _agent(
        "address_book",
        "You keep an address book and a household's money.",
        "find_contact find_contacts_by_company find_contacts_by_city get_contact_birthday "
        "update_contact_phone get_balance get_expenses_by_category get_expenses_by_month convert_currency",
    ),
    _agent(
        "warehouse",
        "You assist a wholesaler's warehouse.",
        "find_article get_stock get_stock_price get_stock_lead_time list_low_stock move_stock get_order "
        "get_order_items get_order_tracking",
    ),
    _agent(
        "help_desk",
        "You assist an IT help desk.",
        "get_ticket get_ticket_comments get_tickets_by_assignee create_ticket close_ticket assign_ticket "
        "find_contact get_contact_email get_contact_phone send_message",
    ),
    _agent(
        "archivist",
        "You look after the files on a shared drive and measure short texts.",
        "list_files list_files_by_owner find_file read_file read_file_info move_file copy_file "
        "delete_file count_words count_characters",
    ),
    _agent(
        "editor",
        "You edit short texts and read files on a shared drive.",
        "count_words count_characters count_letter replace_word change_case reverse_text is_palindrome "
        "find_file read_file read_file_info",
    ),
    _agent(
        "trip_planner",
        "You plan trips.",
        "find_flights find_trains book_flight book_train get_booking get_bookings_by_passenger "
        "cancel_booking list_events create_event",
    ),
    _agent(
        "weather_desk",
        "You know past weather and convert units.",
        "get_weather get_weather_rain get_weather_wind find_hottest_day find_coldest_day sum_monthly_rain "
        "convert_temperature convert_speed compute_average_speed",
    ),
    _agent(
        "analyst",
        "You analyse numbers and rainfall.",
        "compute_mean compute_median compute_mode compute_range compute_deviation get_series "
        "get_series_years get_weather_rain sum_monthly_rain",
    ),
    _agent(
        "kitchen",
        "You help in a kitchen.",
        "find_recipes_by_ingredient find_recipes_by_diet get_recipe_steps get_recipe_ingredients "
        "get_recipe_time get_recipe_calories add_shopping_item convert_weight convert_volume",
    ),
    _agent(
        "librarian",
        "You work at a public library's counter.",
        "find_book find_books_by_author find_books_by_subject get_book get_loans_by_member renew_loan "
        "return_loan reserve_book create_reminder list_events",
    ),
    _agent(
        "bookkeeper",
        "You help a freelancer with sums and files.",
        "convert_currency add_tax split_bill get_balance get_expenses_by_category add_expense find_file "
        "read_file read_file_info",
    ),
    _agent(
        "support_lead",
        "You manage help desk tickets and the spare parts in stock.",
        "get_ticket get_ticket_comments get_tickets_by_assignee assign_ticket add_ticket_comment "
        "find_article get_stock get_stock_price set_reorder_level",
    ),
    _agent(
        "engineer",
        "You convert units and compute statistics.",
        "convert_length convert_weight convert_volume convert_temperature convert_speed compute_average_speed "
        "compute_mean compute_range get_series",
    ),
)
_UNSEEN = (
    _agent(
        "practice",
        "You sit at the front desk of a doctors' practice and its evening school.",
        "find_patient get_patient_allergies get_patient_prescriptions get_patient_visits get_appointments_by_patient "
        "cancel_appointment "
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
        "find_patient get_patient_prescriptions get_appointments_by_doctor book_appointment "
        "get_meter_reading get_meter_usage get_meter_tariff get_meter_bill submit_meter_reading find_meters",
    ),
)

TOOLS_DEPLOYED = 5
DEPLOYMENTS = 3


def _deployed(agent: Agent) -> list[Agent]:
    """Split an agent's circular list of tools into overlapping windows that together contain every tool."""
    names, count = agent.names, len(agent.names)
    starts = [count * number // DEPLOYMENTS for number in range(DEPLOYMENTS)]
    windows = [tuple(names[(start + offset) % count] for offset in range(TOOLS_DEPLOYED)) for start in starts]
    return [replace(agent, name=f"{agent.name}_{number}", names=names) for number, names in enumerate(windows, 1)]


TRAINING_AGENTS = tuple(deployment for agent in _TRAINING for deployment in _deployed(agent))
UNSEEN_AGENTS = tuple(deployment for agent in _UNSEEN for deployment in _deployed(agent))
