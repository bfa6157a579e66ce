"""Densities in double precision, as during a fit."""

from __future__ import annotations

import pytest

from bayeslaw.inference.effort import double_precision


@pytest.fixture(autouse=True, scope="module")
def in_double_precision():
    with double_precision():
        yield
