"""The settings of runs and evaluations, one typed section each. Contradictory fields are errors."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tltrain import dialects
from tltrain.config.release import with_release
from tltrain.config.training import BelowOne, Positive, PPOConfig, Section, SFTConfig


class DataConfig(Section):
    """Training and test trajectories."""

    train: str | None = "toolworld"
    """A file or folder of trajectories; `toolworld`: the built-in data; `tl-training`: the release's; null: none."""
    test: dict[Annotated[str, Field(pattern=r"^[\w-]+$")], str] = {}
    """Test splits by name, each a file or folder. With toolworld, the default is its splits `seen` and `unseen`."""
    holdout: BelowOne = 0.1
    """Share of the trajectories excluded from training and used as split `held` if there is no test split."""
    trajectories: Positive | None = None
    """Train on a random sample of this size, which contains every smaller one of the same seed; null: on all."""
    size: Positive = 1217
    """toolworld only: number of training trajectories."""
    noise: Annotated[float, Field(ge=0, le=0.8)] = 0.17
    """toolworld only: share of training calls that fail with an error."""
    format: str | None = None
    """Format of the files; null: detected from the content."""
    tools: str | None = None
    """File of tool specifications, for trajectories that contain none."""
    strict: bool = True
    """Stop at the first record that cannot be read; otherwise such records are counted and skipped."""
    seed: int | None = None
    """Random seed of toolworld, of the held-out split and of the sample of test items; null: the run's seed."""

    @field_validator("noise", mode="before")
    @classmethod
    def _of_older_runs(cls, value: Any) -> Any:
        """Runs before 2026-12-01 wrote null for the default."""
        return cls.model_fields["noise"].default if value is None else value


class EvalConfig(Section):
    """Evaluation by greedy decoding."""

    trajectories: Positive | None = None
    """Size of the random sample of trajectories (of items, in the sets of `bench`) from each split; null: all."""
    bench: list[str] = []
    """Public test sets or splits to evaluate on too: `rotbench`, `toolalpaca/eval_real`, or others."""
    own_splits: bool = True
    """Evaluate on the test splits of the data; false: only on the sets of `bench`."""
    data: str | None = None
    """Folder of the public test sets; null: the cache of `tltrain fetch`."""
    max_new_tokens: Positive | None = None
    """A longer reply is truncated and counts as not parseable; null: a limit that fits the golds' lengths."""
    batch_size: Positive = 128
    """Replies decoded together."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.own_splits and not self.bench:
            raise ValueError("own_splits is false and bench is empty, so there is nothing to evaluate on")
        return self


class RunConfig(Section):
    """A whole run. A stage that is null is skipped."""

    model: str = "smollm2-135m"
    """The built-in model, a folder, or the name of a model on the Hugging Face Hub."""
    allow_code: bool = False
    """Also load models with Python code or pickled weights, which can execute anything; refused by default."""
    data: DataConfig = DataConfig()
    """Training and test trajectories."""
    dialect: str = "hermes"
    """How the model writes calls: `hermes`, `python`, `react`, `qwen`, `llama3`, `mistral`, `gemma`, or `native`."""
    mode: Literal["default", "paper", "release"] = "default"
    """`paper`: a call counts as failed by the TL-Training release's rule. `release`: also its settings (DESIGN.md)."""
    template: Literal["auto", "release"] = "auto"
    """`auto`: the model's chat template, or the dialect's if that knows no tools. `release`: that of the release."""
    max_length: Positive | None = 8192
    """Maximum number of tokens of a prompt and its reply."""
    max_tree_tokens: Positive = 4096
    """Maximum number of tokens in one forward pass; limits memory and does not change results."""
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Dtype of the model (`auto`: bfloat16 if the device supports it natively); the optimiser keeps fp32 weights."""
    device: str | None = None
    """`cpu`, `cuda` …; by default a GPU if there is one."""
    seed: int = 0
    """Random seed for data, ordering and sampling."""
    sft: SFTConfig | None = SFTConfig()
    """Supervised fine-tuning."""
    ppo: PPOConfig | None = None
    """Reinforcement learning after SFT. Off by default: no gain was measured with small models (docs/EVIDENCE.md)."""
    eval: EvalConfig | None = EvalConfig()
    """Evaluation of the base model and of every trained model."""

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: Any) -> Any:
        released = isinstance(values, dict) and values.get("mode") == "release"
        return with_release(values) if released else values

    @property
    def failure_mode(self) -> Literal["default", "paper"]:
        """Mode of the failure detectors."""
        return "default" if self.mode == "default" else "paper"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_dialect(self.dialect)
        if self.template == "release" and self.dialect != "python":
            raise ValueError(f"template release writes calls in the dialect python, found dialect {self.dialect}")
        if self.ppo is not None and self.sft is not None and self.ppo.arm not in self.sft.arms:
            raise ValueError(f"ppo.arm '{self.ppo.arm}' is not in sft.arms {self.sft.arms}")
        if self.data.train is None and (self.sft or self.ppo):
            raise ValueError("data.train is null: then sft and ppo have to be null too")
        return self

    @property
    def data_seed(self) -> int:
        """Random seed of the data: that of `data`, else the run's."""
        return self.seed if self.data.seed is None else self.data.seed


class EvaluationConfig(Section):
    """The settings that determine scores. Models and test sets can be added to an evaluation in later calls."""

    data: str | None = None
    """Folder of the test sets; null: the cache of `tltrain fetch`."""
    dialect: str | None = None
    """How the models write calls; null: each as its own chat template does. A model's own setting comes first."""
    limit: Positive | None = None
    """Size of the random sample of items from each split (trajectories for splits of trajectories); null: all."""
    max_new_tokens: Positive = 512
    """A longer reply is truncated and counts as not parseable."""
    max_length: Positive | None = None
    """Maximum number of tokens of a prompt and its reply; null: the model's own limit. An item whose prompt leaves no
    room for a reply counts as wrong."""
    max_steps: Positive = 10
    """Maximum number of replies to a query of a multi-step test set, whose calls are executed."""
    library: str | None = None
    """Folder of the public tool library that executes ToolEyes' calls; null: the simulator."""
    batch_size: Positive = 128
    """Replies decoded together."""
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Dtype of the models; `auto`: bfloat16 if the device supports it natively, else float32."""
    device: str | None = None
    """`cpu`, `cuda` …; by default a GPU if there is one."""
    seed: int = 0
    """Random seed for sampling items."""
    allow_code: bool = False
    """Also load models with Python code or pickled weights, which can execute anything; refused by default."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.dialect is not None:
            _check_dialect(self.dialect)
        return self


class ModelEntry(Section):
    """A model of an evaluation."""

    model: str
    """A folder, a hub name, the built-in model, or URL#model of an endpoint."""
    dialect: str | None = None
    """How this model writes calls; null: as its chat template does."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, values: Any) -> Any:
        return {"model": values} if isinstance(values, str) else values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.dialect is not None:
            _check_dialect(self.dialect)
        return self


class EvaluationFile(EvaluationConfig):
    """The configuration of `tltrain eval`: models, test sets, and the settings that determine scores."""

    models: dict[Annotated[str, Field(pattern=r"^[\w.+-]+$")], ModelEntry] = {}
    """Models by the name that tables show: `NAME: MODEL`, or `NAME: {model: MODEL, dialect: DIALECT}`."""
    bench: str | None = None
    """Test sets or splits, separated by commas; `all`: every set found."""
    trajectories: str | None = None
    """In place of `bench`: a file or folder of trajectories with gold replies, or `toolworld`."""


def _check_dialect(name: str) -> None:
    if name not in dialects.NAMES:
        raise ValueError(f"unknown dialect {name!r}: expected one of {', '.join(dialects.NAMES)}")
