"""Exponents tied by one latent q: the lines of theory, the prior that they make, and a fit that has it."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import pandas as pd
import pytest
from scipy.stats import truncnorm

from bayeslaw.advice.prediction import predict
from bayeslaw.diagnosis.prior_sensitivity import prior_part
from bayeslaw.errors import BadInput
from bayeslaw.inference.approximation import approximate
from bayeslaw.inference.effort import EFFORTS, double_precision
from bayeslaw.inference.fitting import fit
from bayeslaw.inference.model import common_values, group_values
from bayeslaw.law.observations import prepare
from bayeslaw.law.simulation import example_design, simulate_runs
from bayeslaw.law.structure import structure_of
from bayeslaw.law.ties import EXACT, NORMAL, RANGE, TIES, path_exponent, path_moments
from bayeslaw.posterior.netcdf import read_posterior, write_posterior
from bayeslaw.posterior.prior import prior_posterior
from bayeslaw.target import Target
from bayeslaw.theory.paths import path_exponents
from tests.support.fakes import fake_posterior

ENDS = [(end - NORMAL.mean) / NORMAL.stdev for end in RANGE]
PRIOR = truncnorm(*ENDS, NORMAL.mean, NORMAL.stdev)


@pytest.fixture(scope="module")
def runs():
    """Two optimizers on few runs: the prior has a say."""
    design = example_design(24, params=(2e7, 1e8), tokens_per_param=(20.0, 60.0), seed=1)
    return simulate_runs(pd.concat([design, design.assign(optimizer="muon")], ignore_index=True), {}, 1)


@pytest.mark.parametrize("part", TIES)
@pytest.mark.parametrize("q", [0.0, 0.2, 0.5])
def test_the_lines_are_those_of_theory(part, q):
    e = path_exponents(q)
    value = {name: line.intercept + line.slope * q for name, line in TIES[part].lines.items()}
    assert (value["epsilon"], -value["delta"], -value["kappa"]) == pytest.approx(
        (e.batch, e.learning_rate, e.alpha)
    )
    if part == "lmo":
        assert value["gamma_path"] - value["delta"] == 0.0
        assert value["epsilon_n"] == 0.0


def test_q_is_a_truncated_gaussian_in_either_library():
    shares = np.array([0.01, 0.3, 0.5, 0.99])
    scores = truncnorm(-np.inf, np.inf).ppf(shares)
    assert path_exponent(scores) == pytest.approx(PRIOR.ppf(shares), abs=1e-9)
    assert np.asarray(path_exponent(jnp.asarray(scores))) == pytest.approx(PRIOR.ppf(shares), abs=1e-5)
    assert path_moments() == pytest.approx((PRIOR.mean(), PRIOR.std()))


@pytest.mark.parametrize("part", TIES)
def test_the_model_has_the_exponents_of_all_groups_about_the_lines(runs, part):
    observed, score = prepare(runs, parts=(part,)), 0.7
    known = structure_of(observed)
    with double_precision():
        model = numpyro.handlers.substitute(
            lambda: group_values(observed, known, common_values(known)), {TIES[part].score: jnp.array(score)}
        )
        trace = numpyro.handlers.trace(numpyro.handlers.seed(model, 0)).get_trace()
    block = trace["surface_values"]["fn"].base_dist
    for name, line in TIES[part].lines.items():
        if name in known.blocks["surface"]:
            row = known.blocks["surface"].index(name)
            wanted = line.intercept + line.slope * float(path_exponent(np.array(score)))
            assert np.asarray(block.mean[row]) == pytest.approx(wanted)
            between = np.exp(trace["log_between_studies"]["value"][list(known.group).index(name)])
            assert np.asarray(block.covariance_matrix[row])[0, 1] == pytest.approx(line.sd**2 + between**2)
    free = list(known.blocks["surface"]).index("rho")
    assert np.asarray(block.mean[free]) == pytest.approx(known.group["rho"].mean)


def test_the_rival_leaves_no_room_between_groups(runs):
    known = structure_of(prepare(runs, parts=("lmo",)))
    assert {known.group[name].between_optimizers for name in TIES["lmo"].lines if name in known.group} == {
        EXACT
    }
    assert known.group["alpha"].between_optimizers > 0.5


def test_without_the_part_nothing_is_tied(runs):
    known = structure_of(prepare(runs))
    assert known.tie is None
    assert not {tie.score for tie in TIES.values()} & set(known.common)


def test_before_any_run_the_prior_of_an_exponent_is_that_of_line_and_residual():
    before = prior_posterior(draws=4000, parts=("theory",))
    q = path_exponent(before.common["theory_path"])
    assert np.mean(q) == pytest.approx(PRIOR.mean(), abs=0.01)
    mean, sd = before.group_prior["epsilon"]
    assert (mean, sd) == pytest.approx((PRIOR.mean(), np.hypot(0.1, PRIOR.std())))


@pytest.mark.slow
def test_a_fit_with_the_prior_of_theory_goes_all_the_way(runs, tmp_path):
    tied = approximate(runs, ("theory",), effort=EFFORTS["quick"])
    write_posterior(tied, tmp_path / "p.nc")
    read = read_posterior(tmp_path / "p.nc")
    assert read.provenance["parts"] == ["theory"]
    q = path_exponent(read.common["theory_path"])
    assert ((q > 0) & (q < 0.5)).all()
    target = Target(1e9, 2e10, "muon", "example")
    assert predict(read, target).recommendation["learning_rate"] > 0
    part = {row.quantity: row for row in prior_part(read, target)}
    assert part["delta"].prior_sd == pytest.approx(np.sqrt(read.group_prior["delta"][1] ** 2 + 0.02), rel=0.3)


def test_a_population_and_theory_exclude_each_other(runs):
    with pytest.raises(BadInput, match="both a prior of the same parameters"):
        fit(runs.assign(study="new"), parts=("theory",), population=fake_posterior(20, sizes=((1e8, 2e9),)))
