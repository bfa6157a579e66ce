"""Output of the command line: results on stdout, as one JSON object or as tables; messages on stderr."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from bayeslaw.files import plain_json
from bayeslaw.hardware import cost_words
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


def print_table(
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    title: str | None = None,
    file: TextIO | None = None,
) -> None:
    """Print a table on stdout, or in ``file``; numbers are given as text."""
    from rich.console import Console

    from bayeslaw.results import rich_table

    console = Console(file=file)
    if not console.is_terminal:
        console.width = 200  # a file or pipe has no width
    if title:
        print(title, file=file)
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


def print_bill(bill: dict[str, Any]) -> None:
    """Print what runs cost, where a device or its throughput is known."""
    if "device_hours" in bill:
        print(f"cost           {cost_words(bill)}")


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
    print(f"prior: {_prior_words(summary['prior'], summary['population'])}")
    for text in summary["warnings"]:
        print(f"warning: {text}")


def _prior_words(prior: str, population: Mapping[str, Any] | None) -> str:
    if population is None:
        theory = "the literature's, exponents of the optima those of convergence bounds (--prior theory)"
        return theory if prior == "theory" else "the literature's (--population none)"
    return f"the population of {', '.join(population['studies'])} ({population['path']})"


def print_law(answer: Mapping[str, Any], target: Any) -> None:
    """Print a published law's answer, with its formula, units and fitted range."""
    law = answer["law"]
    rows = [[LAW_WORDS[name], _counted(name, value)] for name, value in answer["recommendation"].items()]
    title = f"{law['name']} law, N = {short(target.params_nonembedding)}, D = {short(target.tokens)} tokens"
    print_table(["", "use"], rows, title=title)
    for name in ("formula", "units", "source", "note"):
        print(f"{name:13s}  {law[name]}")
    print(f"{'fitted range':13s}  {_fitted_range(law) or 'not stated'}")
    for text in answer["warnings"]:
        print(f"warning: {text}")


def print_rule(answer: Mapping[str, Any], target: Any) -> None:
    """Print what a published rule makes of a tuned run."""
    rule = answer["rule"]
    rows = [
        [name.replace("_", " "), setting(name, value)] for name, value in answer["recommendation"].items()
    ]
    sizes = f"N = {short(target.params_nonembedding)}, D = {short(target.tokens)} tokens"
    print_table(["", "use"], rows, title=f"{rule['name']} rule, {_tuned(answer)}, carried to {sizes}")
    for name in ("formula", "source", "note"):
        print(f"{name:13s}  {rule[name]}")
    for text in answer["warnings"]:
        print(f"warning: {text}")


def print_comparison(
    result: Result,
    answers: Sequence[Mapping[str, Any]],
    field: Mapping[str, Any],
    rules: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Print the posterior's answer, every published law's, whether they agree, and the rules' answers."""
    print_result(result)
    rows, wanted = [], ("learning_rate", "batch_tokens", "critical_batch_tokens", "weight_decay")
    for answer in answers:
        use = answer["recommendation"]
        cells = [_counted(name, use[name]) if name in use else "-" for name in wanted]
        rows.append([answer["law"]["name"], *cells, _fitted_range(answer["law"]) or "not stated"])
    header = ["law", *(LAW_WORDS[name] for name in wanted), "fitted range"]
    print_table(header, rows, title="")
    for line in _field(field):
        print(line)
    if rules:
        _print_rules(rules)
    else:
        print(
            "rules          carry a tuned run from one batch, size or optimizer to another: --tuned "
            "N,D,BATCH,RATE"
        )
    broken = [rule for rule in rules if not rule["recommendation"]]
    for text in (text for answer in [*answers, *broken] for text in answer["warnings"]):
        print(f"warning: {text}")


LAW_WORDS = {
    "learning_rate": "learning rate, peak",
    "batch_tokens": "batch, tokens",
    "critical_batch_tokens": "critical batch, tokens",
    "weight_decay": "weight decay",
}
"""What published laws advise on, for people."""


def _counted(name: str, value: float) -> str:
    return setting("batch_tokens" if name.endswith("batch_tokens") else name, value)


def _field(field: Mapping[str, Any]) -> list[str]:
    """One line per quantity: where published laws agree, where not, and where ours stands."""
    lines = []
    for name, told in field["advice"].items():
        words = LAW_WORDS[name].partition(",")[0]
        span = f"{_counted(name, told['lower'])} to {_counted(name, told['upper'])}"
        if told["agree"] is None:
            said = f"one law speaks of it, {told['laws'][0]}: {_counted(name, told['median'])}"
        else:
            verdict = "agree within" if told["agree"] else "disagree by"
            said = f"{len(told['laws'])} published laws {verdict} a factor of {told['factor']:.2g}: {span}"
        if "ours" in told:
            inside = f"{len(told['inside_interval'])} of {len(told['laws'])} inside our interval"
            said += (
                f"; ours, {_counted(name, told['ours'])}, is {told['ours_over_median']:.2g} times "
                f"their median, {inside}"
            )
        lines.append(f"{words:14s}  {said}")
    for size, letter in (("params", "N"), ("tokens", "D")):
        if size in field["slopes"]:
            lines.append(_slope_line(letter, field["slopes"][size]))
    return lines


def _slope_line(letter: str, told: Mapping[str, Any]) -> str:
    ways = [f"{way} by {told[key]}" for key, way in (("raise", "raised"), ("reduce", "lowered")) if told[key]]
    verdict = "agree on the direction" if len(ways) == 1 else "disagree on the direction"
    span = f"exponents {told['lower']:+.2f} to {told['upper']:+.2f}"
    span += f"; ours {told['ours']:+.2f}" if "ours" in told else ""
    rules = ", ".join(f"{name} {value:+.2f}" for name, value in told.get("rules", {}).items())
    span += f"; rules at one batch: {rules}" if rules else ""
    return f"{'rate with ' + letter:14s}  published laws {verdict}: {', '.join(ways)}; {span}"


def _tuned(answer: Mapping[str, Any]) -> str:
    run = answer["tuned"]
    sizes = f"N = {short(run['params_nonembedding'])}, D = {short(run['tokens'])}"
    return f"{sizes}, batch {short(run['batch_tokens'])}, learning rate {three_digits(run['learning_rate'])}"


def _print_rules(rules: Sequence[Mapping[str, Any]]) -> None:
    rows = []
    for answer in rules:
        use = dict(answer["recommendation"])
        cells = [
            setting(name, use.pop(name)) if name in use else "-" for name in ("learning_rate", "batch_tokens")
        ]
        also = ", ".join(f"{name.replace('_', ' ')} {three_digits(value)}" for name, value in use.items())
        rows.append([answer["rule"]["name"], answer["rule"]["optimizer"], *cells, also])
    header = ["rule", "for", "learning rate, peak", "batch, tokens", "also"]
    print_table(header, rows, title=f"\nrules that carry the tuned run, {_tuned(rules[0])}:")


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
