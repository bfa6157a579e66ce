"""The loop, live: from six small runs to settings for a network of a million parameters, against its rivals.

    pip install optuna                    # for one of the rivals; nothing else here needs it
    python -m tests.studies.live loop     # six runs at random, then `bayeslaw loop` until its rule stops it
    python -m tests.studies.live rivals   # the same FLOPs by grid, at random, and by Optuna's TPE
    python -m tests.studies.live target   # trains what each of them recommends; an hour a run, two at a time
    python -m tests.studies.live table    # its part of docs/benchmarks.md, from results/live.json

Slow, outside CI; each step resumes under out/live. Everyone decides on peak learning rate and batch of AdamW;
weight decay and momentum are the usual ones. The rivals spend the loop's FLOPs, its first six runs included,
on 16 runs of the largest network for which that is enough (two layers, D = 20 N; the width is rounded to a
multiple of 8), and use the best one's settings as they are.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.files import write_atomically
from bayeslaw.lab.models.families import Size, params_of, size_for
from bayeslaw.lab.train import record
from bayeslaw.lab.train.energy import JOULES_PER_KWH, meter
from bayeslaw.planning.candidates import drawn_from
from bayeslaw.target import Target
from tests.studies.tables import markdown, percent
from tests.studies.transfer import CONSTANT, ROOT, SEQUENCE, row_of, target_of

OUT = ROOT / "out" / "live"
LAB = f"{shlex.quote(sys.executable)} -m bayeslaw.lab.train"
RESULTS = Path(__file__).parent / "results" / "live.json"
OPTIMIZER = "adamw"
USUAL = {"weight_decay": 0.1, "momentum": 0.9}
RATES, BATCHES = (8e-4, 0.1), (256, 16384)
SPACE = {
    "count": 512,
    "optimizer": OPTIMIZER,
    "params_nonembedding": [params_of(size_for(n)) for n in (9.3e3, 24.7e3, 83.3e3)],
    "tokens_per_param": [20, 45],
    "learning_rate": {"low": RATES[0], "high": RATES[1]},
    "batch_tokens": {"low": BATCHES[0], "high": BATCHES[1]},
    **USUAL,
    **CONSTANT,
}
FIRST, TRIALS = 6, 16
MOST = 0.2
"""Of the FLOPs of the target run, for the loop at most."""

RIVALS = ("tpe", "random", "grid")
METHODS = ("loop", *RIVALS)
FAILED = math.log(1024)
"""What a search is told of a run that diverged: the loss of knowing nothing, vocabulary 1024."""

Settings = dict[str, float]


def loop() -> None:
    candidates = drawn_from(SPACE, "live.py")
    candidates["batch_tokens"] = (candidates["batch_tokens"] / SEQUENCE).round().clip(lower=1) * SEQUENCE
    chosen = np.random.default_rng(0).permutation(len(candidates))
    candidates.iloc[chosen[FIRST:]].to_csv(OUT / "candidates.csv", index=False)
    candidates.iloc[chosen[:FIRST]].to_csv(OUT / "first.csv", index=False)
    sweep(OUT / "first.csv", OUT / "first")
    python("-m", "bayeslaw.lab.train.collect", OUT / "first", "-o", OUT / "first.parquet")
    first = flops(pd.read_parquet(OUT / "first.parquet"))
    target = target_of(OPTIMIZER)
    cost = flops_of_target()
    told = python(
        *("-m", "bayeslaw.cli", "loop", "--json"),
        *("--target", f"{target.params_nonembedding:g},{target.tokens:g},{OPTIMIZER}"),
        *("--candidates", OUT / "candidates.csv", "--runs", OUT / "first.parquet"),
        *("--budget", f"{MOST * cost - first:g}"),
        *("--out", OUT / "loop", "--cost-of-target", f"{cost:g}"),
        *(
            "--runner",
            f"{LAB}.sweep --plan {{plan}} --out {{out}} --workers 2",
        ),
        *("--collect", f"{LAB}.collect {{out}} -o {{table}}"),
    )
    result = json.loads(told)
    del result["folder"]
    result["runs"] += FIRST
    result["spent"] += first
    save("loop", result)


def rivals() -> None:
    """Each rival's best run, at the loop's cost."""
    size = shallow(math.sqrt(found()["loop"]["spent"] / (TRIALS * 6 * 20)))
    for name in RIVALS:
        runs = searched(name, size)
        finished = [run for run in runs if run["status"] == "finished"]
        best = min(finished, key=lambda run: run["loss"])
        save(
            name,
            {
                "params_nonembedding": best["params_nonembedding"],
                "runs": len(runs),
                "diverged": len(runs) - len(finished),
                "spent": sum(6 * run["params_nonembedding"] * run["tokens"] for run in runs),
                "settings": {k: best[k] for k in ("learning_rate", "batch_tokens")},
                "loss": best["loss"],
            },
        )


def shallow(params: float) -> Size:
    """Two layers as in the smaller sizes of the family, which has none between 24,736 and 83,280."""
    sizes: list[Size] = [(width, 2, 2) for width in range(16, 129, 8)]
    return min(sizes, key=lambda size: abs(math.log(params_of(size) / params)))


def searched(name: str, size: Size) -> list[dict[str, Any]]:
    """The records of a rival's runs, trained where they are not there yet."""
    if name == "tpe":
        return by_tpe(size)
    if name == "grid":
        axes = [np.geomspace(*ends, round(math.sqrt(TRIALS)) + 2)[1:-1] for ends in (RATES, BATCHES)]
        points = [(float(a), float(b)) for a in axes[0] for b in axes[1]]
    else:
        ends = [(np.log(low), np.log(high)) for low, high in (RATES, BATCHES)]
        drawn = np.random.default_rng(1).uniform(*np.transpose(ends), (TRIALS, 2))
        points = [(float(a), float(b)) for a, b in np.exp(drawn)]
    return trained(name, size, points)


def by_tpe(size: Size) -> list[dict[str, Any]]:
    """Two trials at a time, a third of all of them at random."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=TRIALS // 3, constant_liar=True)
    study = optuna.create_study(sampler=sampler)
    points: list[tuple[float, float]] = []
    while len(points) < TRIALS:
        asked = [study.ask() for _ in range(2)]
        points += [
            (
                trial.suggest_float("learning_rate", *RATES, log=True),
                trial.suggest_float("batch_tokens", *BATCHES, log=True),
            )
            for trial in asked
        ]
        runs = trained("tpe", size, points)
        for trial, run in zip(asked, runs[-2:], strict=True):
            study.tell(trial, run["loss"] if run["status"] == "finished" else FAILED)
    return runs


def trained(name: str, size: Size, points: list[tuple[float, float]]) -> list[dict[str, Any]]:
    """Runs of these learning rates and batches at one size, D = 20 N."""
    n = params_of(size)
    target = Target(float(n), round(20 * n / SEQUENCE) * SEQUENCE, OPTIMIZER, CONSTANT["study"])
    shape = dict(zip(("width", "depth", "heads"), size, strict=True))
    rows = [
        row_of(f"{name} {i}", {"learning_rate": rate, "batch_tokens": batch, **USUAL}, target) | shape
        for i, (rate, batch) in enumerate(points)
    ]
    plan = OUT / f"{name}.csv"
    pd.DataFrame(rows).to_csv(plan, index=False)
    sweep(plan, OUT / name)
    return [read(OUT / name, row["run_id"]) for row in rows]


def target() -> None:
    """What everyone recommends, trained, unless its result is there."""
    waiting = [name for name in METHODS if "target" not in found()[name]]
    if not waiting:
        return
    rows = {name: row_of(f"live {name}", advised(name) | USUAL, target_of(OPTIMIZER)) for name in waiting}
    pd.DataFrame(rows.values()).to_csv(OUT / "target.csv", index=False)
    try:
        sweep(OUT / "target.csv", OUT / "target")
    finally:  # hours of work: each run that ended is kept
        kept = ("learning_rate", "batch_tokens", "status", "loss", "cpu_seconds")
        for name, row in rows.items():
            run = record.read(OUT / "target" / "runs" / row["run_id"])
            if run is not None:
                save(name, found()[name] | {"target": {key: run[key] for key in kept}})


def advised(name: str) -> Settings:
    known = found()[name]
    given: Settings = known["targets"][0]["recommendation"] if name == "loop" else known["settings"]
    return given


def table() -> str:
    """One line a method; those whose run has not ended yet have no loss."""
    known = found()
    ended = [known[name]["target"]["loss"] for name in METHODS if known[name].get("target")]
    best = min((loss for loss in ended if loss), default=np.nan)
    body = []
    for name in METHODS:
        each, run = known[name], known[name].get("target", {"status": "not trained yet", "loss": None})
        settings = [f"{advised(name)['learning_rate']:.3g}", f"{advised(name)['batch_tokens']:,.0f}"]
        loss = run["loss"]
        shown = [f"{loss:.4f}", f"{100 * (loss / best - 1):.2f}%"] if loss else [run["status"], "-"]
        body.append([name, str(each["runs"]), f"{each['spent']:.2e}", *settings, *shown])
    head = ["method", "runs", "FLOPs", "peak learning rate", "batch, tokens"]
    size = target_of(OPTIMIZER).params_nonembedding
    title = f"AdamW at N = {size:,.0f}, D = 20 N, trained as each method recommends"
    parts = [markdown(title, [*head, "loss, nats/token", "over the best"], body), announced(), energy()]
    return "\n\n".join(parts)


def announced() -> str:
    """What was spent, what the loop said of its own advice, and why it stopped."""
    loop = found()["loop"]
    regret, loss = (loop["targets"][0][name] for name in ("regret", "loss"))
    share, rival = loop["spent"] / flops_of_target(), found()[RIVALS[0]]
    return (
        f"The loop spent {percent(share, 1)} of the target's FLOPs in {loop['rounds']} rounds; the rivals' "
        f"networks have {rival['params_nonembedding']:,} parameters. The loop expected a regret of "
        f"{percent(regret['expected'], 1)}, below {percent(regret['upper'], 1)} with 90%, and a loss of "
        f"{loss['median']:.3f} ({loss['lower']:.3f} to {loss['upper']:.3f}). It stopped because "
        f"{loop['stop']['reason']}."
    )


def energy() -> str:
    """What training with each recommendation took, from the CPU seconds that its record has."""
    ended = [run for name in METHODS if (run := found()[name].get("target"))]
    least, most = (end(run["cpu_seconds"] for run in ended) for end in (min, max))
    spent = meter("cpu")
    low, high = (spent(seconds)[0] / JOULES_PER_KWH for seconds in (least, most))
    return (
        f"Each of these {len(ended)} runs took {least:,.0f} to {most:,.0f} CPU seconds, "
        f"{low:.3f} to {high:.3f} kWh ({spent(least)[1]})."
    )


# ------------------------------------------------------------------------------------------------ tools


def sweep(plan: Path, out: Path) -> None:
    python("-m", "bayeslaw.lab.train.sweep", "--plan", plan, "--out", out, "--workers", 2)


def python(*arguments: Any) -> str:
    """Standard output of a Python command at the repository's root; progress goes to stderr."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def read(out: Path, run_id: str) -> dict[str, Any]:
    run = record.read(out / "runs" / run_id)
    assert run is not None, f"{run_id} was not trained"
    return run


def flops(runs: pd.DataFrame) -> float:
    return float((6.0 * runs["params_nonembedding"] * runs["tokens"]).sum())


def flops_of_target() -> float:
    target = target_of(OPTIMIZER)
    return 6 * target.params_nonembedding * target.tokens


def found() -> dict[str, Any]:
    return dict(json.loads(RESULTS.read_text())) if RESULTS.exists() else {}


def save(name: str, result: dict[str, Any]) -> None:
    with write_atomically(RESULTS) as temporary:
        temporary.write_text(json.dumps(found() | {name: result}, indent=1) + "\n")


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["loop", "rivals", "target", "table"])
    what = parser.parse_args().what
    if what == "table":
        print(table())
    else:
        {"loop": loop, "rivals": rivals, "target": target}[what]()


if __name__ == "__main__":
    main()
