"""Advice from the pooled fit and from curves, on the command line too."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.schedules.advice import advise, warmup_steps
from bayeslaw.schedules.laws import LAWS, schedule_loss
from bayeslaw.schedules.pooled import LOG_COVARIANCE, LOG_MEAN, LOSSES, NOISE, pooled_fit
from bayeslaw.theory.schedule_bounds import learning_rate_shift, schedule_shape
from tests.studies import schedules
from tests.studies.tables import read_rows
from tests.support.command import run

TRUE = {
    **{"floor": 2.6, "first": 0.6, "second": 400.0},
    **{"exponent": 0.45, "speed": 2.0, "rate_exponent": 0.6, "fade_exponent": 0.6},
}
ASKED = ["schedule", "advise", "--params", "124M", "--tokens", "5.12e9", "--batch-tokens", "102400"]


def rows(name, steps, share, at):
    """A simulated run, as a file has it: corners of the schedule, and losses."""
    rates = 1e-3 * schedule_shape(steps, share=share, warmup=0.02)
    corners = sorted({1, round(0.02 * steps), round((1 - share) * steps), steps, *at})
    losses = [schedule_loss("multi-power", TRUE, rates[:step]) if step in at else np.nan for step in corners]
    return pd.DataFrame(
        {"run": name, "step": corners, "learning_rate": rates[np.array(corners) - 1], "loss": losses}
    )


@pytest.fixture(scope="module")
def curves(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curves")
    trunk = rows("trunk", 5000, 0.0, range(500, 5001, 500))
    trunk.to_csv(folder / "trunk.csv", index=False)
    branches = [
        rows(f"b{steps}-{share}", steps, share, [steps]) for steps in (2500, 5000) for share in (0.1, 0.2)
    ]
    pd.concat([trunk, *branches]).to_csv(folder / "all.csv", index=False)
    return folder


def test_the_pooled_fit_is_the_studys():
    (row,) = [row for row in read_rows(schedules.RESULTS) if row["task"] == "pooled"]
    assert (list(LOG_MEAN), [list(each) for each in LOG_COVARIANCE]) == (
        row["log_mean"],
        row["log_covariance"],
    )
    assert (row["fitted"], row["noise"]) == (LOSSES, NOISE)


def test_pooled_advice():
    found = advise(pooled_fit(), 50_000, None)
    assert found["use"]["final_ratio"] == 0.0
    assert found["use"]["decay"] == "linear"
    assert 0.3 < found["decay_share"]["lower"] < found["decay_share"]["upper"] <= 1.0
    cost = {
        (each["decay"], each["share"], each["final"]): each["expected_per_mille"] for each in found["costs"]
    }
    assert 8 < cost["linear", 0.1, 0.0] < 13  # 10.6 was measured
    assert cost["linear", 0.2, 0.0] < cost["linear", 0.1, 0.0]
    assert "no law of the schedule gives a reason for warm-up" in found["warmup_from"]
    assert found["warnings"] == []
    assert "50 times fewer than the longest" in advise(pooled_fit(), 1000, None)["warnings"][0]
    assert "20 times the longest schedule" in advise(pooled_fit(), 1_000_000, None)["warnings"][0]


def test_the_peak_moves_with_the_two_scalars():
    factors = advise(pooled_fit(), 50_000, 2e-3)["peak_factors"]
    use = advise(pooled_fit(), 50_000, 2e-3)["use"]
    own = schedule_shape(4000, use["decay"], share=use["decay_share"], warmup=0.01)
    other = schedule_shape(4000, "cosine", share=0.99, warmup=0.01)
    assert factors["cosine to 0"] == pytest.approx(np.exp(learning_rate_shift(other, own)))


def test_a_short_run_and_a_strange_peak():
    with pytest.raises(BadInput, match="99 steps; expected at least 100"):
        advise(pooled_fit(), 99, None)
    assert "outside the fitted" in advise(pooled_fit(), 50_000, 1.0)["warnings"][0]
    assert (warmup_steps(1000), warmup_steps(50_000, beta2=0.999)) == (40, 2000)


def test_curves_give_the_share_that_the_truth_has(curves, monkeypatch, capsys):
    code, out, err = run(
        monkeypatch, capsys, *ASKED, "--tokens", "5.12e8", "--curve", str(curves / "all.csv"), "--json"
    )
    assert (code, err) == (0, "")
    found = json.loads(out)
    shares = np.arange(0.05, 1.0, 0.05)
    losses = [
        schedule_loss("multi-power", TRUE, 1e-3 * schedule_shape(5000, share=min(s, 0.98), warmup=0.02))
        for s in shares
    ]
    assert found["use"]["decay_share"] == pytest.approx(shares[np.argmin(losses)], abs=0.15)
    assert found["inputs"]["steps"] == 5000
    assert found["held_peak"] == 1e-3
    assert found["evidence"]["law"]["name"] == "multi-power"


def test_a_peak_that_is_held_makes_long_decays_dear(curves, monkeypatch, capsys):
    """Why a cosine costs more by one's own curves than by the pooled fit, on one and the same law."""
    cosine = {}
    for peak in (2.5e-4, None):
        costs = advise(pooled_fit(), 50_000, peak)["costs"]
        cosine[peak] = [
            c["expected_per_mille"] for c in costs if (c["decay"], c["final"]) == ("cosine", 0.0)
        ][-1]
    assert cosine[2.5e-4] > 3 * cosine[None]
    _, out, _ = run(monkeypatch, capsys, *ASKED, "--curve", str(curves / "all.csv"))
    assert "costs at peak 0.001, per mille of the loss" in out
    assert (
        "held      all costs are at the peak of your curves, 0.001: a longer decay has a higher best" in out
    )


def test_people_read_tables(curves, monkeypatch, capsys):
    _, out, _ = run(monkeypatch, capsys, *ASKED)
    assert "linear over 20%, to 0%" in out
    assert "costs at its best peak, per mille of the loss" in out
    assert "warning: no curve given: the advice rests on public runs of 124M parameters" in out
    _, out, _ = run(monkeypatch, capsys, "schedule", "fit", str(curves / "all.csv"))
    assert out.startswith("multi-power law, fitted to 14 losses by least squares")
    assert "misfit   0.2 per mille of the loss; longest 5k steps" in out
    _, out, _ = run(monkeypatch, capsys, "schedule", "fit", str(curves / "trunk.csv"), "--law", "power")
    assert "warning: no curve decays" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["schedule", "fit", "trunk.csv", "--law", "magic"],
            "schedule law = 'magic'; expected one of annealing",
        ),
        (
            ["schedule", "fit", "all.csv", "--law", "bound", "--nuts"],
            "the bound law has no shape parameter to draw",
        ),
        (
            [*ASKED, "--curve", "trunk.csv"],
            "trunk.csv: no curve decays; expected decays to learn from; run one run",
        ),
        ([*ASKED, "--curve", "no.csv"], "no.csv: no such file"),
        ([*ASKED, "--tokens", "1e6"], "9 steps; expected at least 100"),
        ([*ASKED, "--params", "-1"], "--params -1: expected a finite number above 0"),
        ([*ASKED, "--batch-tokens", "1e12"], "batch_tokens = 1e+12 exceeds tokens"),
    ],
)
def test_bad_input_is_one_clear_message(curves, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(curves)
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert said in err
    assert err.count("\n") == 1


def test_the_measured_shift_of_the_best_rate(shared_data):
    """Schaipp et al.: the best ln rate rises by 0.30 a nat of decay share in theory, 0.34 in their runs."""
    found = list(schedules.shifts())
    assert len(found) == 24
    theory, measured = (schedules.slope_of(found, name) for name in ("theory", "log_rate"))
    assert f"{theory:.2f}" == "0.30"
    assert measured == pytest.approx(theory, abs=0.06)


def test_the_power_bound_over_peaks(shared_data):
    """The row of the study that theory's benchmark prints: 1.27 per mille, exponents .114 and .213."""
    task = next(schedules.tasks())
    row = schedules.score(task, "power", "least squares")
    params = row["params"]
    assert f"{params['distance_exponent']:.3f} {params['noise_exponent']:.3f}" == "0.114 0.213"
    assert f"{row['fit_rms']:.2f} {row['rms']:.1f} {row['regret']:.2f}" == "1.27 3.1 0.67"
    assert set(params) == set(LAWS["power"].parameters)
