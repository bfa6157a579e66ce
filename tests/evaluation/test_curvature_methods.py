"""Laws in curvature as rivals: what they were fitted to is recovered, and what lacks curvature is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.evaluation.curvature import METHODS, Law, fit_curvature, scatter
from bayeslaw.evaluation.heldout import evaluate
from bayeslaw.evaluation.scores import Advisor
from bayeslaw.target import Target

KAPPA = 9.0
SHARPNESS = {1e7: 400.0, 2e7: 900.0, 4e7: 500.0, 8e7: 1200.0, 1.6e8: 3000.0}


def runs_of(sizes=tuple(SHARPNESS), best=lambda n: KAPPA / SHARPNESS[n], optimizer="adamw"):
    """Seven rates about the best one of each size; the lowest is measured at step 20."""
    rows = []
    for n in sizes:
        for i, step in enumerate(np.linspace(-1.2, 1.2, 7)):
            row = {"params_nonembedding": n, "tokens": 2e8, "learning_rate": best(n) * np.exp(step + 0.1)}
            row |= {"loss": 3 * np.exp(0.02 * (step + 0.1) ** 2), "run_id": f"{n}-{i}"}
            rows.append(row | {"lambda_preconditioned_at_0.08": SHARPNESS[n] if i == 0 else np.nan})
    return pd.DataFrame(rows).assign(study="s", optimizer=optimizer, batch_tokens=1e5, status="finished")


def test_kappa_over_lambda_is_recovered_and_scored_on_a_larger_network():
    advisor = fit_curvature(runs_of((1e7, 2e7, 4e7, 8e7)), "sharpness", draws=50)
    assert isinstance(advisor, Advisor)
    target = Target(1e9, 1e10, "adamw", covariates={"sharpness": 100.0})
    assert advisor.recommend(target) == {
        "learning_rate": pytest.approx(0.09, rel=1e-3),
        "batch_tokens": pytest.approx(1e5),
    }
    assert (
        advisor.recommend(Target(1e9, 1e10, "adamw", None, 4e5, {"sharpness": 100.0}))["batch_tokens"] == 4e5
    )
    found = evaluate(advisor, runs_of((1.6e8,)))
    assert found.summary.cells_scored == 1
    assert found.summary.regret_max < 1e-4


def test_the_limit_is_the_threshold_over_lambda_and_rules_take_either_side():
    runs = runs_of(best=lambda n: 0.5 * (n / 1e7) ** -0.3)
    target = Target(1e7, 2e8, "adamw", covariates={"sharpness": 400.0})
    rates = {name: fit_curvature(runs, name, draws=20).recommend(target)["learning_rate"] for name in METHODS}
    assert rates["stability"] == pytest.approx(38 / 400)
    assert rates["max-stability"] == pytest.approx(0.5, rel=1e-2)  # that of the power law in N
    assert rates["min-stability"] == pytest.approx(rates["stability"])


def test_draws_have_the_scatter_of_the_cells():
    noise = dict(zip(SHARPNESS, (0.3, -0.3, 0.3, -0.3, 0.0), strict=True))
    runs = runs_of(best=lambda n: KAPPA / SHARPNESS[n] * np.exp(noise[n]))
    draws = fit_curvature(runs, "sharpness", draws=4000).optimum_draws(
        Target(1e9, 1e10, "adamw", covariates={"sharpness": 100.0})
    )
    logs = np.log(draws["learning_rate"])
    assert np.median(logs) == pytest.approx(np.log(0.09), abs=0.02)
    assert np.subtract(*np.quantile(logs, [0.75, 0.25])) == pytest.approx(
        2 * 0.741 * 0.3 * np.sqrt(1.2), rel=0.1
    )


def test_a_laws_spread_is_that_of_its_prediction():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(400)
    cells = pd.DataFrame({"a": x, "rate": 2 - 0.5 * x + 0.2 * rng.standard_normal(400)})
    law = Law(("a",))
    assert scatter(law, cells) == pytest.approx(0.2, rel=0.1)
    far = pd.DataFrame({"a": [20.0]})
    assert law.predict(cells, far)[0] == pytest.approx(-8, abs=0.5)
    assert law.scale(cells, far)[0] == pytest.approx(0.2 * np.sqrt(1 + 1 / 400 + 400 / np.sum(x**2)), rel=0.1)


@pytest.mark.parametrize(
    ("runs", "method", "expected"),
    [
        (
            runs_of().drop(columns="lambda_preconditioned_at_0.08"),
            "sharpness",
            "no column lambda_preconditioned",
        ),
        (runs_of((1e7,)), "sharpness", "1 cells of adamw have lambda_preconditioned .* at least 2"),
        (
            runs_of(optimizer="lion"),
            "min-stability",
            "stability threshold of lion: unknown; expected one of adam",
        ),
    ],
)
def test_tables_that_cannot_be_fitted_are_refused(runs, method, expected):
    with pytest.raises(BadInput, match=expected):
        fit_curvature(runs, method)


def test_a_target_without_curvature_gets_no_advice():
    advisor = fit_curvature(runs_of(), "sharpness", draws=20)
    bare = runs_of((8e7,)).drop(columns="lambda_preconditioned_at_0.08")
    (cell,) = evaluate(advisor, bare).cells
    assert "a target without lambda_preconditioned" in cell.note
