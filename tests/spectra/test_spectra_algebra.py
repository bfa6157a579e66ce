"""The algebra on NumPy vectors, against closed forms and dense matrices."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from bayeslaw import spectra
from bayeslaw.errors import BadInput
from bayeslaw.spectra import preconditioners, thresholds
from bayeslaw.spectra.landscape import Landscape, Meter, NextStep

RNG = np.random.default_rng(0)


def quadratic(matrix, weights=None, noises=None):
    """L(w) = w'Aw/2; sequence i adds noises[i] to the gradient."""
    size = len(matrix)
    weights = np.ones(size) if weights is None else weights
    noises = np.zeros((2, size)) if noises is None else noises
    meter = Meter()

    def loss(move=None):
        meter.add(1 / 3)
        w = weights if move is None else weights + move
        return float(0.5 * w @ matrix @ w)

    def product(v):
        meter.add(2.0)
        return matrix @ v

    @contextmanager
    def hessian():
        yield product

    def pieces(count):
        for first in range(0, len(noises) - count + 1, count):
            yield matrix @ weights + noises[first : first + count].mean(axis=0)

    return Landscape(
        weights,
        size,
        len(noises),
        np.asarray,
        loss,
        lambda: matrix @ weights,
        pieces,
        lambda v: v,
        hessian,
        meter,
    )


def symmetric(values, seed=0):
    """A dense matrix of these eigenvalues."""
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values), len(values))))
    return (rotation * values) @ rotation.T


SPECTRUM = np.concatenate([[-30.0, 5.0, 9.0, 10.0], np.linspace(-1, 1, 196)])


def test_the_largest_eigenvalue_is_not_the_largest_in_size():
    found = spectra.largest_eigenvalue(quadratic(symmetric(SPECTRUM)), vectors=60, tolerance=1e-8)
    assert found.value == pytest.approx(10.0, rel=1e-8)
    assert found.asymmetry < 1e-10


@pytest.mark.parametrize("seed", range(8))
def test_the_bounds_of_an_eigenvalue_hold(seed):
    matrix = symmetric(SPECTRUM, seed)
    found = spectra.largest_eigenvalue(quadratic(matrix), vectors=20, seed=seed)
    assert np.abs(SPECTRUM - found.value).min() <= found.residual
    assert -1e-9 <= 10.0 - found.value <= found.residual
    assert found.value == pytest.approx(10.0, rel=1e-2)
    assert found.cost.gradients == 2 * found.vectors <= 40


def test_few_vectors_admit_that_they_are_far_off():
    found = spectra.largest_eigenvalue(quadratic(symmetric(SPECTRUM)), vectors=3)
    assert found.vectors == 3
    assert found.residual > 0.1 * found.value


def test_an_exhausted_space_ends_early():
    assert spectra.largest_eigenvalue(quadratic(3 * np.eye(5)), tolerance=0.0).vectors == 1
    assert spectra.largest_eigenvalue(quadratic(np.zeros((5, 5)))).value == 0.0
    whole = spectra.largest_eigenvalue(quadratic(np.diag([1.0, 2.0, 4.0])), vectors=50, tolerance=0.0)
    assert (whole.vectors, whole.value) == (3, pytest.approx(4.0))


def test_the_preconditioned_eigenvalue():
    matrix, diagonal = symmetric(SPECTRUM), RNG.uniform(0.1, 10, 200)
    found = spectra.largest_eigenvalue(quadratic(matrix), lambda v: v / np.sqrt(diagonal), 100, 1e-9)
    root = np.diag(diagonal**-0.5)
    assert found.value == pytest.approx(np.linalg.eigvalsh(root @ matrix @ root)[-1], rel=1e-8)


def test_a_hessian_that_is_not_symmetric_is_refused():
    matrix = symmetric(SPECTRUM) + np.triu(RNG.standard_normal((200, 200)), 1)
    with pytest.raises(BadInput, match=r"the Hessian is asymmetric by \d+\.\d%; expected rounding; "):
        spectra.largest_eigenvalue(quadratic(matrix))


def test_hutchinson_is_exact_on_a_diagonal_and_knows_its_error_elsewhere():
    exact = spectra.hutchinson(quadratic(np.diag(SPECTRUM)), probes=2)
    assert exact.value == pytest.approx(SPECTRUM.sum())
    assert exact.standard_error == pytest.approx(0, abs=1e-9)
    matrix = symmetric(SPECTRUM)
    found = spectra.hutchinson(quadratic(matrix), probes=400)
    off = np.square(matrix).sum() - np.square(np.diag(matrix)).sum()
    assert found.standard_error == pytest.approx(np.sqrt(2 * off / 400), rel=0.15)
    assert abs(found.value - SPECTRUM.sum()) < 4 * found.standard_error


def test_hutch_plus_plus_is_exact_where_few_eigenvalues_are_not_zero():
    values = np.zeros(200)
    values[:5] = [1, 4, -3, 20, 8]
    found = spectra.hutch_plus_plus(quadratic(symmetric(values)), products=24)
    assert found.value == pytest.approx(30.0)
    assert found.products == 21  # 8 for the sketch, 5 for its range, 8 for the rest


def test_hutch_plus_plus_is_unbiased_and_beats_hutchinson_on_outliers():
    values = np.concatenate([[100.0, 60.0, 40.0], np.linspace(0, 1, 197)])
    here = quadratic(symmetric(values))
    plus = [spectra.hutch_plus_plus(here, products=30, seed=s).value for s in range(60)]
    plain = [spectra.hutchinson(here, probes=30, seed=s).value for s in range(60)]
    assert np.mean(plus) == pytest.approx(values.sum(), abs=4 * np.std(plus) / 60**0.5)
    assert np.std(plus) < 0.3 * np.std(plain)


def test_the_spectral_density_has_the_moments_of_the_spectrum():
    found = spectra.spectral_density(quadratic(symmetric(SPECTRUM)), probes=200, vectors=10)
    for power in (1, 2, 3):
        moment = (found.weights * found.nodes**power).sum(axis=1)
        assert moment.mean() == pytest.approx(np.mean(SPECTRUM**power), abs=4 * moment.std() / 200**0.5)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1)
    assert found.trace == pytest.approx(200 * (found.weights * found.nodes).sum(axis=1).mean())


def test_the_density_integrates_to_one_and_shows_the_outliers():
    found = spectra.spectral_density(quadratic(symmetric(SPECTRUM)), vectors=40)
    grid = np.linspace(-35, 15, 5001)
    density = spectra.density_at(found, grid, 0.2)
    assert np.trapezoid(density, grid) == pytest.approx(1, rel=1e-6)
    assert found.span == pytest.approx((-30.0, 10.0))
    one = density[np.argmin(abs(grid + 30))] * 0.2 * np.sqrt(2 * np.pi)  # mass of one eigenvalue of 200
    assert one == pytest.approx(1 / 200, rel=0.9)


def test_matfree_finds_the_same_tridiagonal_matrix():
    """A library for JAX as a cross-check, where it is installed."""
    decomp = pytest.importorskip("matfree.decomp")
    import jax

    from bayeslaw.spectra.lanczos import tridiagonal

    matrix, start = symmetric(SPECTRUM), RNG.standard_normal(200)
    with jax.enable_x64(True):
        other = decomp.tridiag_sym(12, reortho="full")(lambda v: matrix @ v, jax.numpy.asarray(start))
        dense = np.asarray(other.J_small)
    found = tridiagonal(lambda v: matrix @ v, start, 12)
    np.testing.assert_allclose(np.diag(dense), found.diagonal, rtol=1e-6)
    np.testing.assert_allclose(np.abs(np.diag(dense, 1)), found.beside[:-1], rtol=1e-6)


# ------------------------------------------------------------------------------------------ noise


def noisy(rng, sequences=8, size=6):
    noises = rng.standard_normal((sequences, size)) * np.arange(1, size + 1)
    return quadratic(np.eye(size), np.full(size, 2.0), noises)


@pytest.mark.parametrize("piece", [1, 2])
def test_noise_and_signal_are_unbiased_each(piece):
    """Variances 1, 4, ..., 36 sum to 91; the squared gradient is 24."""
    rng = np.random.default_rng(1)
    found = [spectra.noise_scale(noisy(rng), piece=piece) for _ in range(3000)]
    assert np.mean([f.noise for f in found]) == pytest.approx(91, rel=0.03)
    assert np.mean([f.signal for f in found]) == pytest.approx(24, rel=0.06)
    assert spectra.pooled(found).value == pytest.approx(91 / 24, rel=0.07)


def test_the_preconditioned_noise_scale_weighs_directions():
    rng = np.random.default_rng(2)
    scales = np.arange(1.0, 7.0)
    found = spectra.pooled([spectra.noise_scale(noisy(rng), lambda v: v / scales) for _ in range(3000)])
    assert found.noise == pytest.approx(6, rel=0.03)
    assert found.signal == pytest.approx(4 * (scales**-2).sum(), rel=0.06)


def test_a_signal_lost_in_the_noise_has_no_finite_scale():
    here = quadratic(np.eye(2), np.zeros(2), np.array([[1.0, 0.0], [-1.0, 0.0]]))
    assert spectra.noise_scale(here).value == np.inf


# ------------------------------------------------------------------------------------------ rates


@pytest.mark.parametrize("start", [1e-6, 0.03, 100.0])
def test_the_critical_learning_rate_of_a_quadratic(start):
    """L(w - r u) = L(w) at r = 2 u'g / u'Au."""
    matrix = symmetric(np.linspace(0.1, 4, 50))
    here = quadratic(matrix, RNG.standard_normal(50))
    step = NextStep(here.gradient(), np.sign(here.gradient()))
    exact = 2 * step.update @ step.gradient / (step.update @ matrix @ step.update)
    found = spectra.critical_learning_rate(here, step, start)
    assert found.lower <= exact <= found.upper <= found.lower * (1 + 1 / 16)
    assert found.sharpness == pytest.approx(2 / exact, rel=1 / 16)
    assert spectra.directional_sharpness(here, step).value == pytest.approx(2 / exact)


def test_from_a_good_start_it_takes_few_forward_passes():
    here = quadratic(np.diag([1.0, 3.0]))
    step = NextStep(here.gradient(), here.gradient())
    sharpness = spectra.directional_sharpness(here, step).value
    found = spectra.critical_learning_rate(here, step, 2 / sharpness)
    assert 3 * found.cost.gradients <= 7.01


def test_no_step_helps_or_every_step_does():
    here = quadratic(np.eye(2))
    assert spectra.critical_learning_rate(here, NextStep(here.gradient(), -here.gradient()), 1.0).value == 0
    hill = quadratic(-np.eye(2))
    found = spectra.critical_learning_rate(hill, NextStep(hill.gradient(), hill.gradient()), 1.0)
    assert found.value == np.inf
    assert found.sharpness == 0


# ------------------------------------------------------------------------------------------ thresholds

FORMS = {  # the step on L = lambda w^2 / 2, w and m after it
    "heavy_ball": lambda b, w, m, g: (b * m + g, b * m + g),
    "moving_average": lambda b, w, m, g: (b * m + (1 - b) * g,) * 2,
    "nesterov": lambda b, w, m, g: (b * m + g, g + b * (b * m + g)),
    "moving_average_nesterov": lambda b, w, m, g: (
        b * m + (1 - b) * g,
        b * (b * m + (1 - b) * g) + (1 - b) * g,
    ),
}


def radius(form, beta, product, decay=0.0):
    """Largest root of a step's characteristic polynomial, learning rate x lambda = product."""
    columns = []
    for w, m in ((1.0, 0.0), (0.0, 1.0)):
        momentum, update = FORMS[form](beta, w, m, product * w)  # learning rate 1
        columns.append([(1 - decay) * w - update, momentum])
    return np.abs(np.linalg.eigvals(np.transpose(columns))).max()


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_threshold_is_where_the_step_stops_to_contract(form, beta, decay):
    limit = thresholds.decayed(getattr(thresholds, form)(beta), 1.0, decay)
    assert radius(form, beta, 0.999 * limit, decay) < 1 < radius(form, beta, 1.001 * limit, decay)


def test_muon_moves_by_its_inverse_times_the_momentum():
    """P^-1 M is what Newton and Schulz make of M, whichever side is shorter."""
    coefficients = (3.4445, -4.775, 2.0315)
    for shape in ((4, 7), (7, 4), (5, 5)):
        momentum = RNG.standard_normal(shape)
        x = momentum / np.linalg.norm(momentum)
        a, b, c = coefficients
        for _ in range(5):
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
        root = preconditioners.muon(momentum, coefficients, 5, 1e-7)
        moved = root @ root @ momentum if shape[0] <= shape[1] else momentum @ root @ root
        np.testing.assert_allclose(moved, x, atol=1e-9)


# ------------------------------------------------------------------------------------------ misuse


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda q: spectra.largest_eigenvalue(q, vectors=0),
            "largest_eigenvalue: vectors = 0; expected at least 1",
        ),
        (lambda q: spectra.hutchinson(q, probes=0), "hutchinson: probes = 0; expected at least 1"),
        (
            lambda q: spectra.hutch_plus_plus(q, products=2),
            "hutch_plus_plus: products = 2; expected at least 3",
        ),
        (
            lambda q: spectra.spectral_density(q, probes=2),
            "spectral_density: probes = 2, vectors = 40; expected",
        ),
        (
            lambda q: spectra.noise_scale(q, piece=2),
            "noise_scale: 2 sequences in pieces of 2; expected at least 2",
        ),
        (lambda q: spectra.pooled([]), "pooled: no measurements; expected at least one"),
        (
            lambda q: spectra.critical_learning_rate(q, NextStep(q.gradient(), q.gradient()), 0.0),
            "critical_learning_rate: start = 0.0; expected a number above 0",
        ),
        (
            lambda q: spectra.directional_sharpness(q, NextStep(q.gradient(), 0 * q.gradient())),
            "directional_sharpness: the update is orthogonal to the gradient",
        ),
        (lambda q: thresholds.heavy_ball(1.0), "beta = 1.0; expected at least 0 and below 1"),
        (lambda q: spectra.largest_eigenvalue(quadratic(np.full((2, 2), np.nan))), "Hessian product = nan; "),
    ],
)
def test_misuse_is_one_clear_error(call, message):
    with pytest.raises(BadInput) as caught:
        call(quadratic(np.eye(2)))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("spectra", {"torch", "jax", "optax"}),
        pytest.param("spectra.for_torch", {"jax"}, marks=pytest.mark.slow),
        ("spectra.for_jax", {"torch", "optax"}),
    ],
)
def test_no_framework_is_imported_but_the_one_in_use(module, absent):
    script = f"import sys, bayeslaw.{module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert absent & set(ran.stdout.split()) == set()
