"""The likelihood (JAX) and the prediction (NumPy) are two readers of one surface: they must agree."""

from __future__ import annotations

import jax
import numpy as np
import numpyro
import pandas as pd
import pytest

from bayeslaw.diagnosis.fitted_runs import fitted_runs, moments
from bayeslaw.evaluation import advisors as advisor_module
from bayeslaw.evaluation.advisors import PosteriorAdvisor
from bayeslaw.inference import fitting, model
from bayeslaw.inference.effort import double_precision
from bayeslaw.law import surface
from bayeslaw.law.observations import prepare
from bayeslaw.law.parameters import DEFAULT_PARTS


@pytest.fixture(scope="module")
def runs():
    """Nine cells of three groups; weight decay varied with AdamW alone, momentum everywhere."""
    rng = np.random.default_rng(0)
    cells = [
        (study, optimizer, n, d)
        for study, optimizer in (("a", "adamw"), ("a", "muon"), ("b", "adamw"))
        for n, d in ((1e8, 2e9), (3e8, 1e10), (3e8, 3e10))
    ]
    table = pd.DataFrame(cells * 6, columns=["study", "optimizer", "params_nonembedding", "tokens"])
    turn = np.repeat(np.arange(6), len(cells))
    return table.assign(
        learning_rate=2e-3 * np.exp(rng.standard_normal(len(table))),
        batch_tokens=3e5 * np.exp(rng.standard_normal(len(table))),
        weight_decay=np.where(table["optimizer"] == "adamw", 0.1 + 0.1 * (turn % 3), 0.1),
        momentum=0.9 + 0.03 * (turn % 3),
        grad_clip=np.where(turn == 0, 0.5, 1.0),
        loss=2.5,
        status="finished",
        run_id=[str(i) for i in range(len(table))],
    )


def prior_draw(sweep):
    """Sites of one draw from the prior, and the moments of each run."""

    def sites(key):
        trace = numpyro.handlers.trace(numpyro.handlers.seed(model.surface_model, key)).get_trace(sweep)
        drawn = {k: v for k, v in trace.items() if v["type"] == "sample" and not v["is_observed"]}
        return {name: site["value"][None, None] for name, site in drawn.items()}, trace["moments"]["value"]

    drawn, moments = jax.jit(sites)(jax.random.PRNGKey(3))
    return {name: np.asarray(values) for name, values in drawn.items()}, np.asarray(moments)


def fitted_scales(posterior, runs):
    """Scale of the scatter of each run, as diagnosis has it of the first draw, (run,)."""
    cells, left_out = fitted_runs(posterior, runs)
    assert left_out == 0
    scale = {
        name: value
        for cell in cells
        for name, value in zip(cell.rows["run_id"], moments(cell, cell.surface).scale[0], strict=True)
    }
    return np.array([scale[name] for name in runs["run_id"]])


def test_an_optimum_far_from_all_runs_explains_no_scatter(runs):
    """The best run of each group scatters by the noise alone, wherever the optimum lies."""
    usual = {"grad_clip": 1.0, "weight_decay": 0.1, "momentum": 0.9}
    runs = runs.assign(learning_rate=runs["learning_rate"] / 1e4, **usual)
    sweep = prepare(runs)
    with double_precision():
        sites, (_, log_scale, _) = prior_draw(sweep)
        posterior = fitting.keep_posterior(runs, sweep, sites, {}, 0, ())
    group = sweep.cell_group[sweep.cell]
    for k, (study, _) in enumerate(sweep.groups):
        noise = posterior.study["log_noise"][0, sweep.studies.index(study)]
        assert log_scale[group == k].min() == pytest.approx(noise)
        assert log_scale[group == k].max() > noise + 0.1


@pytest.mark.slow
@pytest.mark.parametrize("apart", [1.0, 100.0], ids=["near", "far"])
@pytest.mark.parametrize("parts", [(), DEFAULT_PARTS], ids=["core", "default"])
def test_predicted_runs_are_those_of_the_likelihood(runs, monkeypatch, parts, apart):
    """Mean of every run, through model and advisor, and its scale, of studies near and far apart."""
    by = np.where(runs["study"] == "b", apart, 1.0)
    runs = runs.assign(params_nonembedding=runs["params_nonembedding"] / by, tokens=runs["tokens"] / by)
    sweep = prepare(runs, parts=parts)
    with double_precision():
        sites, (mean, log_scale, _) = prior_draw(sweep)
        posterior = fitting.keep_posterior(runs, sweep, sites, {}, 0, ())
    monkeypatch.setattr(
        advisor_module,
        "run_noise",
        lambda p, excess, rng, off: surface.off_shift(p, off + 0.0 * excess),
    )
    quiet = np.log(PosteriorAdvisor(posterior).loss_draws(runs))[0]
    assert quiet == pytest.approx(mean, abs=1e-6)
    assert np.log(fitted_scales(posterior, runs)) == pytest.approx(log_scale, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [(), DEFAULT_PARTS], ids=["core", "default"])
def test_a_group_of_one_batch_has_its_level_there(parts, runs, monkeypatch):
    """Nobody measured what the best batch would gain: the likelihood has no excess of the batch."""
    runs = runs.assign(batch_tokens=np.where(runs["study"] == "b", 3e5, runs["batch_tokens"]))
    sweep = prepare(runs, parts=parts)
    with double_precision():
        sites, (mean, _, _) = prior_draw(sweep)
        posterior = fitting.keep_posterior(runs, sweep, sites, {}, 0, ())
    assert posterior.only_batch == {("b", "adamw"): pytest.approx(3e5)}
    own = [cell.study == "b" for cell in posterior.cells]
    assert (posterior.cell["batch"][:, own] == 0.0).all()
    assert (posterior.cell["batch"][:, ~np.array(own)] != 0.0).all()
    monkeypatch.setattr(
        advisor_module,
        "run_noise",
        lambda p, excess, rng, off: surface.off_shift(p, off + 0.0 * excess),
    )
    assert np.log(PosteriorAdvisor(posterior).loss_draws(runs))[0] == pytest.approx(mean, abs=1e-6)


def test_runs_far_from_the_best_hardly_centre_a_cells_level(runs):
    """They scatter too much to fix it; how centred its optimum is drawn counts all of them."""
    near = model.centring(prepare(runs))
    spread = np.where(runs["run_id"].astype(int) < 9, 2.5, 3.5)  # one run of each cell is the best, by 40%
    far = model.centring(prepare(runs.assign(loss=spread)))
    assert near["level"] == pytest.approx(6 / 8)
    assert far["level"] == pytest.approx(1 / 3, abs=0.01)
    assert far["lr"] == pytest.approx(near["lr"])
