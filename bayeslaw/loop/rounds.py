"""The closed loop: fit, choose runs, have them made, read the results, and repeat until it is enough.

    folder/loop.json                the task; it must be the same at every start
    folder/round-01/posterior.nc    the fit behind the round's choice (absent: the priors)
    folder/round-01/believed.json   the advice that follows from it
    folder/round-01/design.json     what was chosen and why, then plan.csv
    folder/round-01/out             the runner's folder, with runner.log beside it
    folder/round-01/runs.parquet    what came back, after returned.json
    folder/journal.jsonl, .md       all of it, in order
    folder/report.html              the report of the latest fit, where ``run`` is given a writer of reports

Each step leaves its file, whole or not at all, and is skipped if the file exists. A killed loop therefore
resumes when the same command runs again, and the runner is called again on the same plan and folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from bayeslaw.advice.prediction import predict
from bayeslaw.advice.result import Prediction
from bayeslaw.errors import SEED_MAX, BadInput, check_count
from bayeslaw.files import alone, make_folder, write_atomically
from bayeslaw.law.observations import varied_settings
from bayeslaw.law.parameters import DEFAULT_PARTS
from bayeslaw.law.places import pivot_of
from bayeslaw.loop import journal
from bayeslaw.loop.runner import brought_back, checked_command, execute
from bayeslaw.loop.task import (
    Task,
    check_round_budget,
    read_json,
    round_folder,
    same_task,
    spent,
    write_json,
)
from bayeslaw.planning.batches import check_request, design, plan_table
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.netcdf import read_posterior, write_posterior
from bayeslaw.posterior.prior import Fit, prior_posterior
from bayeslaw.runs.formulas import escaped
from bayeslaw.runs.io import read_runs, write_runs
from bayeslaw.target import Target

if TYPE_CHECKING:
    import pandas as pd

Report: TypeAlias = "Callable[[Posterior, Path, str, pd.DataFrame, Target], object]"
"""Writes a page about a fit: the fit, the page's path, the fit's place in the folder, its runs."""


def run(
    task: Task,
    fit: Fit,
    say: Callable[[str], None] = lambda message: None,
    report: Report | None = None,
) -> dict[str, Any]:
    """Resume the loop from the contents of its folder, and run it until it stops.

    Args:
        task: the task; budget, rounds, batch, policy, commands and tolerance may change between starts.
        fit: function from all runs, at least one of them finished, to a posterior.
        say: receives progress messages.
        report: writes ``report.html`` after each fit; its failures are said, and stop nothing.

    Returns:
        JSON-ready: ``folder``, ``rounds`` (made), ``spent``, ``unit``, ``runs``, ``finished``, ``stop``
        (kind and reason) and ``targets``: the advice at each, empty while no run has finished.

    Raises:
        BadInput: another loop is at work, the folder is of another task, a budget below the cheapest
            candidate, a runner that fails or returns garbage, or as ``design``. The folder stays sound, so
            the same command resumes.
    """
    checked_command("--runner", task.runner, "plan")
    if task.collect is not None:
        checked_command("--collect", task.collect, "table")
    if task.rounds < 1:
        raise BadInput(f"rounds = {task.rounds}; expected at least 1; raise it")
    check_count("loop: seed", task.seed, 0, SEED_MAX)
    check_request(task.budget, task.batch, task.policy, task.tolerance, task.target_cost)
    check_round_budget(task)
    make_folder(task.folder)
    with alone(task.folder / ".lock", "loop", str(task.folder)):
        same_task(task)
        journal.read(task.folder)  # a damaged journal is refused before anything runs
        number = 1
        while True:
            ended = _round(task, number, fit, say, report)
            if ended is not None:
                return ended
            number += 1


def _round(
    task: Task, number: int, fit: Fit, say: Callable[[str], None], report: Report | None
) -> dict[str, Any] | None:
    """Run one round, or the rest of it; return the result if the loop stops instead."""
    folder = round_folder(task, number)
    folder.mkdir(exist_ok=True)
    cost, taken = spent(task, number)
    posterior, advice = _believed(task, number, fit, say, report)
    if not (folder / "plan.csv").exists():
        stop = _chosen(task, number, posterior, cost, taken)
        if stop is not None:
            return _stopped(task, number, cost, stop, advice, say)
    choice = read_json(folder / "design.json")
    journal.enter(task.folder, "chosen", number, choice)
    if not (folder / "runs.parquet").exists():
        say(f"round {number}: {len(choice['rows'])} runs for {choice['cost']:.3g} {task.unit}")
        _made(task, number, choice)
    returned = read_json(folder / "returned.json")
    journal.enter(task.folder, "returned", number, returned)
    say(f"round {number}: {returned['runs']} of {returned['planned']} runs came back")
    return None


# ----------------------------------------------------------------------------------------------- steps


def _believed(
    task: Task, number: int, fit: Fit, say: Callable[[str], None], report: Report | None
) -> tuple[Posterior, dict[str, Any]]:
    """Posterior before a round's choice, or the priors while no run finished; and its advice."""
    folder = round_folder(task, number)
    paths = [*task.runs, *(round_folder(task, k) / "runs.parquet" for k in range(1, number))]
    runs = read_runs(*paths) if paths else None
    finished = 0 if runs is None else int((runs["status"] == "finished").sum())
    if runs is None or not finished:
        count = 0 if runs is None else len(runs)
        nothing: dict[str, Any] = {"runs": count, "finished": 0, "targets": [], "warnings": []}
        candidates = task.candidates.assign(study="any")
        pivot = pivot_of(candidates, DEFAULT_PARTS)
        return prior_posterior(varied_settings(candidates), seed=task.seed, pivot=pivot), nothing
    path = folder / "posterior.nc"
    if not path.exists():
        say(f"round {number}: fitting {len(runs)} runs")
        write_posterior(fit(runs, task.seed), path)
    posterior = read_posterior(path)
    if not (folder / "believed.json").exists():
        if report is not None:
            _reported(task, number, posterior, runs, report, say)
        told = [predict(posterior, target, seed=task.seed) for target in task.targets]
        doubts = dict.fromkeys(doubt for each in told for doubt in each.warnings)
        write_json(
            folder / "believed.json",
            {
                "runs": len(runs),
                "finished": finished,
                "targets": [_advice(each) for each in told],
                "warnings": list(doubts),
            },
        )
    advice = read_json(folder / "believed.json")
    if number > 1:
        journal.enter(task.folder, "believed", number - 1, advice)
    return posterior, advice


def _reported(
    task: Task,
    number: int,
    posterior: Posterior,
    runs: pd.DataFrame,
    report: Report,
    say: Callable[[str], None],
) -> None:
    """Write the report of a fit; whatever goes wrong leaves the earlier one, and the loop goes on."""
    place = str((round_folder(task, number) / "posterior.nc").relative_to(task.folder))
    try:
        report(posterior, task.folder / "report.html", place, runs, task.targets[0])
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        say(f"round {number}: report.html was not written ({reason}); the loop goes on")


def _chosen(
    task: Task, number: int, posterior: Posterior, cost: float, taken: Sequence[int]
) -> tuple[str, str] | None:
    """Write the round's design and plan; if the loop stops instead, return its kind and reason."""
    left = task.budget - cost
    waiting = np.setdiff1d(np.arange(len(task.candidates)), np.array(taken, int))
    if number > task.rounds:
        return "rounds", f"the limit on rounds, {task.rounds}, is reached"
    if not len(waiting):
        return "candidates", f"all {len(task.candidates)} candidates were run"
    offered = task.candidates.iloc[waiting].reset_index(drop=True)
    cheapest = float(offered["cost"].min())
    if number > 1 and left < cheapest:
        return "budget", f"{left:.3g} {task.unit} are left, and the cheapest candidate costs {cheapest:.3g}"
    most = left if task.round_budget is None else min(left, task.round_budget)
    if number > 1 and most < cheapest:
        return (
            "budget",
            f"a round may cost {most:.3g} {task.unit}, and the cheapest candidate costs {cheapest:.3g}",
        )
    found = design(
        posterior,
        task.targets,
        offered,
        most,
        task.batch,
        task.policy,
        task.tolerance,
        task.target_cost,
        task.unit,
        seed=task.seed,
    )
    if found.stop.stop and posterior.groups:
        return "rule", found.stop.reason
    unknown = "no run has finished yet, so the priors alone say what is worth trying"
    choice = {
        "policy": task.policy,
        "rows": [int(waiting[row]) for row in found.rows],
        "runs": list(found.runs),
        "cost": found.cost,
        "left": left,
        "unit": task.unit,
        "regret": {"before": found.regret.before, "after": found.regret.after},
        "reason": found.stop.reason if posterior.groups else unknown,
        "warnings": list(found.warnings),
    }
    folder = round_folder(task, number)
    write_json(folder / "design.json", choice)
    with write_atomically(folder / "plan.csv") as temporary:
        escaped(plan_table(offered, found)).to_csv(temporary, index=False)
    return None


def _made(task: Task, number: int, choice: dict[str, Any]) -> None:
    """Have the runs of the plan made, and file the results."""
    folder = round_folder(task, number).absolute()
    out, log = folder / "out", folder / "runner.log"
    out.mkdir(exist_ok=True)
    table = Path(task.table.replace("{out}", str(out)))
    if task.collect is not None:
        table = folder / "collected.parquet"
    places = {"plan": folder / "plan.csv", "out": out, "table": table}
    commands = [("--runner", task.runner, "plan")]
    commands += [("--collect", task.collect, "table")] if task.collect is not None else []
    ended = [
        execute(option, checked_command(option, command, needed), places, log)
        for option, command, needed in commands
    ]
    earlier = [*task.runs, *(round_folder(task, k) / "runs.parquet" for k in range(1, number))]
    known = set(read_runs(*earlier)["run_id"]) if earlier else set()
    plan = task.candidates.iloc[choice["rows"]].reset_index(drop=True)
    own = out in table.parents or folder in table.parents
    runs, notes = brought_back(table, plan, set() if own else known, ended, log)
    names = [f"round-{number:02d}-{name}" if name in known else name for name in runs["run_id"]]
    finished = runs[runs["status"] == "finished"]
    write_json(
        folder / "returned.json",
        {
            "planned": len(plan),
            "runs": len(runs),
            "rows": [choice["rows"][place - 1] for place in runs["planned"]],
            "status": {str(k): int(v) for k, v in runs["status"].value_counts().items()},
            "best": float(finished["loss"].min()) if len(finished) else None,
            "notes": notes,
        },
    )
    write_runs(runs.drop(columns="planned").assign(run_id=names), folder / "runs.parquet")


def _stopped(
    task: Task,
    number: int,
    cost: float,
    stop: tuple[str, str],
    advice: dict[str, Any],
    say: Callable[[str], None],
) -> dict[str, Any]:
    kind, reason = stop
    told = {"rounds": number - 1, "spent": cost, "unit": task.unit, "reason": reason}
    journal.enter(task.folder, "stopped", number, told)
    say(f"stopped: {reason}")
    return {
        "folder": str(task.folder),
        "rounds": number - 1,
        "spent": cost,
        "unit": task.unit,
        "runs": advice["runs"],
        "finished": advice["finished"],
        "stop": {"kind": kind, "reason": reason},
        "targets": advice["targets"],
    }


def _advice(advice: Prediction) -> dict[str, Any]:
    told = advice.to_json()
    sizes = {name: told["inputs"][name] for name in ("params_nonembedding", "tokens", "optimizer")}
    parts = {name: told[name] for name in ("recommendation", "optimum", "regret")}
    return sizes | parts | {"loss": told["loss_nats_per_token"]}
