"""Figures: the numbers on their axes are those of the posterior, and misuse is one clear error."""

from __future__ import annotations

import itertools
from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from bayeslaw import plots
from bayeslaw.advice.decision import decide
from bayeslaw.advice.prediction import predict
from bayeslaw.advice.target_surface import log_lr_at_batch, lr_batch_excess, run_excess, surface_at
from bayeslaw.errors import BadInput
from bayeslaw.law.parameters import derived
from bayeslaw.law.published import LAWS, published
from bayeslaw.plots.axes import new_axes, new_axis, round_ticks
from bayeslaw.plots.quotient import unpooled_normal
from bayeslaw.posterior.pooling import NUGGET, population_draws
from bayeslaw.target import Target
from tests.support.fakes import fake_posterior, shifted

CELL = Target(1e8, 2e9, "adamw", "ours")
LARGE = Target(1e10, 2e11, "adamw", "ours")


@pytest.fixture(autouse=True)
def _closed():
    mpl.use("Agg")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def fake():
    return fake_posterior(draws=300)


@pytest.fixture
def sweep():
    """Runs of CELL and of a larger cell of the same study, one diverged."""
    rates, batches = (x.ravel() for x in np.meshgrid([1e-3, 2e-3, 4e-3], [1e5, 2e5, 4e5]))
    small = pd.DataFrame({"learning_rate": rates, "batch_tokens": batches})
    small = small.assign(params_nonembedding=1e8, tokens=2e9, loss=3.0 + 10 * rates)
    large = small.assign(params_nonembedding=1e9, tokens=2e10, loss=2.5 + 10 * rates)
    runs = pd.concat([small, large], ignore_index=True)
    runs = runs.assign(run_id=[f"r{i}" for i in runs.index], study="ours", optimizer="adamw")
    runs = runs.assign(status="finished")
    runs.loc[8, ["status", "loss"]] = ["diverged", np.nan]
    return runs


def line(ax, label):
    """x and y of the line of that label."""
    (found,) = [each for each in ax.lines if each.get_label() == label]
    return np.array(found.get_xdata(), float), np.array(found.get_ydata(), float)


def dots(ax):
    """Every single point: its coordinates, in order."""
    return [(float(x[0]), float(y[0])) for x, y in (each.get_data() for each in ax.lines) if len(x) == 1]


def labels(ax):
    return ax.get_legend_handles_labels()[1]


def refused(message, function, *arguments, **options):
    with pytest.raises(BadInput) as caught:
        function(*arguments, **options)
    assert str(caught.value) == message


# ---------------------------------------------------------------------------------------------- shared


@pytest.mark.parametrize(
    ("limits", "expected"),
    [((3e-4, 2e-2), ["0.0005", "0.001", "0.002", "0.005", "0.01", "0.02"]), ((1e5, 1e9), ["100k", "1M"])],
)
def test_ticks_are_figures(limits, expected):
    ax = new_axis(None)
    ax.set(xscale="log", xlim=limits)
    round_ticks(ax.xaxis)
    ax.figure.canvas.draw()
    low, high = limits
    shown = [t for t in ax.get_xticklabels() if low <= t.get_position()[0] <= high * 1.001 and t.get_text()]
    assert [tick.get_text() for tick in shown][: len(expected)] == expected


def test_a_wrong_number_of_axes_is_refused():
    refused("x: 1 axes; expected 2, one a panel; give as many, or None", new_axes, [None], 2, "x", (1, 1), 1)


# --------------------------------------------------------------------------------------------- surface


def test_a_surface_shows_runs_advice_and_ridge(fake, sweep):
    ax = plots.plot_surface(fake, sweep, CELL)
    at = surface_at(fake, CELL, independent=True)
    advice = decide(at)
    assert dots(ax)[-1] == (advice["learning_rate"], advice["batch_tokens"])
    assert line(ax, "diverged")[0].tolist() == [4e-3]
    (shown,) = [each for each in ax.collections if each.get_label() == "run, by its measured loss"]
    own = sweep.iloc[:8].sort_values("loss", ascending=False)
    best = np.exp(np.median(at.log_loss))
    np.testing.assert_allclose(shown.get_array(), np.maximum(100 * (own["loss"] / best - 1), 0))
    np.testing.assert_allclose(shown.get_offsets()[:, 0], own["learning_rate"])
    rates, batches = line(ax, "best rate at each batch")
    expected = [np.median(np.exp(log_lr_at_batch(at, np.log(batch)))) for batch in batches]
    np.testing.assert_allclose(rates, expected)
    low, high = ax.get_xlim()
    assert low < 1e-3 < 4e-3 < high


def test_a_run_on_the_surface_has_the_colour_of_its_place(sweep):
    sure = fake_posterior(draws=5, spread=0.0)
    at = surface_at(sure, CELL, independent=True)
    own = sweep.iloc[:8]
    rate, batch = (np.log(own[name].to_numpy()) for name in ("learning_rate", "batch_tokens"))
    excess = lr_batch_excess(at, rate, batch)[0]
    exact = own.assign(loss=np.exp(at.log_loss[0] + excess))
    ax = plots.plot_surface(sure, exact, CELL)
    (shown,) = [each for each in ax.collections if each.get_label() == "run, by its measured loss"]
    np.testing.assert_allclose(np.sort(shown.get_array()), np.sort(100 * np.expm1(excess)), rtol=1e-6)


def test_a_surface_without_runs_is_refused(fake, sweep):
    refused(
        "plot_surface: 0 of 18 runs are of study theirs, adamw, N = 1e+08, D = 2e+09; expected at least one; "
        "name a cell of the run table, its study too",
        plots.plot_surface,
        fake,
        sweep,
        replace(CELL, study="theirs"),
    )


# ----------------------------------------------------------------------------------------------- scale


def test_curves_have_their_optimum_and_the_runs_near_their_batch(fake, sweep):
    targets = [replace(CELL, batch_tokens=2e5), LARGE]
    ax = plots.plot_learning_rates(fake, targets, sweep)
    x, y = line(ax, "optimum, 50 and 90%")
    for target, rate, loss in zip(targets, x, y, strict=True):
        at = surface_at(fake, target, independent=True)
        best = predict(fake, target)["optimum"]["learning_rate"]
        batch = target.batch_tokens or decide(at)["batch_tokens"]
        assert target.batch_tokens is None or rate == pytest.approx(best["median"])
        excess = lr_batch_excess(at, np.log([rate]), np.log(batch))[:, 0]
        assert loss == pytest.approx(np.exp(np.median(at.log_loss + excess)), rel=1e-4)
    assert line(ax, "run of about that batch")[0].tolist() == [1e-3, 2e-3, 4e-3]
    assert labels(ax)[0] == "N = 100M, D = 2B, B = 200k"


def test_curves_need_a_target(fake):
    refused(
        "plot_learning_rates: no target; expected at least one; name the cells to show",
        plots.plot_learning_rates,
        fake,
        [],
    )


@pytest.mark.parametrize("name", ["learning_rate", "batch_tokens", "weight_decay"])
@pytest.mark.parametrize("along", ["params", "tokens"])
def test_an_optimum_along_scale_is_what_predict_says_of_a_new_cell(fake, name, along):
    ax = plots.plot_optimum(fake, name, along, LARGE)
    x, y = line(ax, "median")
    for i in (10, 37):
        n, d = (x[i], 20 * x[i]) if along == "params" else (1e10, x[i])
        told = predict(fake, Target(float(n), float(d), "adamw", "ours"))["optimum"][name]
        assert y[i] == pytest.approx(told["median"], rel=1e-9)


def test_beyond_the_cells_is_shaded_and_cells_and_laws_are_shown(fake):
    ax = plots.plot_optimum(fake, "learning_rate", "params", LARGE, law="step")
    (shade,) = [each for each in ax.collections if each.get_label() == "beyond the fitted cells"]
    assert shade.get_paths()[0].vertices[:, 0].min() == pytest.approx(1e9, rel=0.1)
    x, y = line(ax, "law: step")
    assert y[5] == LAWS["step"].learning_rate(x[5], 20 * x[5])
    shown = [at_x for at_x, _ in dots(ax)]
    assert shown == [1e8, 1e9]
    fitted = predict(fake, CELL)["optimum"]["learning_rate"]["median"]
    assert dots(ax)[0][1] == pytest.approx(fitted)


def test_what_has_no_optimum_is_refused(fake):
    refused(
        "plot_optimum: no optimum of 'momentum'; expected one of learning_rate, batch_tokens, weight_decay; "
        "name one of these",
        plots.plot_optimum,
        fake,
        "momentum",
        "params",
        LARGE,
    )
    refused(
        "plot_optimum: along = 'depth'; expected params or tokens; name one of these",
        plots.plot_optimum,
        fake,
        "learning_rate",
        "depth",
        LARGE,
    )


# ------------------------------------------------------------------------------------------ parameters


def test_a_forest_has_groups_under_their_population(fake):
    ax = plots.plot_forest(fake, "gamma", unpooled={("ours", "muon"): np.array([0.1, 0.2, 0.3])})
    gamma = derived(fake.group)["gamma"]
    found = dots(ax)
    assert found[0] == (pytest.approx(np.median(population_draws(fake)["gamma"])), 0)
    assert found[1:4] == [(pytest.approx(np.median(gamma[:, i])), -1 - i) for i in range(3)]
    assert found[4:] == [(pytest.approx(0.2), pytest.approx(-2.32))]
    bars = {tuple(y): x for x, y in (each.get_data() for each in ax.lines) if len(x) == 2}
    np.testing.assert_allclose(bars[(-2, -2)], np.quantile(gamma[:, 1], [0.25, 0.75]))
    names = ["population mean", "adamw, ours", "muon, ours", "adamw, theirs"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == names


def test_a_forest_shows_only_groups_with_the_parameter_in_its_unit(fake):
    ax = plots.plot_forest(fake, "lambda")
    assert len(ax.get_yticks()) == 2
    assert ax.get_xscale() == "log"
    assert dots(ax)[1][0] == pytest.approx(np.exp(np.median(fake.group["lambda"][:, 0])))
    with pytest.raises(BadInput, match=r"^plot_forest: unknown parameter 'theta'; expected one of alpha, "):
        plots.plot_forest(fake, "theta")


def test_the_quotient_gives_back_the_likelihood_where_the_other_groups_are_known():
    """Two groups of one study; the other's value is y2. Given it, theta1 ~ N(c, v): times N(y1, s1^2)."""
    draws, y1, s1, y2 = 40_000, 0.8, 0.1, 0.2
    posterior = fake_posterior(draws=draws, groups=(("ours", "adamw"), ("ours", "muon")))
    mean, sd = posterior.group_prior["epsilon"]
    optimizers, studies = (
        spreads["epsilon"][0] for spreads in (posterior.between_optimizers, posterior.between_studies)
    )
    shared = sd**2 + studies**2
    whole = shared + optimizers**2 + NUGGET
    centre, variance = mean + shared / whole * (y2 - mean), whole - shared**2 / whole
    v = 1 / (1 / variance + 1 / s1**2)
    m = v * (centre / variance + y1 / s1**2)
    first = m + np.sqrt(v) * np.random.default_rng(1).standard_normal(draws)
    values = np.column_stack([first, np.full(draws, y2)])
    posterior = replace(posterior, group=posterior.group | {"epsilon": values})
    found = unpooled_normal(posterior, "epsilon", ("ours", "adamw"))
    assert found == (pytest.approx(y1, abs=0.02), pytest.approx(s1, rel=0.05))
    wide = replace(posterior, group=posterior.group | {"epsilon": values + 3 * (values - m)})
    assert unpooled_normal(wide, "epsilon", ("ours", "adamw")) is None


def test_spreads_stand_over_their_priors(fake):
    ax = plots.plot_spread(fake, ["epsilon", "gamma"])
    prior_epsilon, epsilon, prior_gamma, gamma = [x for x, _ in dots(ax)]
    assert epsilon == fake.between_optimizers["epsilon"][0]
    assert prior_epsilon == pytest.approx(0.06, rel=1e-3)
    parts = [fake.between_optimizers[name][0] for name in ("gamma_path", "delta")]
    assert gamma == pytest.approx(np.hypot(*parts))
    assert prior_gamma == pytest.approx(gamma, rel=0.3)
    for names, wrong in (([], ""), (["level"], "level")):
        with pytest.raises(
            BadInput, match=rf"^plot_spread: unknown parameter '{wrong}'; expected one of alpha"
        ):
            plots.plot_spread(fake, names)


def test_prior_and_posterior_of_a_group_beside_theory(fake):
    ax = plots.plot_prior_posterior(fake, "rho", ("ours", "muon"))
    x, y = line(ax, "posterior, muon in ours")
    own = fake.group["rho"][:, 1]
    assert np.average(x, weights=y) == pytest.approx(own.mean(), abs=0.01)
    prior = ax.collections[0].get_paths()[0].vertices
    assert prior[np.argmax(prior[:, 1]), 0] == pytest.approx(fake.group_prior["rho"][0], abs=0.01)
    assert line(ax, "square-root rule (Malladi et al. 2022)")[0][0] == 0.5
    assert line(ax, "linear rule (Goyal et al. 2017)")[0][0] == 1.0


def test_prior_and_posterior_in_the_unit_of_the_parameter(fake):
    ax = plots.plot_prior_posterior(fake, "alpha")
    assert line(ax, "law: step")[0][0] == pytest.approx(LAWS["step"].learning_rate(*fake.reference), rel=1e-3)
    x, y = line(ax, "posterior, population mean")
    middle = np.exp(np.median(population_draws(fake)["alpha"]))
    assert x[np.argmax(y)] == pytest.approx(middle, rel=0.3)
    assert labels(plots.plot_prior_posterior(fake, "share")) == [
        "prior",
        "posterior, ours",
        "posterior, theirs",
    ]


@pytest.mark.parametrize(
    ("name", "group", "expected"),
    [
        ("lambda", ("ours", "muon"), "('ours', 'adamw')"),
        ("share", "nobody", "ours, theirs"),
    ],
)
def test_a_group_without_the_parameter_is_refused(fake, name, group, expected):
    message = f"plot_prior_posterior: no {name} of {group!r}; expected one of {expected}; name one of these"
    refused(message, plots.plot_prior_posterior, fake, name, group)


def test_published_exponents_are_derivatives_of_the_laws():
    pivot = (3e8, 1e10)
    assert published("gamma", pivot) == {"step": 0.713, "deepseek": 0.125, "zhou": 0.222}
    assert published("delta", pivot) == {"step": -0.307, "deepseek": 0.125, "zhou": 0.351}
    assert published("epsilon_n", pivot).items() >= {"step": 0.0, "deepseek": 0.327}.items()
    along = published("gamma_path", pivot)
    assert along["step"] == 0.406
    assert along["porian"] == 0.36
    assert "bjorck" not in along
    assert np.exp(published("beta", pivot)["porian"]) == pytest.approx(0.7576 * 3e8**0.703, rel=1e-3)
    assert published("rho", pivot) == {}


# ------------------------------------------------------------------------------------- designs and loops


def candidates(rates, costs):
    return pd.DataFrame({"learning_rate": rates, "cost": costs})


def test_chosen_candidates_on_one_another_share_a_number():
    table = candidates([1e-3, 1e-3, 5e-3], [1e18, 1e18, 1e19])
    ax = plots.plot_candidates(table, np.array([1e-5, 1e-5, np.nan]), [1, 2, 0])
    assert [text.get_text() for text in ax.texts] == ["1, 3", "2"]


@pytest.mark.parametrize("seed", range(3))
def test_numbers_of_candidates_lie_apart(seed):
    rng = np.random.default_rng(seed)
    table = candidates(10 ** rng.uniform(-4, -2, 25), 10.0 ** rng.integers(18, 20, 25))
    ax = plots.plot_candidates(table, rng.uniform(0, 1e-4, 25), range(8))
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def loop_entries():
    def chosen(number, rows, before, after):
        runs = [{"params_nonembedding": 1e8, "learning_rate": 1e-3 * (row + 1), "cost": 2.0} for row in rows]
        regret = {"before": before, "after": after}
        cost = 2.0 * len(rows)
        return {"round": number, "kind": "chosen", "rows": rows, "runs": runs, "regret": regret, "cost": cost}

    def believed(number, expected, upper):
        best = {name: {"lower": 1.0, "upper": upper} for name in ("learning_rate", "batch_tokens")}
        target = {"regret": {"expected": expected}, "optimum": best}
        return {"round": number, "kind": "believed", "targets": [target]}

    return [
        chosen(1, [0, 3], 0.04, 0.02) | {"unit": "FLOP"},
        {"round": 1, "kind": "returned", "rows": [3]},
        believed(1, 0.03, 8.0),
        chosen(2, [1, 2], 0.03, 0.01),
    ]


def test_a_loop_is_charged_for_what_came_back():
    entries = loop_entries()
    axes = plots.plot_loop(entries)
    x, y = line(axes[0], "expected, after the runs")
    np.testing.assert_allclose(x, [0, 2])
    np.testing.assert_allclose(y, [4, 3])
    promised = [(each, what) for each, what in dots(axes[0])]
    assert promised == [(4, pytest.approx(2)), (6, pytest.approx(1))]
    assert line(axes[1], "learning rate, peak")[1] == pytest.approx([8])
    assert [x for x, _ in dots(axes[2])] == [0, 2, 4, 6]
    faces = [each.get_markerfacecolor() for each in axes[2].lines if len(each.get_xdata()) == 1]
    assert [isinstance(face, str) for face in faces] == [True, False, True, True]
    assert axes[0].get_title(loc="left") == "not stopped yet"
    stop = {"round": 3, "kind": "stopped", "reason": "enough"}
    assert plots.plot_loop([*entries, stop])[0].get_title(loc="left") == "stopped: enough"


def test_a_loop_without_a_round_is_refused():
    refused(
        "plot_loop: 0 entries, none of kind chosen; expected the journal of a loop with a round; "
        "run `bayeslaw loop` first",
        plots.plot_loop,
        [],
    )


# ---------------------------------------------------------------------------------------------- checks


@pytest.fixture(scope="module")
def chained():
    """Four chains of 75 draws; the third is off in one parameter."""
    posterior = fake_posterior(draws=300)
    posterior = shifted(
        posterior, share=np.where(np.arange(300) // 75 == 2, 3.0, 0.0) + posterior.common["bend"]
    )
    said = {"chains": 4, "draws": 75, "rhat_max": 1.004, "ess_bulk_min": 900.0, "ess_tail_min": 800.0}
    return replace(posterior, diagnostics=posterior.diagnostics | said)


def test_convergence_names_the_worst(chained):
    import arviz as az

    rhat, ess = plots.plot_convergence(chained)
    worst = [tick.get_text() for tick in rhat.get_yticklabels()]
    assert {worst[1], worst[2]} == {"share[ours]", "share[theirs]"}
    assert len(rhat.collections[1].get_offsets()) == 0, "all draws of the fit passed: none is marked"
    failing = replace(chained, diagnostics=chained.diagnostics | {"rhat_max": 1.02})
    failed = plots.plot_convergence(failing)[0].collections[1].get_offsets()
    expected = az.rhat(chained.study["share"][:, 0].reshape(4, 75))
    assert failed[:, 0].max() == pytest.approx(expected)
    assert line(rhat, "threshold, 1.01")[0][0] == 1.01
    assert [x for x, _ in dots(rhat)] == [1.004]
    assert [x for x, _ in dots(ess)] == [800.0]


def test_ranks_have_a_panel_a_parameter(chained):
    axes = plots.plot_ranks(chained, ["bend", "share", "rho[ours/muon]"])
    assert [ax.get_title() for ax in axes] == ["bend", "share[ours]", "share[theirs]", "rho[ours/muon]"]
    assert len(axes[0].figure.axes) == 4
    with pytest.raises(
        BadInput, match=r"^plot_ranks: unknown parameter 'theta'; expected one of bend, alpha, "
    ):
        plots.plot_ranks(chained, ["theta"])


def test_unknown_chains_are_refused(fake):
    for name, figure in (("plot_convergence", plots.plot_convergence), ("plot_ranks", plots.plot_ranks)):
        message = (
            f"{name}: the chains of the draws are not known; expected diagnostics with two chains or more; "
            "fit it again with `bayeslaw fit`"
        )
        refused(message, figure, fake, *(["bend"] if name == "plot_ranks" else []))


def test_thresholds_are_those_of_the_fit():
    from bayeslaw.plots import checks
    from bayeslaw.posterior import convergence

    assert (checks.RHAT_MAX, checks.ESS_MIN) == (convergence.RHAT_MAX, convergence.ESS_MIN)


def test_cells_that_are_off_are_named_with_their_direction(sweep):
    sure = fake_posterior(draws=200, spread=0.0)
    runs = sweep.assign(loss=np.where(sweep["status"] == "finished", 3.0, np.nan))
    for (n, d), off in (((1e8, 2e9), 0.0), ((1e9, 2e10), 0.05)):
        here = (runs["params_nonembedding"] == n) & (runs["status"] == "finished")
        at = surface_at(sure, Target(n, d, "adamw", "ours"))
        expected = at.log_loss[0] + run_excess(at, runs[here])[0]
        runs.loc[here, "loss"] = np.exp(expected + off)
    ax = plots.plot_predictive(sure, runs)
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "adamw, 100M x 2B (8)",
        "adamw, 1B x 20B (9)",
    ]
    (near, _), (above, _) = dots(ax)
    assert near == pytest.approx(0, abs=0.2)
    assert above == pytest.approx(5, abs=0.3)
    assert labels(ax)[:3] == [
        "as predicted: 1 of 2 cells",
        "worse than predicted: 1 of 2 cells",
        "better than predicted: 0 of 2 cells",
    ]
    refused(
        "plot_predictive: none of 1 runs has status finished and a loss; expected at least one; "
        "check the table with `bayeslaw import`",
        plots.plot_predictive,
        sure,
        sweep.iloc[[8]],
    )


def test_a_replays_figure_has_the_metrics_it_knows_and_one_legend():
    band = {"median": 0.5, "lower": 0.4, "upper": 0.6}
    entries = [{"budget": budget, "regret": band, "r2": None, "coverage": band} for budget in (1e18, 1e19)]
    figure = plots.replay_figure({"regret": entries, "random": entries})
    assert [ax.get_ylabel() for ax in figure.axes] == [
        plots.REPLAYED[name][0] for name in ("regret", "coverage")
    ]
    assert not any(ax.get_legend() for ax in figure.axes)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["regret", "random"]


def test_a_replay_without_metrics_has_no_figure():
    with pytest.raises(BadInput, match="no regret in the replay"):
        plots.replay_figure({"regret": []})
