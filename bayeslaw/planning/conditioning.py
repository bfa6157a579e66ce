"""What runs would say about a target: candidates and the target's optimum in the same posterior draws.

The coordinates of a candidate's cell are close to Gaussian across draws, jointly with the target's optimum;
the loss is not linear in them, and says nothing to first order near the optimum, whose place is unknown. So
the loss is linearised about each of some draws, as if that one were true
(``bayeslaw.planning.linearisation``); what a run would tell is worked out there by Gaussian conditioning,
and averaged (Bayesian design under local linearisation: Chaloner & Verdinelli 1995, Statistical Science 10,
section 6).

Against nested Monte Carlo (``tests/planning/test_conditioning.py``) this is right within a tenth for
batches and for single runs away from the optimum. Too much is promised by one run alone where the optimum
is expected: it tells how far the optimum is, not on which side, until a second run does.

A run that diverges is taken to tell nothing: it divides the information by the chance of finishing. That it
bounds the learning rate from above is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from bayeslaw.advice.decision import capped
from bayeslaw.advice.target_surface import (
    TargetSurface,
    extra_excess,
    log_lr_at_batch,
    lr_batch_excess,
    shift,
    surface_at,
    with_coordinate,
)
from bayeslaw.arrays import Floats
from bayeslaw.law.terms import OPTIMA
from bayeslaw.planning.linearisation import Linear, linearise
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.pooling import ground
from bayeslaw.target import NEVER_SEEN, Target

if TYPE_CHECKING:
    import pandas as pd

Regret = Callable[[Floats, Floats], Floats]
"""Optima (draw, dimension) and actions (action, dimension) -> excess ln loss (draw, action)."""


@dataclass(frozen=True)
class Decision:
    """One choice to be made at a target.

    Attributes:
        name: of the hyperparameters.
        optimum: the best action in draws, (draw, dimension).
        regret: excess ln loss of actions, given optima.
        highest: bound of an action, (dimension,).
        weight: of its regret in the total.
    """

    name: str
    optimum: Floats
    regret: Regret
    highest: Floats
    weight: float


@dataclass(frozen=True)
class Joint:
    """Candidates and optima, jointly, given the runs chosen so far. Dimensions of all decisions are counted
    through.

    Attributes:
        linear: the candidates.
        decisions: what is to be decided.
        weights: of the draws, summing to 1, (draw,).
        spread: deviations of ``linear.coordinates`` times the square root of the weights, (draw, coordinate).
        variance: of a candidate's mean ln loss, (point, candidate).
        cross: its covariance with the optima, (point, candidate, dimension).
        remaining: covariance of the optima, (point, dimension, dimension).
        loadings: standardised covariances of the coordinates with each run chosen, (step, point, coordinate).
        products: covariances of all coordinates with those of a run, by candidate, kept as they are asked
            for: an exchange of runs asks for the same ones time and again.
    """

    linear: Linear
    decisions: tuple[Decision, ...]
    weights: Floats
    spread: Floats
    variance: Floats
    cross: Floats
    remaining: Floats
    loadings: Floats
    products: dict[int, Floats] = field(default_factory=dict)

    @property
    def candidates(self) -> int:
        """Number of candidates."""
        return self.variance.shape[1]

    @property
    def draws(self) -> float:
        """Effective number of draws (Kish 1965)."""
        return float(1.0 / np.sum(self.weights**2))


def joint_draws(
    posterior: Posterior,
    targets: Sequence[Target],
    candidates: pd.DataFrame,
    weights: Floats | None = None,
    seed: int = 0,
) -> Joint:
    """Candidates and the targets' optima under one posterior.

    Runs of one cell share its shift, and cells of one N theirs: the fitted one, or a fresh one a draw. What
    was never seen is drawn in one way for candidates and targets alike, so that a run in the target's set-up
    informs about it. Two groups that were never seen are drawn independently given those seen.

    Args:
        posterior: the fit.
        targets: regrets are averaged over them.
        candidates: one row a run, with ``optimizer``, ``params_nonembedding``, ``tokens``, ``batch_tokens``
            and ``learning_rate``; ``weight_decay`` and ``momentum`` count where the posterior knows of them;
            ``study`` where it is not the first target's.
        weights: of the draws, (draw,), as ``reweighting.reweight`` returns; None for equal ones.
        seed: of what must be drawn; the one of ``reweight``.
    """
    w = np.full(posterior.draws, 1.0 / posterior.draws) if weights is None else weights / np.sum(weights)
    rows = candidates if "study" in candidates else candidates.assign(study=targets[0].study)
    groups = {(t.study, t.optimizer) for t in targets} | set(
        zip(rows["study"], rows["optimizer"], strict=True)
    )
    known = ground(posterior, groups, seed)
    surfaces = [surface_at(known, replace(t, study=t.study or NEVER_SEEN), seed) for t in targets]
    decisions = [each for at in surfaces for each in decisions_at(at, 1.0 / len(targets))]
    return assemble(linearise(posterior, known, rows, w, seed), decisions, w)


def assemble(linear: Linear, decisions: Sequence[Decision], weights: Floats) -> Joint:
    """Covariances before any run is chosen; arguments as the attributes of ``Joint``."""
    root = np.sqrt(weights)[:, None]
    spread = np.subtract(linear.coordinates, weights @ linear.coordinates, order="F")  # read by column
    spread *= root
    optima = np.concatenate([decision.optimum for decision in decisions], axis=1)
    optima = root * (optima - weights @ optima)
    own = np.empty(linear.noise.shape)
    cross = np.empty((*linear.noise.shape, optima.shape[1]))
    order = np.argsort(linear.columns[:, 0], kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(linear.columns[order, 0])) + 1):
        part, slopes = spread[:, linear.columns[members[0]]], linear.slopes[:, members]
        own[:, members] = np.sum((slopes @ (part.T @ part)) * slopes, axis=2)
        cross[:, members] = slopes @ (part.T @ optima)
    return Joint(
        linear=linear,
        decisions=tuple(decisions),
        weights=weights,
        spread=spread,
        variance=own,
        cross=cross,
        remaining=np.repeat((optima.T @ optima)[None], len(own), axis=0),
        loadings=np.zeros((0, len(own), spread.shape[1])),
    )


def chosen(joint: Joint, candidate: int) -> Joint:
    """Given that a run is made whose result is still to come, or pending: a step of a pivoted Cholesky
    factor.

    Exact in each linearised world. What remains unknown then does not depend on the result.
    """
    linear = joint.linear
    columns, slopes = linear.columns[candidate], linear.slopes[:, candidate]
    if candidate not in joint.products:
        joint.products[candidate] = joint.spread[:, columns].T @ joint.spread
    toward = slopes @ joint.products[candidate]  # of the run, (point, coordinate)
    known = np.einsum("spk,pk->sp", joint.loadings[:, :, columns], slopes)
    toward -= np.einsum("sp,spk->pk", known, joint.loadings)
    sd = np.sqrt(np.maximum(joint.variance[:, candidate] + linear.noise[:, candidate], 1e-300))[:, None]
    toward, moved = toward / sd, joint.cross[:, candidate] / sd
    loading = np.einsum("pck,pck->pc", toward[:, linear.columns], linear.slopes)
    return replace(
        joint,
        variance=np.maximum(joint.variance - loading**2, 0.0),
        cross=joint.cross - loading[:, :, None] * moved[:, None, :],
        remaining=joint.remaining - moved[:, :, None] * moved[:, None, :],
        loadings=np.concatenate([joint.loadings, toward[None]]),
    )


# -------------------------------------------------------------------------------------------- decisions


def decisions_at(at: TargetSurface, weight: float = 1.0) -> list[Decision]:
    """What is to be decided at a target.

    Learning rate and batch together; the learning rate alone where the batch is fixed, its regret then
    counted from the best one there. Weight decay and momentum apart, since their excess adds
    (``target_surface.extra_excess``).
    """
    fixed = at.target.batch_tokens
    if fixed is None:

        def both(optimum: Floats, actions: Floats) -> Floats:
            best = {"learning_rate": optimum[:, 0], "batch_tokens": optimum[:, 1]}
            there = replace(at, optima=at.optima | best)
            return capped(lr_batch_excess(there, actions[:, 0], actions[:, 1]))

        limit = np.array([np.inf, np.log(at.target.tokens)])
        optimum = np.column_stack([at.log_lr, at.log_batch])
        found = [Decision("learning_rate, batch_tokens", optimum, both, limit, weight)]
    else:
        rates = log_lr_at_batch(at, np.log(fixed))

        def rate(optimum: Floats, actions: Floats) -> Floats:
            there = shift(at, "lr", optimum[:, 0] - rates)
            return capped(lr_batch_excess(there, actions[:, 0], np.log(fixed), beyond_batch=True))

        found = [Decision("learning_rate", rates[:, None], rate, np.array([np.inf]), weight)]
    return found + [_extra_decision(at, name, weight) for name in at.extras]


def _extra_decision(at: TargetSurface, name: str, weight: float) -> Decision:
    def regret(optimum: Floats, actions: Floats) -> Floats:
        return capped(extra_excess(with_coordinate(at, name, optimum[:, 0]), name, actions[:, 0]))

    _, highest = OPTIMA[name].transform.at_zero
    return Decision(name, at.optima[name][:, None], regret, np.array([highest]), weight)
