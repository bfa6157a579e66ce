"""The decision and its price: closed forms, limits, and the contract of the JSON."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from bayeslaw.advice.decision import MAX_EXCESS, decide
from bayeslaw.advice.prediction import (
    example_target,
    extrapolation,
    learning_rate_slopes,
    loss_curve,
    outcome_of,
    predict,
)
from bayeslaw.advice.target_surface import (
    cell_shifts,
    fitted_cell,
    log_lr_at_batch,
    lr_batch_excess,
    place,
    surface_at,
    surface_draws,
)
from bayeslaw.errors import BadInput
from bayeslaw.law import surface
from bayeslaw.law.parameters import of_level
from bayeslaw.law.terms import OPTIMA, from_coordinate, optimum_of
from bayeslaw.posterior.netcdf import read_posterior, write_posterior
from bayeslaw.target import Cell, Target
from tests.support.fakes import PIVOT, TRUTH, fake_posterior, shifted

SEEN = Target(1e9, 2e10, "adamw", "ours")
LARGE = Target(7e9, 1.4e11, "adamw", "ours")
CERTAIN = tuple(name for name in of_level("study") if name.startswith("log_tau_"))


@pytest.fixture
def fit():
    return fake_posterior(400)


@pytest.fixture
def certain():
    """Every draw the truth, cells without shifts of their own."""
    fit = fake_posterior(50, spread=0.0)
    return shifted(fit, **dict.fromkeys(CERTAIN, -30.0))


def truth(target):
    """ln eta*, ln B* of the made-up posterior."""
    n, d = np.log(target.params_nonembedding / PIVOT["n"]), np.log(target.tokens / PIVOT["d"])
    gamma = TRUTH["gamma_path"] - TRUTH["delta"]
    epsilon_n = fake_posterior(1, spread=0.0).group_prior["epsilon_n"][0]
    rate = TRUTH["alpha"] - gamma * n - TRUTH["delta"] * d
    return rate, TRUTH["beta"] + TRUTH["epsilon"] * d + epsilon_n * n


# ------------------------------------------------------------------------------------- closed forms


def test_answers_change_smoothly_with_scale_though_each_cell_is_drawn(fit):
    """A thousandth more parameters: medians of 400 draws move by what the law says, not by sampling."""
    medians = [
        predict(fit, Target(n, 2e10, "adamw", "ours"))["optimum"]["learning_rate"]["median"]
        for n in (2.0e9, 2.01e9)
    ]
    assert abs(np.log(medians[1] / medians[0])) < 0.01
    shifts = [
        cell_shifts(fit, Target(n, 2e10, "adamw", "ours"), surface_draws(fit, "ours", "adamw"))["lr"]
        for n in (2.0e9, 2.01e9)
    ]
    assert abs(np.corrcoef(shifts)[0, 1]) < 0.3  # where targets are judged together each has its own


@pytest.mark.parametrize("target", [SEEN, LARGE])
def test_certainty_recommends_the_optimum_and_regrets_nothing(certain, target):
    result = predict(certain, target)
    rate, batch = truth(target)
    use = result["recommendation"]
    assert np.log(use["learning_rate"]) == pytest.approx(rate, abs=1e-3)
    assert np.log(use["batch_tokens"]) == pytest.approx(batch, abs=1e-3)
    assert use["weight_decay"] == pytest.approx(0.15 - OPTIMA["weight_decay"].transform.offset, rel=1e-3)
    assert result["regret"]["expected"] == pytest.approx(0.0, abs=1e-6)
    for name, value in use.items():
        spans = result["optimum"][name]
        assert spans["lower"] == pytest.approx(spans["upper"], rel=1e-6)
        assert value == pytest.approx(spans["median"], rel=1e-3)


def test_the_loss_of_a_certain_cell_is_its_level(certain):
    p = {name: values[:, 0] for name, values in (certain.group | certain.study).items()}
    level = np.exp(surface.log_level(p, place(certain, SEEN)))[0]
    loss = predict(certain, SEEN, level=0.5)["loss_nats_per_token"]
    assert loss["median"] == pytest.approx(level, rel=1e-3)
    assert 0 < loss["upper"] - loss["lower"] < 0.02


@pytest.mark.parametrize("times", [0.125, 0.5, 2.0, 8.0])
def test_a_fixed_batch_moves_the_learning_rate_along_the_ridge(certain, times):
    rate, batch = truth(LARGE)
    rho, rho_high = (certain.group_prior[name][0] for name in ("rho", "rho_high"))
    target = replace(LARGE, batch_tokens=times * np.exp(batch))
    result = predict(certain, target)
    expected = rate + surface.ridge(np.log(times), rho, rho_high)
    assert np.log(result["recommendation"]["learning_rate"]) == pytest.approx(expected, abs=1e-3)
    assert np.log(result["optimum"]["learning_rate"]["median"]) == pytest.approx(expected, abs=1e-6)
    assert result["recommendation"]["batch_tokens"] == target.batch_tokens
    assert result["regret"]["expected"] == pytest.approx(0.0, abs=1e-6)  # the batch was not ours to choose
    assert result["optimum"]["batch_tokens"]["median"] == pytest.approx(np.exp(batch), rel=1e-6)


def test_slopes_at_the_pivot_are_the_exponents(certain):
    at_pivot = Target(PIVOT["n"], PIVOT["d"], "adamw", "ours")
    p = {name: values[0] for name, values in surface_at(certain, at_pivot).p.items()}
    free = learning_rate_slopes(certain, at_pivot)
    assert free == pytest.approx({"params": p["delta"] - p["gamma_path"], "tokens": -p["delta"]}, abs=1e-6)
    small = learning_rate_slopes(certain, replace(at_pivot, batch_tokens=1000.0))  # far down the ridge
    moved = {
        "params": free["params"] - p["rho"] * p["epsilon_n"],
        "tokens": free["tokens"] - p["rho"] * p["epsilon"],
    }
    assert small == pytest.approx(moved, abs=1e-3)


def test_a_fixed_batch_far_off_says_what_it_costs(certain):
    _, batch = truth(LARGE)
    p = {name: values[0, 0] for name, values in certain.group.items()}
    excess = surface.linex(np.log(8.0), np.exp(p["batch_curvature"]), p["batch_skew"])
    fading = surface_at(certain, LARGE).fading[0]
    result = predict(certain, replace(LARGE, batch_tokens=8 * np.exp(batch)))
    said = result["warnings"]
    cost = f"costs about {100 * np.expm1(fading * excess):.2g}% of the loss"
    assert result.regret.batch_cost == pytest.approx(np.expm1(fading * excess), rel=1e-6)
    assert "; the fixed batch itself costs " in str(result)
    assert [text for text in said if "8.0 times above the best one" in text and text.endswith(cost)]


# ------------------------------------------------------------------------------------- the decision


def with_uncertain_rate(certain, draws=4001, sd=0.4, **columns):
    """Certain but for ln eta*, which is normal: its quantiles, evenly spaced."""
    from statistics import NormalDist

    quantiles = np.array([NormalDist(0, sd).inv_cdf((i + 0.5) / draws) for i in range(draws)])
    fit = fake_posterior(draws, spread=0.0)
    silent = dict.fromkeys(CERTAIN, -30.0)
    return shifted(fit, alpha=TRUTH["alpha"] + quantiles, **silent | columns)


def test_symmetric_costs_recommend_the_median(certain):
    fit = with_uncertain_rate(certain, knee=-12.0, twist=0.0)  # the undershoot turns to a line only far away
    result = predict(fit, SEEN)
    median = result["optimum"]["learning_rate"]["median"]
    assert result["recommendation"]["learning_rate"] == pytest.approx(median, rel=2e-3)


def test_quadratic_costs_regret_half_the_curvature_times_the_variance(certain):
    fit = with_uncertain_rate(certain, knee=-12.0, decay_curvature=-30.0)
    curvature = np.exp(fit.group_prior["lr_curvature"][0]) * surface_at(fit, SEEN).fading[0]
    assert predict(fit, SEEN)["regret"]["expected"] == pytest.approx(0.5 * curvature * 0.4**2, rel=0.02)


def test_the_advice_lies_below_the_median_where_overshooting_costs_more(certain):
    fit = with_uncertain_rate(certain, knee=1.0)
    result = predict(fit, SEEN)
    assert result["recommendation"]["learning_rate"] < 0.95 * result["optimum"]["learning_rate"]["median"]


@pytest.mark.parametrize("target", [LARGE, Target(7e9, 1.4e11, "lion"), Target(1e10, 1e10, "muon", "theirs")])
def test_no_grid_point_is_better_than_the_decision(fit, target):
    at = surface_at(fit, target)
    best = decide(at)
    grid = np.array(list(itertools.product(np.linspace(-2, 2, 61), repeat=2)))
    rates = np.log(best["learning_rate"]) + grid[:, 0]
    batches = np.log(best["batch_tokens"]) + grid[:, 1]
    excess = lr_batch_excess(at, rates, batches).mean(axis=0)
    centre = np.log([best["learning_rate"]]), np.log([best["batch_tokens"]])
    assert lr_batch_excess(at, *centre).mean() <= excess.min() + 1e-9


def test_regret_grows_with_uncertainty_and_upper_with_level(fit):
    wide = predict(fit, replace(LARGE, study=None))
    assert wide["regret"]["expected"] > predict(fit, LARGE)["regret"]["expected"] > 0
    upper = [predict(fit, LARGE, level=level)["regret"]["upper"] for level in (0.5, 0.8, 0.95)]
    assert upper == sorted(upper)


def test_intervals_nest(fit):
    narrow, wide = (predict(fit, LARGE, level=level) for level in (0.5, 0.95))
    pairs = [(narrow["optimum"][name], wide["optimum"][name]) for name in narrow["optimum"]]
    for inner, outer in [*pairs, (narrow["loss_nats_per_token"], wide["loss_nats_per_token"])]:
        assert outer["lower"] < inner["lower"] < inner["median"] < inner["upper"] < outer["upper"]


def test_a_fitted_cell_uses_its_own_shifts(fit):
    cell = fitted_cell(fit, replace(SEEN, params_nonembedding=1.0005e9))
    assert fit.cells[cell] == Cell("ours", "adamw", 1e9, 2e10)
    assert fitted_cell(fit, replace(SEEN, params_nonembedding=1.002e9)) is None
    assert fitted_cell(fit, replace(SEEN, study=None)) is None
    at = surface_at(fit, SEEN)
    centre = optimum_of("learning_rate", at.p, at.x)
    assert at.log_lr - centre == pytest.approx(fit.cell["lr"][:, cell])


def test_unseen_cells_of_a_fitted_size_share_its_shift(fit):
    shift = {"level": 0.5, "slope": 0.1, "lr": 0.2, "batch": 0.3}
    size = {name: np.full((fit.draws, 1), value) for name, value in shift.items()}
    sized = shifted(replace(fit, sizes=(("ours", 1e9),), size=size), **dict.fromkeys(CERTAIN, -30.0))
    known = surface_at(sized, Target(1e9, 9e10, "adamw", "ours"))
    other = surface_at(replace(sized, sizes=(), size={}), Target(1e9, 9e10, "adamw", "ours"))
    assert known.log_loss - other.log_loss == pytest.approx(0.5 + 0.1 * np.log(9e10 / PIVOT["d"]))
    assert known.log_lr - other.log_lr == pytest.approx(0.2)
    assert known.log_batch - other.log_batch == pytest.approx(0.3)


def test_the_batch_is_at_most_the_tokens(fit):
    result = predict(shifted(fit, beta=np.log(1e9)), Target(1e6, 1e7, "adamw", "ours"))
    assert result["recommendation"]["batch_tokens"] == 1e7
    assert result["optimum"]["batch_tokens"]["upper"] <= 1e7 * (1 + 1e-9)
    assert "the best batch exceeds the 1e+07 tokens of the run: cut to a single step" in result["warnings"]


def test_momentum_follows_its_law_and_stays_below_one():
    fit = fake_posterior(50, spread=0.0, extras=("momentum",))
    result = predict(fit, SEEN)
    zeta, kappa = (fit.group_prior[name][0] for name in ("zeta", "kappa"))
    expected = 1 - np.exp(zeta - kappa * np.log(1e9 / PIVOT["n"]))
    assert result["recommendation"]["momentum"] == pytest.approx(expected, abs=1e-3)
    assert "weight_decay" not in result["recommendation"]
    assert predict(shifted(fit, zeta=3.0), SEEN)["recommendation"]["momentum"] == 0.0


def test_draws_far_out_do_not_rule_the_mean(certain):
    fit = with_uncertain_rate(certain, draws=401, sd=6.0)
    assert predict(fit, SEEN)["regret"]["expected"] <= np.expm1(2 * MAX_EXCESS)


# ------------------------------------------------------------------------- what else the result says


def test_extrapolation_counts_decades_beyond_the_optimizers_cells(fit):
    assert extrapolation(fit, SEEN) == {"params_decades": 0.0, "tokens_decades": 0.0}
    beyond = extrapolation(fit, Target(1e10, 2e8))
    assert beyond["params_decades"] == pytest.approx(1.0)
    assert beyond["tokens_decades"] == pytest.approx(1.0)


def test_the_cliff_is_a_chance_between_draws(certain):
    at = surface_at(certain, SEEN)
    best = decide(at)
    at_cliff = best | {"learning_rate": best["learning_rate"] * np.exp(certain.group_prior["cliff"][0])}
    assert outcome_of(at, at_cliff).diverges == pytest.approx(0.5, abs=2e-3)
    assert (outcome_of(at, best).diverges < 0.01).all()


def test_loss_curve_is_a_bowl_about_the_optimum(certain):
    rate, _ = truth(LARGE)
    rates = np.exp(rate + np.linspace(-3, 3, 61))
    curve = loss_curve(certain, LARGE, rates, quantiles=(0.1, 0.5, 0.9))
    assert curve.shape == (3, 61)
    assert curve[1].argmin() == 30
    assert curve[1][30] == pytest.approx(0.0, abs=1e-6)
    assert curve[1][-1] > curve[1][0]  # overshooting costs more


def test_the_same_question_has_the_same_answer(fit, tmp_path):
    write_posterior(fit, tmp_path / "p.nc")
    kept = read_posterior(tmp_path / "p.nc")
    target = Target(7e9, 1.4e11, "lion")
    assert predict(kept, target) == predict(kept, target)
    assert predict(kept, target) != predict(kept, target, seed=1)
    fresh, stored = (predict(p, target)["recommendation"]["learning_rate"] for p in (fit, kept))
    assert stored == pytest.approx(fresh, rel=0.01)


def test_the_json_is_the_contract(fit):
    result = predict(fit, replace(LARGE, batch_tokens=1e6))
    parts = "inputs recommendation optimum loss_nats_per_token regret extrapolation level posterior warnings"
    assert list(result) == [*parts.split(), "assumes"]
    settings = ["learning_rate", "batch_tokens", "weight_decay"]
    assert list(result["recommendation"]) == list(result["optimum"]) == settings
    for span in [*result["optimum"].values(), result["loss_nats_per_token"]]:
        assert list(span) == ["median", "lower", "upper"]
    assert list(result["regret"]) == ["expected", "upper", "batch_cost"]
    assert list(result["extrapolation"]) == ["params_decades", "tokens_decades"]
    assert result["inputs"] == {
        "params_nonembedding": 7e9,
        "tokens": 1.4e11,
        "optimizer": "adamw",
        "study": "ours",
        "batch_tokens": 1e6,
    }
    assert result["posterior"]["sources"] == ["made up"]
    assert result["posterior"]["diagnostics"]["rhat_max"] == 1.004
    assert json.loads(json.dumps(result.to_json(), allow_nan=False)) == result


def said(posterior, target):
    return predict(posterior, target)["warnings"]


def test_a_good_question_has_no_warnings(fit):
    assert said(fit, SEEN) == []


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (
            replace(SEEN, optimizer="lion"),
            "optimizer lion was never seen: drawn from the population of 2 (adamw, muon); its rate is "
            "usually 0.183 times that of AdamW (Chen et al. 2023, arXiv 2302.06675: 3 to 10 times lower)",
        ),
        (
            replace(SEEN, study=None),
            "no study named: the intervals cover set-ups never seen; known studies: ours, theirs",
        ),
        (
            replace(SEEN, study="new"),
            "study new was never seen: drawn from the population of 2 (ours, theirs)",
        ),
        (
            Target(1e9, 2e10, "muon", "theirs"),
            "muon was never seen in study theirs: pooled from its runs elsewhere",
        ),
        (
            Target(1e9, 2e10, "muon", "ours"),
            "weight decay was never varied in ours with muon: borrowed from other runs",
        ),
        (
            replace(SEEN, params_nonembedding=2e10),
            "N lies 1.3 decades outside the fitted runs: far to extrapolate",
        ),
        (replace(SEEN, tokens=2e8 * 0.9), "D lies 1.0 decades outside the fitted runs: far to extrapolate"),
    ],
)
def test_every_doubt_is_said_in_words(fit, target, text):
    assert text in said(fit, target)


def test_a_fit_that_did_not_converge_says_so_again(fit):
    bad = replace(fit, diagnostics={"converged": False, "messages": ["R-hat 1.2 for tau"]})
    assert said(bad, SEEN) == ["the fit has not converged: R-hat 1.2 for tau"]
    assert said(replace(fit, diagnostics={}), SEEN) == [
        "the fit has not converged: its diagnostics are missing"
    ]


def test_a_likely_divergence_is_warned_of(fit):
    text = said(shifted(fit, cliff=0.0), SEEN)[-1]
    assert text.startswith("the recommended learning rate diverges with probability 5")
    assert text.endswith("%: have a restart at half of it ready")


def test_advice_far_from_the_likeliest_rate_says_why(certain):
    """The rate is known to a factor of 700 only, and its left flank is a line: a low one is safe."""
    unsure = with_uncertain_rate(certain, sd=2.0)
    result = predict(unsure, replace(LARGE, batch_tokens=4e5))
    rates = np.exp(log_lr_at_batch(surface_at(unsure, result.target, independent=True), np.log(4e5)))
    times = np.median(rates) / result.recommendation["learning_rate"]
    assert times > 2.0
    assert [
        text
        for text in result.warnings
        if text.startswith(f"the advised learning rate lies {times:.1f} times below the likeliest one")
    ]


@pytest.mark.parametrize("sd", [0.1, 1.5])
def test_advice_keeps_within_four_times_of_what_was_tried(certain, sd):
    """Runs that all lie below the best rate hold the advice back, however sure the draws are."""
    reach = {("ours", "adamw"): {"learning_rate": (-3.0, -2.2)}}
    posterior = replace(with_uncertain_rate(certain, sd=sd), tried=reach)
    result = predict(posterior, replace(LARGE, batch_tokens=4e5))
    rates = log_lr_at_batch(surface_at(posterior, result.target, independent=True), np.log(4e5))
    held = np.exp(np.median(rates) - 2.2 + np.log(4.0))
    assert result.recommendation["learning_rate"] == pytest.approx(held, rel=1e-3)
    assert [
        w for w in result.warnings if w.startswith("the learning rate is held at 4 times the largest that")
    ]


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, 90.0, float("nan")])
def test_a_level_is_a_probability(fit, level):
    with pytest.raises(BadInput, match=r"expected a probability between 0 and 1; give 0\.9 for 90%"):
        predict(fit, SEEN, level=level)


@pytest.mark.parametrize("target", [Target(1e300, 1e10, "adamw", "ours"), Target(1e9, 1e300)])
def test_nothing_that_is_not_finite_goes_out(fit, target):
    try:
        result = predict(fit, target)
    except BadInput as error:
        assert "the posterior says nothing this far out; choose a target nearer to its runs" in str(error)  # noqa: PT017
    else:
        json.dumps(result.to_json(), allow_nan=False)


def test_the_example_lies_ten_times_beyond_the_group_of_most_cells(fit):
    more = replace(fit, cells=(*fit.cells, Cell("theirs", "adamw", 1.0737e9, 2e10)))
    assert example_target(more) == Target(1e10, 2e11, "adamw", "theirs")
    assert example_target(fit, "ours").study == "ours"
    with pytest.raises(BadInput, match="holds no cells of nobody"):
        example_target(fit, "nobody")


def test_beliefs_without_cells_extrapolate_nothing(fit):
    assert extrapolation(replace(fit, cells=()), SEEN) == {"params_decades": 0.0, "tokens_decades": 0.0}


def test_no_weight_decay_is_none_at_all():
    assert from_coordinate("weight_decay", np.log(OPTIMA["weight_decay"].transform.offset)) == 0.0
    assert from_coordinate("momentum", 0.1) == 0.0
