"""Fine-tuning: a network learns a task from what it begins with, and stops where it could not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from bayeslaw.errors import BadInput
from bayeslaw.lab.data.examples import Examples
from bayeslaw.lab.train import record, run, weights
from bayeslaw.lab.train.finetune import completed
from bayeslaw.lab.train.spec import RunSpec
from bayeslaw.runs.schema import validate

WORDS = "the of and to in that is was he for it with as his on be at by had not".split()


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The folder of a small run with its weights; a corpus and examples lie beside it."""
    folder = tmp_path_factory.mktemp("begun")
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 200)) for _ in range(120)]
    for name, chosen in (("train", texts[:100]), ("validation", texts[100:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in chosen))
    spec = RunSpec("pre", "test", str(folder), "adamw", 16, 1, 1, 6_400, 512, 1e-2, 300, 32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAYESLAW_CACHE", str(folder / "cache"))
        run.execute(spec, folder / "pre", keep_weights=True)
    rows = []
    for i in range(400):
        label = int(rng.integers(2))
        rows.append({"text": f"{WORDS[label]} {' '.join(rng.choice(WORDS[2:], 4))} {i}", "answer": label})
    examples = folder / "examples"
    examples.mkdir()
    (examples / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def task(begun, monkeypatch):
    monkeypatch.setenv("BAYESLAW_CACHE", str(begun / "cache"))
    return [
        "--init",
        str(begun / "pre"),
        "--corpus",
        str(begun / "examples" / "task.jsonl"),
        "--batch-tokens",
        "512",
    ]


def test_a_class_is_learnt(task, tmp_path, capsys):
    given = [*task, "--learning-rate", "1e-2", "--epochs", "6", "--folder", str(tmp_path / "ft")]
    assert run.main(given, completed) == 0
    assert "accuracy" in capsys.readouterr().out
    found = record.read(tmp_path / "ft")
    assert found["accuracy"] > 0.9
    assert found["loss"] < 0.4
    assert (found["extra_task"], found["extra_epochs"], found["optimizer"]) == ("classify", 6, "adamw")
    assert found["tokens"] % (6 * 32) == 0
    validate(pd.DataFrame([found]), "record")


def test_an_answer_is_written_and_a_run_cut_short_goes_on_exactly(begun, task, tmp_path, monkeypatch):
    spec = RunSpec("ft", "test", task[3], "muon", 16, 1, 1, 12_000, 512, 1e-2, 300, 32)
    spec = replace(spec, init=task[1], task="write", epochs=2, dropout=0.1)
    whole = run.execute(spec, tmp_path / "whole")
    assert "accuracy" not in whole
    assert 0 < whole["loss"] < np.log(300)
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 0.0)
    save = run._save

    def save_then_die(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_save", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        run.execute(spec, tmp_path / "cut")
    monkeypatch.setattr(run, "_save", save)
    assert run.execute(spec, tmp_path / "cut")["loss"] == whole["loss"]


def test_training_goes_on_where_weights_were_left(begun, task, tmp_path):
    spec = RunSpec("more", "test", str(begun), "adamw", 16, 1, 1, 512, 512, 1e-9, 300, 32, init=task[1])
    found = run.execute(spec, tmp_path / "more", keep_weights=True)
    assert found["loss"] == pytest.approx(record.read(begun / "pre")["loss"], abs=1e-4)
    assert found["extra_init"] == task[1]
    first, second = (weights.read(folder).model for folder in (begun / "pre", tmp_path / "more"))
    for name, values in first.items():
        torch.testing.assert_close(second[name], values, atol=1e-6, rtol=1e-6)


def test_only_what_is_to_be_predicted_counts(begun, task):
    material = run.task_sequences(task[3], "text,answer", "classify", weights.read(begun / "pre"), 32)
    assert ((material.train >= 0).sum(axis=1) == 1).all()
    assert material.classes == ("0", "1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"init": "/no/such"}, "/no/such/weights.pt: no readable weights ("),
        ({"width": 32}, "init = {pre}: weights of another network ("),
        ({"task": "", "corpus": "stdlib"}, "corpus = stdlib has another tokenizer than init = "),
        (
            {"init": ""},
            "run r: task = classify; expected init beside it, whose tokenizer reads the examples; ",
        ),
        ({"task": "rank"}, "run r: task = rank; expected one of classify, write; correct the plan"),
        (
            {"curvature_sequences": 4},
            "run r: curvature_sequences = 4; expected none for a task; leave it out",
        ),
    ],
)
def test_what_cannot_begin_is_named(change, message, begun, task, tmp_path, monkeypatch):
    if change.get("corpus") == "stdlib":  # without reading it
        monkeypatch.setattr(
            run, "text_examples", lambda *_: Examples(lambda *_: np.zeros(0), np.zeros(0), "")
        )
        monkeypatch.setattr(run, "tokenizer_text", lambda *_: "{}")
    spec = RunSpec("r", "test", task[3], "adamw", 16, 1, 1, 6_400, 512, 1e-2, 300, 32)
    with pytest.raises(BadInput) as caught:
        run.execute(replace(spec, **{"init": task[1], "task": "classify", **change}), tmp_path / "r")
    assert message.format(pre=task[1]) in str(caught.value)
    assert record.read(tmp_path / "r") is None


@pytest.mark.parametrize("lacking", ["--init", "--corpus"])
def test_the_command_line_needs_both(lacking, task, tmp_path, capsys):
    place = task.index(lacking)
    given = [*task[:place], *task[place + 2 :], "--folder", str(tmp_path / "x"), "--learning-rate", "1e-3"]
    assert run.main(given, completed) == 2
    assert capsys.readouterr().err == (
        f"Error: {lacking}: not given; expected what to begin with and examples; see --help\n"
    )
