"""From a run table to arrays: indices, what varies, what departs from the usual."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.law.observations import prepare
from bayeslaw.law.structure import centred_study_priors, structure_of


def table(**columns) -> pd.DataFrame:
    rows = pd.DataFrame(
        {
            "run_id": [str(i) for i in range(6)],
            "study": ["b", "b", "b", "a", "a", "a"],
            "optimizer": ["adamw"] * 3 + ["muon"] * 3,
            "params_nonembedding": 1e8,
            "tokens": [2e9, 2e9, 4e9] * 2,
            "batch_tokens": 2e5,
            "learning_rate": 1e-3,
            "loss": [3.0, 2.9, 2.8, 3.1, 2.9, np.nan],
            "status": ["finished"] * 5 + ["crashed"],
        }
    )
    return rows.assign(**columns)


def test_every_run_finds_its_cell_group_study_and_size():
    runs, sweep = table(), prepare(table())
    group = sweep.cell_group[sweep.cell]
    assert [sweep.studies[s] for s in sweep.group_study[group]] == list(runs["study"])
    assert [sweep.optimizers[o] for o in sweep.group_optimizer[group]] == list(runs["optimizer"])
    assert np.exp(sweep.x["d"][sweep.cell]) * sweep.pivot["d"] == pytest.approx(runs["tokens"])
    assert [sweep.studies[s] for s in sweep.size_study[sweep.cell_size[sweep.cell]]] == list(runs["study"])


def test_the_order_of_rows_does_not_matter():
    turned, sweep = prepare(table().iloc[::-1]), prepare(table())
    assert (turned.cell[::-1] == sweep.cell).all()
    assert (turned.log_loss[::-1] == sweep.log_loss).all()


def test_weight_decay_counts_where_finished_runs_of_a_cell_compare_three():
    sweep = prepare(table(tokens=2e9, weight_decay=[0.1, 0.2, 0.3, 0.1, 0.2, 0.3]))  # the last has crashed
    b = [s == "b" for s in table()["study"]]
    assert [sweep.studies[sweep.group_study[g]] for g in sweep.groups_with["weight_decay"]] == ["b"]
    assert (np.isfinite(sweep.settings["weight_decay"]) == b).all()


def test_of_two_values_the_rarer_is_off_and_no_optimum_is_fitted():
    """Two values tell a slope; an optimum fitted to them runs away to one side."""
    sweep = prepare(table(tokens=2e9, study="b", optimizer="adamw", momentum=[0.9, 0.9, 0.95, 0.9, 0.9, 0.9]))
    assert len(sweep.groups_with["momentum"]) == 0
    assert np.isnan(sweep.settings["momentum"]).all()
    assert list(sweep.off) == [0, 0, 1, 0, 0, 0]


def test_values_that_differ_between_cells_only_are_no_comparison():
    sweep = prepare(table(tokens=np.arange(1, 7) * 1e9, weight_decay=np.arange(6) / 10))
    assert len(sweep.groups_with["weight_decay"]) == 0
    assert sweep.off.sum() == 0


def test_settings_outside_the_model_are_marked_off():
    runs = table(tokens=2e9, study="b", optimizer="adamw", grad_clip=[1.0, 1.0, 0.5, 1.0, 1.0, 1.0])
    assert list(prepare(runs).off) == [0, 0, 1, 0, 0, 0]


def test_a_warmup_fixed_in_steps_is_not_off_when_the_batch_varies():
    batch = np.array([1e5, 1e5, 2e5, 2e5, 4e5, 4e5])
    runs = table(tokens=2e9, study="b", optimizer="adamw", batch_tokens=batch, warmup_tokens=1000 * batch)
    assert prepare(runs).off.sum() == 0
    assert prepare(runs.assign(warmup_tokens=[1e8, 1e8, 2e8, 2e8, 4e8, 5e8])).off.sum() == 1


def test_a_run_that_ends_within_its_warmup_is_off_though_all_do():
    """It never reached its peak learning rate, so being usual in its cell is no excuse."""
    runs = table(warmup_tokens=2e9)  # the whole of the runs of 2e9 tokens, half of those of 4e9
    assert list(prepare(runs).off) == [1, 1, 0, 1, 1, 0]
    assert list(prepare(runs.assign(warmup_tokens=1.9e9)).off) == [0] * 6
    assert list(prepare(runs.assign(warmup_tokens=np.nan)).off) == [0] * 6


def test_only_a_study_that_reports_divergence_informs_the_cliff():
    sweep = prepare(table(status=["finished"] * 2 + ["diverged"] + ["finished"] * 2 + ["crashed"]))
    assert dict(zip(sweep.studies, sweep.cliff_studies, strict=True)) == {"a": False, "b": True}


def test_nothing_finished_is_refused():
    with pytest.raises(BadInput, match="6 runs, 0 with status = finished"):
        prepare(table(status="diverged"))


def test_excess_is_counted_from_the_best_of_the_cell():
    sweep = prepare(table())
    assert sweep.above_best == pytest.approx([np.log(3.0 / 2.9), 0, 0, np.log(3.1 / 2.9), 0, 0])


def test_each_study_has_its_level_at_its_own_centre_unless_a_pivot_is_given():
    """Cells of N = 1e8 in a, of 1e8 and 1e10 in b; a study alone lies about the pivot."""
    runs = table(study=["a", "a", "b", "b", "b", "b"], params_nonembedding=[1e8, 1e8, 1e8, 1e8, 1e10, 1e10])
    sweep = prepare(runs)
    of_study = sweep.group_study[sweep.cell_group]
    for name, centres in sweep.centres.items():
        assert centres == pytest.approx([sweep.x[name][of_study == s].mean() for s in (0, 1)])
    assert np.diff(sweep.centres["n"])[0] > 1
    assert not prepare(runs, sweep.pivot).centres["n"].any()
    assert not prepare(runs[runs["study"] == "b"]).centres["n"].any()


def test_a_studys_prior_is_moved_to_its_centre():
    """The level falls by its slopes on the way there; slopes and noise have one prior everywhere."""
    sweep = prepare(table(params_nonembedding=[1e8] * 3 + [1e10] * 3))
    known = structure_of(sweep)
    here, there = (centred_study_priors(known, sweep, s) for s in np.argsort(sweep.centres["n"]))
    way = {name: abs(np.diff(values)[0]) for name, values in sweep.centres.items()}
    fall = sum(known.study[f"slope_{name}"][0] * by for name, by in way.items())
    assert here["level"][0] - there["level"][0] == pytest.approx(fall, rel=0.01)
    assert {name for name in here if here[name] != there[name]} == {"level"}
