"""TRL, verl and ms-swift themselves load our rewards and our files; each test is skipped where its package is missing.

`make test-integrations` installs the packages, each in an environment of its own, and runs these tests.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.micro import micro_trajectories, save_micro
from support.trained_micro import AMBIGUOUS, NAMES, ORDERS, save_trained

from tltrain import Call, Message, Tool, Trajectory, formats
from tltrain import model as models
from tltrain.conversion import convert_file, usage
from tltrain.dialects import hermes
from tltrain.encode import Encoder
from tltrain.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the packages are theirs
os.environ.setdefault("HF_HUB_OFFLINE", "1")

RIGHT = hermes.format([Call("get_order", {"order_id": "A-0"})])
WRONG_VALUE = hermes.format([Call("get_order", {"order_id": "A-9"})])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_micro(tmp_path_factory.mktemp("micro")))


@pytest.fixture
def data(tmp_path: Path) -> str:
    formats.write(micro_trajectories(8), tmp_path / "data.jsonl")
    return str(tmp_path / "data.jsonl")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# TRL


def ambiguous_trajectories() -> list[Trajectory]:
    """Queries for which the trained micro model knows several calls, of which only one is right."""
    schema = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
    tools = tuple(Tool(name, "", schema) for name in NAMES)
    trajectories = []
    for order in ORDERS:
        right = Message("assistant", None, (Call(NAMES[0], {"order_id": order}),))
        trajectories.append(Trajectory((Message("user", AMBIGUOUS.format(order)), right), tools))
    return trajectories


def test_a_grpo_step_of_trl_with_our_reward(tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM

    from tltrain.integrations.trl_reward import ToolCallReward

    folder = str(save_trained(tmp_path / "model"))
    formats.write(ambiguous_trajectories(), tmp_path / "data.jsonl")
    convert_file(str(tmp_path / "data.jsonl"), "trl-grpo", str(tmp_path / "grpo.jsonl"), model=folder)
    rows = load_dataset("json", data_files=str(tmp_path / "grpo.jsonl"), split="train", cache_dir=str(tmp_path / "hf"))
    tokenizer = models.load_tokenizer(folder)
    trained = AutoModelForCausalLM.from_pretrained(folder)
    before = {name: weight.detach().clone() for name, weight in trained.named_parameters()}
    trainer = trl.GRPOTrainer(
        model=trained,
        reward_funcs=ToolCallReward(tokenizer),
        args=trl.GRPOConfig(
            output_dir=str(tmp_path / "out"),
            max_steps=1,
            learning_rate=1e-3,
            per_device_train_batch_size=16,
            num_generations=8,
            max_completion_length=64,
            use_cpu=True,
            bf16=False,
            save_strategy="no",
            report_to="none",
            logging_steps=1,
            disable_tqdm=True,
            seed=0,
        ),
        train_dataset=rows,
        processing_class=tokenizer,
    )
    trainer.train()
    logged = trainer.state.log_history[0]
    assert -2 < logged["rewards/tool_call_reward/mean"] < 1
    assert logged["rewards/tool_call_reward/std"] > 0
    assert 0 < logged["tool_call/CF"] <= logged["tool_call/PI"] <= logged["tool_call/TS"] < 1
    assert any(not weight.equal(before[name]) for name, weight in trained.named_parameters())


def test_trl_trains_on_our_labels(data: str, model: str, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    from datasets import Dataset
    from transformers import AutoModelForCausalLM

    convert_file(data, "trl", str(tmp_path / "sft.jsonl"), model=model)
    rows = lines(tmp_path / "sft.jsonl")
    args = trl.SFTConfig(
        output_dir=str(tmp_path / "out"),
        per_device_train_batch_size=len(rows),
        train_sampling_strategy="sequential",
        max_length=None,
        use_cpu=True,
        bf16=False,
        report_to="none",
    )
    trainer = trl.SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model),
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=models.load_tokenizer(model),
    )
    (batch,) = trainer.get_train_dataloader()
    for row, ids, labels in zip(rows, batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        padding = len(ids) - len(row["input_ids"])
        assert ids[: len(row["input_ids"])] == row["input_ids"]
        assert labels == row["labels"] + [-100] * padding
    failed = [row for row in rows if set(row["labels"]) == {-100}]
    assert len(failed) == 2, "the failed replies are without loss"


# verl


def verl_config() -> Any:
    from omegaconf import OmegaConf

    manager = {"source": "register", "name": "naive"}
    config = OmegaConf.create({"reward": {"reward_manager": manager}})
    return OmegaConf.merge(config, OmegaConf.from_dotlist(usage("verl").split()))


def test_verl_reads_our_rows_and_calls_our_score(data: str, model: str, tmp_path: Path) -> None:
    pytest.importorskip("verl")
    import numpy as np
    import torch
    from omegaconf import OmegaConf
    from verl import DataProto
    from verl.trainer.ppo.reward import get_custom_reward_fn, load_reward_manager
    from verl.utils.dataset.rl_dataset import RLHFDataset

    convert_file(data, "verl", str(tmp_path / "verl.jsonl"), model=model)
    tokenizer = models.load_tokenizer(model)
    options = OmegaConf.create({"cache_dir": str(tmp_path / "cache"), "filter_overlong_prompts": False})
    rows = RLHFDataset(data_files=str(tmp_path / "verl.jsonl"), tokenizer=tokenizer, config=options)
    encoder = Encoder(tokenizer)
    prompts = [prompt.ids for trajectory in micro_trajectories(8) for prompt in encoder.prompts(trajectory)]
    shown = [
        tokenizer.apply_chat_template(row["raw_prompt"], add_generation_prompt=True, tokenize=False) for row in rows
    ]
    assert [encoder.renderer.token_ids(text) for text in shown] == prompts

    row = rows[0]
    score = get_custom_reward_fn(verl_config())
    assert score is not None
    assert (
        score(row["data_source"], WRONG_VALUE, row["reward_model"]["ground_truth"], row["extra_info"])["score"] == -0.25
    )

    async def managed(text: str) -> Any:
        manager = load_reward_manager(verl_config(), tokenizer)
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        columns = {name: np.array([row[name]], dtype=object) for name in ("data_source", "reward_model", "extra_info")}
        tensors = {"prompts": ids, "responses": ids, "attention_mask": torch.ones_like(ids)}
        return await manager.run_single(DataProto.from_dict(tensors, columns))

    for text, reward, right in ((RIGHT, 1, 1), (WRONG_VALUE, -0.25, 0), ("<tool_call>", -2, 0)):
        found = asyncio.run(managed(text + tokenizer.eos_token))
        assert found["reward_score"] == reward
        assert found["reward_extra_info"]["acc"] == right


# ms-swift


def swift_rewards(path: str) -> Any:
    """ms-swift's table of rewards after it loaded the plugin that `convert` names."""
    from swift.rewards import orms
    from swift.utils.utils import import_external_file

    import_external_file(path)
    return orms


def test_ms_swift_reads_our_rows_and_calls_our_reward(data: str, tmp_path: Path) -> None:
    pytest.importorskip("swift.rewards")
    import torch
    from swift.dataset import load_dataset
    from swift.rl_core.data import GRPOSample
    from swift.rl_core.grpo_algorithm import compute_rewards_per_func

    convert_file(data, "ms-swift-grpo", str(tmp_path / "swift.jsonl"))
    _, path, _, name = usage("ms-swift-grpo").split()
    reward = swift_rewards(path)[name](args=None)
    rows, _ = load_dataset(str(tmp_path / "swift.jsonl"), split_dataset_ratio=0, remove_unused_columns=False)
    assert len(rows) == 10

    def rewarded(text: str, reason: str) -> float:
        messages = [*rows[0]["messages"], {"role": "assistant", "content": text}]
        ids = {"prompt_id": "a", "request_id": "b", "finish_reason": reason}
        sample = GRPOSample.from_row({**rows[0], **ids, "messages": messages})
        return float(compute_rewards_per_func([sample], [reward], [None], torch.device("cpu")).item())

    assert rewarded(RIGHT, "stop") == 1
    assert rewarded(RIGHT, "length") == -2
    assert rewarded(WRONG_VALUE, "stop") == -0.25
    assert rewarded("<tool_call>", "stop") == -2
    with pytest.raises(DataError, match="no column 'solution'"):
        reward([RIGHT])


def test_ms_swift_leaves_failed_replies_out_of_the_loss(data: str, model: str, tmp_path: Path) -> None:
    pytest.importorskip("swift.template")
    from swift.dataset import load_dataset
    from swift.model import get_model_processor
    from swift.template import get_template

    convert_file(data, "ms-swift", str(tmp_path / "sft.jsonl"))
    rows, _ = load_dataset(str(tmp_path / "sft.jsonl"), split_dataset_ratio=0)
    _, tokenizer = get_model_processor(model, load_model=False, model_type="llama", template_type="chatml")
    template = get_template(tokenizer, template_type="chatml", agent_template="hermes")
    template.set_mode("train")
    encoded = template.encode(dict(rows[1]))
    learned = [token for token, label in zip(encoded["input_ids"], encoded["labels"], strict=True) if label != -100]
    text = tokenizer.decode(learned)
    assert "Again:" in text and '"order_id": "A-1"' in text
    assert "ordr_id" not in text and "ordr_id" in tokenizer.decode(encoded["input_ids"])
