"""The user's command that makes the runs of a plan, and its results."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bayeslaw.errors import BadInput
from bayeslaw.law.terms import own_bowls
from bayeslaw.runs.io import read_runs

if TYPE_CHECKING:
    import pandas as pd

INTERRUPTED = (130, 143)
"""Exit codes of a command that a person or the system stopped: its plan is unfinished."""

SAME_RATE = 0.01
"""Relative difference up to which two learning rates count as equal."""

SAME_SIZE = 0.5
"""Difference up to which two ln N or ln D count as equal, since runners round to sizes that they can
build."""


def checked_command(option: str, command: str, needed: str) -> list[str]:
    """Split a command as a shell would, and check its placeholder.

    Raises:
        BadInput: a command that cannot be split, or lacks the placeholder.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise BadInput(f"{option} {command}: {error}; expected a command; close its quotes") from None
    if not any(f"{{{needed}}}" in word for word in words):
        raise BadInput(
            f"{option} {command}: lacks {{{needed}}}; expected a command that is told where the {needed} is; "
            f'give it as {option} "... {{{needed}}}"'
        )
    return words


class Ended(NamedTuple):
    """How a command ended: the option that named it, its exit code, and its last line if it failed."""

    option: str
    code: int
    last: str

    def __str__(self) -> str:
        """The exit code in words, with the last line."""
        return f"exit code {self.code}" + (f", its last line: {self.last}" if self.last else "")


def execute(option: str, words: list[str], places: dict[str, Path], log: Path) -> Ended:
    """Run a command with its placeholders filled in; its output goes to ``log``.

    Raises:
        BadInput: the program does not exist, or the command was interrupted.
    """
    filled = []
    for word in words:
        for name, place in places.items():
            word = word.replace(f"{{{name}}}", str(place))
        filled.append(word)
    with log.open("ab") as output:
        try:
            code = subprocess.run(filled, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
        except OSError as error:
            raise BadInput(
                f"{option} {filled[0]}: cannot be run ({error.strerror or error}); "
                "expected a program; correct its name"
            ) from None
    if code < 0 or code in INTERRUPTED:
        raise BadInput(
            f"{option}: stopped by a signal (exit code {code}), its plan is half done; "
            "expected it to end; run the same loop again to go on"
        )
    return Ended(option, code, _last_line(log) if code else "")


def brought_back(
    table: Path, plan: pd.DataFrame, known: set[str], ended: list[Ended], log: Path
) -> tuple[pd.DataFrame, list[str]]:
    """Match a run table to a plan, one run per planned run, with notes about missing and foreign runs.

    Args:
        table: run table that the runner left.
        plan: one row per planned run, with ``study``.
        known: run_ids from before this plan.
        ended: how the commands that left it ended, the runner first.
        log: file with their output.

    Returns:
        Valid runs, in the order of the plan, under the plan's study; column ``planned`` numbers its rows from
        1.

    Raises:
        BadInput: no table, an invalid table, or none of the plan's runs in it.
    """
    failed = [each for each in ended if each.code]
    said = "; ".join(f"{each.option}: {each}" for each in failed or ended[:1])
    try:
        runs = read_runs(table)
    except BadInput as error:
        raise BadInput(f"{said}; {error}; the log is {log}; correct it and run it again") from None
    new = runs[~runs["run_id"].isin(known)].reset_index(drop=True)
    place = _matched(plan, new)
    found = new.iloc[[i for i in place if i is not None]].reset_index(drop=True)
    if found.empty:
        raise BadInput(
            f"{said}; none of {len(new)} new runs in {table} is of the plan's {len(plan)}; "
            "expected the same optimizer, N, tokens, batch and learning rate; "
            "correct it and run the same loop again"
        )
    notes = [f"{each.option} ended with {each}" for each in failed]
    if missing := len(plan) - len(found):
        notes.append(f"{missing} of {len(plan)} planned runs did not come back; they were not charged")
    if foreign := len(new) - len(found):
        notes.append(f"{foreign} runs of no plan were left out")
    study = plan["study"].iloc[0]
    if (other := found["study"] != study).any():
        notes.append(f"{int(other.sum())} runs came back as study {found['study'][other].iloc[0]}")
    numbers = [number for number, i in enumerate(place, start=1) if i is not None]
    return found.assign(study=study, planned=numbers), notes


def _matched(plan: pd.DataFrame, new: pd.DataFrame) -> list[int | None]:
    """Match each planned run to a row, each row once."""
    free = np.ones(len(new), bool)
    places: list[int | None] = []
    for _, row in plan.iterrows():
        same = free & (new["optimizer"] == row["optimizer"]).to_numpy()
        distance = np.zeros(len(new))
        for name, most in _TOLERANCES.items():
            apart = np.abs(np.log(new[name].to_numpy(float) / float(row[name])))
            same &= apart <= most
            distance += apart
        for name in own_bowls():
            if name in plan and name in new and _given(row[name]):
                apart = np.abs(new[name].to_numpy(float) - float(row[name]))
                same &= ~(apart > SAME_RATE * max(abs(float(row[name])), 1e-6))
        if not same.any():
            places.append(None)
            continue
        places.append(int(np.argmin(np.where(same, distance, np.inf))))
        free[places[-1]] = False
    return places


_TOLERANCES = {
    "params_nonembedding": SAME_SIZE,
    "tokens": SAME_SIZE,
    "batch_tokens": SAME_SIZE,
    "learning_rate": SAME_RATE,
}


def _given(value: Any) -> bool:
    return bool(np.isfinite(float(value)))


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else ""
