"""SFT on the micro model: the loss and its gradient, splits, arms, resuming, a golden run, what is saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from held_out import never_drawn
from support.micro import ORDER_TOOLS, micro_model, micro_trajectories
from support.training import ARMS, LORA, TOKENIZER, KilledError, kill_at, lines, naive_loss, trainer, weights
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from tltrain.config import LoraConfig, RunConfig, SFTConfig
from tltrain.encode import Encoder
from tltrain.errors import DataError, RunError
from tltrain.sft import SFTTrainer, draw, prefix_key
from tltrain.trajectory import Call, Message, Tool, Trajectory


@pytest.mark.parametrize("max_tree_tokens", [4096, 1])
def test_an_update_is_the_weighted_mean_over_the_whole_batch(tmp_path: Path, max_tree_tokens: int) -> None:
    model = micro_model(len(TOKENIZER))
    encoder = Encoder(TOKENIZER)
    loss = naive_loss(model, [step for one in micro_trajectories() for step in encoder.steps(one)])
    loss.backward()
    expected = {name: parameter.grad for name, parameter in model.named_parameters()}
    norm = torch.cat([gradient.flatten() for gradient in expected.values()]).norm().item()

    trained = trainer(tmp_path, batch_size=8, max_tree_tokens=max_tree_tokens)
    found: dict[str, torch.Tensor] = {}
    clip = trained.optimiser.clip

    def recording(normaliser: float, update: str) -> float:
        for name, parameter in trained.model.named_parameters():
            found[name] = parameter.grad / normaliser
        return clip(normaliser, update)

    trained.optimiser.clip = recording  # type: ignore[method-assign]
    trained.train()
    (line,) = lines(tmp_path)
    assert line["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert line["grad_norm"] == pytest.approx(norm, rel=1e-5)
    for name, gradient in expected.items():
        assert (found[name] - gradient).abs().max() <= 1e-5 * gradient.abs().max(), name


def test_a_batch_in_one_pass_or_in_many_ends_with_the_same_weights(tmp_path: Path) -> None:
    trainer(tmp_path / "one", batch_size=8, epochs=3).train()
    trainer(tmp_path / "many", batch_size=8, epochs=3, max_tree_tokens=400).train()
    one, many, before = weights(tmp_path / "one"), weights(tmp_path / "many"), micro_model(len(TOKENIZER)).state_dict()
    changed = torch.cat([(one[name] - before[name]).flatten() for name in one]).norm()
    difference = torch.cat([(one[name] - many[name]).flatten() for name in one]).norm()
    assert difference < 1e-4 * changed
    assert [row["tokens"] for row in lines(tmp_path / "one")] == [row["tokens"] for row in lines(tmp_path / "many")]
    for row, other in zip(lines(tmp_path / "one"), lines(tmp_path / "many"), strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert row["separate_tokens"] == other["separate_tokens"] > row["tokens"]


def test_arms_differ_in_masks_and_weights_only(tmp_path: Path) -> None:
    arms = {arm: trainer(tmp_path / arm, arm=arm, epochs=2) for arm in ARMS}
    for one in arms.values():
        assert one.order == arms["sft"].order
        assert sorted(index for batch in one.order for index in batch) == sorted([*range(8), *range(8)])
        one.train()
    rows = {arm: lines(tmp_path / arm) for arm in ARMS}
    for arm in ARMS:
        assert [row["step"] for row in rows[arm]] == list(range(1, len(arms[arm].order) + 1))
        assert [row["learning_rate"] for row in rows[arm]] == [row["learning_rate"] for row in rows["sft"]]
    masked = micro_trajectories()[1]
    reply = len(Encoder(TOKENIZER).steps(masked)[0].reply_ids)
    for plain, mae in zip(rows["sft"], rows["mae"], strict=True):
        failed = plain["weight"] - mae["weight"]
        assert failed in (0, reply, 2 * reply)
    assert sum(row["weight"] for row in rows["sft"]) - sum(row["weight"] for row in rows["mae"]) == 4 * reply
    assert rows["pkt"] != rows["mae+pkt"] != rows["mae"]


def test_data_held_out_of_an_ablation_are_drawn_with_none_of_its_random_seeds(tmp_path: Path) -> None:
    config = SFTConfig(trajectories=3, batch_size=2, group_size=2, epochs=2)
    everything, model = micro_trajectories(), micro_model(len(TOKENIZER))
    drawn: set[int] = set()
    for seed in (1, 2):
        one = SFTTrainer(
            model,
            TOKENIZER,
            trajectories=everything,
            encoder=Encoder(TOKENIZER),
            config=config,
            folder=tmp_path,
            seed=seed,
        )
        assert list(map(len, one.order)) == [2, 2, 2, 2], "two passes over the same two batches"
        drawn |= {index for batch in one.order for index in batch}
    left = [everything.index(one) for one in never_drawn(RunConfig(sft=config), everything, [1, 2])]
    assert left == [index for index in range(8) if index not in drawn]
    assert 0 < len(left) < 8


@pytest.mark.parametrize(("lora", "dtype"), [(None, torch.float32), (LORA, torch.float32), (LORA, torch.bfloat16)])
@pytest.mark.parametrize("killed", [1, 5])
def test_a_killed_run_ends_as_an_uninterrupted_one(
    tmp_path: Path, lora: LoraConfig | None, dtype: torch.dtype, killed: int
) -> None:
    """Four updates a pass, checkpoints after 2, 4 and 6: one kill comes before the first, one after the second."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trainer(whole, lora=lora, dtype=dtype, epochs=2).train()
    with pytest.raises(KilledError):
        trainer(parts, lora=lora, dtype=dtype, epochs=2, progress=kill_at(killed)).train()
    assert bool(list(parts.glob("checkpoint-*"))) == (killed > 2)
    with (parts / "metrics.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"step": 6, "lo')  # what a kill in the middle of a line leaves
    counts = trainer(parts, lora=lora, dtype=dtype, epochs=2).train()
    assert lines(whole) == lines(parts)
    assert len(lines(whole)) == 8
    assert json.loads((parts / "encoding.json").read_text(encoding="utf-8")) == counts.to_json()
    assert not list(parts.glob("checkpoint-*"))
    expected, found = weights(whole), weights(parts)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


def test_a_model_with_dropout_is_trained_without(tmp_path: Path) -> None:
    """Else neither shared prefixes nor resumed runs would be exact."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(TOKENIZER), n_embd=16, n_layer=1, n_head=2, resid_pdrop=0.5, embd_pdrop=0.5)
    model = GPT2LMHeadModel(config).train()
    encoder = Encoder(TOKENIZER)
    expected = naive_loss(model.eval(), [step for one in micro_trajectories() for step in encoder.steps(one)]).item()
    trainer(tmp_path, model=model.train(), batch_size=8).train()
    assert lines(tmp_path)[0]["loss"] == pytest.approx(expected, rel=1e-5)


GOLDEN = [
    (1, 6.42849, 5.29951),
    (2, 5.64319, 2.71366),
    (3, 5.89028, 3.75214),
    (4, 4.73038, 3.01378),
    (5, 4.29834, 1.82700),
    (6, 3.71383, 2.42401),
    (7, 4.46066, 4.66347),
    (8, 3.79518, 1.99630),
]
"""Step, loss, gradient norm: a change of the code that should change nothing changes none of these."""


def golden_model() -> torch.nn.Module:
    """Weights that depend on no library's way to initialise."""
    model = micro_model(len(TOKENIZER))
    with torch.no_grad():
        for number, (_, parameter) in enumerate(sorted(model.named_parameters())):
            if parameter.ndim > 1:
                numbers = torch.arange(parameter.numel(), dtype=torch.float64) * (0.7 + 0.1 * number)
                parameter.copy_((0.2 * torch.sin(numbers * numbers)).view(parameter.shape))
            else:
                parameter.fill_(1.0)
    return model


def test_golden_run(tmp_path: Path) -> None:
    trainer(tmp_path, model=golden_model(), epochs=2).train()
    found = [(row["step"], row["loss"], row["grad_norm"]) for row in lines(tmp_path)]
    assert found == [tuple(pytest.approx(number, rel=1e-4) for number in row) for row in GOLDEN]


FAILED = Trajectory((Message("user", "x"), Message("assistant", None, (Call("no_tool"),))), ORDER_TOOLS, "failed")


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    model = micro_model(len(TOKENIZER))
    with torch.no_grad():
        next(iter(model.parameters())).fill_(float("nan"))
    with pytest.raises(RunError, match="the loss of update 1 is nan"):
        trainer(tmp_path, model=model).train()
    assert not (tmp_path / "model").exists()


def test_nothing_to_learn_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing to learn: of 2 replies 2 failed; an arm without MAE"):
        trainer(tmp_path, [FAILED, FAILED]).train()
    with pytest.raises(DataError, match=r"of 12 replies 0 failed, 12 have prompts that reach max_length 20$"):
        trainer(tmp_path, max_length=20).train()
    assert not (tmp_path / "model").exists()


def test_a_batch_of_masked_replies_changes_nothing(tmp_path: Path) -> None:
    """Not even by weight decay or by Adam's momentum; the step and its learning rate count all the same."""
    states: list[torch.Tensor] = []

    def watch(what: str, done: int, total: int) -> None:
        states.append(trained.model.get_input_embeddings().weight.detach().clone())

    trained = trainer(tmp_path, [micro_trajectories()[0], FAILED] * 2, batch_size=1, group_size=1, progress=watch)
    first = trained.model.get_input_embeddings().weight.detach().clone()
    trained.train()
    rows = lines(tmp_path)
    assert len(rows) == 4
    empty = [index for index, batch in enumerate(trained.order) if batch[0] % 2]
    assert [index for index, row in enumerate(rows) if row["weight"] == 0] == empty
    for index, (before, after) in enumerate(zip([first, *states], states, strict=False)):
        assert torch.equal(before, after) == (index in empty)
    assert (rows[empty[0]]["loss"], rows[empty[0]]["grad_norm"]) == (0, 0)


@pytest.mark.parametrize("lora", [None, LORA])
def test_the_saved_model_is_a_plain_one_with_its_template(tmp_path: Path, lora: LoraConfig | None) -> None:
    trained = trainer(tmp_path, lora=lora, epochs=10, batch_size=8)
    trained.train()
    folder = tmp_path / "model"
    assert not list(folder.glob("adapter*"))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == TOKENIZER.chat_template
    before = micro_model(len(TOKENIZER)).state_dict()
    assert model.state_dict().keys() == before.keys()
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
    step = Encoder(TOKENIZER).steps(micro_trajectories()[0])[0]
    messages = [{"role": "user", "content": "What is order A-0?"}]
    prompt = tokenizer.apply_chat_template(
        messages, [tool.to_json() for tool in ORDER_TOOLS], add_generation_prompt=True, return_tensors="pt"
    )
    assert prompt["input_ids"][0].tolist() == step.prompt_ids
    reply = model.generate(**prompt, max_new_tokens=6, do_sample=False)
    assert torch.equal(reply, trained.model.generate(**prompt, max_new_tokens=6, do_sample=False))
    losses = [row["loss"] for row in lines(tmp_path)]
    assert losses[-1] < 0.9 * losses[0]
    with torch.no_grad():
        steps = [step for one in micro_trajectories() for step in Encoder(TOKENIZER).steps(one)]
        assert naive_loss(model, steps) < 0.9 * losses[0]


def test_prefix_keys_and_draws() -> None:
    one, other = micro_trajectories(3)[0], micro_trajectories(3)[2]
    assert prefix_key(one) == prefix_key(micro_trajectories(2)[1]) != prefix_key(other)
    system = Trajectory((Message("system", "Be kind."), *one.messages), (Tool("a"),))
    assert prefix_key(system) == ("Be kind.", "a")
    all_of_them = micro_trajectories()
    assert draw(all_of_them, None, 0) == draw(all_of_them, 8, 0) == draw(all_of_them, 9, 0) == all_of_them
    some = draw(all_of_them, 5, 0)
    assert len(some) == 5
    assert some == [one for one in all_of_them if one in some] == draw(all_of_them, 5, 0)
    assert any(draw(all_of_them, 5, seed) != some for seed in range(1, 4))
