"""A language model as an advisor: it reads a sweep and is asked for the settings of larger runs.

Each run to advise on is a conversation of its own. The model is told what the sweep held fixed, the best runs
of its cells, and how many answers it has. An answer is settings, or a look at one more run of the sweep.
Settings outside the bounds are sent back; the last ones are moved to the bound. Nothing of the held-out
runs is said but their N, D and, where it is fixed, their batch. A seed of this project wants language models
as rivals; the words of the questions are ours.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput, check_count
from bayeslaw.evaluation.chat import Ask
from bayeslaw.runs.cells import HELD_FIXED, finished_runs, group_cells
from bayeslaw.target import SIZE, Target

QUESTIONS = 4
"""Answers that a model has for one run."""

QUESTIONS_MOST = 100

BEST = 5
"""Runs of each cell that are told, the best first."""

CELLS = 30
"""Cells that are told, those nearest to the target in ln N and ln D."""

LONGEST = 10_000
"""Characters at the end of an answer in which settings are looked for."""

REACH = 100.0
"""Settings may lie beyond those of the sweep by this factor."""

SETTINGS = ("learning_rate", "batch_tokens")
PLACE = (*SIZE, *SETTINGS)
SYSTEM = (
    "You choose settings of training runs of neural networks from the results of smaller runs. Batches are "
    "in tokens, learning rates are peaks, losses are in nats per token. Each of your answers is one JSON "
    "object and nothing else."
)

Settings = dict[str, float]


@dataclass(frozen=True)
class LanguageModelAdvisor:
    """What a language model advised, as an ``Advisor`` (``bayeslaw.evaluation.scores``).

    Attributes:
        label: name in tables.
        advice: target -> settings, empty where no answer was usable.
    """

    label: str
    advice: Mapping[Target, Settings] = field(repr=False)

    def recommend(self, target: Target) -> Settings:
        """The settings that the model gave.

        Raises:
            BadInput: it was not asked for this target, or gave none.
        """
        if not self.advice.get(target):
            raise BadInput(
                f"{self.label}: no usable settings; expected an object with a learning rate and a batch; "
                "read its answers in the record"
            )
        return self.advice[target]

    def optimum_draws(self, target: Target) -> None:
        """None: a language model gives no draws."""
        return

    def loss_draws(self, runs: pd.DataFrame) -> None:
        """None: it is not asked for losses."""
        return


def ask_settings(
    ask: Ask,
    name: str,
    sweep: pd.DataFrame,
    targets: Sequence[Target],
    questions: int = QUESTIONS,
    say: Callable[[str], None] = lambda message: None,
) -> LanguageModelAdvisor:
    """Ask a model for the settings of each target.

    Args:
        ask: conversation -> answer (``bayeslaw.evaluation.chat``).
        name: of the model.
        sweep: run table with the results so far.
        targets: runs to advise on; a fixed batch is kept.
        questions: answers that the model has for each.
        say: receives progress.

    Raises:
        BadInput: a number of questions out of range, no target, a sweep without a finished run, an error of
            ``ask``, or no usable settings for any target.
    """
    check_count("--questions", questions, 1, QUESTIONS_MOST)
    if not targets:
        raise BadInput(
            f"evaluate: no held-out cell can be scored, so that {name} was not asked; expected a cell whose "
            "runs lie on both sides of its best learning rate; hold out more runs"
        )
    if not len(finished_runs(sweep)):
        raise BadInput(
            f"--train: none of {len(sweep)} runs finished with a loss; expected some to learn from"
        )
    advice: dict[Target, Settings] = {}
    for number, target in enumerate(targets, start=1):
        say(f"{name}: run {number} of {len(targets)}, {_size(target)}")
        advice[target] = _conversation(ask, sweep, target, questions)
    if not any(advice.values()):
        raise BadInput(
            f"--model {name}: no usable settings for any of {len(targets)} runs in {questions} answers each; "
            "expected JSON with a learning rate and a batch; read the record, and try another model"
        )
    return LanguageModelAdvisor(f"language model {name}", advice)


def _conversation(ask: Ask, sweep: pd.DataFrame, target: Target, questions: int) -> Settings:
    """Settings that the model gives last, within the bounds; none if it gives none."""
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": question(sweep, target, questions)},
    ]
    settings: Settings = {}
    for left in reversed(range(questions)):
        answer = ask(messages)
        found, remark = considered(answer, sweep, target)
        settings = found or settings
        if not remark:
            break
        more = "This is your last answer: give settings." if left == 1 else f"You have {left} answers left."
        messages = [
            *messages,
            {"role": "assistant", "content": answer},
            {"role": "user", "content": f"{remark} {more}"},
        ]
    return settings


# ------------------------------------------------------------------------------------------- questions


def question(sweep: pd.DataFrame, target: Target, questions: int = QUESTIONS) -> str:
    """The first question: the sweep, the best runs of its cells, the target, and how to answer.

    Args:
        sweep: run table; runs of the target's optimizer are told, of all where it has none.
        target: run to advise on.
        questions: answers that the model has.
    """
    wanted = {"learning_rate": 1e-3} | ({} if target.batch_tokens else {"batch_tokens": 65536})
    look = {"params_nonembedding": 1e8, "tokens": 2e9, "learning_rate": 1e-3, "batch_tokens": 65536}
    fixed = f" Its batch is {target.batch_tokens:g} tokens." if target.batch_tokens else ""
    return "\n".join(
        [
            *_told(_same_optimizer(sweep, target), target),
            "",
            f"Which settings give the least loss of a run of {target.optimizer} with {_size(target)}?{fixed}",
            f"Answer as in {json.dumps(wanted)}.",
            f"Or look at one more run of the sweep, the nearest to what you ask, as in "
            f"{json.dumps({'look': look})}.",
            f"You have {questions} answers, looks included.",
        ]
    )


def _told(sweep: pd.DataFrame, target: Target) -> list[str]:
    """A sweep in lines: what it varied and held fixed, and the best runs of its cells."""
    ranges = " and ".join(f"{name} {_range(sweep[name])}" for name in SETTINGS)
    optimizers = ", ".join(sorted(sweep["optimizer"].unique()))
    lines = [f"A sweep of {len(sweep)} runs with {optimizers} tried {ranges}."]
    if fixed := [f"{name} {sweep[name].iloc[0]}" for name in HELD_FIXED if _is_constant(sweep, name)]:
        lines.append(f"All had {', '.join(fixed)}.")
    lines += [f"The {BEST} best runs of each network and number of tokens:", ",".join((*PLACE, "loss"))]
    cells = [rows for _, rows in group_cells(sweep) if len(finished_runs(rows))]
    size = {name: getattr(target, name) for name in SIZE}
    nearest = sorted(cells, key=lambda rows: float(_distance(rows.iloc[:1], size)[0]))[:CELLS]
    for rows in nearest:
        best = finished_runs(rows).nsmallest(BEST, "loss")
        lines += [",".join(f"{value:.4g}" for value in run) for run in best[[*PLACE, "loss"]].to_numpy(float)]
    if (lost := sweep["status"] == "diverged").any():
        lines.append(f"{lost.sum()} runs diverged, at learning_rate {_range(sweep['learning_rate'][lost])}.")
    return lines


def _same_optimizer(sweep: pd.DataFrame, target: Target) -> pd.DataFrame:
    own = sweep[sweep["optimizer"] == target.optimizer]
    return own if len(finished_runs(own)) else sweep


def _is_constant(sweep: pd.DataFrame, name: str) -> bool:
    return name in sweep and bool(sweep[name].notna().all()) and sweep[name].nunique() == 1


def _range(values: pd.Series) -> str:
    return f"{values.min():.4g} to {values.max():.4g}"


def _size(target: Target) -> str:
    return f"{target.params_nonembedding:.4g} parameters (without embeddings) and {target.tokens:.4g} tokens"


# --------------------------------------------------------------------------------------------- answers


def considered(answer: str, sweep: pd.DataFrame, target: Target) -> tuple[Settings, str]:
    """What an answer amounts to.

    Args:
        answer: text of the model.
        sweep: run table that it may look at.
        target: run that it was asked for.

    Returns:
        Settings within the bounds, empty where there are none; and what to tell the model, empty where the
        settings are final.
    """
    found = answered(answer)
    if "look" in found:
        return {}, _looked_up(found["look"], _same_optimizer(sweep, target))
    settings = {} if target.batch_tokens is None else {"batch_tokens": target.batch_tokens}
    complaints = []
    for name, (low, high) in bounds(sweep, target).items():
        value = _number(found.get(name))
        if value is None:
            return {}, f"Not usable: expected one JSON object with a number above 0 for {name}."
        settings[name] = min(max(value, low), high)
        if value != settings[name]:
            complaints.append(f"{name} {value:g} lies outside {low:.3g} to {high:.3g}.")
    return settings, " ".join(complaints)


def bounds(sweep: pd.DataFrame, target: Target) -> dict[str, tuple[float, float]]:
    """Least and largest value of each setting that is asked for: ``REACH`` beyond the sweep, a batch <= D.

    >>> sweep = pd.DataFrame({"learning_rate": [1e-4, 1e-2], "batch_tokens": [2e4, 1e5]})
    >>> bounds(sweep, Target(1e8, 1e6))
    {'learning_rate': (1e-06, 1.0), 'batch_tokens': (200.0, 1000000.0)}
    """
    names = SETTINGS if target.batch_tokens is None else SETTINGS[:1]
    found = {name: (float(sweep[name].min()) / REACH, float(sweep[name].max()) * REACH) for name in names}
    if "batch_tokens" in found:
        low, high = found["batch_tokens"]
        found["batch_tokens"] = (min(low, target.tokens), min(high, target.tokens))
    return found


def answered(text: str) -> dict[str, Any]:
    """The last JSON object that is not empty in the end of a text; empty without one.

    >>> answered('I think: ```json {"learning_rate": 3e-4} ```')
    {'learning_rate': 0.0003}
    >>> answered("0.0003")
    {}
    """
    text, decoder = text[-LONGEST:], json.JSONDecoder()
    last: dict[str, Any] = {}
    place = text.find("{")
    while place >= 0:
        try:
            found, end = decoder.raw_decode(text, place)
            last = found or last
        except (ValueError, RecursionError):
            end = place + 1
        place = text.find("{", end)
    return last


def _looked_up(asked: Any, sweep: pd.DataFrame) -> str:
    """The run of a sweep that is nearest to what a model asked for, in words."""
    wanted = {name: _number(asked.get(name)) for name in PLACE} if isinstance(asked, dict) else {}
    known = {name: value for name, value in wanted.items() if value is not None}
    if not known:
        return f"Not usable: a look needs numbers above 0 for some of {', '.join(PLACE)}."
    run = sweep.iloc[int(np.argmin(_distance(sweep, known)))]
    place = ", ".join(f"{name} {run[name]:.4g}" for name in PLACE)
    result = f"loss {run['loss']:.4g}" if run["status"] == "finished" else str(run["status"])
    return f"The nearest run: {place}: {result}."


def _distance(runs: pd.DataFrame, place: Mapping[str, float]) -> Floats:
    """Squared distance of runs to a place in the logarithms of what it names, (run,)."""
    gaps = np.log(runs[list(place)].to_numpy(float)) - np.log(list(place.values()))
    return np.asarray(np.sum(gaps**2, axis=1))


def _number(value: Any) -> float | None:
    """A finite number above 0, or a text that reads as one; else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None
