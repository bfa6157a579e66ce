"""The study of our own loss curves: its schedules are the lab's, and a law that is right errs by nothing."""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bayeslaw.lab.train.spec import RunSpec
from bayeslaw.schedules.features import schedule_features
from bayeslaw.schedules.fitting import fit_schedule
from bayeslaw.schedules.laws import LAWS
from bayeslaw.theory.schedule_bounds import schedule_shape
from tests.studies import own_curves
from tests.studies.own_runs import rates
from tests.studies.schedules import Runs

TRUTH = {"floor": 4.0, "first": 0.6, "distance_exponent": 0.4, "second": 0.5, "noise_exponent": 0.6}


def test_rates_are_those_of_the_lab():
    spec = RunSpec("r", "own", "stdlib", "adamw", 16, 2, 1, 131_072, 512, 0.008, schedule="wsd")
    spec = RunSpec(**asdict(spec) | {"warmup_tokens": 13_107, "final_lr_ratio": 0.0, "decay_share": 0.4})
    row = SimpleNamespace(**asdict(spec) | {"share": spec.falling_share})
    assert rates(row) == pytest.approx([spec.learning_rate_at(step) for step in range(spec.steps)])


@pytest.fixture(scope="module")
def points():
    """Curves of the power law, without noise: two shares and a longer run, a point every ten steps."""
    parts, schedules = [], []
    for name, steps, share in (("a", 200, 0.0), ("b", 200, 0.5), ("c", 400, 0.2)):
        own = 0.01 * schedule_shape(steps, share=share, warmup=0.1)
        done = np.arange(25, steps + 1, 10)
        table = pd.DataFrame({"run_id": name, "done": done, "tenth": np.ceil(10 * done / steps).astype(int)})
        parts.append(table)
        schedules += [own[:step] for step in done]
    features = schedule_features(schedules)
    return Runs(
        pd.concat(parts, ignore_index=True).assign(loss=LAWS["power"].loss(TRUTH, features)), features
    )


def test_a_law_that_is_right_errs_by_nothing(points):
    fitted, ahead = (points.where((points.table["run_id"] == "c") == longer) for longer in (False, True))
    fit = fit_schedule(LAWS["power"], fitted.features, fitted.table["loss"])
    found = own_curves.tenths(fit, ahead)
    assert len(found.truth) == ahead.table["tenth"].nunique()
    assert found.predicted == pytest.approx(found.truth, rel=1e-3)
    assert found.last.tolist() == [False] * (len(found.truth) - 1) + [True]
    last = ahead.table[ahead.table["tenth"] == 10]["loss"].mean()
    assert found.truth[-1] == pytest.approx(last)
    assert np.all((found.low < found.predicted) & (found.predicted < found.high))
