"""Posteriors as ArviZ sees them: whose chain a draw is of, and what it is called."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bayeslaw.law.parameters import derived
from bayeslaw.posterior.arviz import chain_rows, scalars, to_inference_data
from tests.support.fakes import GROUPS, fake_posterior

KEEP = 1000
"""As ``bayeslaw.inference.fitting`` keeps; importing it would load JAX."""


def of_chains(chains, each):
    """A posterior whose ``bend`` says which of all draws it is: chains one after the other, then thinned."""
    total = chains * each
    kept = np.linspace(0, total - 1, min(KEEP, total)).round().astype(int)
    posterior = fake_posterior(draws=len(kept))
    said = posterior.diagnostics | {"chains": chains, "draws": each}
    return replace(posterior, common={"bend": kept.astype(float)}, diagnostics=said)


@pytest.mark.parametrize(("chains", "each"), [(4, 1000), (4, 200), (4, 600), (2, 777), (3, 900), (1, 50)])
def test_every_draw_goes_to_its_chain(chains, each):
    bend = to_inference_data(of_chains(chains, each)).posterior["bend"]
    assert bend.dims == ("chain", "draw")
    assert bend.shape[0] == chains
    assert bend.size >= min(KEEP, chains * each) - chains
    assert (bend.to_numpy() // each == np.arange(chains)[:, None]).all()
    assert (np.diff(bend.to_numpy()) > 0).all()


@pytest.mark.parametrize("said", [{}, {"chains": 4}, {"chains": 4, "draws": 20}, {"chains": 0, "draws": 200}])
def test_chains_that_are_not_known_are_one(said):
    posterior = replace(fake_posterior(), diagnostics=said)
    assert chain_rows(posterior).tolist() == [list(range(200))]


def test_everything_has_its_name():
    posterior = fake_posterior()
    found = to_inference_data(posterior)
    data = found.posterior
    assert data["group"].to_numpy().tolist() == ["ours/adamw", "ours/muon", "theirs/adamw"]
    assert data["cell"].to_numpy()[0] == "ours/adamw/100M/2B"
    muon = data.where(data["group_optimizer"] == "muon", drop=True)
    np.testing.assert_array_equal(muon["epsilon"].to_numpy()[0, :, 0], posterior.group["epsilon"][:, 1])
    gamma = data["gamma"].sel(group="theirs/adamw").to_numpy()[0]
    np.testing.assert_array_equal(gamma, derived(posterior.group)["gamma"][:, 2])
    large = data["cell_lr"].sel(cell=data["cell_params"] > 5e8)
    assert large.shape == (1, 200, len(GROUPS))
    spread = data["between_optimizers"].sel(group_parameter="rho").to_numpy()[0]
    np.testing.assert_array_equal(spread, posterior.between_optimizers["rho"])
    assert data["level"].dims == ("chain", "draw", "study")
    prior = found.constant_data["group_prior"].sel(group_parameter="rho").to_numpy()
    assert tuple(prior) == posterior.group_prior["rho"]


def test_scalars_leave_out_what_a_group_does_not_have():
    known = scalars(fake_posterior())
    assert {"bend", "lambda[ours/adamw]", "share[theirs]", "cell_level[ours/muon/1B/20B]"} <= set(known)
    assert "lambda[ours/muon]" not in known
    assert {values.shape for values in known.values()} == {(1, 200)}
