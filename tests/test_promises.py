"""What `docs/DESIGN.md`, the help texts and `README.md` promise about the code as a whole."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import tltrain
from tltrain.cli import evaluate as evaluate_command
from tltrain.cli.app import app
from tltrain.cli.main import UsageError
from tltrain.errors import ConfigError

PACKAGE = Path(tltrain.__file__).parent
REPOSITORY = Path(__file__).parents[1]

ROOMS = (
    *("errors", "trajectory", "progress", "files", "json_schema", "wheels", "arms"),
    *("dialects", "formats", "toolworld", "judging", "audit", "encode", "engine"),
    *("model_folder", "model", "config", "data", "run_directory", "sft", "ppo"),
    *("testsets", "evaluation", "report"),
    *(
        "integrations",
        "conversion",
        "inspection",
        "demo",
        "planning",
        "pipeline",
        "ablation",
        "chat",
        "cli",
        "__main__",
    ),
)
"""Modules and packages of `tltrain` in the direction of the data: each imports only from those before it."""
EXCEPTIONS: dict[tuple[str, str], str] = {}
"""Imports against the direction: (file relative to the package, room imported from) -> why it is needed."""
UNUSED_OPTIONS = {("judge", "as_json"): "every command with a result takes --json; this one's output is always JSON"}
MOST_MODULES = 16
FOREIGN_ATTRIBUTES = {"_attn_implementation", "_exit", "_model_name_or_path", "_tokenizer", "_validate_device"}
"""Attributes of other packages' values that tests read, for want of a public name."""
FOREIGN_MODULES = {"_dynamo", "_pytree", "_python_dispatch"}
"""Modules of torch that tests import, for want of public ones."""

Module = tuple[Path, ast.Module]


@cache
def modules() -> tuple[Module, ...]:
    return tuple((path.relative_to(PACKAGE), ast.parse(path.read_text("utf-8"))) for path in PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


# Import direction


def runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below, without those that only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for statement in child.orelse:
                yield from (statement, *runtime_nodes(statement))
            continue
        yield child
        yield from runtime_nodes(child)


def imported_modules(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Dotted names that are imported, with their line. A string that is such a name counts: it is for
    `import_module`."""
    for node in runtime_nodes(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.Constant) and re.fullmatch(r"tltrain(\.\w+)+(:\w+)?", str(node.value)):
            yield node.value.replace(":", "."), node.lineno


def against_the_direction(path: Path, tree: ast.AST) -> list[str]:
    own = ROOMS.index(room(path))
    found = []
    for name, line in imported_modules(tree):
        if name.split(".")[0] != "tltrain":
            continue
        target = name.split(".")[1] if "." in name else "__init__"
        allowed = target in ROOMS[: own + 1] or (path.as_posix(), target) in EXCEPTIONS
        if not allowed:
            found.append(f"{path}:{line} imports {name}")
    return found


def test_every_room_has_a_position() -> None:
    assert {room(path) for path, _ in modules()} <= {"__init__", *ROOMS}


def test_data_goes_forward_only() -> None:
    rooms = [(path, tree) for path, tree in modules() if room(path) != "__init__"]
    assert [line for path, tree in rooms for line in against_the_direction(path, tree)] == []


def test_every_exception_is_still_one() -> None:
    imports = {(path.as_posix(), name.split(".")[1]) for path, tree in modules() for name, _ in imported_modules(tree)
               if name.startswith("tltrain.")}  # fmt: skip
    assert set(EXCEPTIONS) <= imports


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("from tltrain.report.pages import write_pages", 1),
        ("from tltrain import report", 1),
        ("import tltrain.report.pages", 1),
        ("import tltrain", 1),
        ("from tltrain import Call", 1),
        ("def write():\n    from tltrain.report import pages", 1),
        ("import_module('tltrain.report.pages')", 1),
        ("if TYPE_CHECKING:\n    from tltrain.report import pages", 0),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    from tltrain.report import pages", 1),
        ("from tltrain.evaluation.scores import Score\nfrom tltrain.testsets import base\nimport json", 0),
    ],
)
def test_each_kind_of_import_is_found(source: str, count: int) -> None:
    assert len(against_the_direction(Path("evaluation/run.py"), ast.parse(source))) == count


# Command-line options


def commands() -> dict[str, Any]:
    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def command_functions() -> dict[str, ast.FunctionDef]:
    """The function of each command, by the command's name."""
    found = {}
    for path, tree in modules():
        for node in ast.walk(tree) if room(path) == "cli" else ():
            for decorator in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "app.command":
                    assert isinstance(node, ast.FunctionDef)
                    found[ast.literal_eval(decorator.args[0]) if decorator.args else node.name] = node
    return found


def unread_parameters(function: ast.FunctionDef) -> set[str]:
    arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    names = (node for statement in function.body for node in ast.walk(statement) if isinstance(node, ast.Name))
    return {argument.arg for argument in arguments} - {name.id for name in names if isinstance(name.ctx, ast.Load)}


def test_all_commands_are_looked_at() -> None:
    assert set(command_functions()) == set(commands())


@pytest.mark.parametrize("name", sorted(command_functions()))
def test_every_option_of_a_command_is_read(name: str) -> None:
    assert unread_parameters(command_functions()[name]) == {option for command, option in UNUSED_OPTIONS
                                                            if command == name}  # fmt: skip


BASE = ("run/model", "http://localhost:1/v1", "--endpoint-model", "gpt", "--out", "run")
MODES = {"bench": (*BASE, "--bench", "rotbench", "--data", "sets"), "data": (*BASE, "--data", "mine.jsonl")}
OPTIONS = {
    "models": ["other/thing"],
    "out": ["--out", "elsewhere"],
    "data": ["--data", "others"],
    "bench": ["--bench", "bfcl"],
    "limit": ["--limit", "7"],
    "max_new_tokens": ["--max-new-tokens", "7"],
    "dialect": ["--dialect", "python"],
    "seed": ["--seed", "7"],
    "max_length": ["--max-length", "70"],
    "batch_size": ["--batch-size", "7"],
    "dtype": ["--dtype", "float32"],
    "endpoint_model": ["--endpoint-model", "other"],
    "library": ["--library", "tools"],
    "max_steps": ["--max-steps", "7"],
    "concurrency": ["--concurrency", "7"],
    "price_in": ["--price-in", "7"],
    "price_out": ["--price-out", "7"],
    "general": ["--general", "mmlu"],
    "allow_code": ["--allow-code"],
    "as_json": ["--json"],
    "config": ["--config", "evaluation.yaml"],
    "settings": ["--set", "batch_size=9"],
}
"""A value other than that of `MODES` for each option of `eval`."""


class Recorder:
    """Takes the place of `Evaluation`; `given` is what the command passed on."""

    given: tuple[Any, ...] = ()

    def __init__(self, config: Any, run: Any, *, progress: Any, prices: Any, dialects: Any) -> None:
        self.settings, self.data = (config.model_dump(), run, prices, dialects), config.data

    def evaluate(self, named: Any, tests: Any, general: Any) -> list[dict[str, Any]]:
        type(self).given = (*self.settings, named, tests, general)
        return []

    def general_rows(self) -> list[dict[str, Any]]:
        return []


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Recorder]:
    """`tltrain eval` up to the evaluation itself, which is recorded and not run."""
    monkeypatch.chdir(tmp_path)
    for name in ("mine.jsonl", "others"):
        Path(name).touch()
    Path("evaluation.yaml").write_text("batch_size: 5\nmodels: {third: some/model}\n")
    monkeypatch.setattr(evaluate_command, "silence_libraries", lambda: None)
    monkeypatch.setattr("tltrain.evaluation.run.Evaluation", Recorder)
    monkeypatch.setattr("tltrain.run_directory.RunDirectory", lambda folder, config: folder)
    monkeypatch.setattr("tltrain.evaluation.selection.load_trajectories", lambda data: [data])
    monkeypatch.setattr("tltrain.evaluation.selection.load_test_sets", lambda names, folder, warn: [names])
    monkeypatch.setattr("tltrain.report.pages.write_pages", lambda folder: [])
    monkeypatch.setattr("tltrain.report.tables.usage_line", lambda scores, name: name)
    return Recorder


def passed_on(recorder: type[Recorder], arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> Any:
    """What `eval` passes on and prints, or the message of its refusal."""
    recorder.given = ()
    try:
        app(["eval", *arguments], standalone_mode=False)
    except ConfigError as error:
        return str(error)
    return recorder.given, capsys.readouterr().out


def test_every_option_of_eval_has_a_value_here() -> None:
    assert {parameter.name for parameter in commands()["eval"].params} - {"help"} == set(OPTIONS)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("mode", MODES)
def test_every_option_of_eval_counts_in_both_modes(
    mode: str, option: str, recorder: type[Recorder], capsys: pytest.CaptureFixture[str]
) -> None:
    plain = passed_on(recorder, MODES[mode], capsys)
    assert isinstance(plain, tuple), plain
    assert passed_on(recorder, (*MODES[mode], *OPTIONS[option]), capsys) != plain


@pytest.mark.parametrize("option", ["library", "max_steps"])
def test_options_of_episodes_are_refused_without_bench(
    option: str, recorder: type[Recorder], capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = passed_on(recorder, (*MODES["data"], *OPTIONS[option]), capsys)
    assert "without --bench" in refusal
    assert recorder.given == ()


# Command lines of the README


def command_lines(text: str) -> Iterator[list[str]]:
    """The arguments of every `tltrain` command in code blocks and tables, with values in the place of names."""
    for part in re.split(r"^```.*$", text, flags=re.MULTILINE)[1::2]:
        for line in part.replace("\\\n", " ").splitlines():
            if re.match(r"(\$ )?tltrain [a-z]|.* -m tltrain [a-z]", line):
                yield from alternatives(re.split(r"\s#", line)[0])
    for line in text.splitlines():
        for code in re.findall(r"`(tltrain [^`]+)`", line) if line.startswith("|") else ():
            yield from alternatives(code)


def alternatives(line: str) -> Iterator[list[str]]:
    """`fetch a|b [--from DIR]` is two commands; N stands for a number."""
    line = re.sub(r"\bN\b", "0", re.sub(r"[\[\]]|\.\.\.", "", line.split("tltrain ", 1)[1]).replace("\\|", "|"))
    first = re.search(r"\S+\|\S+", line)
    for choice in first[0].split("|") if first else [""]:
        yield shlex.split(line.replace(first[0], choice) if first else line)


def parse_command(arguments: list[str]) -> None:
    """Raises an error if there is no such command, or it does not take the arguments; a bare name need not be
    complete."""
    name, *rest = arguments
    commands()[name].make_context(name, list(rest), resilient_parsing=not rest)


def readme_lines() -> list[list[str]]:
    return list(command_lines((REPOSITORY / "README.md").read_text("utf-8")))


@pytest.mark.parametrize("arguments", readme_lines(), ids=" ".join)
def test_command_lines_of_the_readme_parse(arguments: list[str]) -> None:
    parse_command(arguments)


def test_the_readme_names_every_command() -> None:
    assert {name for name, *_ in readme_lines()} == set(commands())


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("```\ntltrain evaluate MODEL --out DIR\n```", KeyError),
        ("```\ntltrain eval MODEL --out DIR --benches NAMES  # scores\n```", UsageError),
        ("```\ntorchrun -m tltrain sft my.yaml --rank 1\n```", UsageError),
        ("| `tltrain eval MODEL... --bench NAMES` | no --out |", UsageError),
        ("| `tltrain inspect MODEL DATA --index NAME` | no number |", UsageError),
        ("| `tltrain fetch rotbench\\|bfcl [--into DIR]` | no such option |", UsageError),
    ],
)
def test_wrong_command_lines_are_found(text: str, error: type[Exception]) -> None:
    for arguments in (found := list(command_lines(text))):
        with pytest.raises(error):
            parse_command(arguments)
    assert found


# Tests


def private_uses(tree: ast.AST) -> list[str]:
    """Private names that a test imports, reads, patches or sets on our values, and imports of other tests. What only
    `transformers` names like that is allowed."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            names = [part for part in parts if part not in FOREIGN_MODULES]
        elif isinstance(node, ast.Import):
            names = [part for alias in node.names for part in alias.name.split(".")]
        elif isinstance(node, ast.Attribute):
            own = isinstance(node.value, ast.Name) and node.value.id == "self"  # of a class in the test
            names = [] if own or node.attr in FOREIGN_ATTRIBUTES else [node.attr]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("setattr", "getattr", "hasattr"):
            literals = [value.value for value in node.args[:2] if isinstance(value, ast.Constant)]
            parts = [part for value in literals for part in str(value).split(".")]
            names = [part for part in parts if part not in FOREIGN_ATTRIBUTES]
        else:
            continue
        imports_tests = isinstance(node, ast.Import | ast.ImportFrom) and "tltrain" not in names
        private = [name for name in names if re.match(r"_(?!_)", name) or (imports_tests and name.startswith("test_"))]
        found += [f"line {node.lineno}: {name}" for name in private]
    return found


def test_tests_use_no_private_names_and_no_other_tests() -> None:
    paths = sorted(Path(__file__).parent.rglob("*.py"))
    assert {path.name: found for path in paths if (found := private_uses(ast.parse(path.read_text("utf-8"))))} == {}


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("from tltrain.files import _private", 1),
        ("import tltrain._private", 1),
        ("from test_cli import place", 1),
        ("from tests.test_cli import place", 1),
        ("trainer._state(1)", 1),
        ("monkeypatch.setattr(loop, '_state', None)", 1),
        ("monkeypatch.setattr('tltrain.ppo.trainer._optimiser', None)", 1),
        ("self._seen = 1", 0),
        ("from __future__ import annotations\nmodel.__class__\nmodel.config._attn_implementation", 0),
        ("from support.micro import micro_model\nfrom tltrain.testsets import test_set", 0),
    ],
)
def test_private_uses_are_found(source: str, count: int) -> None:
    assert len(private_uses(ast.parse(source))) == count


# Style


def test_modules_beside_the_packages_are_few() -> None:
    assert len([path for path, _ in modules() if len(path.parts) == 1 and "__" not in path.stem]) <= MOST_MODULES


def probed_attributes(tree: ast.AST) -> list[str]:
    """`hasattr` and `getattr` with a literal name on what is imported from the package, or on `self`."""
    own = {"self", "cls"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tltrain":
            own |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            own |= {alias.asname or "tltrain" for alias in node.names if alias.name.split(".")[0] == "tltrain"}
    found = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) in ("hasattr", "getattr")):
            continue
        value, name = node.args[:2]
        names = {part.id for part in ast.walk(value) if isinstance(part, ast.Name)}
        on_self = isinstance(value, ast.Name) or not names & {"self", "cls"}  # self.model.config is not ours
        if names & own and on_self and isinstance(name, ast.Constant):
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def test_own_values_are_not_probed_for_attributes() -> None:
    assert {str(path): found for path, tree in modules() if (found := probed_attributes(tree))} == {}


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("from tltrain import dialects\ngetattr(dialects.FORMS.get('x'), 'CHAT_TEMPLATE', None)", 1),
        ("from tltrain.dialects import hermes as form\nhasattr(form, 'parse')", 1),
        ("import tltrain.model\nhasattr(tltrain.model, 'load')", 1),
        ("hasattr(self, 'cache')", 1),
        ("getattr(self.model.config, 'head_dim', None)", 0),
        ("from tltrain import dialects\ngetattr(dialects, name)", 0),
    ],
)
def test_probing_is_found(source: str, count: int) -> None:
    assert len(probed_attributes(ast.parse(source))) == count
