"""Evaluation, end to end, of advisors whose truth is known."""

import json
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.evaluation.baselines import fit_near_optimal
from bayeslaw.evaluation.heldout import evaluate, law_advisor
from bayeslaw.evaluation.scores import Advisor
from bayeslaw.law.published import LAWS
from bayeslaw.plots import plot_regret, plot_reliability
from bayeslaw.runs.importing import import_runs
from tests.support.sweeps import basin, grid_cell

mpl.use("Agg")
NOISE = 1e-3


def truth(params, tokens):
    """Best learning rate, best batch [tokens], lowest loss [nats/token]."""
    return 2.0 * params**-0.37, 0.58 * tokens**0.571, 1.8 + 400 * params**-0.34 + 400 * tokens**-0.28


SIZES = [(1e8, 2e9), (1e8, 2e10), (4e8, 8e9), (1e9, 4e10)]


@pytest.fixture(scope="module")
def sweep():
    """Four grids around the truth, and a diverged and a crashed run."""
    cells = []
    for i, (n, d) in enumerate(SIZES):
        rate, batch, loss = truth(n, d)
        cells.append(grid_cell(n, d, (rate, batch), loss, NOISE, seed=i))
    bad = cells[0].iloc[:2].assign(status=["diverged", "crashed"], loss=[9.0, np.nan], run_id=["x", "y"])
    return pd.concat([*cells, bad], ignore_index=True)


@dataclass
class Oracle:
    """Knows the truth, up to a factor on the learning rate, on its widths and on the level."""

    rate: float = 1.0
    width: float = 1.0
    level: float = 1.0
    label: str = "oracle"

    def recommend(self, target):
        rate, batch, _ = truth(target.params_nonembedding, target.tokens)
        return {"learning_rate": self.rate * rate, "batch_tokens": target.batch_tokens or batch}

    def optimum_draws(self, target):
        rng = np.random.default_rng(1)
        return {k: v * np.exp(0.2 * rng.standard_normal(500)) for k, v in self.recommend(target).items()}

    def loss_draws(self, runs):
        rate, batch, loss = truth(runs["params_nonembedding"].to_numpy(), runs["tokens"].to_numpy())
        excess = basin(np.log(runs["learning_rate"] / rate), np.log(runs["batch_tokens"] / batch))
        rng = np.random.default_rng(2)
        noise = self.width * NOISE * rng.standard_normal((600, len(runs)))
        return self.level * loss * np.exp(excess.to_numpy() + noise)


def test_the_oracle_scores_as_an_oracle_should(sweep):
    assert isinstance(Oracle(), Advisor)
    result = evaluate(Oracle(), sweep)
    runs = result["runs"]
    assert runs["n"] == len(sweep) - 2
    assert runs["not_finished"] == {"crashed": 1, "diverged": 1}
    assert runs["r2"] > 0.999
    assert runs["r2_within_cells"] > 0.99
    loss = sweep["loss"][sweep["status"] == "finished"].mean()
    assert runs["mae"] == pytest.approx(loss * NOISE * np.sqrt(2 / np.pi), rel=0.1)
    assert runs["crps"] == pytest.approx(loss * NOISE / np.sqrt(np.pi), rel=0.1)
    assert runs["coverage"] == pytest.approx(0.9, abs=0.05)
    assert runs["coverage_by_level"]["0.5"] == pytest.approx(0.5, abs=0.08)
    assert runs["effective_n"] == pytest.approx(runs["n"], rel=0.1)  # its noise is independent
    assert 0.0 < runs["joint_pit"] < 0.999
    summary = result["summary"]
    assert summary["cells_scored"] == summary["cells"] == 4
    assert summary["regret_max"] < 5e-4
    assert summary["optimum_coverage"] == {"batch_tokens": 1.0, "learning_rate": 1.0}
    width = np.exp(2 * 1.645 * 0.2)  # 90% of a normal in ln units
    assert summary["optimum_interval_factor"]["learning_rate"] == pytest.approx(width, rel=0.1)


def test_the_keys_of_the_contract_are_there_and_the_result_is_json(sweep):
    result = json.loads(json.dumps(evaluate(Oracle(), sweep, level=0.8).to_json(), allow_nan=False))
    assert {"n", "r2", "mae", "crps", "coverage", "level"} <= set(result["runs"])
    assert result["runs"]["level"] == 0.8
    for cell in result["cells"]:
        assert {"optimizer", "params", "tokens", "n", "regret"} <= set(cell)


def test_regret_is_the_known_price_of_a_learning_rate_off_by_a_known_factor(sweep):
    for factor in (0.5, 2.0):
        result = evaluate(Oracle(rate=factor), sweep)
        price = np.expm1(basin(np.log(factor), 0.0))
        assert result["summary"]["regret_mean"] == pytest.approx(price, rel=0.1)
        assert result["summary"]["optimum_coverage"]["learning_rate"] == 0


def test_overconfident_and_biased_predictions_are_caught(sweep):
    narrow = evaluate(Oracle(width=0.3), sweep)["runs"]
    assert narrow["coverage"] < 0.5
    shifted = evaluate(Oracle(level=1.01), sweep)["runs"]
    assert shifted["coverage"] < 0.1
    assert shifted["r2_within_cells"] > 0.99 > evaluate(Oracle(level=1.1), sweep)["runs"]["r2"]


def test_advice_outside_the_runs_is_flagged_as_a_lower_bound(sweep):
    result = evaluate(Oracle(rate=100.0), sweep)
    assert result["summary"]["regret_lower_bounds"] == 4
    assert all(cell["beyond_runs"] for cell in result["cells"])


def test_cells_that_cannot_be_judged_say_why_and_stay_out_of_the_summary(sweep):
    line = grid_cell(2e8, 5e9, rates=3, batches=1)
    result = evaluate(Oracle(), pd.concat([sweep, line]))
    (odd,) = [c for c in result["cells"] if not c["scorable"]]
    assert odd["regret"] is None
    assert "scoring needs 4" in odd["note"]
    assert result["summary"]["cells_scored"] == 4


def test_a_single_batch_asks_for_advice_at_that_batch():
    rate, _, loss = truth(1e8, 2e9)
    line = grid_cell(1e8, 2e9, (rate, 123456.0), loss, batches=1)
    (cell,) = evaluate(Oracle(), line)["cells"]
    assert cell["recommendation"]["batch_tokens"] == pytest.approx(123456)
    assert set(cell["optimum_covered"]) == {"learning_rate"}
    assert not cell["beyond_runs"]


def test_an_advisor_without_losses_is_scored_on_its_advice_alone(sweep):
    result = evaluate(fit_near_optimal(sweep), sweep)
    assert set(result["runs"]) == {"n", "level", "not_finished"}
    assert result["summary"]["regret_mean"] < 1e-3


def test_an_optimizer_the_advisor_does_not_know_is_a_note_and_not_a_crash(sweep):
    muon = sweep.assign(optimizer="muon", run_id=sweep["run_id"] + "m")
    result = evaluate(fit_near_optimal(sweep), pd.concat([sweep, muon]), level=0.5)
    notes = [c["note"] for c in result["cells"] if c["optimizer"] == "muon"]
    assert all(note.startswith("no advice: ") for note in notes)
    assert result["summary"]["cells_scored"] == 4


@pytest.mark.parametrize("name", [name for name, law in LAWS.items() if law.learning_rate])
def test_every_law_can_be_evaluated_and_says_when_it_borrowed_a_batch(name, sweep):
    advisor = law_advisor(name)
    assert isinstance(advisor, Advisor)
    assert evaluate(advisor, sweep)["summary"]["cells_scored"] == 4
    assert bool(advisor.flags) == ("Step Law" in advisor.label) == (name in ("bjorck", "kaplan", "zhou"))


def test_bad_input_is_refused(sweep):
    with pytest.raises(BadInput, match="level = 90"):
        evaluate(Oracle(), sweep, level=90)
    with pytest.raises(BadInput, match="none of 1 runs has status finished"):
        evaluate(Oracle(), sweep[sweep["status"] == "crashed"])
    with pytest.raises(BadInput, match="law = 'chinchilla'; expected one of step"):
        law_advisor("chinchilla")
    with pytest.raises(
        BadInput, match=r"law = 'merrill'; expected one of step, .* which give a learning rate"
    ):
        law_advisor("merrill")


def test_the_figures_show_the_numbers_of_the_result(sweep):
    result = evaluate(Oracle(rate=2.0), sweep)
    ax = plot_reliability(result)
    line = next(x for x in ax.lines if x.get_label() == "oracle")
    assert dict(zip(*line.get_data(), strict=True)) == {
        float(k): v for k, v in result["runs"]["coverage_by_level"].items()
    }
    points = [x.get_xdata()[0] for x in plot_regret(result).lines]
    assert points == pytest.approx(sorted(100 * c["regret"] for c in result["cells"]))
    with pytest.raises(BadInput, match="predicts no loss"):
        plot_reliability(evaluate(law_advisor("step"), sweep))
    mpl.pyplot.close("all")


def test_held_out_large_step_law_cells(shared_data):
    """Fitted below 5e8 parameters, judged above; the numbers were measured when this was written."""
    runs, _ = import_runs(shared_data / "steplaw_dense.csv", study="steplaw", adapter="steplaw")
    large = runs["params_nonembedding"] > 5e8
    held_out, seen = runs[large], runs[~large]
    regret = {
        advisor.label: evaluate(advisor, held_out)["summary"]["regret_mean"]
        for advisor in (fit_near_optimal(seen), law_advisor("step"), law_advisor("constant"))
    }
    assert list(regret.values()) == pytest.approx([4.6e-4, 2.6e-4, 2.08e-3], abs=1e-4)
