"""What a run may be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bayeslaw.errors import BadInput
from bayeslaw.lab.train.spec import KINDS, RunSpec, checked, digest, meanings

SPEC = RunSpec("r1", "own", "stdlib", "adamw", 16, 2, 1, 100_096, 4_096, 1e-3, warmup_tokens=8_192)
IMAGES = {"model": "vit", "corpus": "digits", "vocabulary": 10, "sequence_length": 16, "tied": False}


def test_usual_values_are_filled_in():
    full = checked(SPEC)
    assert (full.momentum, full.beta2, full.epsilon, full.weight_decay) == (0.9, 0.95, 1e-8, 0.1)
    assert checked(full) == full
    assert checked(replace(SPEC, weight_decay=0.0)).weight_decay == 0.0
    assert checked(replace(SPEC, optimizer="sgd")).beta2 is None


def test_every_token_is_seen_and_the_last_batch_is_what_is_left():
    assert SPEC.sequences * SPEC.sequence_length == SPEC.tokens
    assert SPEC.steps == 25  # 24 whole batches of 32 sequences, then 14
    assert SPEC.learning_rate_at(SPEC.steps - 1) == pytest.approx(1e-4)


def test_a_batch_schedule_falls_on_whole_batches_and_moves_the_rate():
    spec = checked(replace(SPEC, schedule="wsd", batch_schedule="0.25:8192:0.0014,0.5:16384:0.002"))
    places = [spec.sequences_at(step) for step in range(spec.steps)]
    assert places[:7] == [(32 * i, 32) for i in range(6)] + [(192, 64)]
    assert [first + count for first, count in places] == [first for first, _ in places[1:]] + [782]
    assert [count for _, count in places[9:]] == [128, 128, 128, 14]
    assert spec.tokens_before(spec.steps) == spec.tokens
    assert [spec.learning_rate_at(step) for step in (5, 6, 9)] == [0.001, 0.0014, 0.002]
    assert spec.learning_rate_at(spec.steps - 1) == pytest.approx(2e-4)


def test_a_decay_share_moves_the_decay_and_the_digest():
    wsd = checked(replace(SPEC, schedule="wsd", final_lr_ratio=0.0))
    longer = checked(replace(wsd, decay_share=0.5))
    falls = [sum(spec.fraction_at(step) < 1 for step in range(2, spec.steps)) for spec in (wsd, longer)]
    assert falls == [5, 12]  # of 23 steps after the warm-up
    assert (wsd.falling_share, longer.falling_share) == (0.2, 0.5)
    assert digest(longer) != digest(wsd)


@pytest.mark.parametrize(
    ("schedule", "share"), [("wsd", 0.2), ("cosine", 1.0), ("constant", 0.0), ("inverse_sqrt", 1.0)]
)
def test_the_usual_decay_share_is_the_run_without_one(schedule, share):
    """So that runs keep their ids, and that a collected table can be a plan."""
    plain = checked(replace(SPEC, schedule=schedule))
    assert checked(replace(plain, decay_share=share)) == plain
    assert plain.falling_share == share


def test_curvature_is_due_at_steps_of_the_run():
    assert checked(SPEC).curvature_steps == {}
    assert replace(SPEC, curvature_sequences=16).curvature_steps == {"1": 25}
    full = checked(replace(SPEC, curvature_at="0, 0.1,1"))
    assert full.curvature_steps == {"0": 0, "0.1": 2, "1": 25}
    assert full.curvature_sequences == 8


def test_the_digest_names_choices_not_names():
    assert digest(replace(SPEC, run_id="other", study="x")) == digest(SPEC)
    assert digest(replace(SPEC, seed=1)) != digest(SPEC)
    assert digest(SPEC) == digest(SPEC)
    assert len(digest(SPEC)) == 12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"optimizer": "adam"},
            "run r1: optimizer = adam; expected one of adamw, sgd, rmsprop, muon, lion, adafactor, lamb; "
            "correct the plan",
        ),
        (
            {"optimizer": "adafactor", "momentum": 0.9},
            "run r1: momentum = 0.9; expected nothing, adafactor has no such setting; leave it empty",
        ),
        ({"learning_rate": float("inf")}, "run r1: learning_rate = inf; expected at least 0 and below inf; "),
        ({"learning_rate": 0.0}, "run r1: learning_rate = 0.0; expected above 0; correct the plan"),
        (
            {"batch_tokens": 1000},
            "run r1: batch_tokens = 1000; expected a multiple of sequence_length = 128; ",
        ),
        (
            {"batch_tokens": 128_000},
            "run r1: batch_tokens = 128000; expected at most tokens = 100096; take a smaller batch",
        ),
        ({"tokens": -5}, "run r1: tokens = -5; expected at least 1 and below inf"),
        ({"momentum": 1.0}, "run r1: momentum = 1.0; expected at least 0 and below 1"),
        (
            {"curvature_at": "0.1,2"},
            "run r1: curvature_at = 0.1,2; expected shares of the run from 0 to 1, such as 0.02,0.1,0.5,1; ",
        ),
        ({"curvature_at": "early"}, "run r1: curvature_at = early; expected shares of the run from 0 to 1"),
        ({"curvature_sequences": 1}, "run r1: curvature_sequences = 1; expected none, or at least 2"),
        (
            {"parametrization": "mup", "optimizer": "sgd"},
            "run r1: parametrization = mup; expected standard with sgd, or one of adamw, lion, rmsprop ",
        ),
        (
            {"schedule": "wsd", "decay_share": 1.5},
            "run r1: decay_share = 1.5; expected above 0 and at most 1: share of the steps after the warm-up "
            "in which the rate falls; give 0.2 for the last fifth, or take the schedule constant",
        ),
        (
            {"schedule": "wsd", "decay_share": 0.0},
            "run r1: decay_share = 0.0; expected above 0 and at most 1",
        ),
        (
            {"decay_share": 0.2},
            "run r1: decay_share = 0.2; expected nothing, cosine has no such setting; leave it empty",
        ),
        (
            {"schedule": "constant", "decay_share": 0.1},
            "run r1: decay_share = 0.1; expected nothing, constant",
        ),
        ({"schedule": "step"}, "run r1: schedule = step; expected one of constant, linear, cosine, wsd, "),
        ({"precision": "fp8"}, "run r1: precision = fp8; expected one of no, bf16, fp16"),
        ({"warmup_tokens": 100_096}, "run r1: warmup_tokens = 100096; expected less than tokens = 100096"),
        ({"batch_schedule": "x"}, "batch schedule x: expected switches as SHARE:BATCH:RATE, shares rising "),
        ({"batch_schedule": "0.5:4096:nan"}, "batch schedule 0.5:4096:nan: expected switches as SHARE:BATCH"),
        (
            {"batch_schedule": "0.6:4096:1,0.5:512:1"},
            "batch schedule 0.6:4096:1,0.5:512:1: expected switches ",
        ),
        (
            {"batch_schedule": "0.5:1000:1"},
            "run r1: batch_schedule = 0.5:1000:1; expected batches of at most tokens = 100096, multiples of "
            "sequence_length = 128; change 1000",
        ),
        (
            {"batch_schedule": "0.5:8192:1,0.51:4096:1"},
            "run r1: batch_schedule = 0.5:8192:1,0.51:4096:1; expected a step or more between switches; ",
        ),
        ({"dropout": 1.0}, "dropout = 1.0; expected at least 0 and below 1; correct it"),
        (
            {"lr_dropout": -0.1},
            "run r1: lr_dropout = -0.1; expected at least 0 and below 1; correct the plan",
        ),
        ({"epochs": 0}, "run r1: epochs = 0; expected at least 1 and below inf; correct the plan"),
        ({"epochs": 783}, "run r1: epochs = 783; expected at most the 782 sequences of the run; take fewer"),
        ({"heads": 3}, "heads = 3 at width = 16; expected width / heads to be an even number"),
        ({"vocabulary": 100_000}, "run r1: vocabulary = 100000; expected at least 257 and below 65537"),
        ({"model": "rnn"}, "run r1: model = rnn; expected one of transformer, vit, mixer, text_mixer"),
        ({"model": "text_mixer", "heads": 2}, "run r1: heads = 2; expected 1 with text_mixer"),
        (IMAGES | {"tied": True}, "run r1: tied = True; expected False with vit"),
        (IMAGES | {"sequence_length": 32}, "run r1: sequence_length = 32; expected a square number of "),
        (IMAGES | {"channels": 2}, "run r1: channels = 2; expected 1 for grey, or 3"),
        (IMAGES | {"vocabulary": 1}, "run r1: vocabulary = 1; expected at least 2 and below 65537"),
        (IMAGES | {"corpus": "nowhere"}, "images 'nowhere': no such folder; expected "),
    ],
)
def test_what_cannot_be_run_is_named(change, message):
    with pytest.raises(BadInput) as caught:
        checked(replace(SPEC, **change))
    assert str(caught.value).startswith(message)


def test_an_unknown_corpus_is_named():
    with pytest.raises(BadInput, match="/no/such/corpus"):
        checked(replace(SPEC, corpus="/no/such/corpus"))


def test_every_field_is_explained():
    assert list(meanings()) == list(KINDS)
