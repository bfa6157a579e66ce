"""Figures of the theory: the numbers on their axes are those given, and those of the docs are small."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from bayeslaw.plots.theory import (
    plot_burn_in,
    plot_contours,
    plot_paths,
    plot_penalties,
    plot_slopes,
    plot_tuned,
)
from bayeslaw.theory.burn_in import tune_with_burn_in
from bayeslaw.theory.lmo import tune_at_batch
from docs import theory_figures

SAMPLES = np.array([1e4, 1e6, 1e8])


@pytest.fixture(autouse=True)
def _closed():
    mpl.use("Agg")
    yield
    plt.close("all")


def line(ax, label):
    (found,) = [each for each in ax.lines if each.get_label() == label]
    return found.get_xydata()


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_burn_in_has_closed_forms_as_lines_and_brute_force_as_dots():
    batches = np.array([1.0, 2.0, 20.0])
    ax = plot_burn_in(SAMPLES, {"m": batches}, {"m": (SAMPLES[:2], batches[:2])}, {"m": 4e6})
    assert line(ax, "m") == pytest.approx(np.stack([SAMPLES, batches], axis=1))
    dots, end = ax.lines[1], ax.lines[2]
    assert dots.get_xydata() == pytest.approx(np.stack([SAMPLES[:2], batches[:2]], axis=1))
    assert end.get_xdata() == [4e6, 4e6]
    assert legend(ax) == ["m", "brute force", "burn-in ends"]


def test_paths_lie_over_the_bands_of_good_batches():
    narrow, wide = np.array([5.0, 20.0, 200.0]), np.array([10.0, 80.0, 2000.0])
    ax = plot_paths(SAMPLES, {0.1: wide, 0.01: narrow}, {"q = 0": np.full(3, 4.0)})
    assert legend(ax) == ["within 1%", "within 10%", "q = 0"]
    inner, outer = (each.get_paths()[0].vertices[:, 1] for each in ax.collections)
    assert (inner.min(), inner.max()) == (1.0, 200.0)
    assert (outer.min(), outer.max()) == (5.0, 2000.0)
    assert line(ax, "q = 0")[:, 1] == pytest.approx([4.0, 4.0, 4.0])


def test_contours_begin_where_a_batch_is_enough():
    steps = np.array([1.0, 10.0, 100.0])
    ax = plot_contours(steps, {"P = 1": np.array([np.inf, 30.0, 5.0])}, {"P = 1": (16.0, 4.0)})
    assert line(ax, "P = 1") == pytest.approx(np.array([[10.0, 30.0], [100.0, 5.0]]))
    assert ax.lines[1].get_xydata() == pytest.approx(np.array([[16.0, 4.0]]))


def test_penalties_have_ticks_in_fractions():
    ratios = np.geomspace(1 / 4, 4, 5)
    ax = plot_penalties(ratios, {"batch": ratios**2})
    ax.figure.canvas.draw()
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1/4", "1/2", "1", "2", "4"]
    assert line(ax, "batch") == pytest.approx(np.stack([ratios, ratios**2], axis=1))


def test_slopes_have_ninety_per_cent_intervals():
    ax = plot_slopes({"muon": {"near": (0.2, 0.1)}, "sgd": {"near": (0.4, 0.1)}}, {"predicted": 0.5}, "slope")
    assert line(ax, "predicted")[:, 0] == pytest.approx([0.5, 0.5])
    assert line(ax, "near") == pytest.approx(np.array([[0.2, 0.0]]))
    ends = [each.get_xdata() for each in ax.lines if len(each.get_xdata()) == 2 and each.get_lw() == 1]
    assert ends[0] == pytest.approx([0.2 - 0.1645, 0.2 + 0.1645])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["muon", "sgd"]


def test_the_search_of_the_figure_finds_the_closed_form():
    found = theory_figures.searched_batches(SAMPLES, 0.066)
    assert found == pytest.approx(tune_with_burn_in(SAMPLES, 0.066).batch, rel=0.01)


def test_the_search_at_a_batch_finds_the_closed_form_on_either_side_of_the_cap():
    found = np.array([theory_figures.searched_settings(samples) for samples in (1e5, 1e8, 1e14)])
    best = tune_at_batch(np.array([1e5, 1e8, 1e14]), theory_figures.BATCH)
    assert found[:, 0] == pytest.approx(best.alpha, rel=0.02)
    assert found[:, 1] == pytest.approx(best.learning_rate, rel=0.02)


def test_tuned_settings_have_lines_dots_and_the_cap():
    values = np.array([1.0, 0.5, 0.05])
    ax = plot_tuned(SAMPLES, {"b": values}, {"b": (SAMPLES, values)}, 4e6, "best 1 - momentum")
    assert line(ax, "b") == pytest.approx(np.stack([SAMPLES, values], axis=1))
    assert line(ax, "momentum 0 below")[:, 0] == pytest.approx([4e6, 4e6])
    assert legend(ax) == ["b", "momentum 0 below", "brute force"]


@pytest.mark.slow
def test_the_pictures_of_the_page_are_written_and_small(tmp_path, monkeypatch):
    shipped = {path.name for path in theory_figures.FOLDER.glob("theory-*.png")}
    monkeypatch.setattr(theory_figures, "FOLDER", tmp_path)
    theory_figures.main()
    made = sorted(tmp_path.iterdir())
    assert {path.name for path in made} == shipped
    assert all(10_000 < path.stat().st_size < 60_000 for path in made)
