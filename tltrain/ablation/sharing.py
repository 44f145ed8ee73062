"""What the runs of an ablation share in one process: data, test sets, and encodings of the training trajectories."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltrain.audit.failure_detectors import assess_calls
from tltrain.config import RunConfig
from tltrain.data import Data, load_data
from tltrain.encode import Encoder
from tltrain.encode.encoder import Encoded
from tltrain.pipeline import Pipeline
from tltrain.progress import ProgressFactory
from tltrain.testsets.base import TestSet
from tltrain.trajectory import Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOST_ENCODERS = 4
"""The arms of SFT differ in their encodings, so those of four arms are kept."""


class Shared:
    """Data and encoders by the settings that determine them; the least recently used are dropped."""

    def __init__(self) -> None:
        self._data: dict[Any, Data] = {}
        self._tests: dict[Any, list[TestSet]] = {}
        self._idle: dict[Any, bool] = {}
        self._encoders: OrderedDict[Any, RememberingEncoder] = OrderedDict()

    def data(self, config: RunConfig) -> Data:
        """The data of a configuration; only the last are kept."""
        key = (config.data.model_dump_json(), config.data_seed)
        if key not in self._data:
            self._data.clear()
            self._data[key] = load_data(config.data, config.data_seed)
        return self._data[key]

    def tests(self, config: RunConfig, load: Callable[[], list[TestSet]]) -> list[TestSet]:
        """The test sets of a configuration; only the last are kept."""
        assert config.eval is not None, "an ablation evaluates"
        key = (config.data.model_dump_json(), config.data_seed, config.mode, *config.eval.bench, config.eval.data)
        if key not in self._tests:
            self._tests.clear()
            self._tests[key] = load()
        return self._tests[key]

    def mae_is_idle(self, config: RunConfig) -> bool:
        """Whether no call of the training data failed, so that training with MAE is the same as without. Not where
        replies are also excluded because of what follows them (`sft.answered_only`), as PPO's prompts then differ."""
        if config.sft is not None and config.sft.answered_only:
            return False
        key = (config.data.model_dump_json(), config.data_seed, config.failure_mode)
        if key not in self._idle:
            calls = chain.from_iterable(assess_calls(one, config.failure_mode) for one in self.data(config).train)
            self._idle[key] = not any(call.failed for call in calls)
        return self._idle[key]

    def encoder(self, config: RunConfig, made: Encoder) -> Encoder:
        """The encoder used before with the same settings, which remembers its encodings, or a new one."""
        settings = (config.model, config.dialect, config.template, config.data.model_dump_json(), config.data_seed)
        limits = (made.mode, made.max_length, made.stop_ids, made.answered_only)
        key = (*settings, made.mae, made.pkt, made.w_max, made.argument_ends, *limits)
        if key not in self._encoders:
            self._encoders[key] = RememberingEncoder(made)
        self._encoders.move_to_end(key)
        while len(self._encoders) > MOST_ENCODERS:
            self._encoders.popitem(last=False)
        return self._encoders[key]


class RememberingEncoder(Encoder):
    """An encoder that encodes each trajectory once."""

    def __init__(self, made: Encoder) -> None:
        super().__init__(
            made.tokenizer,
            mae=made.mae,
            pkt=made.pkt,
            w_max=made.w_max,
            mode=made.mode,
            max_length=made.max_length,
            stop_ids=made.stop_ids,
            answered_only=made.answered_only,
            argument_ends=made.argument_ends,
        )
        self._known: dict[int, tuple[Trajectory, Encoded]] = {}

    def encode(self, trajectory: Trajectory) -> Encoded:
        """See `Encoder.encode`. A trajectory is known by its identity, as equal ones may come from different files."""
        if id(trajectory) not in self._known:
            self._known[id(trajectory)] = (trajectory, super().encode(trajectory))
        return self._known[id(trajectory)][1]


class SharingPipeline(Pipeline):
    """A run of the pipeline with shared data and encodings."""

    def __init__(self, config: RunConfig, folder: Path, progress: ProgressFactory, shared: Shared) -> None:
        self.shared = shared
        super().__init__(config, folder, progress, data=shared.data(config))

    @cached_property
    def test_sets(self) -> list[TestSet]:
        """See `Pipeline.test_sets`."""
        return self.shared.tests(self.config, lambda: super(SharingPipeline, self).test_sets)

    def encoder(self, model: PreTrainedModel, mae: bool = True, pkt: bool = True) -> Encoder:
        """See `Pipeline.encoder`."""
        return self.shared.encoder(self.config, super().encoder(model, mae, pkt))
