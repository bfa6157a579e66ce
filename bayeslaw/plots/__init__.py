"""Figures: each function draws on one matplotlib axis, or on an array of them, and returns it.

Without an axis a function makes a figure with pyplot: ``ax.figure``, which ``save_figure`` writes.
"""

from bayeslaw.plots.advice import plot_learning_rates, plot_recommendation
from bayeslaw.plots.axes import BLUE, GREY, OKABE_ITO, ORANGE, check_figure, save_figure
from bayeslaw.plots.beliefs import plot_prior_posterior, plot_spread
from bayeslaw.plots.checks import plot_convergence, plot_ranks
from bayeslaw.plots.curvature import plot_sharpness, plot_spectral_density
from bayeslaw.plots.designs import REPLAYED, plot_candidates, plot_replay, replay_figure
from bayeslaw.plots.forest import plot_forest
from bayeslaw.plots.loops import plot_loop
from bayeslaw.plots.predictive import plot_predictive
from bayeslaw.plots.scale import plot_optimum
from bayeslaw.plots.scores import plot_regret, plot_reliability
from bayeslaw.plots.surface import plot_surface

__all__ = [
    "BLUE",
    "GREY",
    "OKABE_ITO",
    "ORANGE",
    "REPLAYED",
    "check_figure",
    "plot_candidates",
    "plot_convergence",
    "plot_forest",
    "plot_learning_rates",
    "plot_loop",
    "plot_optimum",
    "plot_predictive",
    "plot_prior_posterior",
    "plot_ranks",
    "plot_recommendation",
    "plot_regret",
    "plot_reliability",
    "plot_replay",
    "plot_sharpness",
    "plot_spectral_density",
    "plot_spread",
    "plot_surface",
    "replay_figure",
    "save_figure",
]
