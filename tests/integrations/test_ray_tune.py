"""Ray Tune's search algorithm, called as Tune calls it and without a cluster."""

from __future__ import annotations

import math

import pytest

from bayeslaw.errors import BadInput
from bayeslaw.integrations import recommended
from bayeslaw.target import Target
from tests.support.fakes import fake_posterior

tune = pytest.importorskip("ray.tune", reason="needs Ray: pip install 'bayeslaw[ray]'")

TARGET = Target(3e9, 6e10, "adamw", "ours")


@pytest.fixture(scope="module")
def fit():
    return fake_posterior(200, 5.0)


@pytest.fixture
def space():
    return {
        "learning_rate": tune.loguniform(1e-6, 1.0),
        "batch_tokens": tune.choice([262_144, 1_048_576]),
        "weight_decay": tune.quniform(0.0, 1.0, 0.05),
        "model": {"layers": tune.randint(2, 9), "norm": "rmsnorm"},
    }


def search_in(fit, space, target=TARGET, **options):
    from bayeslaw.integrations.for_ray import PosteriorSearch

    search = PosteriorSearch(target, fit, **options)
    assert search.set_search_properties("loss", "min", space)
    return search


def test_it_begins_with_the_advice_and_stays_in_the_space(fit, space):
    search = search_in(fit, space)
    asked = [search.suggest(f"t{k}") for k in range(4)]
    first = asked[0]
    advice = recommended(3e9, 6e10, "adamw", study="ours", posterior=fit, batch_tokens=first["batch_tokens"])
    assert first["learning_rate"] == pytest.approx(advice.learning_rate)
    assert first["weight_decay"] == pytest.approx(advice.weight_decay, abs=0.025)
    for each in asked:
        assert each["batch_tokens"] in (262_144, 1_048_576)
        assert set(each["model"]) == {"layers"}, "constants are Tune's to merge"
        assert 2 <= each["model"]["layers"] <= 8
    assert len({each["learning_rate"] for each in asked}) == 4


def test_it_learns_from_what_ended(fit, space, tmp_path):
    search = search_in(fit, space)
    asked = [search.suggest(f"t{k}") for k in range(4)]
    search.on_trial_complete("t0", {"loss": 2.5, "done": True})
    search.on_trial_complete("t1", {"loss": math.nan})
    search.on_trial_complete("t2", error=True)
    search.on_trial_complete("t3")
    search.on_trial_complete("stranger", {"loss": 2.0})
    ended = [(trial.settings["learning_rate"], trial.loss) for trial in search._ended]
    assert [rate for rate, _ in ended] == [each["learning_rate"] for each in asked[:3]]
    assert ended[0][1] == 2.5
    assert math.isnan(ended[1][1])
    assert ended[2][1] is None
    fresh = search_in(fit, space).suggest("t0")
    search.save(str(tmp_path / "state.json"))
    resumed = search_in(fit, space)
    resumed.restore(str(tmp_path / "state.json"))
    again = search.suggest("t4")
    assert resumed.suggest("t4") == again != fresh


def test_bad_input_is_one_clear_error(fit, space):
    from bayeslaw.integrations.for_ray import PosteriorSearch

    with pytest.raises(BadInput, match="mode = 'max'; expected 'min'"):
        PosteriorSearch(TARGET, fit, mode="max")
    with pytest.raises(BadInput, match="no search space yet"):
        PosteriorSearch(TARGET, fit).suggest("t0")
    with pytest.raises(BadInput, match="neither have batch_tokens"):
        search_in(fit, {"learning_rate": tune.loguniform(1e-4, 1e-2)})
    with pytest.raises(BadInput, match="both have batch_tokens"):
        search_in(fit, space, Target(3e9, 6e10, "adamw", "ours", 524_288.0))
    with pytest.raises(BadInput, match="has a grid_search"):
        search_in(fit, {"learning_rate": tune.grid_search([1e-3, 1e-2])})
