"""Output of the command line: results on stdout, as one JSON object or as tables; messages on stderr."""

from __future__ import annotations

import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from bayeslaw.hardware import cost_words
from bayeslaw.target import NEVER_SEEN
from bayeslaw.text import percent, setting, short, three_digits


def words_of(name: str) -> str:
    """``terms.words_of``, which loads NumPy, so not before a table is printed."""
    from bayeslaw.law import terms

    return terms.words_of(name)


def say(message: str) -> None:
    """Print a message for a person, on stderr; where nobody can read it, the work goes on."""
    with suppress(OSError):
        print(message, file=sys.stderr)


def replace_what_cannot_be_written() -> None:
    """Print ? for what the encoding of stdout or stderr lacks, as in a terminal of ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextmanager
def all_written() -> Iterator[None]:
    """Write all that was printed before the block ends, and leave the process where it cannot be written.

    Raises:
        SystemExit: 1 where nobody reads stdout any more, 2 where it is full.
    """
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        _let_go()
        sys.exit(1)
    except OSError as error:
        if error.filename is not None:  # a file, which whoever opened it should have caught
            raise
        say(f"error: stdout: cannot be written ({error.strerror or error}); send it elsewhere")
        _let_go()
        sys.exit(2)


def _let_go() -> None:
    """Send what is left in stdout nowhere, for Python writes it once more when it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(result: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout; a number that is not finite becomes null."""
    ascii_only = "utf" not in str(getattr(sys.stdout, "encoding", "")).lower()
    print(json.dumps(_plain(result), allow_nan=False, ensure_ascii=ascii_only))


def print_table(
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    title: str | None = None,
    file: TextIO | None = None,
) -> None:
    """Print a table on stdout, or in ``file``; numbers are given as text."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row))
    console = Console(file=file)
    if not console.is_terminal:
        console.width = 200  # a file or pipe has no width
    if title:
        print(title, file=file)
    console.print(table)


def _plain(value: Any) -> Any:
    """Turn mappings, sequences and numpy scalars into what json can write."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def print_readings(readings: Sequence[Any]) -> None:
    """Print on stderr how each column was read, and why; --map decides otherwise."""
    if readings:
        with suppress(OSError):
            rows = [(each.role, each.column, each.reason) for each in readings]
            print_table(
                ["role", "column", "why (--map ROLE=COLUMN decides otherwise)"], rows, file=sys.stderr
            )


def print_import(table: Any, output: Path) -> None:
    """Print an import, one row per optimizer."""
    rows = []
    for (study, optimizer), runs in table.groupby(["study", "optimizer"]):
        finished = runs[runs["status"] == "finished"]
        spans = [_span(runs[name], short) for name in ("params_nonembedding", "tokens", "batch_tokens")]
        rates, losses = _span(runs["learning_rate"], three_digits), _span(finished["loss"], three_digits)
        rows.append([study, optimizer, len(runs), len(finished), *spans, rates, losses])
    header = [
        "study",
        "optimizer",
        "runs",
        "finished",
        "N",
        "tokens",
        "batch, tokens",
        "peak lr",
        "loss, nats",
    ]
    print_table(header, rows, title=f"{len(table)} runs written to {output}")


def print_fit(summary: Mapping[str, Any]) -> None:
    """Print a fit: one row per (study, optimizer), then convergence and warnings."""
    level = f"{100 * summary['level']:g}%"
    rows = []
    for group in summary["groups"]:
        exponents = [
            f"{x['median']:.2f} ({x['lower']:.2f} to {x['upper']:.2f})" for x in group["exponents"].values()
        ]
        lost = group["runs"] - group["status"].get("finished", 0)
        used = f"{group['runs']} ({lost} not finished)" if lost else str(group["runs"])
        sizes = [" to ".join(dict.fromkeys(map(short, group[k]))) for k in ("params_nonembedding", "tokens")]
        rows.append([group["study"], group["optimizer"], used, group["cells"], *sizes, *exponents])
    header = ["study", "optimizer", "runs", "cells", "N", "tokens", "gamma", "delta", "epsilon"]
    print_table(header, rows, title=f"posterior written to {summary['output']}; exponents: {level} intervals")
    told = summary["convergence"]
    verdict = "converged" if told["converged"] else "NOT converged"
    print(
        f"{verdict}: R-hat {told['rhat_max']:.3f}, ESS {told['ess_bulk_min']:.0f} in bulk and "
        f"{told['ess_tail_min']:.0f} in the tails, {told['divergences']} divergences, "
        f"{told['chains']} chains of {told['draws']} draws"
    )
    for text in summary["warnings"]:
        print(f"warning: {text}")


def print_prediction(result: Mapping[str, Any]) -> None:
    """Print advice: one row per hyperparameter, then what to expect and warnings."""
    inputs, level = result["inputs"], f"{100 * result['level']:g}%"
    rows = []
    for name, value in result["recommendation"].items():
        best = result["optimum"][name]
        span = f"{setting(name, best['lower'])} to {setting(name, best['upper'])}"
        fixed = name == "batch_tokens" and inputs["batch_tokens"] is not None
        rows.append([words_of(name), setting(name, value) + (" (fixed)" if fixed else ""), span])
    study = inputs["study"] or NEVER_SEEN
    n, d = short(inputs["params_nonembedding"]), short(inputs["tokens"])
    title = f"{inputs['optimizer']}, N = {n}, D = {d} tokens, {study}"
    print_table(["", "use", f"optimum, {level} interval"], rows, title=title)
    for line in _expectations(result, level):
        print(line)
    for text in result["warnings"]:
        print(f"warning: {text}")


def _expectations(result: Mapping[str, Any], level: str) -> list[str]:
    loss, regret, beyond = (result[name] for name in ("loss_nats_per_token", "regret", "extrapolation"))
    origin = result["posterior"]
    told = [str(origin[name])[:10] for name in ("method", "created") if name in origin]
    runs = [f"{origin['rows']} runs"] if isinstance(origin.get("rows"), int) else []
    expected, most = percent(regret["expected"]), percent(regret["upper"])
    bill = result.get("bill", {})
    return [
        *([f"cost           {cost_words(bill)}"] if "device_hours" in bill else []),
        f"loss           {loss['median']:.3f} nats/token, {loss['lower']:.3f} to {loss['upper']:.3f}",
        f"regret         {expected} of the loss expected, below {most} with probability {level}",
        f"extrapolation  {beyond['params_decades']:.1f} decades in N, {beyond['tokens_decades']:.1f} in D",
        f"posterior      {', '.join([str(origin['path']), *runs, *told])}",
    ]


def print_law(answer: Mapping[str, Any], target: Any) -> None:
    """Print a published law's answer, with its formula, units and fitted range."""
    law = answer["law"]
    rows = [[words_of(name), setting(name, value)] for name, value in answer["recommendation"].items()]
    title = f"{law['name']} law, N = {short(target.params_nonembedding)}, D = {short(target.tokens)} tokens"
    print_table(["", "use"], rows, title=title)
    for name in ("formula", "units", "source", "note"):
        print(f"{name:13s}  {law[name]}")
    print(f"{'fitted range':13s}  {_fitted_range(law) or 'not stated'}")
    for text in answer["warnings"]:
        print(f"warning: {text}")


def print_comparison(result: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]) -> None:
    """Print the posterior's answer, then every published law's."""
    print_prediction(result)
    rows, wanted = [], ("learning_rate", "batch_tokens")
    for answer in answers:
        use = answer["recommendation"]
        cells = [setting(name, use[name]) if name in use else "-" for name in wanted]
        rows.append([answer["law"]["name"], *cells, _fitted_range(answer["law"]) or "not stated"])
    print_table(["law", *(words_of(name) for name in wanted), "fitted range"], rows, title="")
    for text in (text for answer in answers for text in answer["warnings"]):
        print(f"warning: {text}")


def _fitted_range(law: Mapping[str, Any]) -> str:
    letters = {"params": "N", "tokens": "D", "flops": "C"}
    spans = law["fitted_range"].items()
    return ", ".join(f"{letters[name]} {low:.2g} to {high:.2g}" for name, (low, high) in spans)


def print_evaluation(result: Mapping[str, Any]) -> None:
    """Print an evaluation: one row per cell, then the summary."""
    rows = []
    for cell in result["cells"]:
        regret = "-" if cell["regret"] is None else percent(cell["regret"])
        note = "beyond the runs: a lower bound" if cell.get("beyond_runs") else cell["note"]
        sizes = [short(cell["params"]), short(cell["tokens"]), cell["n"]]
        rows.append([cell["study"], cell["optimizer"], *sizes, regret, note])
    header = ["study", "optimizer", "N", "tokens", "runs", "regret", "note"]
    print_table(header, rows, title=f"{result['advisor']}: {result['runs']['n']} finished runs")
    summary, runs = result["summary"], result["runs"]
    if summary["regret_mean"] is not None:
        middle, most = percent(summary["regret_median"]), percent(summary["regret_max"])
        print(f"regret    {percent(summary['regret_mean'])} mean, {middle} median, {most} at most")
    for name, share in (summary["optimum_coverage"] or {}).items():
        width = summary["optimum_interval_factor"][name]
        print(f"optimum   {share:.0%} of {words_of(name)} inside the interval, upper/lower {width:.3g}")
    if "r2" in runs:
        fit = "-" if runs["r2"] is None else f"{runs['r2']:.3f}"
        print(f"loss      R2 {fit}, CRPS {runs['crps']:.4f}, MAE {runs['mae']:.4f} nats/token")
        print(f"coverage  {runs['coverage']:.0%} of runs inside {100 * runs['level']:g}% intervals")


def print_design(result: Mapping[str, Any]) -> None:
    """One row a run, then what the batch costs and buys, and whether to stop."""
    from bayeslaw.law.terms import own_bowls

    unit, regret = result["inputs"]["cost_unit"], result["regret"]
    extras = [name for name in own_bowls() if any(name in run for run in result["runs"])]
    rows = []
    for number, run in enumerate(result["runs"], start=1):
        sizes = [short(run[name]) for name in ("params_nonembedding", "tokens", "batch_tokens")]
        tuned = [three_digits(run[name]) if name in run else "-" for name in ("learning_rate", *extras)]
        cost, chance = f"{run['cost']:.3g}", f"{run['chance_diverges']:.0%}"
        rows.append(
            [number, run["optimizer"], *sizes, *tuned, cost, chance, percent(run["regret_reduction"])]
        )
    told = [words_of(name) for name in ("batch_tokens", "learning_rate", *extras)]
    header = ["", "optimizer", "N", "tokens", *told, f"cost, {unit}", "diverges", "lowers regret by"]
    shown = ", ".join(
        f"{t['optimizer']} N = {short(t['params_nonembedding'])} D = {short(t['tokens'])}"
        for t in result["inputs"]["targets"]
    )
    print_table(header, rows, title=f"plan written to {result['output']}, for {shown}")
    share = " + ".join(
        f"{percent(value)} {name.replace('_', ' ')}" for name, value in regret["before_by_decision"].items()
    )
    pool = result["candidates"]
    print(
        f"cost    {result['cost']:.3g} of {result['inputs']['budget']:.3g} {unit}; "
        f"{pool['affordable']} of {pool['offered']} candidates affordable"
    )
    if "device_hours" in result["bill"]:
        print(f"bill    {cost_words(result['bill'])}")
    print(f"regret  {percent(regret['before'])} of the loss expected now ({share})")
    print(f"        {percent(regret['after'])} expected after these runs (each counted given those above it)")
    print(f"{'stop' if result['stop']['stop'] else 'go on':6s}  {result['stop']['reason']}")
    for text in result["warnings"]:
        print(f"warning: {text}")


def print_loop(result: Mapping[str, Any]) -> None:
    """Print the advice at each target, and why the loop stopped."""
    rows = []
    for each in result["targets"]:
        sizes = [short(each["params_nonembedding"]), short(each["tokens"])]
        values = [
            f"{setting(name, value)} ({setting(name, best['lower'])} to {setting(name, best['upper'])})"
            for name, value in each["recommendation"].items()
            for best in [each["optimum"][name]]
        ]
        rows.append([each["optimizer"], *sizes, *values, percent(each["regret"]["expected"])])
    told = [words_of(name) for name in (result["targets"] or [{"recommendation": {}}])[0]["recommendation"]]
    header = ["optimizer", "N", "tokens", *told, "regret expected"]
    made = f"{result['runs']} runs, {result['finished']} finished"
    if rows:
        print_table(header, rows, title=f"{made}; advice, with 90% intervals of the optimum")
    else:
        print(f"{made}: no advice yet")
    print(
        f"stopped  {result['stop']['reason']} (rounds made: {result['rounds']}, "
        f"spent: {result['spent']:.3g} {result['unit']})"
    )
    print(f"journal  {Path(result['folder']) / 'journal.md'}")


def print_report(result: Mapping[str, Any]) -> None:
    """Print the path of the report, and its advice at the example target."""
    asked, use = result["example"]["inputs"], result["example"]["recommendation"]
    told = ", ".join(f"{words_of(name)} {setting(name, value)}" for name, value in use.items())
    print(f"report written to {result['output']} ({result['bytes'] / 1e6:.1f} MB); open it in any browser")
    print(
        f"example  {asked['optimizer']}, N = {short(asked['params_nonembedding'])}, "
        f"D = {short(asked['tokens'])} tokens, {asked['study']}: {told}"
    )


@contextmanager
def replay_progress(total: int) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Show a bar on stderr if it is a terminal, else one line per result."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    def told(row: Mapping[str, Any]) -> str:
        regret = "-" if row["regret"] is None else percent(row["regret"])
        return f"{row['policy']} seed {row['seed']} at {row['budget']:.3g}: regret {regret}"

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda row: say(told(row))
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("starting", total=total)
        yield lambda row: progress.update(task, advance=1, description=told(row))


def print_replay(curves: Mapping[str, Any], output: Path, unit: str) -> None:
    """Print replays: one row per policy and budget."""

    def middle(entry: Mapping[str, Any], name: str, show: Callable[[float], str]) -> str:
        band = entry[name]
        return f"{show(band['median'])} ({show(band['lower'])} to {show(band['upper'])})" if band else "-"

    rows = []
    for policy, entries in curves.items():
        for entry in entries:
            scores = [middle(entry, name, percent) for name in ("regret", "announced")]
            scores += [middle(entry, name, three_digits) for name in ("r2", "coverage", "width")]
            within = "-" if entry["within"] is None else f"{entry['within']:.0%}"
            rows.append(
                [policy, f"{entry['budget']:.3g}", entry["seeds"], f"{entry['runs']:.0f}", *scores, within]
            )
    header = ["policy", f"budget, {unit}", "seeds", "runs", "regret", "announced", "R2", "coverage"]
    header += ["width, nats", "regret within its bound"]
    print_table(header, rows, title=f"{output}: medians over seeds (10 to 90%)")


def _span(values: Any, show: Callable[[float], str]) -> str:
    """Range of a column, from smallest to largest value."""
    if values.notna().sum() == 0:
        return "-"
    low, high = show(values.min()), show(values.max())
    return low if low == high else f"{low} to {high}"
