"""Policies that choose the next candidate, all of one form.

A policy is a row of ``POLICIES``: its help text, and a function from a ``View`` to a score of each candidate,
(candidate,). ``batches.greedy`` takes the open candidate of the highest score, updates the view, and asks
again.

Gains of information are per unit cost: ``expected_reduction`` (the default), ``information``, ``v_optimal``
and ``d_optimal``. Those without a model are common practice: ``sobol``, ``random``, ``cheapest`` and
``inverse_cost``. Gains are averaged over the linearised worlds of ``bayeslaw.planning.conditioning``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayeslaw import space
from bayeslaw.advice.decision import minimise
from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.planning.conditioning import Decision, Joint

CHANCE = 4.0
"""Covariances of draws count from two standard errors on; otherwise the best of thousands is luck."""

WORTHWHILE = 0.05
"""Share of the best gain that a run must promise; otherwise nearly free, uninformative runs win."""


@dataclass(frozen=True)
class View:
    """Input of a policy.

    Attributes:
        joint: outcomes and regrets, given the runs chosen so far.
        cost: of each candidate, (candidate,), above 0.
        open: candidates that may be chosen: affordable, and not chosen yet, (candidate,).
        place: settings of the candidates scaled to [0, 1], (candidate, dimension).
        step: number of runs chosen so far.
        seed: seed of draws.
    """

    joint: Joint
    cost: Floats
    open: NDArray[np.bool_]
    place: Floats
    step: int
    seed: int


class Policy(NamedTuple):
    """A way to choose the next run.

    Attributes:
        help: what the score of a candidate is, for help texts and documents.
        score: view -> score of each candidate, (candidate,).
        model: whether the score looks at ``View.joint``; else a rehearsal refits only to score the advice.
    """

    help: str
    score: Callable[[View], Floats]
    model: bool = True


# ------------------------------------------------------------------------------------ with the model


def expected_reduction(view: View) -> Floats:
    """Expected reduction of the expected regret at the target per unit cost: view -> candidate.

    ``reduction`` has the formula and its source. Only runs that promise at least ``WORTHWHILE`` of the best
    gain count. If none promises anything, as for the first run of a set-up of unknown level, the cheapest is
    first.
    """
    gain = np.where(view.open, reduction(view.joint), 0.0)
    if not gain.max(initial=0.0) > 0.0:
        return cheapest(view)
    return np.where(gain >= WORTHWHILE * gain.max(), gain, 0.0) / view.cost


def information(view: View) -> Floats:
    """Mutual information of a run and the target's (ln eta*, ln B*) [nats] per unit cost: view -> candidate.

    -ln(1 - R^2) / 2 with R^2 of the optimum's coordinates regressed on by the outcome, averaged over
    linearised worlds (Lindley 1956, Annals of Mathematical Statistics 27; Cover & Thomas 2006, section 8.5).
    """
    size = view.joint.remaining.shape[1]
    precision = np.linalg.inv(view.joint.remaining + 1e-12 * np.eye(size))
    moved = signal(view.joint, slice(0, size))
    explained = np.sum((moved @ precision) * moved, axis=2)
    return np.mean(-0.5 * np.log1p(-np.clip(explained, 0.0, 1.0 - 1e-9)), axis=0) / view.cost


def v_optimal(view: View) -> Floats:
    """Reduction of the summed variance of the target's (ln eta*, ln B*) [nats^2] per unit cost: view ->
    candidate.

    V-optimality with the target as the only point of prediction (Atkinson, Donev & Tobias 2007, section
    10.6).
    """
    moved = signal(view.joint, slice(0, view.joint.remaining.shape[1]))
    return np.mean(np.sum(moved**2, axis=2), axis=0) / view.cost


def d_optimal(view: View) -> Floats:
    """Growth of the log determinant of the chosen runs' predictive covariance per unit cost: view ->
    candidate.

    ln(1 + variance of the mean outcome / noise) / 2, given the runs chosen before: twice that, summed, is
    ln det(I + K / noise) (Krause, Singh & Guestrin 2008, JMLR 9). It ignores the target.
    """
    ratio = view.joint.variance / view.joint.linear.noise
    return 0.5 * np.mean(np.log1p(ratio), axis=0) / view.cost


# --------------------------------------------------------------------------------- without the model


def sobol(view: View) -> Floats:
    """Nearness to the next point of a scrambled Sobol sequence over the settings' ranges: view -> candidate.

    The nearest candidate stands for the point.
    """
    point = space.sobol(view.step + 1, view.place.shape[1], view.seed)[view.step]
    return -np.sum((view.place - point) ** 2, axis=1)


def random(view: View) -> Floats:
    """Equal chances: view -> candidate."""
    return np.random.default_rng([view.seed, view.step]).random(len(view.cost))


def cheapest(view: View) -> Floats:
    """The lowest cost first: view -> candidate."""
    return -view.cost


def inverse_cost(view: View) -> Floats:
    """Chances in proportion to 1 / cost: view -> candidate.

    By the Gumbel trick: the largest of ln(chance) plus Gumbel noise (Yellott 1977, J. Math. Psychology 15).
    """
    rng = np.random.default_rng([view.seed, view.step])
    return rng.gumbel(size=len(view.cost)) - np.log(view.cost)


POLICIES: dict[str, Policy] = {
    "regret": Policy(
        "expected reduction of the expected regret at the target per unit cost", expected_reduction
    ),
    "information": Policy(
        "mutual information of a run and the target's (ln eta*, ln B*) [nats] per unit cost", information
    ),
    "v-optimal": Policy(
        "reduction of the summed variance of the target's (ln eta*, ln B*) [nats^2] per unit cost", v_optimal
    ),
    "d-optimal": Policy(
        "growth of the log determinant of the chosen runs' predictive covariance per unit cost", d_optimal
    ),
    "sobol": Policy(
        "nearness to the next point of a scrambled Sobol sequence over the settings' ranges", sobol, False
    ),
    "random": Policy("equal chances", random, False),
    "cheapest": Policy("the lowest cost first", cheapest, False),
    "inverse-cost": Policy("chances in proportion to 1 / cost", inverse_cost, False),
}
"""Every policy by its name on the command line; the first is the default."""


def policies_help() -> str:
    """The policies as the command line explains them."""
    return "How to choose runs: " + "; ".join(f"{name}, {row.help}" for name, row in POLICIES.items()) + "."


def policy_named(name: str) -> Policy:
    """Look up a policy by name.

    Raises:
        BadInput: an unknown name.
    """
    if name not in POLICIES:
        raise BadInput(
            f"policy = {name!r}; expected one of {', '.join(POLICIES)}; "
            f"leave it out for {next(iter(POLICIES))}"
        )
    return POLICIES[name]


# -------------------------------------------------------------------------------- value of information


def signal(joint: Joint, dimensions: slice) -> Floats:
    """Expected shift of the mean of optima by a run, shrunk by what chance explains.

    Covariance of the optima with the standardised outcome: the standard deviation, over outcomes, of their
    mean given the outcome. A share R^2 of variance explained among S draws is shrunk to R^2 - ``CHANCE``/S,
    at least 0.

    Args:
        joint: joint draws of candidates and optima.
        dimensions: number of dimensions of the optima.

    Returns:
        Shape (point, candidate, dimension) [nats].
    """
    total = np.maximum(joint.variance + joint.linear.noise, 1e-300)
    moved = joint.cross[:, :, dimensions] / np.sqrt(total)[:, :, None]
    scale = np.maximum(np.diagonal(joint.remaining, axis1=1, axis2=2)[:, None, dimensions], 1e-300)
    share = np.max(moved**2 / scale, axis=2)
    luck = CHANCE / joint.draws * joint.variance / total
    return moved * np.sqrt(np.clip(1.0 - luck / np.maximum(share, 1e-300), 0.0, 1.0))[:, :, None]


def reduction(joint: Joint) -> Floats:
    """Expected reduction of the expected regret by one more run [fraction of the loss], (candidate,).

    A run moves the optimum's mean by b z, z standard normal, and lowers its covariance by b b'. The regret
    depends on the distance of the action from the optimum, so the expected regret of the best action changes
    with the covariance at the rate of half the Hessian of the mean regret there (Price 1958, IRE
    Transactions 4):

        gain = b' Hessian b / 2, at most the remaining regret,

    averaged over linearised worlds. For quadratic regrets this is the knowledge gradient over a continuum of
    actions (Frazier, Powell & Dayanik 2009, INFORMS J. Computing 21), exactly.
    """
    return regret_and_reduction(joint)[1]


def expected_regret(joint: Joint) -> dict[str, float]:
    """Expected regret of the best actions after the chosen runs [fraction of the loss].

    The optimum's draws are contracted to the covariance that remains on average over linearised worlds; a
    search finds the action that is best on average.

    Returns:
        Regret by the name of the decision; the sum is the whole regret.
    """
    total = dict.fromkeys((decision.name for decision in joint.decisions), 0.0)
    for decision, where in _dimensions(joint):
        total[decision.name] += decision.weight * _best(joint, decision, where)[0]
    return total


def regret_and_reduction(joint: Joint) -> tuple[float, Floats]:
    """Sum of ``expected_regret``, and ``reduction``, from one search of the best action."""
    left, total = 0.0, np.zeros(joint.candidates)
    for decision, dimensions in _dimensions(joint):
        regret, hessian = _best(joint, decision, dimensions)
        moved = signal(joint, dimensions)
        gain = 0.5 * np.mean(np.sum((moved @ hessian) * moved, axis=2), axis=0)
        left += decision.weight * regret
        total += decision.weight * np.clip(gain, 0.0, regret)
    return left, total


def _dimensions(joint: Joint) -> list[tuple[Decision, slice]]:
    ends = np.cumsum([0, *(decision.optimum.shape[1] for decision in joint.decisions)])
    return [(d, slice(int(a), int(b))) for d, a, b in zip(joint.decisions, ends[:-1], ends[1:], strict=True)]


def _best(joint: Joint, decision: Decision, dimensions: slice) -> tuple[float, Floats]:
    """Smallest mean excess ln loss over actions, and the Hessian of the mean there, (dimension,
    dimension)."""
    w, optimum = joint.weights, decision.optimum
    centre = w @ optimum
    deviation = optimum - centre
    size = len(centre)
    floor = 1e-10 * np.eye(size)
    before = np.linalg.cholesky((w[:, None] * deviation).T @ deviation + floor)
    left = joint.remaining[:, dimensions, dimensions].mean(axis=0) + floor
    shrunk = np.linalg.cholesky(left) @ np.linalg.inv(before)
    optimum = centre + deviation @ shrunk.T

    def mean(actions: Floats) -> Floats:
        return w @ decision.regret(optimum, actions)

    sd = np.maximum(np.sqrt(np.diag(left)), 0.03)
    best = minimise(mean, np.minimum(centre, decision.highest), sd, highest=decision.highest, tolerance=0.01)
    signs, steps = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]), 0.25 * sd
    corners = [signs @ np.diag(steps)[[i, j]] for i, j in itertools.product(range(size), repeat=2)]
    regret, *around = mean(best + np.concatenate([np.zeros((1, size)), *corners]))
    second = np.reshape(around, (size, size, 4)) @ [1.0, -1.0, -1.0, 1.0]
    return float(regret), _nonnegative(second / (4.0 * np.outer(steps, steps)))


def _nonnegative(matrix: Floats) -> Floats:
    """Remove the negative eigenvalues of a matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 0.0)) @ vectors.T
