"""NUTS chains with a common warm-up: known densities, restarts in smaller steps, and when it stops."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.hmc import HMCState

from bayeslaw.inference import nuts as module
from bayeslaw.inference.effort import FULL
from bayeslaw.inference.laplace import Whitening
from bayeslaw.inference.nuts import Chains, draw, pooled_covariance, sampler

MEAN = np.array([1.0, -2.0, 0.5])
ROOT = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [-3.0, 2.0, 4.0]])
PRECISION = np.linalg.inv(ROOT @ ROOT.T)
STANDARD = Whitening(np.zeros(3), np.eye(3))


def gaussian(x):
    """Energy of a correlated Gaussian of mean MEAN and covariance ROOT ROOT'."""
    return 0.5 * (x - MEAN) @ PRECISION @ (x - MEAN)


def funnel(x):
    """Energy of a funnel: the other coordinates have the scale exp(x0 / 2)."""
    return 0.5 * (x[0] / 2.5) ** 2 + 0.5 * jnp.sum(x[1:] ** 2) * jnp.exp(-x[0]) + x[0]


def walled(x):
    """Energy of a Gaussian with a wall, which a path that hits it diverges at in steps of any length."""
    return 0.5 * x @ x + jnp.where(x[0] > 1.5, 1e4, 0.0)


def sampled(energy, w, draws, seed=1, chains=4, enough=lambda drawn: True, effort=FULL, **kept):
    """What was drawn, and what was said."""
    said: list[str] = []
    slope = jax.jit(jax.grad(energy))
    nuts = sampler(energy, len(w.mean), effort)
    return draw(nuts, slope, w, chains, draws, seed, enough, said.append, effort, **kept), said


def told(said):
    """The divergences that each message names."""
    assert all("draws so far are warm-up, then smaller steps" in message for message in said)
    return [int(message.split()[0]) for message in said]


@pytest.fixture
def blocks(monkeypatch):
    """Grows by (step sizes of the chains, block) with every block that is run."""
    noted, run = [], module._run

    def noting(*args):
        states, block = run(*args)
        noted.append(([float(state.adapt_state.step_size) for state in states], block))
        return states, block

    monkeypatch.setattr(module, "_run", noting)
    return noted


@pytest.fixture(scope="module")
def known():
    """1,000 draws of each of four chains from the Gaussian, in coordinates that whiten it exactly."""
    return sampled(gaussian, Whitening(MEAN, ROOT), 1000)


def assert_gaussian(drawn):
    """Mean and covariance are right to 0.1 sd and 15%: about five Monte Carlo errors of 4,000 draws."""
    z = np.linalg.solve(ROOT, (drawn.x - MEAN).reshape(-1, 3).T)
    assert np.abs(z.mean(axis=1)).max() < 0.1
    assert np.abs(np.cov(z) - np.eye(3)).max() < 0.15


def test_a_correlated_gaussian_comes_back(known):
    drawn, said = known
    assert drawn.x.shape == (4, 1000, 3)
    assert (drawn.divergences, said) == (0, [])
    assert 1 < drawn.leapfrog_steps < 10
    assert_gaussian(drawn)


def test_each_chain_goes_its_own_way(known):
    first = known[0].x[:, 0]
    assert len(np.unique(first, axis=0)) == 4
    spread = known[0].x.mean(axis=1).std(axis=0) / np.sqrt(np.diag(ROOT @ ROOT.T))
    assert spread.max() < 0.2


def test_the_warm_up_makes_good_a_badly_scaled_whitening(blocks):
    """Unlearnt, widths a tenth to ten times the true ones would take over a hundred steps a draw."""
    drawn, _ = sampled(gaussian, Whitening(MEAN + 1.0, np.diag([0.1, 10.0, 0.3])), 1000)
    assert_gaussian(drawn)
    assert drawn.leapfrog_steps < 15
    kept = [block.accepted for _, block in blocks[FULL.warm_blocks :]]
    assert 0.85 < np.mean(kept) < 0.99


def test_it_stops_when_enough_and_a_seed_fixes_the_draws(known):
    """Asked for in blocks of 50, the draws are the first of those asked for at once."""
    asked = []

    def enough(drawn):
        asked.append(drawn.x.shape)
        return drawn.x.shape[1] >= 100

    drawn, _ = sampled(gaussian, Whitening(MEAN, ROOT), 50, enough=enough)
    assert asked == [(4, 50, 3), (4, 100, 3)]
    assert (drawn.x == known[0].x[:, :100]).all()


@pytest.mark.slow
def test_draws_up_to_a_divergence_become_warm_up(blocks, monkeypatch):
    """Long steps diverge in the funnel's neck; what is returned are the blocks after the last divergence."""
    monkeypatch.setattr(module, "ACCEPT", 0.5)
    monkeypatch.setattr(module, "SMALLER", 0.4)
    drawn, said = sampled(funnel, STANDARD, 100, seed=3)
    after = blocks[FULL.warm_blocks :]
    last = max(k for k, (_, block) in enumerate(after) if block.divergences)
    kept = [block for _, block in after[last + 1 :]]
    assert told(said) == [block.divergences for _, block in after if block.divergences] != []
    assert drawn.divergences == 0
    assert (drawn.x == np.concatenate([block.x for block in kept], axis=1)).all()
    steps = np.array([steps for steps, _ in after])
    shorter = [0.4 if block.divergences else 1.0 for _, block in after[:-1]]
    assert steps[1:] == pytest.approx(steps[:-1] * np.array(shorter)[:, None])
    assert (steps == steps[:, :1]).all()


def test_draws_that_go_on_diverging_end_at_the_bounds(blocks, monkeypatch):
    """After RESTARTS the divergences stay and are counted; max_draws ends what is never enough."""
    monkeypatch.setattr(module, "RESTARTS", 2)
    short = replace(FULL, warm_blocks=2, block=20, max_draws=50)
    drawn, said = sampled(walled, STANDARD, 30, seed=2, chains=3, enough=lambda _: False, effort=short)
    assert drawn.x.shape == (3, 80, 3)  # 30 are two blocks of 20, and 40 are less than max_draws
    counts = [block.divergences for _, block in blocks[2:]]
    assert told(said) == counts[:2]
    assert drawn.divergences == sum(counts[2:]) > 5  # of 240 draws, about a fifth hit the wall
    assert (drawn.x[:, :, 0] <= 1.5).all()


def test_the_covariance_of_many_draws_is_their_own():
    """Chains that disagree widen it: the mean is that of all of them."""
    z = np.random.default_rng(0).standard_normal((4, 5000, 3)) + np.arange(4)[:, None, None]
    pooled = pooled_covariance(Whitening(MEAN, np.diag([0.5, 2.0, 5.0])), z @ ROOT.T)
    assert pooled == pytest.approx(np.cov((z @ ROOT.T).reshape(-1, 3).T), rel=0.01, abs=0.01)


def test_the_covariance_of_few_draws_is_the_whitenings():
    """What five draws in ten dimensions scatter about 1 is chance."""
    rng = np.random.default_rng(1)
    w = Whitening(np.zeros(10), rng.standard_normal((10, 10)))
    for draws in (np.ones((1, 1, 10)), rng.standard_normal((1, 5, 10)) @ w.scale.T):
        assert pooled_covariance(w, draws) == pytest.approx(w.scale @ w.scale.T)


def test_the_covariance_differs_from_the_whitening_beyond_chance_alone():
    """A hundred directions of standard deviation 1 but for one of 10 and one of 0.1, along no axis."""
    rng = np.random.default_rng(2)
    turn = np.linalg.qr(rng.standard_normal((100, 100)))[0]
    sd = np.concatenate([[10.0, 0.1], np.ones(98)])
    w = Whitening(np.zeros(100), np.diag(np.linspace(0.5, 2.0, 100)))
    draws = (rng.standard_normal((4, 500, 100)) * sd) @ turn.T @ w.scale.T
    back = np.linalg.inv(w.scale) @ pooled_covariance(w, draws) @ np.linalg.inv(w.scale)
    found = np.sqrt(np.diag(turn.T @ back @ turn))
    assert found[0] == pytest.approx(10.0, rel=0.1)
    assert found[1] < 0.2
    assert found[2:] == pytest.approx(1.0, abs=0.05)


def test_it_goes_on_from_what_was_kept_to_the_same_draws():
    """Kept amid the warm-up of two blocks; the last of six blocks is enough, and need not be kept."""
    short = replace(FULL, warm_blocks=2, block=20, max_draws=80)
    states = []
    (whole, _) = sampled(gaussian, STANDARD, 80, effort=short, keep=lambda pack: states.append(pack()))
    seen = []
    (again, _) = sampled(
        gaussian, STANDARD, 80, effort=short, saved=states[0], keep=lambda pack: seen.append(pack())
    )
    assert (len(states), len(seen)) == (5, 4)
    assert all(np.array_equal(seen[-1][name], states[-1][name]) for name in states[-1])
    np.testing.assert_array_equal(again.x, whole.x)
    assert again[1:] == whole[1:]


@pytest.mark.slow
def test_a_direction_that_is_far_too_wide_is_found_before_draws_tell(blocks):
    """One of sixty directions, along no axis, is fifty times narrower than the whitening has it."""
    dim = 60
    along = np.ones(dim) / np.sqrt(dim)
    w = Whitening(np.zeros(dim), np.eye(dim))
    narrow = jnp.eye(dim) + 2499.0 * jnp.outer(along, along)
    drawn, _ = sampled(lambda x: 0.5 * x @ narrow @ x, w, 100)
    assert drawn.leapfrog_steps < 16
    assert np.std(drawn.x @ along) == pytest.approx(0.02, rel=0.2)


def test_a_curvature_that_is_no_number_is_left_to_the_draws():
    """The warm-up goes on in the coordinates that it has."""
    edge = lambda x: np.where(np.abs(x).max() < 50.0, x, np.nan)  # noqa: E731
    chains = Chains([HMCState(*[None] * 13)._replace(z=np.full(3, 60.0))] * 2, np.eye(3), np.eye(3), 0.1)
    assert module._softened(chains, edge, np.zeros(3)) is chains
