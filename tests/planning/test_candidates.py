"""Candidates and their costs, from tables and from search spaces."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.planning.candidates import drawn_from, places, read_candidates, read_space, with_cost

SPACE = """
[space]
count = 64
optimizer = ["adamw", "muon"]
params_nonembedding = [25e3, 100e3]
tokens_per_param = 20
learning_rate = {low = 1e-4, high = 1e-1}
batch_tokens = {low = 512, high = 16384}
momentum = {low = 0.8, high = 0.98}
corpus = "stdlib"
"""


def table(**columns):
    rows = pd.DataFrame({"learning_rate": [1e-3, 2e-3], "batch_tokens": 4096, "optimizer": "AdamW"})
    return rows.assign(params_nonembedding=1e6, tokens=2e7).assign(**columns)


def space(tmp_path, text):
    path = tmp_path / "s.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("columns", "cost", "unit"),
    [
        ({}, 1.2e14, "FLOP"),
        ({"flops": 5.0}, 5.0, "FLOP"),
        ({"wall_seconds": 7.0}, 7.0, "s"),
        ({"energy_joules": 8.0, "wall_seconds": 7.0}, 7.0, "s"),
        ({"cost": 3.0, "flops": 5.0}, 3.0, "cost"),
    ],
)
def test_the_cost_is_the_column_or_6nd(columns, cost, unit):
    checked, said = with_cost(table(**columns), "t")
    assert (checked["cost"] == cost).all()
    assert said == unit
    assert "flops" not in checked  # a plan gives tokens or flops, not both
    assert checked["optimizer"].tolist() == ["adamw", "adamw"]


def test_results_of_a_pool_are_left_out_and_what_else_it_says_is_kept(tmp_path):
    runs = table(run_id=["a", "b"], study="ours", loss=[3.0, np.nan], status="finished", mine=[1, 2])
    runs.to_csv(tmp_path / "p.csv", index=False)
    pool, _ = read_candidates(tmp_path / "p.csv")
    assert {"run_id", "study", "mine", "cost"} <= set(pool)
    assert not {"loss", "status"} & set(pool)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"cost": [1.0, np.nan]},
            "t: cost missing in row 2, 1 of 2 such rows; expected a cost above 0 everywhere; complete the "
            "column, or drop it and the cost is 6 N D",
        ),
        (
            {"flops": [0.0, -1.0]},
            "t: flops = 0.0 in row 1, 2 of 2 such rows; expected a cost above 0 everywhere; complete the "
            "column, or drop it and the cost is 6 N D",
        ),
        (
            {"learning_rate": [1e-3, -1.0]},
            "t breaks the run-table contract in 1 row:\n"
            "  row 2 (run candidate 2): learning_rate = -1; expected > 0\n"
            "Correct or drop these rows; rows are counted from 1 below the header.",
        ),
    ],
)
def test_broken_candidates_are_refused(columns, message):
    with pytest.raises(BadInput) as caught:
        with_cost(table(**columns), "t")
    assert str(caught.value) == message


def test_missing_columns_and_empty_tables_are_refused():
    with pytest.raises(BadInput, match="t: tokens missing; expected candidates with the columns optimizer"):
        with_cost(table().drop(columns="tokens"), "t")
    with pytest.raises(BadInput, match="t: no rows; expected one row a candidate"):
        with_cost(table().iloc[:0], "t")


def test_a_space_is_drawn_within_its_bounds(tmp_path):
    pool, unit = read_space(space(tmp_path, SPACE))
    assert (len(pool), unit) == (64, "FLOP")
    assert set(pool["optimizer"]) == {"adamw", "muon"}
    assert set(pool["params_nonembedding"]) == {25e3, 100e3}
    assert (pool["tokens"] == 20 * pool["params_nonembedding"]).all()
    assert pool["cost"].to_numpy() == pytest.approx(6 * pool["params_nonembedding"] * pool["tokens"])
    assert pool["learning_rate"].between(1e-4, 1e-1).all()
    assert pool["momentum"].between(0.8, 0.98).all()
    assert (pool["corpus"] == "stdlib").all()
    again, _ = read_space(space(tmp_path, SPACE))
    assert pool.equals(again)
    other, _ = read_space(space(tmp_path, SPACE.replace("count = 64", "count = 64\ndraw_seed = 1")))
    assert not pool.equals(other)


def test_spaces_are_joined_and_a_point_is_one_candidate(tmp_path):
    point = (
        SPACE.replace("[25e3, 100e3]", "5e4")
        .replace('["adamw", "muon"]', '"lion"')
        .replace("{low = 1e-4, high = 1e-1}", "1e-3")
        .replace("{low = 512, high = 16384}", "1024")
        .replace("{low = 0.8, high = 0.98}", "0.9")
    )
    both = SPACE.replace("[space]", "[[space]]") + point.replace("[space]", "[[space]]")
    pool, _ = read_space(space(tmp_path, both))
    assert pool["optimizer"].value_counts()["lion"] == 1
    assert len(pool) == 65


def test_runs_shorter_than_a_step_are_left_out(tmp_path):
    text = SPACE.replace("tokens_per_param = 20", "tokens = [1024, 65536]")
    pool, _ = read_space(space(tmp_path, text))
    assert (pool["batch_tokens"] <= pool["tokens"]).all()
    with pytest.raises(BadInput, match="none of 64 candidates is feasible, every batch exceeds"):
        read_space(space(tmp_path, SPACE.replace("tokens_per_param = 20", "tokens = 256")))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[space]", "[spaces]", "spaces; expected one or more tables \\[space\\] and nothing else"),
        ("count = 64", "count = 0", "count = 0; expected a whole number from 1 to 100000; correct it"),
        ("tokens_per_param = 20", "", "tokens and tokens_per_param are both missing; expected one of them"),
        ("count = 64", "tokens = 1e6", "tokens and tokens_per_param are both given; expected one of them"),
        ('optimizer = ["adamw", "muon"]', "", "optimizer missing; expected a value, a list or a range"),
        ('["adamw", "muon"]', "[]", r"optimizer = \[\]; expected at least one choice; add one"),
        ("{low = 1e-4, high = 1e-1}", "{low = 1e-1, high = 1e-4}", "two numbers with low < high; correct it"),
        (
            "{low = 1e-4, high = 1e-1}",
            "{low = 0, high = 1e-1}",
            "expected low > 0, for it is even in the log",
        ),
        ("high = 0.98", "high = 1.0", "expected 0 <= low < high < 1; correct it"),
        ('corpus = "stdlib"', "learning_rat = [1]", "only optimizer, params_nonembedding.* are searched"),
        ("[25e3, 100e3]", '["big"]', "params_nonembedding = 'big'; expected a number > 0"),
        ("1e-1}", "1e-1", "not a readable TOML file"),
        ("{low = 1e-4, high = 1e-1}", "-1", "learning_rate = -1; expected > 0"),
    ],
)
def test_a_broken_space_is_refused(tmp_path, old, new, words):
    assert old in SPACE
    with pytest.raises(BadInput, match=words):
        read_space(space(tmp_path, SPACE.replace(old, new)))


def test_a_missing_space_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no such file; expected a space in TOML"):
        read_space(tmp_path / "no.toml")


def test_places_are_scaled():
    pool, _ = with_cost(table(momentum=[0.9, 0.99]), "t")
    assert places(pool).tolist() == [[0.0, 1.0], [1.0, 0.0]]
    constant = drawn_from({**table().iloc[0].to_dict()}, "s")
    assert places(constant).shape == (1, 1)
