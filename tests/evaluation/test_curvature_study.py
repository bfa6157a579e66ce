"""The curvature study on runs whose best rate follows from a curvature that is known."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from tests.studies import curvature

RATES = np.geomspace(1e-3, 0.1, 7)
SHAPES = tuple(itertools.product((16, 32), (1, 4, 8)))


def sweep(law, sharpness):
    """Runs whose ln loss is a parabola about ``law(width, depth)``, measured at two rates."""
    return pd.DataFrame(
        run(w, d, rate, law(w, d), sharpness) for w, d in SHAPES for rate in (*RATES, 3e-3, 1e-2)
    )


def run(width, depth, rate, best, sharpness):
    """One row of the table."""
    row = {
        **{"study": "shapes", "optimizer": "adamw", "width": width, "depth": depth, "status": "finished"},
        **{"params_nonembedding": 12.0 * width**2 * depth + width, "tokens": 131072.0, "batch_tokens": 512.0},
        **{"learning_rate": rate, "loss": 5 * np.exp(0.01 * np.log(rate / best) ** 2)},
    }
    if rate not in (3e-3, 1e-2):
        return row
    value = sharpness(width, depth, rate)
    names = (
        "curvature_seconds",
        "curvature_gradients",
        "lambda_max_at_0.08",
        "lambda_preconditioned_at_0.08",
    )
    return row | dict.fromkeys(names, value) | {"critical_learning_rate_at_0.08": 2 / value}


@pytest.fixture(scope="module")
def rows():
    """Results where the best rate is 150 over the sharpness; the two largest networks are held out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curvature, "LARGER", 26e3)
        return curvature.results(
            sweep(lambda w, d: 0.3 / w * d**0.3, lambda w, d, rate: 500 * w / d**0.3 * (3e-3 / rate) ** 0.5)
        )


def test_where_the_rate_is_kappa_over_lambda_that_law_wins(rows):
    found = {row["predictor"]: row for row in rows if row["what"] == "predictor"}
    assert found["kappa / lambda_max"]["loo"] < 1e-2 < 0.1 < found["power law in N"]["loo"]
    assert found["kappa / lambda_max"]["r2"] > 0.999
    assert found["kappa / lambda_max"]["larger"]["regret"] < 1e-5
    assert found["power law in width and depth"]["larger"]["rms"] < 1e-2
    slopes = {(row["of"], row["group"]): row["exponents"] for row in rows if row["what"] == "exponents"}
    assert slopes["rate", "adamw, shapes"] == pytest.approx([-1, 0.3], abs=1e-2)
    (constant,) = [row for row in rows if row["what"] == "constants"]
    assert constant["raw"] == pytest.approx([150, 150, 150], rel=0.02)
    adapted = [row for row in rows if row["what"] == "adaptation"]
    assert {round(row["mean"], 6) for row in adapted} == {0.5}


def test_where_curvature_is_noise_it_is_found_to_predict_nothing():
    rng = np.random.default_rng(1)
    cells, smoothed = curvature.joined(
        sweep(lambda w, d: 0.3 / w * d**0.3, lambda w, d, rate: float(np.exp(rng.normal(5, 1))))
    )
    noise, law = (
        curvature.scored(name, curvature.PREDICTORS[name], cells, smoothed)
        for name in ("kappa / lambda_max", "power law in width and depth")
    )
    assert noise["loo"] > 0.5 > 0.01 > law["loo"]
    assert noise["r2"] < 0 < 0.99 < law["r2"]


def test_a_rule_takes_the_lower_or_the_higher_rate():
    cells = pd.DataFrame({"rate": [0.0, 0.0], "a": [1.0, -1.0], "b": [0.0, 0.0]})
    laws = curvature.Law(given=((1, "a"),), level=False), curvature.Law(given=((1, "b"),), level=False)
    assert curvature.Rule(np.minimum, laws).predict(cells, cells).tolist() == [0, -1]
    assert curvature.Rule(np.maximum, laws).predict(cells, cells).tolist() == [1, 0]


def test_a_cell_whose_best_rate_lies_at_the_edge_is_left_out():
    runs = sweep(lambda w, d: 1.0 if w == 16 else 0.01, lambda w, d, rate: 10.0)
    cells, smoothed = curvature.joined(runs)
    assert len(cells) == len(smoothed) == 3
    assert np.exp(cells["width"]).min() == pytest.approx(32)


def test_the_tables_show_every_kind_of_result(rows):
    text = curvature.table(rows)
    assert text.count("\n\n**") == 5
    assert "| kappa / lambda_max | 1 | 1.00 |" in text
