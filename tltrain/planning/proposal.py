"""Settings that fit a data set, each with the reason that the data give for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltrain import dialects, formats
from tltrain import model as models
from tltrain.audit.run import audit
from tltrain.config import RunConfig, parse_config
from tltrain.data import opening
from tltrain.errors import DataError, ModelError
from tltrain.planning.model_size import ModelSize, model_size
from tltrain.planning.replies import QUANTILE, fitting_limit, gold_lengths
from tltrain.progress import Progress, no_progress, quantity
from tltrain.sft import prefix_key
from tltrain.trajectory import Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LENGTH_MULTIPLE = 256
EVALUATED = 200
"""Most held-out trajectories that are evaluated."""
WHOLE_METHOD_FROM = 1e9
"""Fewest parameters of a model that PKT and PPO are proposed for. With 135 million PKT lowered CF and PPO gained
nothing (docs/EVIDENCE.md); with 7 billion the paper reports gains from both; in between nothing was measured."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting by its path in the configuration, such as `("sft", "batch_size")`, and why it has this value."""

    path: tuple[str, ...]
    value: Any
    reason: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """Settings for a data set.

    Attributes:
        data: path of the data.
        settings: in the order in which they are written.
        audit: the audit of the data (see `audit.run.audit`).
        problems: records that could not be read.
        found: lines that say what the data contain: format, numbers of trajectories and tools, unknown fields.
    """

    data: str
    settings: list[Setting]
    audit: dict[str, Any]
    problems: list[formats.Problem]
    found: list[str]

    @property
    def config(self) -> RunConfig:
        """The configuration that these settings make."""
        return parse_config(nested(self.settings), self.data)


def nested(settings: Sequence[Setting]) -> dict[str, Any]:
    """The settings as the values of a configuration file."""
    values: dict[str, Any] = {}
    for setting in settings:
        *sections, name = setting.path
        section = values
        for part in sections:
            section = section.setdefault(part, {})
        section[name] = setting.value
    return values


@dataclass(frozen=True, slots=True)
class Facts:
    """What the settings are chosen from."""

    data: str
    format: str | None
    tools: str | None
    model: str
    allow_code: bool
    size: ModelSize
    dialect: str
    trajectories: list[Trajectory]
    lengths: list[int]
    audit: Mapping[str, Any]
    unreadable: int

    @property
    def failed(self) -> int:
        """Failed calls."""
        return int(self.audit["calls"]["failed"])

    @property
    def whole_method(self) -> bool:
        """Whether the model is large enough for PKT and PPO."""
        return self.size.parameters >= WHOLE_METHOD_FROM

    @property
    def openings(self) -> int:
        """Distinct openings, the units of which some are held out."""
        return len({opening(trajectory) for trajectory in self.trajectories})

    @property
    def sharing(self) -> int:
        """With how many trajectories (itself included) the median trajectory shares its tools and system message."""
        counts = Counter(map(prefix_key, self.trajectories))
        members = sorted(count for count in counts.values() for _ in range(count))
        return members[len(members) // 2]


def propose(
    data: str,
    model: str = models.BUILTIN,
    format: str | None = None,
    tools: str | None = None,
    *,
    allow_code: bool = False,
    progress: Progress = no_progress,
) -> Proposal:
    """Read data of any format and choose settings that fit them.

    Args:
        data: file or folder of trajectories.
        model: the built-in model, a folder, or a hub name.
        format: of the data; None: detected from the content.
        tools: file of tool specifications, for data that contain none.
        allow_code: whether a model with Python code or pickled weights is loaded; the configuration then allows it too.
        progress: called after each chunk of trajectories that is audited.

    Raises:
        DataError: nothing can be read.
        ModelError: the model cannot be used, or its template writes calls in no known dialect.
    """
    tokenizer = models.load_tokenizer(model, allow_code=allow_code)
    problems: list[formats.Problem] = []
    contents = formats.Found()
    given = None if tools is None else formats.read_tools(tools)
    trajectories = list(formats.read(data, format, given, False, problems, contents))
    if not trajectories:
        first = problems[0] if problems else None
        reason = f"no trajectory could be read{f': {first.reason}' if first else ''}"
        raise DataError(reason, data, first.line if first else None)
    found = audit(
        trajectories,
        "default",
        tokenizer=tokenizer,
        progress=lambda done: progress("trajectories", done, len(trajectories)),
    )
    facts = Facts(
        data=data,
        format=format,
        tools=tools,
        model=model,
        allow_code=allow_code,
        size=model_size(model, allow_code),
        dialect=_dialect(model, tokenizer),
        trajectories=trajectories,
        lengths=gold_lengths(trajectories, tokenizer),
        audit=found,
        unreadable=len(problems),
    )
    return Proposal(data, _settings(facts), found, problems, contents.lines(data))


def _dialect(model: str, tokenizer: PreTrainedTokenizerBase) -> str:
    template = tokenizer.chat_template
    found = dialects.detect(template) if isinstance(template, str) else None
    if found is None:
        raise ModelError(
            f"model {model}: its chat template writes calls in no known dialect "
            f"({', '.join(dialects.NAMES)}); write a configuration with `dialect:` by hand"
        )
    return found


def _settings(facts: Facts) -> list[Setting]:
    number = facts.size.parameters
    model = f"{number / 1e6:,.0f} million parameters" if number >= 1e6 else quantity(number, "parameter")
    return [
        Setting(("model",), facts.model, model),
        *([Setting(("allow_code",), True, "as given: the model may execute code of its folder")] * facts.allow_code),
        Setting(("dialect",), facts.dialect, "how the model's own chat template writes calls"),
        *_data(facts),
        _max_length(facts),
        *_sft(facts),
        *_ppo(facts),
        *_eval(facts),
    ]


def _data(facts: Facts) -> list[Setting]:
    total, openings = len(facts.trajectories), facts.openings
    sizes = f"{quantity(total, 'trajectory')}, {quantity(openings, 'distinct opening')}"
    settings = [Setting(("data", "train"), facts.data, sizes)]
    if facts.format is not None:
        settings.append(Setting(("data", "format"), facts.format, "as given"))
    if facts.tools is not None:
        settings.append(Setting(("data", "tools"), facts.tools, "as given"))
    if facts.unreadable:
        skipped = "is" if facts.unreadable == 1 else "are"
        reason = f"{quantity(facts.unreadable, 'record')} cannot be read and {skipped} skipped"
        settings.append(Setting(("data", "strict"), False, reason))
    return [*settings, Setting(("data", "holdout"), *_holdout(openings))]


def _holdout(openings: int) -> tuple[float, str]:
    """The share held out, and why."""
    if openings < 2:
        return 0.0, "all trajectories have the same opening, so none can be held out"
    share = 0.1 if openings >= 50 else max(0.2, 1 / openings)
    held = round(share * openings)
    together = "trajectories with the same tools and first messages stay together"
    return round(share, 2), f"{held:,} of {quantity(openings, 'opening')}; {together}"


def _max_length(facts: Facts) -> Setting:
    spread = facts.audit["lengths"]
    if not spread["number"]:
        reasons = facts.audit["lengths"]["refused"]["reasons"]
        raise DataError(f"the chat template of {facts.model} refuses every trajectory: {reasons[0][0]}", facts.data)
    longest, most = int(spread["max"]), int(spread["p99"])
    wanted = longest if longest <= 2 * most else most
    limit = -(-wanted // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
    reason = f"the longest trajectory has {quantity(longest, 'token')}"
    if wanted < longest:
        reason += f", 99 % have at most {most:,}; replies beyond the limit are not trained on"
    if facts.size.positions is not None and limit > facts.size.positions:
        limit = facts.size.positions
        reason += ", and the model has no more positions"
    return Setting(("max_length",), limit, reason)


def _power_of_two(most: int) -> int:
    return 1 << max(most, 1).bit_length() - 1


def _sft(facts: Facts) -> list[Setting]:
    total = len(facts.trajectories)
    batch = 16 if total >= 480 else 8 if total >= 160 else 4
    epochs = 1 if total >= 480 else 2 if total >= 160 else 3
    group = min(8, batch, _power_of_two(facts.sharing))
    sharing = facts.sharing
    others = quantity(sharing - 1, "other")
    shared = f"the median trajectory shares its tools with {others}, which are computed once per group"
    return [
        Setting(("sft", "arms"), _arms(facts), _arms_reason(facts)),
        Setting(("sft", "epochs"), epochs, quantity(total, "trajectory")),
        Setting(("sft", "batch_size"), batch, f"about {quantity(-(-total * epochs // batch), 'update')} in all"),
        Setting(("sft", "group_size"), group, shared if sharing > 1 else "hardly any trajectories share their tools"),
        *_weights(facts.size),
    ]


def _arms(facts: Facts) -> list[str]:
    if not facts.audit["calls"]["total"]:
        return ["sft"]
    parts = ["mae"] * bool(facts.failed) + ["pkt"] * facts.whole_method
    return ["sft", "+".join(parts)] if parts else ["sft"]


def _arms_reason(facts: Facts) -> str:
    total = facts.audit["calls"]["total"]
    if not total:
        return "no reply calls a tool, so there is neither a failed call to mask nor a key token to weigh"
    arms, why = _arms(facts), "no call failed, so nothing would be masked"
    if facts.failed:
        why = f"{facts.failed:,} of {quantity(total, 'call')} failed, which `{arms[-1]}` masks"
    elif facts.whole_method:
        why += "; `pkt` weighs key tokens"
    return f"{why}; `sft` is what it is compared with" if len(arms) > 1 else why


def _weights(size: ModelSize) -> list[Setting]:
    """Full fine-tuning of small models, adapters over large ones; usual learning rates for each size."""
    rate = ("sft", "optimiser", "learning_rate")
    if size.parameters >= 2e9:
        lora = Setting(("sft", "lora", "rank"), 16, "adapters: all weights of a model of this size need much memory")
        return [Setting(rate, 2e-4, "usual for adapters"), lora]
    return [Setting(rate, 3e-4 if size.parameters < 3e8 else 2e-5, "usual for all weights of a model of this size")]


def _ppo(facts: Facts) -> list[Setting]:
    calls = facts.audit["calls"]
    if not calls["total"]:
        return [Setting(("ppo",), None, "no reply calls a tool, so there is nothing that a reward could judge")]
    if calls["form_not_judged"]:
        reason = (
            f"tools of {calls['form_not_judged']:,} of {quantity(calls['total'], 'call')} were inferred from the "
            "calls, so rewards would rest on guesses; pass the specifications with --tools"
        )
        return [Setting(("ppo",), None, reason)]
    if not facts.whole_method:
        reason = "PPO gained nothing with a model of 135 million parameters (docs/EVIDENCE.md)"
        return [Setting(("ppo",), None, reason)]
    arm, limit = _arms(facts)[-1], fitting_limit(facts.lengths)
    group = min(16, _power_of_two(facts.sharing))
    return [
        Setting(("ppo", "arm"), arm, "the arm with the method"),
        Setting(("ppo", "group_size"), group, "as many prompts with the same tools are drawn together"),
        Setting(("ppo", "max_new_tokens"), limit, _limit_reason(facts.lengths)),
    ]


def _eval(facts: Facts) -> list[Setting]:
    if facts.openings < 2:
        return [Setting(("eval",), None, "nothing can be held out; name files in data.test to evaluate")]
    share, _ = _holdout(facts.openings)
    limit = Setting(("eval", "max_new_tokens"), fitting_limit(facts.lengths), _limit_reason(facts.lengths))
    if share * len(facts.trajectories) <= EVALUATED:
        return [limit]
    return [Setting(("eval", "trajectories"), EVALUATED, "a random sample of the held-out trajectories"), limit]


def _limit_reason(lengths: Sequence[int]) -> str:
    if not lengths:
        return "no right reply could be measured"
    longest = quantity(max(lengths), "token")
    return f"room for {QUANTILE:.1%} of {quantity(len(lengths), 'right reply')}; the longest has {longest}"


DATA_SUFFIXES = (".jsonl", ".json", ".ndjson", ".gz", ".parquet", ".txt")


def is_data(path: Path) -> bool:
    """Whether a file or folder holds trajectories, and not a configuration: by its suffix, otherwise by whether it
    begins like JSON. A file that does not exist counts as a configuration."""
    if path.suffix in (".yaml", ".yml") or not path.exists():
        return False
    if path.is_dir() or path.suffix in DATA_SUFFIXES:
        return True
    with path.open("rb") as stream:
        return stream.read(1_000).lstrip()[:1] in (b"{", b"[")


def configuration_path(data: str) -> Path:
    """Where `tltrain init` writes by default: the data's name with the suffix .yaml, in the working directory."""
    name = Path(data).resolve().name
    while Path(name).suffix in DATA_SUFFIXES:
        name = Path(name).stem
    return Path(f"{name}.yaml")
