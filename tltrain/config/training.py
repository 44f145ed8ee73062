"""The settings of training: adapters, optimisers, SFT and PPO, one typed section each."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Literal, Self, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from tltrain.arms import SFT_ARMS
from tltrain.encode import DEFAULT_W_MAX

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


def _check_arm(name: str) -> str:
    if name not in SFT_ARMS:
        raise ValueError(f"unknown arm {name!r}: expected one of {', '.join(SFT_ARMS)}")
    return name


ArmName = Annotated[str, AfterValidator(_check_arm)]
Tracker = Literal["tensorboard", "trackio", "wandb", "mlflow"]
Base = Literal["4bit", "8bit"]


class Section(BaseModel):
    """A group of settings; unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @classmethod
    def section(cls, name: str) -> type[Section] | None:
        """The type of a field that is a section itself; None for other fields."""
        field = cls.model_fields.get(name)
        annotation = field.annotation if field else None
        kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
        return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)

    @classmethod
    def entry(cls, name: str) -> type[Section] | None:
        """The type of the values of a field that is a table of sections; None for other fields."""
        field = cls.model_fields.get(name)
        kinds = get_args(field.annotation) if field and get_origin(field.annotation) is dict else ()
        return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)

    def to_yaml(self) -> str:
        """All fields as YAML, including those at their defaults."""
        return yaml.safe_dump(self.model_dump(), sort_keys=False, allow_unicode=True)


class LoraConfig(Section):
    """Train low-rank adapters (LoRA) instead of all weights; they are merged into the model after training."""

    rank: Positive = 16
    """Rank of each adapter."""
    alpha: Positive = 32
    """The adapters' output is scaled by alpha / rank."""
    base: Base | None = None
    """SFT only: quantise the frozen model to 4 or 8 bits (CUDA and bitsandbytes); null: keep the run's dtype."""


class HeldOutConfig(Section):
    """Loss on steps held out of the training data, and early stopping on it. The test splits are not used."""

    share: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of the training trajectories held out; those with the same tools and first messages stay together."""
    every: Positive = 20
    """Updates between evaluations; the last update is always followed by one."""
    patience: Positive | None = None
    """Stop after this many evaluations in a row without a new lowest loss, and keep the weights of the lowest."""


class OptimiserConfig(Section):
    """AdamW with linear warm-up, then cosine decay of the learning rate to zero, or a constant rate."""

    learning_rate: Rate
    """Peak learning rate."""
    warmup: Share = 0.05
    """Share of the updates in which the learning rate rises linearly."""
    warmup_updates: Positive | None = None
    """In place of `warmup`: number of updates in which the learning rate rises; null: as `warmup` says."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """After the warm-up, the learning rate decays to zero (`cosine`) or stays at its peak (`constant`)."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay of matrices; vectors are not decayed."""
    beta1: BelowOne = 0.9
    """Decay rate of Adam's first moment."""
    beta2: BelowOne = 0.95
    """Decay rate of Adam's second moment."""
    clip_norm: Rate = 1.0
    """Gradients of a larger norm are scaled down to this norm."""

    @model_validator(mode="before")
    @classmethod
    def _warm_up(cls, values: Any) -> Any:
        return _in_place_of(values, "warmup_updates", {"warmup": 0.0})

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.warmup_updates is not None and self.warmup:
            raise ValueError("warmup and warmup_updates both say how long the learning rate rises: remove one of them")
        return self


def _in_place_of(values: Any, name: str, replaced: dict[str, Any]) -> Any:
    """Set the fields that `name` replaces to `replaced`, where `name` is given and they are not."""
    given = isinstance(values, dict) and values.get(name) is not None
    return {**replaced, **values} if given else values


def _groups_within(values: Any, whole: str, default: int) -> Any:
    """Lower the default group size to the size of the batch, where only the latter is given and it is smaller."""
    size = values.get(whole) if isinstance(values, dict) else None
    return {"group_size": size, **values} if isinstance(size, int) and 0 < size < default else values


class SFTConfig(Section):
    """Supervised fine-tuning. Arms differ in masks and weights only: steps, order and updates are the same, unless
    `batch_unit` is `step`: masked replies are then left out of the updates."""

    arms: Annotated[list[ArmName], Field(min_length=1)] = ["sft", "mae"]
    """`sft`: all tokens have weight 1. `mae`: failed calls are masked. `pkt`: key tokens have larger weights."""
    trajectories: Positive | None = None
    """Number of trajectories to train on, drawn by the random seed and rounded up to whole batches; null: all."""
    epochs: Positive = 1
    """Passes over the trajectories."""
    batch_size: Positive = 16
    """Trajectories per update, or replies with `batch_unit: step`."""
    batch_unit: Literal["trajectory", "step"] = "trajectory"
    """`trajectory`: all its replies are in one update. `step`: replies are drawn singly, without the masked ones."""
    group_size: Positive = 8
    """Trajectories with the same tools are batched in groups of this size: their shared prefix is computed once."""
    normaliser: Literal["update", "sample"] = "update"
    """Divisor of the loss. `update`: the sum of weights of the update. `sample`: each reply's own, then the mean."""
    answered_only: bool = False
    """Exclude replies that are followed by a message other than a tool's from the loss, in every arm, and from PPO."""
    argument_ends: bool = True
    """PKT: count tokens that end an argument as tokens that are not key tokens, whose number sets the key weight."""
    optimiser: OptimiserConfig = OptimiserConfig(learning_rate=3e-4)
    """Optimiser of all arms."""
    w_max: Annotated[float, Field(ge=1)] = DEFAULT_W_MAX
    """Upper limit of a key token's weight."""
    lora: LoraConfig | None = None
    """Adapters to train; null: train all weights."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass, from the layers' inputs: less memory, a third more time."""
    compile_layers: bool = False
    """Compile norms and feed-forward networks with `torch.compile`: for GPUs; compiling takes up to some minutes."""
    fsdp: bool = False
    """With several processes, shard weights, gradients and moments (FSDP2); otherwise each holds all of them."""
    held_out: HeldOutConfig | None = None
    """Evaluation loss during training, and early stopping; null: neither."""
    report_to: list[Tracker] = []
    """Trackers that the metrics are sent to; each needs its package."""
    checkpoint_every: Positive = 20
    """Updates between checkpoints, from which a killed run resumes."""

    @model_validator(mode="before")
    @classmethod
    def _small_batches(cls, values: Any) -> Any:
        return _groups_within(values, "batch_size", cls.model_fields["group_size"].default)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.group_size > self.batch_size:
            raise ValueError(f"group_size {self.group_size} is larger than batch_size {self.batch_size}")
        if len(set(self.arms)) < len(self.arms):
            raise ValueError("arms has duplicates")
        if len(set(self.report_to)) < len(self.report_to):
            raise ValueError("report_to has duplicates")
        if self.fsdp and self.lora and self.lora.base:
            raise ValueError(f"fsdp cannot shard a base of lora.base {self.lora.base}")
        return self


class ValidationConfig(Section):
    """Validation of the policy while it is trained, on prompts held back from the training split."""

    share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the training trajectories held back from PPO; those with the same tools and first messages together."""
    every: Positive = 2
    """Rollouts between validations; one comes before the first rollout too, and one after the last."""


class PPOConfig(Section):
    """Proximal policy optimisation of the judge's reward (IRM), from the model of one arm.

    `text_share` matters because a prompt whose gold is a text rewards any text with 1 and punishes any call. With
    prompts whose gold is a call only, the 135M model learned to call always: 60 unwanted calls in 115 test items, and
    CF fell from 62.6 to 19.1. With the natural mix (half of the steps want a text) errors in tool and format fell by a
    third, but missing calls rose from 7 to 12-16 items in every trial. So prompts of both kinds are needed.
    """

    arm: ArmName = "mae"
    """The SFT arm whose model is the initial policy and the frozen reference."""
    rollouts: Positive | None = 6
    """Number of rollouts; in each, replies are sampled and policy and critic are updated."""
    prompt_epochs: Positive | None = None
    """In place of `rollouts`: passes over all prompts, rounded up to whole rollouts; null: as `rollouts` says."""
    prompts: Positive = 16
    """Prompts per rollout."""
    group_size: Positive = 16
    """Of these, prompts that share their tools are drawn together."""
    text_share: Share | None = None
    """Share of prompts whose gold is a text; null: as in the data. At 0 it learns to call always."""
    samples: Positive = 4
    """Replies sampled per prompt."""
    temperature: Annotated[float, Field(ge=0)] = 0.7
    """Sampling temperature, also of log-probabilities. 0: greedy decoding, with log-probabilities at 1."""
    max_new_tokens: Positive = 128
    """A longer reply is truncated, and judged as not parseable."""
    sampler: str | None = None
    """Sample with a vLLM server of the initial policy: its URL, such as http://localhost:8000/v1; null: sample here."""
    importance_limit: Rate = 2.0
    """With `sampler`: a token's weight, its probability here over that in the server, is at most this."""
    beta: Annotated[float, Field(ge=0)] = 0.4
    """Weight of the KL penalty towards the reference."""
    gamma: Share = 1.0
    """Discount factor."""
    advantage: Literal["gae", "leave_one_out"] = "gae"
    """`gae`: critic and GAE, as in the paper. `leave_one_out`: no critic; GRPO without dividing by the group's std."""
    lam: Share = 0.95
    """Lambda of generalised advantage estimation (GAE)."""
    clip: Rate = 0.2
    """The ratio of new to old probabilities is clipped to 1 +- this."""
    value_clip: Rate = 0.2
    """A value's change since the rollout is clipped to +- this."""
    reward: Literal["irm", "exact"] = "irm"
    """`irm`: the paper's reward for each kind of error. `exact`: 1 for a right reply, -1 for any other."""
    reward_clip: Rate = 5.0
    """Rewards are clipped to [-reward_clip, reward_clip]."""
    epochs: Positive = 1
    """Passes over the replies of a rollout."""
    minibatches: Positive = 1
    """Updates per pass."""
    policy: OptimiserConfig = OptimiserConfig(learning_rate=1e-4, weight_decay=0.0)
    """Optimiser of the policy."""
    critic: OptimiserConfig = OptimiserConfig(learning_rate=1e-4, weight_decay=0.0)
    """Optimiser of the critic's backbone; with `critic_start: sft` the value head has 10 times its learning rate."""
    critic_start: Literal["sft", "random"] = "sft"
    """The critic's initial backbone: that of the SFT model, with a head of zeros; or random, as the head is too."""
    critic_warmup: Annotated[int, Field(ge=0)] = 0
    """Number of first rollouts that update only the critic; the policy's learning-rate schedule begins after them."""
    dynamic_sampling: bool = False
    """Skip prompts whose samples all have the same reward: faster, but their GAE and KL gradients are lost."""
    validation: ValidationConfig | None = None
    """Validate on held-back prompts and save the policy with the best CF, then reward; null: save the last policy."""
    max_kl: Rate | None = None
    """Stop after a rollout whose mean KL per reply exceeds this; null: no limit."""
    lora: LoraConfig | None = LoraConfig()
    """Adapters for policy and critic over one frozen model, the reference; null: three copies of the model."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass, from the layers' inputs: less memory, a third more time."""
    fsdp: bool = False
    """With several processes, shard policy, critic and reference (FSDP2); the policy is gathered to sample."""
    checkpoint_every: Positive = 2
    """Rollouts between checkpoints."""

    @property
    def needs_reference(self) -> bool:
        """Whether the reference's log-probabilities are measured."""
        return self.beta > 0 or self.max_kl is not None

    @property
    def on_policy(self) -> bool:
        """Whether each rollout has a single update, of the policy that sampled it: all its ratios are 1."""
        return self.epochs * self.minibatches == 1 and self.sampler is None

    @model_validator(mode="before")
    @classmethod
    def _small_rollouts(cls, values: Any) -> Any:
        values = _in_place_of(values, "prompt_epochs", {"rollouts": None})
        return _groups_within(values, "prompts", cls.model_fields["group_size"].default)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.rollouts is None) == (self.prompt_epochs is None):
            raise ValueError("expected either rollouts or prompt_epochs: they both say how long PPO takes")
        if self.prompt_epochs is not None and self.text_share is not None:
            raise ValueError("prompt_epochs has no meaning with text_share, which draws some prompts more often")
        if self.temperature == 0 and self.samples > 1:
            raise ValueError(f"temperature 0 is greedy: all {self.samples} samples of a prompt would be the same reply")
        if self.critic_start == "random" and self.advantage == "leave_one_out":
            raise ValueError("critic_start has no meaning with advantage leave_one_out, which has no critic")
        if self.group_size > self.prompts:
            raise ValueError(f"group_size {self.group_size} is larger than prompts {self.prompts}")
        if self.minibatches > self.prompts * self.samples:
            raise ValueError(f"minibatches {self.minibatches} are more than prompts * samples replies")
        if self.advantage == "leave_one_out" and self.samples < 2:
            raise ValueError("advantage leave_one_out needs at least 2 samples of each prompt, found samples 1")
        if self.advantage == "leave_one_out" and self.critic_warmup:
            raise ValueError("critic_warmup has no meaning with advantage leave_one_out, which has no critic")
        if self.rollouts is not None and self.critic_warmup >= self.rollouts:
            raise ValueError(f"critic_warmup {self.critic_warmup} leaves none of the {self.rollouts} rollouts")
        if self.sampler is not None and not self.sampler.startswith(("http://", "https://")):
            raise ValueError(f"sampler {self.sampler!r}: expected the URL of a vLLM server, http://HOST:PORT/v1")
        if self.sampler is not None and self.lora is None:
            raise ValueError("sampler needs lora: a vLLM server loads new adapters, but not new weights of its model")
        if self.lora and self.lora.base:
            raise ValueError("lora.base is for SFT: PPO trains over a model in the run's dtype")
        return self
