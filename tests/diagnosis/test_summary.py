"""What a fit says about itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bayeslaw.advice.target_surface import optimum_draws, surface_at
from bayeslaw.diagnosis.summary import fit_summary
from bayeslaw.target import Target
from tests.support.fakes import fake_posterior
from tests.support.sweeps import grid_cell

CELLS = [(1e8, 2e9), (1e9, 2e10)]


@pytest.mark.parametrize(
    ("factors", "said"),
    [
        ((0.5, 1.0, 2.0), None),
        ((2.0, 4.0, 8.0), "below"),
        ((0.1, 0.2, 0.4), "above"),
        ((2.0, 4.0), None),  # two values bracket nothing, and are not fitted
    ],
)
def test_a_fitted_decay_outside_the_scan_is_doubted(factors, said):
    posterior = fake_posterior(spread=0.0)
    tables = []
    for n, d in CELLS:
        best = np.median(optimum_draws(surface_at(posterior, Target(n, d, "adamw", "ours")))["weight_decay"])
        cell = grid_cell(n, d).assign(study="ours")
        tables.append(cell.assign(weight_decay=best * np.resize(factors, len(cell))))
    said_of = fit_summary(posterior, pd.concat(tables))["warnings"]
    expected = (
        f"ours, adamw: in 2 of 2 cells the fitted best weight decay lies {said} all values tried: "
        "it is extrapolated; extend the scan"
    )
    assert [text for text in said_of if "weight decay" in text] == ([expected] if said else [])


@pytest.mark.parametrize(
    ("lengths", "parts", "unsaid"),
    [
        ({"a": 128.0, "b": np.nan}, ["sequence"], "b"),
        ({"a": 128.0, "b": 512.0}, ["sequence"], None),
        ({}, ["sequence"], "a, b"),
        ({}, [], None),  # the core counts batches in tokens
    ],
)
def test_studies_that_do_not_say_their_sequences_are_named(lengths, parts, unsaid):
    posterior = fake_posterior()
    posterior = replace(posterior, provenance=posterior.provenance | {"parts": parts})
    runs = pd.concat([grid_cell(*CELLS[0]).assign(study=study) for study in ("a", "b")])
    runs = runs.drop(columns="sequence_length", errors="ignore")
    runs = runs.assign(sequence_length=runs["study"].map(lengths)) if lengths else runs
    said = [text for text in fit_summary(posterior, runs)["warnings"] if "sequence_length" in text]
    assert [text.split(":")[0] for text in said] == ([unsaid] if unsaid else [])
