"""A W&B project read through a ``wandb`` that answers as its reference says, without any network."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace

import pytest

from bayeslaw.errors import BadInput
from bayeslaw.runs.importing import import_runs
from tests.support.command import run

CONFIG = {
    "optimizer": {"name": "AdamW", "lr": 1e-3, "betas": [0.9, 0.95]},
    "global_batch_size": 8,
    "seq_len": 64,
    "max_steps": 40,
    "params_nonembedding": 12_288,
    "_wandb": {"cli_version": "0.22"},
}
KEY = "0123456789abcdef0123456789abcdef01234567"


class Summary:
    """Like wandb's own: not a dict, with what it holds in ``_json_dict``."""

    def __init__(self, **values):
        self._json_dict = {"_runtime": 12.5, "_step": 40, "_timestamp": 1.7e9, **values}


def made(run_id, state="finished", config=CONFIG, history=(), **summary):
    def logged(samples=500, keys=None, x_axis="_step", pandas=True, stream="default"):
        assert not pandas
        return [{"_step": k, **line} for k, line in enumerate(history) if set(keys) <= set(line)]

    values = {"train/loss": 3.1, "eval/loss": 3.2, "lr": 0.0, "images": {"_type": "image-file"}, **summary}
    return SimpleNamespace(
        id=run_id,
        name=f"name of {run_id}",
        state=state,
        config=config,
        summary=Summary(**values),
        history=logged,
    )


@pytest.fixture
def project(monkeypatch):
    """Sets the runs of the project ``us/sweep``; the address is checked as wandb's server would."""

    def of(*runs):
        def asked(path):
            if path != "us/sweep":
                raise ValueError(f"Could not find project {path} with key {KEY}")
            return iter(runs)

        monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Api=lambda: SimpleNamespace(runs=asked)))

    return of


ASK = {"study": "ours", "mapping": {"loss": "metrics.eval/loss"}, "confirm": True}


def test_runs_come_in_as_what_they_are(project):
    states = {"a": "finished", "b": "crashed", "c": "running", "d": "killed", "e": "preempted", "f": "failed"}
    project(*(made(name, state) for name, state in states.items()), made("g", **{"eval/loss": math.nan}))
    table, notes = import_runs("wandb://us/sweep", **ASK)
    assert notes[0].startswith("read as wandb: ")
    assert dict(zip(table["run_id"], table["status"], strict=True)) == {
        "a": "finished", "b": "crashed", "c": "stopped", "d": "stopped", "e": "stopped", "f": "crashed",
        "g": "diverged",
    }  # fmt: skip
    first = table.iloc[0]
    assert (first["optimizer"], first["learning_rate"], first["loss"]) == ("adamw", 1e-3, 3.2)
    assert (first["batch_tokens"], first["tokens"]) == (8 * 64, 40 * 8 * 64)
    assert (first["momentum"], first["beta2"], first["wall_seconds"]) == (0.9, 0.95, 12.5)
    assert not [name for name in table if "_type" in name or "_wandb" in name or "_timestamp" in name]


def test_the_peak_is_the_largest_logged_rate_where_no_setting_says_it(project):
    config = {**CONFIG, "optimizer": "adamw"}
    history = [{"lr": 1e-3 * min(k / 4, 1)} for k in range(8)] + [{"train/loss": 3.0}, {"lr": "NaN"}]
    project(made("a", config=config, history=history))
    table, _ = import_runs("wandb://us/sweep", **ASK)
    assert table["learning_rate"].tolist() == [1e-3]
    with pytest.raises(BadInput, match=r"metrics\.max_lr as learning_rate: the largest rate logged"):
        import_runs("wandb://us/sweep", **(ASK | {"confirm": False}))


def test_the_command_reads_a_project(project, tmp_path, monkeypatch, capsys):
    project(made("a"), made("b", "running"))
    asked = ["import", "wandb://us/sweep", "-o", str(tmp_path / "runs.csv"), "--study", "ours", "--confirm"]
    code, _, err = run(monkeypatch, capsys, *asked, "--map", "loss=metrics.eval/loss")
    assert code == 0, err
    assert "a,ours,adamw" in (tmp_path / "runs.csv").read_text()


def test_failures_say_what_to_do_and_never_the_key(project, monkeypatch):
    project()
    for address in ("wandb://sweep", "wandb://us/sweep/run", "wandb:///sweep", "wandb://"):
        with pytest.raises(BadInput, match=r"expected a W&B project as wandb://ENTITY/PROJECT"):
            import_runs(address, "ours")
    with pytest.raises(BadInput, match="wandb://us/sweep: no runs in it; expected a W&B project"):
        import_runs("wandb://us/sweep", "ours")
    with pytest.raises(BadInput) as caught:
        import_runs("wandb://us/other", "ours")
    assert str(caught.value) == (
        "wandb://us/other: no answer (ValueError: Could not find project us/other with key ...); expected a "
        "project that you may read; run wandb login, check both names, or export its runs page as CSV, or "
        "name the folder with its offline runs"
    )
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(BadInput, match="wandb, which reads it, is not installed; run pip install wandb and"):
        import_runs("wandb://us/sweep", "ours")
