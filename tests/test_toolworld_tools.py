"""The tools of toolworld: each runs and fails, schemas are valid, and the dispatcher is strict in the right places."""

from __future__ import annotations

import json
import re
from random import Random

import pytest
from jsonschema import Draft202012Validator

from tltrain.toolworld import World, execute, open_world
from tltrain.toolworld.agents import TRAINING_AGENTS, UNSEEN_AGENTS, Agent
from tltrain.toolworld.dispatch import run
from tltrain.toolworld.library import FUNCTIONS, SERVICES, TRAINING_SERVICES, UNSEEN_SERVICES
from tltrain.toolworld.service import ValueSampler, slots_of
from tltrain.trajectory import Call, Tool

AGENTS = (*TRAINING_AGENTS, *UNSEEN_AGENTS)
ALL_TOOLS = tuple(function.tool for function in FUNCTIONS.values())


@pytest.fixture(scope="module")
def world() -> World:
    return open_world()


def drawn_call(world: World, name: str) -> Call:
    function = FUNCTIONS[name]
    slots = function.draw(ValueSampler(Random(name), world, held_out=False))
    return Call(name, function.arguments(function.wordings[0], slots))


def test_enough_of_everything() -> None:
    assert len(FUNCTIONS) >= 80 and len(SERVICES) >= 12
    assert sum(len(service.functions) for service in UNSEEN_SERVICES) >= 24
    assert not {service.name for service in TRAINING_SERVICES} & {service.name for service in UNSEEN_SERVICES}
    used = {name for agent in AGENTS for name in agent.names}
    assert used == set(FUNCTIONS)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_tool_works_and_fails(world: World, name: str) -> None:
    call = drawn_call(world, name)
    required = FUNCTIONS[name].tool.required
    with world.scratch():
        assert not run(ALL_TOOLS, world, call).failed
    for arguments in ({}, {**call.arguments, "colour": "red"}):
        outcome = run(ALL_TOOLS, world, Call(name, arguments))
        assert outcome.failed
        assert re.search(r"\b(colour|" + "|".join(required) + r")\b", outcome.feedback)


def test_a_file_is_not_written_over_another(world: World) -> None:
    call = drawn_call(world, "copy_file")
    with world.scratch():
        first, second = (run(ALL_TOOLS, world, call) for _ in range(2))
        assert (first.failed, second.failed) == (False, True)
        path, folder = str(first.result), call.arguments["folder"]
        other = next(row["folder"] for row in world.all("SELECT folder FROM files") if row["folder"] != folder)
        name = path.rpartition("/")[2]
        there = f"{other}/{name}"
        sql = "UPDATE files SET path = ?, folder = ?, name = ? WHERE path = ?"
        world.run(sql, there, other, name, call.arguments["path"])
        moved = run(ALL_TOOLS, world, Call("move_file", {"path": there, "folder": folder}))
    assert moved.failed and f"cannot create '{path}': File exists" in moved.feedback


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_tool_is_well_described(name: str) -> None:
    function = FUNCTIONS[name]
    Draft202012Validator.check_schema(function.tool.parameters)
    assert function.tool.description.endswith(".") and 1 <= len(function.tool.properties) <= 5
    assert len(json.dumps(function.tool.to_json())) < 520
    assert len(set(function.wordings)) >= 6 and len(set(function.held_out)) >= 2
    assert not set(function.wordings) & set(function.held_out)
    for wording in function.wordings + function.held_out:
        assert set(function.tool.required) <= set(slots_of(wording)), wording
    assert set(function.tool.properties) == {slot for wording in function.wordings for slot in slots_of(wording)}


def test_own_errors_differ_by_service(world: World) -> None:
    calls = {
        "get_order": ({"order_id": "O-1"}, '{"status": 404, "detail": "order O-1 does not exist"}'),
        "get_contact_phone": ({"contact_id": "P-1"}, '{"success": false, "message": "contact P-1 not found"}'),
        "get_weather": ({"city": "Paris", "day": "2025-03-01"}, '{"error": "unknown city: Paris"}'),
        "get_recipe_time": ({"dish": "gravel"}, "'gravel'"),
        "get_series": ({"name": "x"}, "KeyError: 'x'"),
        "read_file": ({"path": "/x"}, "read_file: cannot access '/x': No such file or directory"),
        "get_ticket": ({"ticket_id": "T-1"}, "HTTP 404 Not Found: ticket T-1 was not found"),
        "get_book": ({"book_id": "BK-1"}, "We could not process your request: there is no book BK-1"),
        "cancel_event": (
            {"event_id": "E-1"},
            '{"error": {"type": "not_found", "message": "no event with id E-1"}}',
        ),
        "convert_weight": (
            {"value": -2, "source": "kg", "target": "pound"},
            "ValueError: value must not be negative, got -2",
        ),
        "compute_deviation": ({"values": ["x"]}, "ValueError: could not convert string to float: 'x'"),
    }
    for name, (arguments, feedback) in calls.items():
        assert execute(ALL_TOOLS, world, Call(name, arguments)) == feedback


def test_what_may_not_be_done_is_refused(world: World) -> None:
    shipped = world.all("SELECT id FROM orders WHERE status = 'shipped'")[0]["id"]
    feedback = json.loads(execute(ALL_TOOLS, world, Call("cancel_order", {"order_id": shipped})))
    assert feedback == {"status": 409, "detail": f"order {shipped} is already shipped"}


def test_only_given_tools_can_be_called(world: World) -> None:
    given = [FUNCTIONS["count_words"].tool]
    call = Call("count_characters", {"text": "two words"})
    assert execute(given, world, call) == '{"error": "unknown tool \'count_characters\'"}'
    assert execute(ALL_TOOLS, world, call) == "9"
    assert json.loads(execute([Tool("other")], world, call)) == {"error": "unknown tool 'count_characters'"}


def test_arguments_are_read_as_their_declared_types(world: World) -> None:
    split = FUNCTIONS["split_bill"].tool
    assert execute([split], world, Call("split_bill", {"amount": "90", "people": "3"})) == "30.0"
    assert execute([split], world, Call("split_bill", {"amount": 90, "people": 3.0})) == "30.0"
    for people in ("three", 2.5, True, None, [3], float("inf")):
        assert run([split], world, Call("split_bill", {"amount": 90, "people": people})).failed, people
    assert run([split], world, Call("split_bill", {"amount": float("nan"), "people": 3})).failed
    assert run([split], world, Call("split_bill", "amount=90")).failed
    mean = FUNCTIONS["compute_mean"].tool
    assert execute([mean], world, Call("compute_mean", {"values": [1, "2", 3]})) == "2.0"
    assert run([mean], world, Call("compute_mean", {"values": "1, 2"})).failed


def test_styles_differ_in_what_they_miss_first(world: World) -> None:
    flag = execute(ALL_TOOLS, world, Call("get_contact_phone", {"id": "P-100"}))
    assert json.loads(flag) == {"success": False, "message": "required parameter 'contact_id' is missing"}
    python = execute(ALL_TOOLS, world, Call("get_series", {"id": "x"}))
    assert python == "TypeError: get_series() got an unexpected keyword argument 'id'"


def test_a_scratch_leaves_no_trace(world: World) -> None:
    call = Call("cancel_event", {"event_id": "E-100"})
    for _ in range(2):
        with world.scratch():
            assert not run(ALL_TOOLS, world, call).failed
            assert run(ALL_TOOLS, world, call).failed


def test_worlds_follow_their_seed() -> None:
    sql = "SELECT * FROM contacts"
    assert open_world(1).all(sql) == open_world(1).all(sql) != open_world(2).all(sql)


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
def test_agents_are_compact(agent: Agent) -> None:
    assert len(agent.tools) == 5 and 1 <= len(agent.services) <= 2
    assert len(agent.prompt.split()) <= 25
    assert len(json.dumps([tool.to_json() for tool in agent.tools])) < 2200
    others = [one for one in AGENTS if one.prompt == agent.prompt]
    assert len(others) == 3 and any(one.chains for one in others)


def test_most_deployments_have_siblings_by_name() -> None:
    first_words = [[name.split("_")[0] for name in agent.names] for agent in AGENTS]
    siblings = [sum(words.count(word) > 1 for word in words) for words in first_words]
    assert sum(count >= 2 for count in siblings) > 0.9 * len(AGENTS)


def test_unseen_agents_use_unseen_services_only() -> None:
    for agents, services in ((TRAINING_AGENTS, TRAINING_SERVICES), (UNSEEN_AGENTS, UNSEEN_SERVICES)):
        assert all(service in services for agent in agents for service in agent.services)
