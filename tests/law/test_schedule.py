"""The schedule as an optional part of the law: off it is a departure, on it has laws of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bayeslaw.advice.prediction import predict
from bayeslaw.advice.target_surface import usual_settings
from bayeslaw.diagnosis.summary import schedule_left_out
from bayeslaw.errors import BadInput
from bayeslaw.inference.approximation import approximate
from bayeslaw.inference.effort import EFFORTS
from bayeslaw.law.observations import prepare
from bayeslaw.law.scalars import schedule_coordinates
from bayeslaw.law.structure import structure_of
from bayeslaw.target import Cell, Target
from tests.support.fakes import fake_posterior

SLOPE, SHARES = 0.3, (0.1, 0.3, 1.0)


def scheduled(rates=7, noise=1e-3):
    """Runs of three decay shares: wsd, but cosine where the rate falls over the whole run."""
    rng = np.random.default_rng(0)
    steps = np.linspace(-1.2, 1.2, rates)
    rows = [(n, 20 * n, share, step) for n in (5e7, 1.5e8) for share in SHARES for step in steps]
    n, d, share, step = (np.array(column) for column in zip(*rows, strict=True))
    best = np.log(2e-3) - 0.36 * np.log(n / 1e8) + SLOPE * np.log((share + 0.01) / 1.01)
    rate = np.log(2e-3) - 0.36 * np.log(n / 1e8) + step
    loss = np.log(3.0) - 0.12 * np.log(n / 1e8) + 0.01 * (rate - best) ** 2
    return pd.DataFrame(
        {
            "run_id": [str(i) for i in range(len(n))],
            "study": "ours",
            "optimizer": "adamw",
            "params_nonembedding": n,
            "tokens": d,
            "sequence_length": 1024.0,
            "learning_rate": np.exp(rate),
            "batch_tokens": 1e5,
            "schedule": np.where(share == 1.0, "cosine", "wsd"),
            "decay_share": share,
            "loss": np.exp(loss + noise * rng.standard_normal(len(n))),
            "status": "finished",
        }
    )


def test_off_other_schedules_depart_from_the_usual_one():
    observed = prepare(scheduled())
    assert (len(observed.cells), list(observed.pivot), observed.factor_values) == (2, ["n", "d"], {})
    assert observed.off.mean() == pytest.approx(2 / 3)  # all but the first of three shares


def test_off_a_warning_says_so():
    fit = fake_posterior(5)
    (told,) = schedule_left_out(fit, scheduled())
    assert told.startswith("ours, adamw: runs of one cell differ in schedule and decay_share")
    assert schedule_left_out(fit, scheduled().assign(schedule="wsd", decay_share=0.2)) == []
    on = replace(fit, provenance={"parts": ["schedule_slope"]})
    assert schedule_left_out(on, scheduled()) == []


def test_on_they_are_cells_of_their_own():
    observed = prepare(scheduled(), parts=["schedule_slope"])
    assert len(observed.cells) == 6
    assert list(observed.pivot) == ["n", "d", "share"]
    assert observed.factor_values == {"schedule": ("wsd", "cosine"), "schedule_level": ("wsd", "cosine")}
    assert not observed.off.any()
    assert {"alpha_share", "offset_share"} <= set(structure_of(observed).common)


@pytest.mark.slow
def test_the_slope_in_the_decay_share_is_recovered_and_used():
    fit = approximate(scheduled(), parts=["schedule_slope"], draws=300, effort=EFFORTS["quick"])
    slope = fit.common["alpha_share"]
    assert abs(slope.mean() - SLOPE) < 3 * slope.std()
    assert slope.std() < 0.15
    rate = {
        share: predict(fit, Target(1e9, 2e10, "adamw", "ours", 1e5, {"schedule": "wsd", "share": share}))
        for share in (0.1, 0.3)
    }
    longer = rate[0.3]["optimum"]["learning_rate"]["median"] / rate[0.1]["optimum"]["learning_rate"]["median"]
    assert longer == pytest.approx((0.31 / 0.11) ** slope.mean(), rel=0.05)
    assert rate[0.1]["assumes"]["schedule"] == "wsd"
    usual = predict(fit, Target(1e9, 2e10, "adamw", "ours", 1e5))
    assert any(text.startswith("assumed: decay_share 0.1") for text in usual["warnings"])


def test_scalars_move_the_rate_as_theory_says_and_no_slope_is_fitted():
    fit = approximate(scheduled(), parts=["schedule"], draws=200)
    assert {"alpha_share", "alpha_deviation"}.isdisjoint(fit.common)
    assert list(fit.factor_values) == ["schedule_level"]
    asked = [("wsd", 0.1), ("wsd", 0.3), ("cosine", 1.0)]
    rates = [
        predict(fit, Target(1e9, 2e10, "adamw", "ours", 1e5, {"schedule": kind, "share": share}))
        .optimum["learning_rate"]
        .median
        for kind, share in asked
    ]
    theory = schedule_coordinates(*zip(*asked, strict=True))["shift"]
    assert np.diff(np.log(rates)) == pytest.approx(np.diff(theory), abs=0.01)


def test_scalars_know_a_kind_of_schedule_that_all_runs_share():
    runs = scheduled()
    observed = prepare(runs[runs["schedule"] == "cosine"].reset_index(drop=True), parts=["schedule"])
    assert "share" not in observed.pivot  # all runs are at its reference
    runs["decay_share"] = runs["decay_share"].replace(1.0, 0.99)
    observed = prepare(runs[runs["schedule"] == "cosine"].reset_index(drop=True), parts=["schedule"])
    assert observed.factor_values == {"schedule_level": ("cosine",)}
    assert observed.x["shift"] == pytest.approx([-0.21, -0.21], abs=0.01)  # to a tenth: .811 of linear's


def test_scalars_leave_room_for_deviations_only_where_they_are_asked_for():
    alone, free = (
        structure_of(prepare(scheduled(), parts=[part])).common for part in ("schedule", "schedule_free")
    )
    assert alone["alpha_scalars"] == free["alpha_scalars"] == (1.0, 1e-3)
    assert free.keys() - alone.keys() == {"alpha_deviation", "offset_share"}


def of_two_studies(*cells):
    """A posterior that knows schedules and shares, with these (study, schedule, share) as its cells."""
    fit = fake_posterior(5)
    others = lambda schedule, share: (("share", share), ("schedule", schedule))  # noqa: E731
    told = [Cell(study, "adamw", 1e8, 2e9 + i, others(*how)) for i, (study, *how) in enumerate(cells)]
    values = ("cosine", "wsd", "constant")
    return replace(
        fit,
        pivot=fit.pivot | {"share": 1.0},
        cells=tuple(told),
        factor_values={"schedule": values, "schedule_level": values},
    )


@pytest.mark.parametrize(
    ("study", "given", "usual"),
    [
        ("ours", {}, {"share": (0.2, True), "schedule": ("wsd", False)}),  # of its own runs, and together
        ("ours", {"schedule": "cosine"}, {"share": (0.99, True)}),
        ("ours", {"schedule": "constant"}, {"share": (0.0, True)}),  # as others have it
        ("ours", {"share": 0.5}, {"schedule": ("wsd", False)}),
        ("theirs", {}, {"share": (1.0, True), "schedule": ("cosine", True)}),
        (None, {}, {"share": (1.0, False), "schedule": ("cosine", False)}),  # reference, most fitted cells
        (None, {"schedule": "wsd"}, {"share": (0.2, True)}),
        (None, {"schedule": "cosine"}, {"share": (1.0, False)}),
        (None, {"schedule": "linear"}, {"share": (1.0, False)}),  # that nobody ran
        (None, {"schedule": "wsd", "share": 0.4}, {}),
    ],
)
def test_what_is_not_said_of_a_schedule_goes_with_what_is(study, given, usual):
    fit = of_two_studies(
        *[("ours", "wsd", 0.2)] * 3,
        *[("ours", "cosine", 0.99)] * 2,
        *[("theirs", "cosine", 1.0)] * 4,
        ("others", "constant", 0.0),
    )
    assert usual_settings(fit, study, given) == usual


@pytest.mark.parametrize(
    ("fitted", "assumed"),
    [([128.0], 128.0), ([512.0, 4096.0], 2048.0), ([4096.0, 8192.0], 4096.0), ([], 1500.0)],
)
def test_a_set_up_never_seen_has_sequences_as_near_to_usual_ones_as_any_fitted(fitted, assumed):
    cells = tuple(Cell("ours", "adamw", 1e8, 2e9, (("sequence", length),)) for length in fitted)
    fit = fake_posterior(5)
    fit = replace(fit, pivot=fit.pivot | {"sequence": 1500.0}, cells=cells)
    assert usual_settings(fit, None, {}) == {"sequence": (assumed, False)}


def test_a_constant_rate_has_a_share_of_zero():
    Target(1e9, 2e10, covariates={"schedule": "constant", "share": 0.0})
    with pytest.raises(BadInput, match=r"share = -0\.1; expected a finite number"):
        Target(1e9, 2e10, covariates={"share": -0.1})
