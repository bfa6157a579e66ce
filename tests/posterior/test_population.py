"""A population as a prior: the moments of pooling, in the model's own density, and what disagrees with it."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import numpyro
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.inference import model
from bayeslaw.inference.approximation import approximate
from bayeslaw.inference.effort import EFFORTS
from bayeslaw.inference.fitting import observations
from bayeslaw.law.structure import structure_of
from bayeslaw.posterior.pooling import group_draws
from bayeslaw.posterior.population import (
    conflict_warning,
    conflicts,
    decades_beyond,
    population_of,
    refuse_far,
)
from bayeslaw.posterior.prior import prior_posterior
from tests.support.fakes import fake_posterior, shifted
from tests.support.sweeps import grid_cell


@pytest.fixture(scope="module")
def others():
    return fake_posterior(4000)


def few_runs(count=12):
    """Runs of a new study, one third of them of an optimizer that the others never saw."""
    runs = grid_cell().sample(count, random_state=0).reset_index(drop=True).assign(study="new")
    runs.loc[runs.index < count // 3, "optimizer"] = "unheard-of"
    return runs


@pytest.mark.parametrize("optimizer", ["adamw", "unheard-of", "sgd"])
@pytest.mark.parametrize("name", ["alpha", "gamma_path"])
def test_it_has_the_moments_of_a_study_never_seen(others, name, optimizer):
    """What studies share and the spread between studies make what ``predict`` draws for a new study."""
    population = population_of(others, [optimizer])
    drawn = group_draws(others, None, optimizer)[name]
    spread = np.mean(others.between_studies[name] ** 2)
    assert population.shared[name].mean[0] == pytest.approx(drawn.mean(), abs=0.05 * drawn.std())
    assert population.shared[name].covariance[0, 0] + spread == pytest.approx(drawn.var(), rel=0.08)


def test_optimizers_share_the_populations_mean(others):
    shared = population_of(others, ["adamw", "unheard-of"]).shared["alpha"]
    correlation = shared.covariance[0, 1] / np.sqrt(np.prod(np.diag(shared.covariance)))
    assert 0.1 < correlation < 0.95
    assert shared.covariance[1, 1] > shared.covariance[0, 0]


def test_the_model_takes_it_about_its_pivot(others):
    """The density of the group values is the population's Gaussian with the spread between studies on top."""
    observed = observations(few_runs(), (), others)
    assert observed.pivot == others.pivot

    @jax.jit
    def drawn():
        trace = numpyro.handlers.trace(numpyro.handlers.seed(model.surface_model, 0)).get_trace(observed)
        site = trace["surface_values"]["fn"].base_dist
        return site.loc, site.covariance_matrix, trace["log_between_studies"]["value"]

    mean, covariance, log_spread = map(np.asarray, drawn())
    known = structure_of(observed)
    row = known.blocks["surface"].index("alpha")
    order = [observed.optimizers[i] for i in observed.group_optimizer]
    shared = population_of(others, order).shared["alpha"]
    spread = np.exp(log_spread)[list(known.group).index("alpha")]
    assert mean[row] == pytest.approx(shared.mean, rel=1e-5)
    expected = shared.covariance + spread**2
    assert covariance[row] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_own_runs_win_and_the_conflict_is_named():
    """Thirty runs whose best learning rate is a hundred times the population's."""
    sure = fake_posterior(200, groups=(("a", "adamw"), ("b", "adamw"), ("c", "adamw")))
    cells = [grid_cell(n, 20 * n, (0.2, 3e5), noise=1e-3, rates=5, batches=5) for n in (1e8, 3e8)]
    runs = cells[0].assign(study="ours")
    fit = approximate(runs, population=sure, draws=200, effort=EFFORTS["quick"])
    here = fit.group["alpha"] + fit.cell["lr"]
    assert np.median(np.exp(here)) > 0.05
    assert any(name.startswith("alpha (ours, adamw)") for name in fit.diagnostics["conflicts"])
    assert "alpha (ours, adamw) by +" in conflict_warning(fit.diagnostics["conflicts"])[0]
    assert fit.provenance["population"] == {"studies": ["a", "b", "c"]}


def test_agreement_is_no_conflict(others):
    population = population_of(others, ["adamw", "muon"])
    assert conflicts(others, population) == {}
    assert conflict_warning({}) == []
    away = conflicts(shifted(others, log_noise=np.full(others.draws, 0.0)), population)
    assert set(away) == {"log_noise (ours)", "log_noise (theirs)"}


def test_a_fit_of_fewer_parts_than_the_populations_is_compared_in_what_it_has(others):
    population = population_of(others, ["adamw", "muon"])
    without = replace(others, study={name: x for name, x in others.study.items() if name != "share"})
    assert "share" in population.study
    assert conflicts(without, population) == {}


def test_runs_do_not_count_twice(others):
    with pytest.raises(BadInput, match="holds the study ours, whose runs would count twice"):
        population_of(others, ["adamw"], ["ours"])
    with pytest.raises(BadInput, match="holds no runs"):
        population_of(prior_posterior(draws=5), ["adamw"])


def test_it_is_refused_far_beyond_its_runs(others):
    """The middle of the cells to come against the nearest fitted one."""
    tokens = np.array([5e9, 1e10])
    inside, far = (decades_beyond(others, np.array([n, n]), tokens) for n in (5e8, 1e6))
    assert (inside, far) == (0.0, pytest.approx(2.0))
    refuse_far(others, np.array([2e7, 2e7]), tokens)
    with pytest.raises(BadInput, match=r"these runs lie 2\.0 decades .* fit with --population none"):
        refuse_far(others, np.array([1e6, 1e6]), tokens)


def test_more_studies_narrow_a_new_one(others):
    """A study's level and noise are partly common to studies (``COMMON_TO_STUDIES``)."""
    prior = others.study_prior["log_noise"]
    one = replace(others, studies=others.studies[:1], study={k: v[:, :1] for k, v in others.study.items()})
    first, second = (population_of(each, ["adamw"]).study["log_noise"][1] for each in (one, others))
    assert second < first < prior[1]
