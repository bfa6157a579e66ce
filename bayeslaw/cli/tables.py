"""Output of the command line: results on stdout, as one JSON object or as tables; messages on stderr."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bayeslaw.files import plain_json
from bayeslaw.results import Result
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
    print(json.dumps(plain_json(result), allow_nan=False, ensure_ascii=ascii_only))


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """Print a table on stdout; numbers are given as text."""
    from rich.console import Console

    from bayeslaw.results import rich_table

    console = Console()
    if not console.is_terminal:
        console.width = 200  # a file or pipe has no width
    if title:
        print(title)
    console.print(rich_table(header, rows))


def print_result(result: Result) -> None:
    """Print a result: each section's title, table and sentences."""
    for section in result.sections():
        if section.rows:
            print_table(section.header, section.rows, title=section.title)
        else:
            print(section.title)
        for line in section.lines:
            print(line)


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


def print_comparison(result: Result, answers: Sequence[Mapping[str, Any]]) -> None:
    """Print the posterior's answer, then every published law's."""
    print_result(result)
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
    advice = result["example"]
    asked = advice.target
    told = ", ".join(f"{words_of(n)} {setting(n, value)}" for n, value in advice.recommendation.items())
    print(f"report written to {result['output']} ({result['bytes'] / 1e6:.1f} MB); open it in any browser")
    print(
        f"example  {asked.optimizer}, N = {short(asked.params_nonembedding)}, "
        f"D = {short(asked.tokens)} tokens, {asked.study}: {told}"
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
