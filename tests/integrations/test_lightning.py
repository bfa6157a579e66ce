"""The callback of ``lightning.pytorch.Trainer``: what it records, and when."""

from __future__ import annotations

import math
import runpy
import signal

import pytest
import torch
from torch.utils.data import DataLoader

from bayeslaw.assets import EXAMPLE_SWEEP
from bayeslaw.errors import BadInput
from bayeslaw.runs.io import read_runs
from tests.support.documents import ROOT

pytestmark = [
    pytest.mark.filterwarnings("ignore::bayeslaw.integrations.AdviceWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
]


@pytest.fixture(autouse=True)
def as_before():
    """One thread meanwhile; and Ctrl-C works again, which Lightning switches off when it was interrupted."""
    threads, interrupt = torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, interrupt)


def fit(folder, at=None, columns=None, **options):
    """The trainer after the fit; ``at`` is a step and what happens to trainer and module after it."""
    from lightning.pytorch import Trainer

    from bayeslaw.integrations.for_lightning import BayeslawCallback
    from tests.support.lightning_module import At, Module

    callback = BayeslawCallback(folder / "runs", **{"study": "ours", "batch_tokens": 100, **(columns or {})})
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    options = {"max_steps": 20, "accelerator": "cpu", "enable_model_summary": False, **quiet, **options}
    data = DataLoader(torch.zeros(20, 1), 1)
    others = [] if at is None else [At(*at)]
    trainer = Trainer(callbacks=[*others, callback], **options)
    trainer.fit(Module(), data, data)
    return trainer


def recorded(folder):
    (row,) = read_runs(*(folder / "runs").glob("*.jsonl")).to_dict("records")
    return row


def test_a_run_is_recorded_with_its_settings(tmp_path):
    fit(tmp_path, columns={"schedule": "constant", "seed": 3}, gradient_clip_val=0.5)
    row = recorded(tmp_path)
    expected = {
        "study": "ours",
        "optimizer": "sgd",
        "params_nonembedding": 2,
        "params_embedding": 10,
        "tokens": 2000,
        "batch_tokens": 100,
        "learning_rate": 1e-3,
        "momentum": 0.5,
        "weight_decay": 0.0,
        "grad_clip": 0.5,
        "schedule": "constant",
        "seed": 3,
        "device": "cpu",
        "status": "finished",
        "loss_kind": "val_final",
        "tokens_seen": 2000,
    }
    assert {name: row[name] for name in expected} == expected
    assert 2.9 < row["loss"] < 3
    assert len(read_runs(*(tmp_path / "runs").glob("*.jsonl"), EXAMPLE_SWEEP)) == 1 + len(
        read_runs(EXAMPLE_SWEEP)
    )


def test_without_a_validation_the_loss_is_the_smoothed_one(tmp_path):
    """Accumulated batches: Lightning divides their losses, and counts a step for each pair."""
    fit(tmp_path, max_steps=10, accumulate_grad_batches=2, limit_val_batches=0)
    row = recorded(tmp_path)
    assert (row["loss_kind"], row["tokens"], row["status"]) == ("train_smoothed", 1000, "finished")
    assert 2.9 < row["loss"] < 3


def spoil(trainer, module):
    with torch.no_grad():
        module.weights.fill_(math.nan)


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    trainer = fit(tmp_path, (5, spoil))
    row = recorded(tmp_path)
    assert (trainer.global_step, row["status"], row["tokens_seen"]) == (6, "diverged", 600)


def stop(trainer, module):
    trainer.should_stop = True


def test_a_run_that_is_stopped_early_is_not_finished(tmp_path):
    fit(tmp_path, (5, stop))
    assert recorded(tmp_path)["status"] == "stopped"


@pytest.mark.parametrize(
    ("exception", "seen", "status"),
    [(RuntimeError, RuntimeError, "crashed"), (KeyboardInterrupt, SystemExit, "stopped")],
)
def test_exceptions_are_recorded(tmp_path, exception, seen, status):
    def fail(trainer, module):
        raise exception

    with pytest.raises(seen):
        fit(tmp_path, (5, fail))
    assert recorded(tmp_path)["status"] == status


def test_a_length_that_nobody_knows_is_refused(tmp_path):
    with pytest.raises(BadInput) as caught:
        fit(tmp_path, max_steps=-1, max_epochs=-1)
    assert str(caught.value) == (
        "BayeslawCallback: Lightning expects inf steps; expected a number above 0, or tokens; "
        "give max_steps to the Trainer, or tokens to the callback"
    )


def test_the_example(tmp_path):
    runpy.run_path(str(ROOT / "docs/examples/lightning_trainer.py"))["main"](str(tmp_path / "runs"))
    row = recorded(tmp_path)
    assert (row["status"], row["loss_kind"], row["beta2"]) == ("finished", "val_final", 0.95)
    assert row["loss"] < 4.3
    assert (row["params_nonembedding"], row["params_embedding"]) == (2 * 32 * 128 + 128 + 32, 64 * 32)
