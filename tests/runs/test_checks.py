from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.runs.checks import notes
from bayeslaw.runs.schema import validate


def doubts(table: pd.DataFrame) -> list[str]:
    return notes(validate(table, "runs.csv"))


@pytest.fixture
def clean(runs: pd.DataFrame) -> pd.DataFrame:
    return runs.iloc[:3].assign(seed=[0, 1, 2])


def test_a_clean_table_raises_no_doubt(clean):
    assert doubts(clean) == []


def test_outcomes_and_missing_losses_are_counted(runs):
    assert doubts(runs) == ["of 4 runs, 1 crashed", "runs without a loss: 1 (d)"]


def test_repeated_configurations_are_named(clean):
    again = pd.concat([clean, clean.iloc[[0]].assign(run_id="z")])
    assert doubts(again) == [
        "runs that repeat a configuration: 2 (a, z); record the seed if they are seeds, "
        "drop the copies if they are not"
    ]
    assert doubts(again.assign(seed=[0, 1, 2, 3])) == []
    assert doubts(again.assign(extra_gamma=["1", "1", "1", "2"])) == []


def test_repeats_name_the_columns_that_set_them_apart(clean):
    four = pd.concat([clean.iloc[[0]]] * 4).assign(
        run_id=list("abcd"),
        **{"Decay shape": ["linear", "sqrt"] * 2},
        corpus=["x", "x", "x", "y"],
        last_val=[3.01, 3.02, 3.03, 3.04],
        model="llama",
        loss=[3.0, 3.01, 3.02, 3.03],
    )
    assert doubts(four) == [
        "runs that repeat a configuration: 4 (a, b, c, ...); they differ in Decay shape, corpus: a setting "
        "that moves the loss counts as noise until it is named, as with --map extra_decay_shape=Decay shape"
    ]
    by_wandb = four.rename(columns={"Decay shape": "config.decay_shape"}).drop(columns="corpus")
    [note] = doubts(by_wandb)
    assert note.endswith("as with --map extra_config_decay_shape=config.decay_shape")
    assert doubts(four.assign(decay_share=[0.1, 0.2, 0.3, 0.4])) == []
    two = clean.iloc[[0, 0]].assign(run_id=["a", "b"], **{"train/loss": [3.1, 3.2], "val_loss": [2.9, 3.0]})
    assert doubts(two) == [
        "runs that repeat a configuration: 2 (a, b); "
        "record the seed if they are seeds, drop the copies if they are not"
    ]


@pytest.mark.parametrize(
    ("name", "values", "shown"),
    [
        ("loss_kind", ["val_final", "train_smoothed", "val_final"], "train_smoothed, val_final"),
        ("sequence_length", [128, 256, 128], "128, 256"),
        ("parametrization", ["mup", "standard", None], "mup, standard"),
    ],
)
def test_conventions_mixed_in_one_study(clean, name, values, shown):
    assert doubts(clean.assign(**{name: values})) == [
        f"study ours, adamw: mixed {name} ({shown}); their losses may not compare, consider one study each"
    ]
    assert doubts(clean.assign(**{name: values}, study=["x", "y", "z"])) == []


def test_a_batch_below_one_sequence_is_in_sequences(clean):
    [note] = doubts(clean.assign(batch_tokens=[32, 64, 64], sequence_length=2048))
    assert note.startswith("study ours: batch_tokens below one sequence: 3 (a, b, c); is")


def test_a_small_batch_with_absurdly_many_steps_is_in_sequences(clean):
    [note] = doubts(clean.assign(batch_tokens=512, tokens=1e10).drop(columns="sequence_length"))
    assert note == (
        "study ours: batch_tokens up to 512 mean 1.95e+07 steps a run: is the batch in sequences?"
    )


def test_tokens_that_are_ratios(clean):
    [note] = doubts(clean.assign(tokens=20, batch_tokens=1).drop(columns="sequence_length"))
    assert note == "study ours: tokens of at most 20: are they tokens per parameter?"


def test_fewer_tokens_than_half_the_parameters(clean):
    [note] = doubts(clean.assign(params_nonembedding=[1e9, 1e6, 1e6]))
    assert note.startswith("study ours: less than half a token a parameter: 1 (a); are")


def test_learning_rates_that_are_logarithms(clean):
    [note] = doubts(clean.assign(learning_rate=[3, 2, 3]))
    assert note == "learning rates above 1: 3 (a, b, c); are they -log10 of it?"


def test_learning_rates_that_are_the_last(clean):
    [note] = doubts(clean.assign(schedule="cosine", final_lr_ratio=[1.0, 0.1, 0.1]))
    assert note == (
        "learning rates not above the final one of a falling schedule: 1 (a); "
        "are they the last, not the peak?"
    )
    [note] = doubts(clean.assign(learning_rate=[1e-9, 1e-3, 1e-3]))
    assert note == "learning rates below 1e-7: 1 (a); are they the last, not the peak?"
    assert doubts(clean.assign(schedule="constant", final_lr_ratio=1.0)) == []


def test_perplexities(clean):
    [note] = doubts(clean.assign(loss=[20, 21, 22]))
    assert note.startswith("finished runs with a loss above 15: 3 (a, b, c); is it a perplexity")


def test_parameters_in_millions(clean):
    [note] = doubts(clean.assign(params_nonembedding=[124, 124, 350], tokens=1e10))
    assert note == (
        "study ours: params_nonembedding up to 350 mean 8.06e+07 tokens a parameter: is N in millions?"
    )


def test_losses_that_are_scaled(clean):
    [note] = doubts(clean.assign(loss=[3.0e-6, 3.1e-6, 2.9e-6]))
    assert note == "study ours: losses around 3e-06: are they scaled? expected nats a token"


def test_one_loss_everywhere(clean):
    [note] = doubts(clean.assign(loss=3.0))
    assert note == "study ours: all 3 losses are 3: is it the right column?"


def test_a_fit_to_one_loss_is_refused_before_it_begins(clean):
    from bayeslaw.inference.fitting import fit

    said: list[str] = []
    with pytest.raises(BadInput) as caught:
        fit(validate(clean.assign(loss=3.0), "runs.csv"), say=said.append)
    assert str(caught.value) == (
        "run table: all 3 finished runs have a loss of 3; expected losses that differ with the settings; "
        "import the column that holds each run's own final loss"
    )
    assert said == []


def test_a_cell_that_mostly_diverged(clean):
    five = pd.concat([clean.iloc[[0]]] * 5).assign(run_id=list("vwxyz"), seed=range(5))
    found = doubts(five.assign(loss=[2.0, 3.0, 3.1, 3.2, 3.3], status=["finished", *["diverged"] * 4]))
    assert found[-1] == "80% of 5 runs of a cell count as diverged: is the loss of v right?"


def test_one_embedding_for_several_widths(clean):
    table = clean.assign(params_embedding=3.86e7)
    [note] = doubts(table.assign(width=[256, 384, 512]))
    assert note == (
        "study ours: one params_embedding of 38600000 for 3 widths: "
        "it grows with the width, and so does what was subtracted from the total"
    )
    sizes = {"params_nonembedding": [1e6, 2e6, 8e6], "tokens": 1.6e8}
    [note] = doubts(table.assign(**sizes))
    assert note.startswith("study ours: one params_embedding of 38600000 for N from 1e+06 to 8e+06: ")
    assert doubts(table) == []
    assert doubts(table.assign(width=512)) == []


def test_warmup_longer_than_the_run(clean):
    [note] = doubts(clean.assign(warmup_tokens=[3e7, 0, 0]))
    assert note == "warm-up not shorter than the run: 1 (a); the peak learning rate is never reached"


def shapes(clean: pd.DataFrame, vocabulary: float, per_block: float = 12) -> pd.DataFrame:
    """Five shapes of transformers whose N counts ``vocabulary`` embeddings."""
    width, depth = np.array([256, 384, 512, 768, 1024]), np.array([4, 6, 8, 12, 24])
    table = pd.concat([clean.iloc[[0]]] * 5).assign(run_id=list("abcde"), width=width, depth=depth)
    params = per_block * depth * width**2 + vocabulary * width
    return table.assign(params_nonembedding=params, tokens=20 * params, loss=np.linspace(3.4, 3.0, 5))


def test_embeddings_counted_in_params_show_in_their_growth(clean):
    assert doubts(shapes(clean, 0)) == []
    assert doubts(shapes(clean, 0, per_block=16)) == []
    [note] = doubts(shapes(clean, 50257))
    assert note.startswith("study ours: params_nonembedding grows with width as if embeddings were counted")


def test_embeddings_counted_in_params_show_beside_their_number(clean):
    table = shapes(clean, 50257).iloc[:1]
    [note] = doubts(table.assign(params_embedding=50257 * 256))
    assert note.startswith(
        "study ours: params_nonembedding equals 12 depth width^2 plus params_embedding: 1 (a)"
    )


def test_the_public_sweeps_are_not_accused(shared_data):
    from bayeslaw.runs.importing import import_runs

    for name, adapter in (("steplaw_dense.csv", "steplaw"), ("marin_optimizer_sweep.csv", "marin")):
        _, found = import_runs(shared_data / name, adapter=adapter)
        assert not [note for note in found if "?" in note or "embeddings were" in note]
