"""Runs of other networks than the decoder: what they record, and that they resume exactly."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from bayeslaw.errors import BadInput
from bayeslaw.lab.train import curvature, plan, record, run
from bayeslaw.lab.train.spec import RunSpec, choices_of
from bayeslaw.runs.schema import validate

WORDS = "the of and to in that is was he for it with as his on be at by had not are but from or have an they"


@pytest.fixture(autouse=True)
def alone(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("BAYESLAW_CACHE", str(tmp_path_factory.getbasetemp() / "images-cache"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def spec():
    """A vision transformer on 400 digits."""
    return RunSpec("r", "test", optimizer="adamw", width=16, depth=1, heads=1, tokens=6_400, batch_tokens=256,
                   learning_rate=1e-2, model="vit", **choices_of("vit"))  # fmt: skip


def test_a_run_on_images_is_a_row_of_the_run_table_in_patches(spec, tmp_path):
    found = run.execute(replace(spec, tokens=32_000, curvature_at="0.5"), tmp_path)
    table = validate(pd.DataFrame([found]), "record")
    assert (table["tokens"][0], found["images"], found["patches_per_image"]) == (32_000, 2_000, 16)
    assert (table["batch_tokens"][0], found["batch_images"]) == (256, 16)
    assert (found["model"], found["tied"], found["params_nonembedding"]) == ("vit", False, 3_120)
    assert 0.5 < found["loss"] < 0.95 * np.log(10)  # the labels' own entropy is 0.5
    assert pd.read_csv(tmp_path / curvature.ROWS)["lambda_preconditioned"][0] > 0


@pytest.mark.parametrize("model", ["vit", "mixer"])
def test_a_run_on_images_cut_short_goes_on_exactly(model, spec, tmp_path, monkeypatch):
    spec = replace(spec, model=model)
    whole = run.execute(spec, tmp_path / "whole")
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 0.0)
    save = run._save

    def save_then_die(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_save", save_then_die)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run.execute(spec, tmp_path / "cut")
    assert run.execute(spec, tmp_path / "cut")["loss"] == whole["loss"]


def test_a_mixer_learns_text_from_the_command_line(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for split, count in (("train", 200), ("validation", 20)):
        lines = [json.dumps({"text": " ".join(rng.choice(WORDS.split(), 200))}) for _ in range(count)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    given = (
        f"--model text_mixer --corpus {tmp_path} --vocabulary 300 --sequence-length 16 --width 16 --depth 1"
    )
    rest = "--optimizer adamw --tokens 16000 --batch-tokens 256 --learning-rate 1e-2"
    assert run.main([*f"--folder {tmp_path / 'r'} {given} {rest}".split()]) == 0
    assert "nats/token" in capsys.readouterr().out
    found = record.read(tmp_path / "r")
    assert 1 < found["loss"] < 0.8 * np.log(300)
    assert "images" not in found


def test_a_size_may_be_given_by_its_parameters(tmp_path, capsys):
    given = "--model mixer --params-nonembedding 7e3 --optimizer adamw --tokens 1600 --batch-tokens 160"
    assert run.main([*f"--folder {tmp_path / 'r'} {given} --learning-rate 1e-2".split()]) == 0
    assert "nats/image" in capsys.readouterr().out
    found = record.read(tmp_path / "r")
    assert (found["heads"], found["corpus"]) == (1, "digits")
    assert 3_500 < found["params_nonembedding"] < 14_000
    assert run.main(["--folder", str(tmp_path / "x"), "--model", "rnn"]) == 2
    assert "model = rnn; expected one of transformer, vit, mixer, text_mixer" in capsys.readouterr().err


def test_a_plan_names_networks(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text("""
[sweep]
study = "s"
optimizer = "adamw"
tokens_per_param = 20
learning_rate = [1e-3]
batch_tokens = 256
[[part]]
design = "grid"
model = ["mixer", "vit"]
width = 16
depth = 1
heads = 1
""")
    mixer, vit = plan.read(path)
    assert (mixer.model, mixer.corpus, mixer.vocabulary, mixer.tied) == ("mixer", "digits", 10, False)
    assert vit.tokens == pytest.approx(20 * 3_120, abs=16)
    path.write_text(path.read_text().replace('["mixer", "vit"]', '"rnn"'))
    with pytest.raises(BadInput, match="part 1, run 1: model = rnn; expected one of transformer, vit"):
        plan.read(path)
