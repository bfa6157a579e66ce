"""The validation study in small: worlds, metrics, and the same command on a tiny table, which resumes."""

from __future__ import annotations

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.target import Target
from tests.studies.validation import __main__ as command
from tests.studies.validation import advice
from tests.studies.validation.comparison import compare, holm
from tests.studies.validation.designs import budget
from tests.studies.validation.figures import front
from tests.studies.validation.finetuning import fine_tuned, fine_tuned_runs
from tests.studies.validation.methods import METHODS, OURS, RANDOM, Method, asked
from tests.studies.validation.scores import best_of, reached, trials_saved
from tests.studies.validation.searches import at_random, by_sobol, run_search
from tests.studies.validation.sources import known_study, source, sources
from tests.studies.validation.trials import Unit, curve, groups, made, of_tables, read
from tests.studies.validation.worlds import Box, Family, Outcome, Setting, World, answer
from tests.support.fakes import fake_posterior

CHEAP = (RANDOM, "random search, at a proxy", "framework default", "step law")
SIZES = {1e8: (2e9, 4e9), 2e8: (2e9,), 1e9: (2e10,)}


def excess(rate: np.ndarray, batch: np.ndarray, n: float, d: float) -> np.ndarray:
    """A bowl of known optimum: rate 2e-3 (n / 1e8)^-1/2, batch 3e5 (d / 2e9)^1/2."""
    u = np.log(rate / (2e-3 * (n / 1e8) ** -0.5))
    v = np.log(batch / (3e5 * (d / 2e9) ** 0.5))
    return 0.02 * u**2 + 0.01 * v**2


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cells of 49 runs each on a grid about the optimum, without noise."""
    rows = []
    for n, horizons in SIZES.items():
        for d in horizons:
            for u in np.linspace(-1.5, 1.5, 7):
                for v in np.linspace(-1.5, 1.5, 7):
                    rate = 2e-3 * (n / 1e8) ** -0.5 * np.exp(u)
                    batch = 3e5 * (d / 2e9) ** 0.5 * np.exp(v)
                    loss = 3.0 * np.exp(excess(rate, batch, n, d))
                    rows.append(("toy", "adamw", n, d, batch, rate, loss, "finished"))
    names = "study optimizer params_nonembedding tokens batch_tokens learning_rate loss status".split()
    path = tmp_path_factory.mktemp("sweep") / "toy.csv"
    table = pd.DataFrame(rows, columns=names)
    table.insert(0, "run_id", [f"r{i}" for i in range(len(table))])
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def family(sweep: Path) -> Family:
    return source(sweep).families[0]


def fine_tuning_table(seed: int = 0) -> pd.DataFrame:
    """Random search whose best rate is 2e-5 at one epoch and half of that at four; high rates fail."""
    rng = np.random.default_rng(seed)
    rate, batch = np.exp(rng.uniform(np.log(1e-6), np.log(1e-3), 400)), rng.integers(16, 65, 400)
    epochs = np.where(np.arange(400) % 2, 4, 1)
    error = 0.1 * np.exp(0.03 * np.log(rate * epochs**0.5 / 2e-5) ** 2 + 0.01 * rng.standard_normal(400))
    error[rate > 2e-4] = 0.67
    columns = {"num_train_epochs": epochs, "train_batch_size": batch, "learning_rate": rate}
    return pd.DataFrame(columns | {"final_acc": 1 - error})


# ------------------------------------------------------------------------------------------------- worlds


def test_a_sweep_is_divided_by_cost_and_its_surface_has_the_known_optimum(family: Family) -> None:
    assert [w.name for w in family.pool] == ["N=1e+08 D=2e+09", "N=1e+08 D=4e+09", "N=2e+08 D=2e+09"]
    (target,) = family.targets
    assert target.best == pytest.approx(3.0, rel=1e-6)
    assert target.optimum == pytest.approx((2e-3 * 10**-0.5, 3e5 * 10**0.5), rel=0.02)
    off = target.optimum[0] * 2, target.optimum[1]
    assert target.surface(*off)[0] == pytest.approx(3.0 * np.exp(0.02 * np.log(2) ** 2), rel=1e-3)
    assert target.surface(*off)[1]
    assert not target.surface(off[0] * 100, off[1])[1]


def test_an_answer_is_the_surface_with_the_cells_noise_and_repeats_itself(family: Family) -> None:
    (target,) = family.targets
    noisy = World(**{**vars(target), "noise": 0.01})
    told = [answer(Setting(noisy, *noisy.optimum), seed, 3) for seed in range(400)]
    assert told[7] == answer(Setting(noisy, *noisy.optimum), 7, 3)
    assert np.log([each.loss / noisy.best for each in told]).std() == pytest.approx(0.01, rel=0.1)
    assert told[0].cost == pytest.approx(6 * 1e9 * 2e10)
    assert told[0].steps == pytest.approx(2e10 / noisy.optimum[1])


def test_fine_tuning_runs_fail_where_theirs_failed_and_the_surface_forgets_lucky_ones() -> None:
    (family,) = fine_tuned(fine_tuning_table(), "toy")[0]
    (pool,), (target,) = family.pool, family.targets
    assert family.kind == "fine-tuning"
    assert target.cost == pytest.approx(4 * pool.cost)
    assert target.optimum[0] == pytest.approx(1e-5, rel=0.35)
    assert target.best == pytest.approx(0.1, rel=0.01)
    assert target.noise == pytest.approx(0.01, rel=0.4)
    assert target.chance_failed(6e-4, 4000.0) == 1.0
    assert target.chance_failed(1e-5, 4000.0) == 0.0
    assert answer(Setting(pool, 6e-4, 4000.0), 0, 0).failed


def test_a_table_that_is_no_sweep_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    pd.DataFrame({"colour": ["red"]}).to_csv(path, index=False)
    with pytest.raises(BadInput, match=r"bayeslaw import \S+odd.csv --study odd .* -o runs.parquet"):
        source(path)


# ---------------------------------------------------------------------------------------- tables of others


def test_an_import_is_told_with_the_columns_that_the_table_has(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    columns = {"n_params": [1e8], "lr": [1e-3], "final_loss": [3.0], "tokens": [1e9], "optimizer": ["adamw"]}
    pd.DataFrame(columns | {"batch_tokens": [1e5]}).to_csv(path, index=False)
    with pytest.raises(BadInput, match=r"--study mine --map params_nonembedding=n_params -o runs\.parquet"):
        source(path)


def test_two_studies_of_one_optimizer_are_two_families_and_one_name_is_refused(
    sweep: Path, tmp_path: Path
) -> None:
    runs = pd.read_csv(sweep)
    both = pd.concat([runs, runs.assign(study="other", run_id="o" + runs["run_id"])])
    path = tmp_path / "toy.csv"
    both.to_csv(path, index=False)
    assert [family.name for family in source(path).families] == ["toy-other-adamw", "toy-toy-adamw"]
    assert [each.families[0].name for each in sources([sweep])] == ["toy-adamw"]
    twin = tmp_path / "toy.parquet"
    runs.to_parquet(twin)
    with pytest.raises(BadInput, match=r"toy.parquet: its family toy-adamw has the name of one of .*toy.csv"):
        sources([sweep, twin])


def test_a_sweep_is_recognised_by_its_sizes_under_any_name(family: Family) -> None:
    marin = [(134217728.0, 2684354560.0), (134217728.0, 10737418240.0), (536870912.0, 85899345920.0)]
    worlds = [replace(family.pool[0], target=Target(n, d, "adamw", "mine")) for n, d in marin]
    theirs = replace(family, pool=tuple(worlds[:2]), targets=tuple(worlds[2:]))
    assert known_study(theirs) == "marin"
    assert known_study(replace(theirs, kind="fine-tuning")) == known_study(family) == ""
    assert METHODS["step law"].in_sample("steplaw")
    assert not METHODS["step law"].in_sample("marin")
    assert not METHODS["step law"].in_sample("")
    assert METHODS[OURS].cited("schaipp-slimpajama")
    assert not METHODS[RANDOM].cited("steplaw")


def test_accuracies_are_read_as_they_are_meant() -> None:
    raw = fine_tuning_table()
    plain, _ = fine_tuned_runs(raw, "toy")
    percents, notes = fine_tuned_runs(raw.assign(final_acc=100 * raw["final_acc"]), "toy")
    assert "percent" in notes[0]
    assert percents["loss"].to_numpy() == pytest.approx(plain["loss"].to_numpy(), nan_ok=True)
    gone = raw["final_acc"].where(np.arange(len(raw)) > 2)
    fewer, notes = fine_tuned_runs(raw.assign(final_acc=gone), "toy")
    assert (fewer["status"][:3] == "diverged").all()
    assert (fewer["status"][3:] == plain["status"][3:]).all()
    assert fewer["error"][:3].tolist() == pytest.approx([0.67] * 3)
    assert "runs failed" in notes[0]
    trained = raw[raw["final_acc"] > 0.7].reset_index(drop=True)
    assert (fine_tuned_runs(trained, "toy")[0]["status"] == "finished").all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda raw: raw.assign(final_acc=["oops", *raw["final_acc"][1:]]), "final_acc = 'oops'"),
        (lambda raw: raw.assign(final_acc=[88.0, *raw["final_acc"][1:]]), "fractions up to 1 or all as perc"),
        (lambda raw: raw.assign(final_acc=-raw["final_acc"]), "accuracy from 0 to 1"),
        (lambda raw: raw.assign(final_acc=np.nan), "missing in all runs"),
        (lambda raw: raw[raw["num_train_epochs"] == 4], "at least two numbers of epochs"),
        (lambda raw: raw.assign(num_train_epochs=1 + np.arange(400)), "at least two numbers of epochs"),
        (lambda raw: raw.assign(train_batch_size=16), "train_batch_size = 16 in all runs"),
    ],
)
def test_fine_tuning_runs_that_cannot_be_replayed_are_refused(change, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        fine_tuned(change(fine_tuning_table()), "toy")


def test_runs_of_two_models_are_families_of_their_own() -> None:
    raw = fine_tuning_table()
    both = pd.concat([raw.assign(model="a"), raw.assign(model="b")])
    assert [family.name for family in fine_tuned(both, "toy")[0]] == ["toy-a", "toy-b"]
    assert [world.name for world in fine_tuned(raw, "toy")[0][0].targets] == ["4 epochs"]


# ----------------------------------------------------------------------------------------------- searches


def test_a_search_is_told_what_it_asked_for(family: Family) -> None:
    heard: list[float] = []

    def echo(world: World):
        for rate in (1e-3, 2e-3):
            outcome = yield Setting(world, rate, 1e5)
            heard.append(outcome.loss)

    told = run_search(echo(family.targets[0]), lambda s, k: Outcome(s.learning_rate + k, False, 1.0, 1.0))
    assert heard == [1e-3, 1.002]
    assert [outcome.loss for _, outcome in told] == heard


@pytest.mark.parametrize("search", [at_random, by_sobol])
def test_searches_stay_in_the_box_and_follow_their_seed(search, family: Family) -> None:
    (target,) = family.targets

    def places(seed: int) -> list[tuple[float, float]]:
        made_ = run_search(search([target], 20, seed), lambda s, k: Outcome(1.0, False, 1.0, 1.0))
        return [(s.learning_rate, s.batch_tokens) for s, _ in made_]

    assert len(places(0)) == 20
    assert places(0) == places(0) != places(1)
    for place in places(0):
        for value, (low, high) in zip(np.log(place), (target.box.rate, target.box.batch), strict=True):
            assert low - 1e-9 <= value <= high + 1e-9


def test_rivals_ask_and_are_told_through_the_same_interface(family: Family) -> None:
    pytest.importorskip("optuna")
    method = METHODS["Optuna TPE, at the target"]
    (row,) = made(family, method, 0)
    assert len(row["curve"]) == 20
    assert row["gap"] < 0.02


def test_a_proxy_is_the_costliest_cell_that_the_budget_of_small_runs_pays_for(family: Family) -> None:
    search = asked(METHODS["random search, at a proxy"], family, None, 0)
    world = next(search).world
    assert 20 * world.cost <= budget(family)
    assert all(20 * other.cost > budget(family) for other in family.pool if other.cost > world.cost)


# ------------------------------------------------------------------------------------------------ metrics


def test_the_best_of_random_trials_has_the_distribution_of_sampling_without_replacement() -> None:
    losses = np.random.default_rng(0).random(30)
    values, chance = best_of(losses, 5)
    drawn = [np.random.default_rng(k).choice(losses, 5, replace=False).min() for k in range(3000)]
    assert chance.sum() == pytest.approx(1.0)
    assert values @ chance == pytest.approx(np.mean(drawn), abs=0.005)


def test_a_target_is_reached_for_good_not_once() -> None:
    points = [(1.0, 1.0, 0.005), (2.0, 2.0, 0.03), (3.0, 3.0, 0.004), (4.0, 4.0, 0.003)]
    assert reached({"gap": 0.003, "curve": points}, 0.01) == (3.0, 3.0)
    assert reached({"gap": 0.003, "curve": points[2:]}, 0.01) == (3.0, 3.0)


def test_trials_saved_are_bounded_by_the_runs_of_random_search() -> None:
    row = {"gap": 0.0, "total_flops": 2.0, "target_flops": 1.0}
    assert trials_saved(row, [0.5, 0.1]) == 0.0


def test_the_curve_follows_the_noisy_best_and_ignores_failures(family: Family) -> None:
    (target,) = family.targets
    best = Setting(target, *target.optimum)
    worse = Setting(target, 2 * target.optimum[0], target.optimum[1])
    runs = [(worse, Outcome(9.0, True, 1.0, 5.0)), (worse, Outcome(3.1, False, 1.0, 5.0))]
    runs += [(best, Outcome(3.2, False, 1.0, 5.0)), (best, Outcome(3.0, False, 1.0, 5.0))]
    points = curve(runs, target)
    assert [point[:2] for point in points] == [(1.0, 5.0), (2.0, 10.0), (3.0, 15.0), (4.0, 20.0)]
    assert points[0][2] is None
    assert points[1][2] == points[2][2] == pytest.approx(np.expm1(0.02 * np.log(2) ** 2), rel=0.01)
    assert points[3][2] == pytest.approx(0.0, abs=1e-9)


def test_a_comparison_is_paired_by_task_and_corrected() -> None:
    gaps = {
        OURS: [0.1, 0.2, 0.3, 0.4],
        "step law": [0.2, 0.3, 0.4, 0.51],
        "deepseek law": [0.1, 0.2, 0.3, 0.4],
    }
    rows = [
        {"family": "f", "task": str(k), "method": name, "place": "nothing", "seed": 0, "gap": gap}
        for name, values in gaps.items()
        for k, gap in enumerate(values)
    ]
    worse, same = compare(rows, OURS, ["step law", "deepseek law"])
    assert worse.mean == pytest.approx(-0.1025)
    assert worse.lower <= worse.mean <= worse.upper < 0
    assert worse.p < 1e-4
    assert same.mean == 0
    assert np.isnan(same.p)
    assert holm([0.5, np.nan, 0.01])[::2] == [0.5, 0.02]


def test_the_front_has_no_method_that_another_beats() -> None:
    assert front({"a": (1.0, 1.0), "b": (1.0, 0.5), "c": (3.0, 0.6), "d": (4.0, 0.1)}) == ["b", "d"]


# ------------------------------------------------------------------------------------------------ command


def asked_for(table: Path, results: Path) -> list[str]:
    names = [part for name in CHEAP for part in ("--method", name)]
    return ["--table", str(table), "--results", str(results), "--seeds", "2", "--workers", "1", *names]


def test_the_command_fills_resumes_and_reports_a_table(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "trials.jsonl"
    command.main(asked_for(sweep, results))
    said = capsys.readouterr().out
    for name in CHEAP:
        assert f"| {name} |" in said
    assert "[100%" in said
    assert results.with_suffix(".png").stat().st_size > 10_000
    whole = results.read_text()
    rows = read(results)
    assert len(rows) == 6  # two seeds of two searches; what needs no seed once
    assert {row["method"] for row in rows} == set(CHEAP)
    random, proxy = rows[0], next(row for row in rows if row["place"] == "proxy")
    assert random["total_flops"] == pytest.approx(20 * random["target_flops"])
    assert proxy["total_flops"] == pytest.approx(proxy["search_flops"] + proxy["target_flops"])

    lines = whole.splitlines(keepends=True)
    results.write_text("".join(lines[:-1]) + lines[-1][:20])  # a kill cut the last line short
    command.main(["run", *asked_for(sweep, results)])
    again = read(results)
    assert len(again) == 6
    assert [{**row, "seconds": 0} for row in again] == [{**json.loads(line), "seconds": 0} for line in lines]


def test_rows_of_a_table_that_has_changed_are_made_again(sweep: Path, tmp_path: Path) -> None:
    table, results = tmp_path / "toy.csv", tmp_path / "trials.jsonl"
    runs = pd.read_csv(sweep)
    runs.to_csv(table, index=False)
    command.main(["run", *asked_for(table, results)])
    runs.assign(loss=1.1 * runs["loss"]).to_csv(table, index=False)
    command.main(["run", *asked_for(table, results)])
    rows = read(results)
    assert len(rows) == 12
    kept = of_tables(rows, [table])
    assert kept == rows[6:]
    assert [row["loss_optimum"] for row in kept] == pytest.approx([3.3] * 6)


def test_a_table_without_tasks_ends_with_one_message_and_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "short.csv"
    fine_tuning_table().query("num_train_epochs == 1").to_csv(path, index=False)
    results = tmp_path / "trials.jsonl"
    monkeypatch.setattr(sys, "argv", ["validation", "--table", str(path), "--results", str(results)])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(command.__file__, run_name="__main__")
    assert "at least two numbers of epochs" in capsys.readouterr().err


def test_results_in_a_folder_that_is_not_there_are_refused_before_any_work(
    sweep: Path, tmp_path: Path
) -> None:
    results = tmp_path / "none" / "trials.jsonl"
    with (
        patch.object(command, "run", lambda *_: pytest.fail("worked")),
        pytest.raises(BadInput, match=r"trials.jsonl: cannot be written, .*none is no folder; create it"),
    ):
        command.main(asked_for(sweep, results))


def test_a_method_that_breaks_has_a_row_that_says_how_and_the_study_goes_on(family: Family) -> None:
    def breaks(seen: object, target: World, seed: int) -> None:
        raise FloatingPointError("no\nGP")

    (row,) = made(family, Method("broken", "nothing", breaks), 0)
    assert row["gap"] is None
    assert row["error"] == "FloatingPointError: no GP"


def test_groups_share_fits_and_the_dearest_of_a_seed_comes_first() -> None:
    waiting = [
        Unit("a", OURS, 0), Unit("a", RANDOM, 0), Unit("b", OURS, 0),
        Unit("a", "ours, designed small runs", 0), Unit("a", OURS, 1),
    ]  # fmt: skip
    usual = {OURS: 5.0, RANDOM: 1.0, "ours, designed small runs": 50.0}
    assert groups(waiting, usual) == [[waiting[3]], waiting[:2], [waiting[2]], [waiting[4]]]


@pytest.mark.parametrize("choose", [advice.decide, advice.median_settings])
def test_a_batch_that_nobody_tried_gives_way_to_the_nearest_with_the_rate_that_goes_with_it(
    choose, family: Family
) -> None:
    world, posterior = family.targets[0], fake_posterior(40, 0.02)
    free = advice.answerable(posterior, world.target, world.box, choose)
    assert world.box.batch[0] < np.log(free[1]) < world.box.batch[1]
    small = Box(world.box.rate, (np.log(free[1] / 64), np.log(free[1] / 16)))
    rate, batch = advice.answerable(posterior, world.target, small, choose)
    assert batch == pytest.approx(free[1] / 16)
    assert free[0] / 16 < rate < free[0] / 2  # the ridge: between no and proportional


@pytest.mark.slow
def test_ours_comes_near_the_optimum_from_small_runs(family: Family) -> None:
    (row,) = made(family, METHODS[OURS], 0)
    assert row["gap"] < 0.005
    (designed,) = made(family, METHODS["ours, designed small runs"], 0)
    assert designed["gap"] < 0.005
    assert designed["search_flops"] <= budget(family)
