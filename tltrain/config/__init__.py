"""Typed configurations of runs and evaluations: their settings, and how they are read from and written to YAML."""

from tltrain.config.annotated import annotated_defaults
from tltrain.config.reading import override, parse_config, read_config
from tltrain.config.settings import (
    DataConfig,
    EvalConfig,
    EvaluationConfig,
    EvaluationFile,
    ModelEntry,
    RunConfig,
)
from tltrain.config.training import (
    Base,
    HeldOutConfig,
    LoraConfig,
    OptimiserConfig,
    PPOConfig,
    Section,
    SFTConfig,
    ValidationConfig,
)

__all__ = [
    "Base",
    "DataConfig",
    "EvalConfig",
    "EvaluationConfig",
    "EvaluationFile",
    "HeldOutConfig",
    "LoraConfig",
    "ModelEntry",
    "OptimiserConfig",
    "PPOConfig",
    "RunConfig",
    "SFTConfig",
    "Section",
    "ValidationConfig",
    "annotated_defaults",
    "override",
    "parse_config",
    "read_config",
]
