"""The callback of ``transformers.Trainer``: what it records, and when."""

from __future__ import annotations

import math
import runpy

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

from bayeslaw.assets import EXAMPLE_SWEEP
from bayeslaw.errors import BadInput
from bayeslaw.integrations import Advice, lr_multiplier, training_arguments
from bayeslaw.integrations.for_transformers import BayeslawCallback
from bayeslaw.integrations.schedules import SCHEDULES
from bayeslaw.runs.io import read_runs
from tests.support.documents import ROOT

LENGTH, STEPS = 8, 20
USUAL = {
    "max_steps": STEPS,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "learning_rate": 0.01,
    "weight_decay": 0.2,
    "adam_beta2": 0.95,
    "warmup_steps": 3,
    "logging_steps": 500,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "use_cpu": True,
}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Poison(TrainerCallback):
    """Does something to the model after a step."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step == self.step:
            self.act(model, control)


def trainer(folder, callback, *others, **options):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=32, bos_token_id=0, eos_token_id=1, **sizes))
    row = torch.arange(LENGTH)
    data = [{"input_ids": row + k, "labels": row + k} for k in range(16)]
    arguments = TrainingArguments(str(folder / "out"), **{**USUAL, **options})
    return Trainer(model, arguments, train_dataset=data, eval_dataset=data, callbacks=[callback, *others])


def recorded(folder):
    (row,) = read_runs(*(folder / "runs").glob("*.jsonl")).to_dict("records")
    return row


def test_a_run_is_recorded_with_its_settings(tmp_path):
    callback = BayeslawCallback(tmp_path / "runs", study="ours", sequence_length=LENGTH)
    scheduler = {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.25}}
    trainer(tmp_path, callback, eval_strategy="epoch", **scheduler).train()
    row, batch = recorded(tmp_path), 2 * 2 * LENGTH
    block = 4 * 16 * 16 + 3 * 16 * 24 + 2 * 16
    expected = {
        "study": "ours",
        "optimizer": "adamw",
        "params_nonembedding": 2 * block + 16,
        "params_embedding": 2 * 32 * 16,
        "width": 16,
        "depth": 2,
        "heads": 2,
        "tokens": STEPS * batch,
        "batch_tokens": batch,
        "sequence_length": LENGTH,
        "learning_rate": 0.01,
        "schedule": "cosine",
        "warmup_tokens": 3 * batch,
        "final_lr_ratio": 0.25,
        "momentum": 0.9,
        "beta2": 0.95,
        "weight_decay": 0.2,
        "grad_clip": 1.0,
        "seed": 42,
        "device": "cpu",
        "status": "finished",
        "loss_kind": "val_final",
        "tokens_seen": STEPS * batch,
    }
    assert {name: row[name] for name in expected} == expected
    assert 0 < row["loss"] < math.log(32)
    assert len(read_runs(*(tmp_path / "runs").glob("*.jsonl"), EXAMPLE_SWEEP)) == 1 + len(
        read_runs(EXAMPLE_SWEEP)
    )


def test_without_an_evaluation_the_loss_is_the_smoothed_one(tmp_path):
    callback = BayeslawCallback(tmp_path / "runs", study="ours", sequence_length=LENGTH, tokens=650)
    work = trainer(tmp_path, callback, logging_steps=7)
    work.train()
    row, logs = (
        recorded(tmp_path),
        {log["step"]: log["loss"] for log in work.state.log_history if "loss" in log},
    )
    assert list(logs) == [1, 7, 14, 18, 20]
    assert (row["loss_kind"], row["tokens"], row["loss"]) == ("train_smoothed", 650, logs[20])


def spoil(model, control):
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    callback = BayeslawCallback(tmp_path / "runs", study="ours", sequence_length=LENGTH)
    work = trainer(tmp_path, callback, Poison(5, spoil), logging_steps=4, max_grad_norm=0.0)
    work.train()
    row = recorded(tmp_path)
    assert (work.state.global_step, row["status"], row["tokens_seen"]) == (8, "diverged", 8 * 32)
    assert math.isnan(row.get("loss", math.nan))


def stop(model, control):
    control.should_training_stop = True


def test_a_run_that_is_stopped_early_is_not_finished(tmp_path):
    callback = BayeslawCallback(tmp_path / "runs", study="ours", sequence_length=LENGTH)
    trainer(tmp_path, callback, Poison(5, stop), logging_steps=2).train()
    assert (recorded(tmp_path)["status"], recorded(tmp_path)["tokens_seen"]) == ("stopped", 4 * 32)


@pytest.mark.parametrize(("exception", "status"), [(RuntimeError, "crashed"), (KeyboardInterrupt, "stopped")])
def test_exceptions_are_recorded_in_a_with_block(tmp_path, exception, status):
    def fail(model, control):
        raise exception

    def train():
        with BayeslawCallback(tmp_path / "runs", study="ours", sequence_length=LENGTH) as callback:
            trainer(tmp_path, callback, Poison(5, fail)).train()

    with pytest.raises(exception):
        train()
    assert recorded(tmp_path)["status"] == status


def test_what_cannot_be_recorded_is_refused_before_training(tmp_path):
    callback = BayeslawCallback(tmp_path / "runs", study="ours", sequence_length=LENGTH, batch=5)
    with pytest.raises(BadInput, match="unknown column batch; expected one of the run table"):
        trainer(tmp_path, callback).train()
    assert not (tmp_path / "runs").exists()


@pytest.mark.filterwarnings("ignore::bayeslaw.integrations.AdviceWarning")
def test_the_example(tmp_path, capsys):
    runpy.run_path(str(ROOT / "docs/examples/transformers_trainer.py"))["main"](str(tmp_path / "runs"))
    row = recorded(tmp_path)
    assert (row["status"], row["loss_kind"], row["schedule"]) == ("finished", "val_final", "cosine")
    assert (row["learning_rate"] > 0, row["loss"] < 4.1) == (True, True)
    assert capsys.readouterr().out.endswith(f"{row['run_id']}.jsonl: finished\n")


def advised(optimizer="adamw", decay=0.2):
    return Advice(1e6, 1e6, optimizer, None, 3e-3, 1e4, decay, 0.9, {}, 0.0, 0.0, (), {})


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_arguments_give_the_schedule_of_the_advice(tmp_path, schedule):
    given = training_arguments(advised(), 40, warmup_steps=10, schedule=schedule, final_lr_ratio=0.25)
    arguments = TrainingArguments(str(tmp_path), report_to="none", use_cpu=True, **given)
    one = Trainer(torch.nn.Linear(2, 2), arguments)
    one.create_optimizer_and_scheduler(40)
    expected = lr_multiplier(40, warmup_steps=10, schedule=schedule, final_lr_ratio=0.25)
    for step in range(40):
        one.optimizer.step()
        one.lr_scheduler.step()
        if schedule != "wsd" or step >= 9:  # whose warm-up begins at the last rate
            assert one.optimizer.param_groups[0]["lr"] == pytest.approx(3e-3 * expected(step), rel=1e-6)
    group = one.optimizer.param_groups[0]
    assert (group["betas"], group["weight_decay"]) == ((0.9, 0.95), 0.2)


def test_arguments_for_what_trainer_does_not_use_are_refused():
    with pytest.raises(BadInput, match="optimizer = 'muon'; expected adamw"):
        training_arguments(advised("muon"), 40, warmup_steps=10)
    assert training_arguments(advised(decay=None), 40, warmup_steps=10)["weight_decay"] == 0.0
