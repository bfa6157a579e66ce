"""Optuna's sampler: what trials get, joined and alone, and studies that it refuses."""

from __future__ import annotations

import math
import runpy

import pytest

from bayeslaw.errors import BadInput
from bayeslaw.integrations import enqueue, first_trials, recommended, search_ranges
from bayeslaw.target import Target
from tests.support.documents import ROOT
from tests.support.fakes import fake_posterior

optuna = pytest.importorskip("optuna", reason="needs Optuna: pip install 'bayeslaw[validation]'")
optuna.logging.set_verbosity(optuna.logging.ERROR)

TARGET = Target(3e9, 6e10, "adamw", "ours")
BATCHES = [262_144, 1_048_576]


@pytest.fixture(scope="module")
def fit():
    return fake_posterior(200, 5.0)


def rate_alone(trial):
    return 1 + trial.suggest_float("learning_rate", 1e-6, 1.0, log=True)


def study_with(fit, target=TARGET, **options):
    from bayeslaw.integrations.for_optuna import PosteriorSampler

    return optuna.create_study(sampler=PosteriorSampler(target, fit), **options)


def objective(trial):
    """Asks for the batch first, so that even the first trial's learning rate suits it."""
    batch = trial.suggest_categorical("batch_tokens", BATCHES)
    rate = trial.suggest_float("learning_rate", 1e-6, 1.0, log=True)
    decay = trial.suggest_float("weight_decay", 0.0, 1.0, step=0.05)
    trial.suggest_int("layers", 2, 8)
    if trial.number == 3:
        return math.inf
    if trial.number == 4:
        return math.nan
    return 2.5 + math.log(rate / 1e-3) ** 2 / 100 + decay / 100 + batch / 1e9


def test_a_study_begins_with_the_advice_and_stays_in_the_space(fit):
    study = study_with(fit)
    study.optimize(objective, n_trials=8)
    first = study.trials[0].params
    advice = recommended(3e9, 6e10, "adamw", study="ours", posterior=fit, batch_tokens=first["batch_tokens"])
    assert first["learning_rate"] == pytest.approx(advice.learning_rate)
    assert first["weight_decay"] == pytest.approx(advice.weight_decay, abs=0.025)
    for trial in study.trials:
        assert trial.params["batch_tokens"] in BATCHES
        assert trial.params["weight_decay"] / 0.05 == pytest.approx(
            round(trial.params["weight_decay"] / 0.05)
        )
    assert len({trial.params["learning_rate"] for trial in study.trials}) == 8
    assert len({trial.params["layers"] for trial in study.trials}) > 1, "of other names: at random"


def test_later_trials_are_sampled_jointly(fit):
    study = study_with(fit)
    study.optimize(objective, n_trials=2)
    space = study.sampler.infer_relative_search_space(study, study.trials[0])
    assert set(space) == {"batch_tokens", "learning_rate", "weight_decay"}
    from bayeslaw.integrations.for_optuna import _ended
    from bayeslaw.integrations.search import nearest, search_at, suggested, within

    moves = {"batch_tokens": nearest(BATCHES), "learning_rate": within(1e-6, 1.0)}
    moves["weight_decay"] = within(0.0, 1.0, 0.05)
    asked = suggested(search_at(TARGET, fit), _ended(study), moves, 2)
    assert study.ask().suggest_float("learning_rate", 1e-6, 1.0, log=True) == asked["learning_rate"]


def test_trials_say_how_they_ended(fit):
    from bayeslaw.integrations.for_optuna import _ended

    study = study_with(fit)
    study.optimize(objective, n_trials=5)
    pruned = study.ask()
    pruned.suggest_float("learning_rate", 1e-6, 1.0, log=True)
    study.tell(pruned, state=optuna.trial.TrialState.PRUNED)
    found = _ended(study)
    assert [trial.loss for trial in found[3:]] == [math.inf, None]
    assert found[0].loss == study.trials[0].value


def test_queued_priors_come_first(fit):
    target = Target(3e9, 6e10, "adamw", "ours", 524_288.0)
    study, ranges = study_with(fit, target), search_ranges(target, posterior=fit)
    trials = first_trials(target, 2, fit)
    enqueue(study, trials, {"learning_rate": ranges["learning_rate"]})
    study.optimize(rate_alone, n_trials=3)
    rates = [trial.params["learning_rate"] for trial in study.trials]
    low, high = ranges["learning_rate"]
    assert rates[:2] == [min(max(trial["learning_rate"], low), high) for trial in trials]
    assert len(set(rates)) == 3


def test_studies_that_it_refuses(fit):
    for options in ({"direction": "maximize"}, {"directions": ["minimize", "minimize"]}):
        with pytest.raises(
            BadInput, match="expected one loss to minimise; create it with direction='minimize'"
        ):
            rate_alone(study_with(fit, **options).ask())
    no_batch = study_with(fit)
    with pytest.raises(BadInput, match="neither its trials nor the target have batch_tokens"):
        no_batch.optimize(rate_alone, n_trials=2)
    both = study_with(fit, Target(3e9, 6e10, "adamw", "ours", 524_288.0))
    with pytest.raises(BadInput, match="but the search space has batch_tokens too"):
        both.optimize(objective, n_trials=1)


def test_the_example_runs(capsys):
    study = runpy.run_path(str(ROOT / "docs" / "examples" / "optuna_search.py"))["study"]
    assert len(study.trials) == 8
    assert study.best_value < study.trials[0].value
    assert "learning_rate" in capsys.readouterr().out
