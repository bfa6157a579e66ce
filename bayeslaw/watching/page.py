"""The page of a sweep or loop: HTML of its state, whole or the part that changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from bayeslaw.errors import BadInput
from bayeslaw.files import static_text
from bayeslaw.loop import journal
from bayeslaw.posterior.draws import Posterior
from bayeslaw.target import Target
from bayeslaw.text import percent, short, three_digits
from bayeslaw.watching.charts import Chart, svg
from bayeslaw.watching.state import QUIET_SECONDS, Row, State, curve

MOST_CELLS = 24
MOST_RUNS = 500
CURVE_POINTS = 40
JOULES_PER_KWH = 3.6e6

Cell = tuple[str, str, float, float]


def whole(state: State, posterior: Posterior | None, chosen: str | None = None) -> str:
    """The page, with its style and script.

    Args:
        state: of the folder.
        posterior: the latest fit, or one that the user names.
        chosen: run_id whose curve is open.
    """
    return Template(static_text("watching", "watch.html")).substitute(
        title=escape(state.folder.resolve().name),
        style=static_text("reporting", "shared.css") + static_text("watching", "watch.css"),
        script=static_text("watching", "watch.js"),
        body=body(state, posterior, chosen),
    )


def body(state: State, posterior: Posterior | None, chosen: str | None = None) -> str:
    """The part of the page that changes; arguments as in ``whole``."""
    sections = {
        "Progress": _progress(state),
        "Optimum, round by round": _rounds(state),
        "Loss against learning rate": _cells(state, posterior),
        "Journal": _journal(state),
        "Runs": _runs(state, chosen),
    }
    return "".join(f"<section><h2>{title}</h2>{text}</section>" for title, text in sections.items() if text)


def _progress(state: State) -> str:
    now = state.progress
    share = now.ended / now.planned if now.planned else 0.0
    tiles = [("runs ended", f"{now.ended} of {now.planned}"), ("time left", _left(state))]
    tiles += [(status, str(count)) for status, count in sorted(now.counts.items())]
    tiles += [(name, text) for name, text in _spent(state.runs)]
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in tiles)
    bar = f'<progress max="1" value="{share:.4f}">{share:.0%}</progress>'
    page = '<p><a href="/report.html">Report of the latest fit</a></p>' if state.report else ""
    given = f" {state.given} runs that --runs gave are in the fits, not shown here." if state.given else ""
    quiet = f'<p class="quiet">{escape(_sign_of_life(state) + given)}</p>'
    return f'{bar}<dl class="tiles">{cells}</dl>{quiet}{page}'


def _left(state: State) -> str:
    seconds = state.progress.seconds_left
    if seconds is None:
        return "not known"
    return "none" if seconds == 0 else _duration(seconds)


def _spent(runs: Sequence[Row]) -> list[tuple[str, str]]:
    """FLOPs, hours and energy of all runs so far, where they are recorded."""
    totals = {
        name: sum(float(run[name]) for run in runs if isinstance(run.get(name), int | float))
        for name in ("flops", "wall_seconds", "energy_joules")
    }
    told = [
        ("FLOP so far", three_digits(totals["flops"])),
        ("run hours so far", three_digits(totals["wall_seconds"] / 3600)),
        ("energy so far, kWh", three_digits(totals["energy_joules"] / JOULES_PER_KWH)),
    ]
    return [pair for pair, total in zip(told, totals.values()) if total > 0]


def _sign_of_life(state: State) -> str:
    seconds = state.progress.quiet_seconds
    if seconds == float("inf"):
        return "Nothing has been written yet."
    words = f"Last file written {_duration(seconds)} ago."
    if seconds > QUIET_SECONDS and "quiet" in state.progress.counts:
        words += " Runs that have not ended count as quiet: stopped, or killed; the same command goes on."
    return words


def _duration(seconds: float) -> str:
    """
    >>> _duration(42), _duration(3700), _duration(200_000)
    ('42 s', '1.0 h', '2.3 d')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 86400 else f"{seconds / 86400:.1f} d"


# --------------------------------------------------------------------------------------- loss by cell


def _cells(state: State, posterior: Posterior | None) -> str:
    """One chart per cell with finished runs: loss against learning rate, and the current fit's curve."""
    by_cell: dict[Cell, list[Row]] = defaultdict(list)
    for run in state.runs:
        if run.get("status") == "finished" and _complete(run):
            cell = (
                str(run["study"]),
                str(run["optimizer"]),
                float(run["params_nonembedding"]),
                float(run["tokens"]),
            )
            by_cell[cell].append(run)
    shown = sorted(by_cell.items(), key=lambda pair: pair[0])[:MOST_CELLS]
    charts = "".join(_cell(cell, runs, posterior) for cell, runs in shown)
    more = (
        f"<p class='quiet'>{len(by_cell) - MOST_CELLS} more cells.</p>" if len(by_cell) > MOST_CELLS else ""
    )
    return f'<div class="charts">{charts}</div>{more}' if charts else ""


NEEDED = ("study", "optimizer", "params_nonembedding", "tokens", "batch_tokens", "learning_rate", "loss")


def _complete(run: Mapping[str, Any]) -> bool:
    numbers = all(isinstance(run.get(name), int | float) and run[name] > 0 for name in NEEDED[2:])
    return numbers and all(name in run for name in NEEDED[:2])


def _cell(cell: Cell, runs: Sequence[Row], posterior: Posterior | None) -> str:
    study, optimizer, n, d = cell
    dots = [
        (
            float(r["learning_rate"]),
            float(r["loss"]),
            f"{r['run_id']}: {r['loss']:.4f} at {r['learning_rate']:.3g}",
        )
        for r in runs
    ]
    title = f"{study}, {optimizer}, N = {short(n)}, D = {short(d)}"
    best = min(runs, key=lambda run: float(run["loss"]))
    line = _fitted(posterior, cell, best, [x for x, *_ in dots])
    chart = Chart("peak learning rate", "loss", dots, [line] if line else [], log_x=True)
    words = f"{title}: best {best['loss']:.4f} at {best['learning_rate']:.3g}"
    words += f"; line: the fit at that run's batch, {short(float(best['batch_tokens']))}" if line else ""
    return f"<figure>{svg(chart, title)}<figcaption>{escape(words)}</figcaption></figure>"


def _fitted(
    posterior: Posterior | None, cell: Cell, best: Row, rates: Sequence[float]
) -> list[tuple[float, float]]:
    """The fit's median loss at the best run's batch, through that run's loss; empty without one."""
    study, optimizer, n, d = cell
    if posterior is None or (study, optimizer) not in posterior.groups or min(rates) == max(rates):
        return []
    from bayeslaw.advice.prediction import loss_curve

    low, high = min(rates), max(rates)
    places = [low * (high / low) ** (i / (CURVE_POINTS - 1)) for i in range(CURVE_POINTS)]
    try:
        target = Target(n, d, optimizer, study, float(best["batch_tokens"]))
        (excess,) = loss_curve(posterior, target, [*places, float(best["learning_rate"])], [0.5])
    except BadInput:
        return []
    floor = float(best["loss"]) / (1 + float(excess[-1]))
    return [(place, floor * (1 + float(value))) for place, value in zip(places, excess)]


# ------------------------------------------------------------------------------------------- the loop


def _rounds(state: State) -> str:
    """The advised learning rate with its interval after each round, and the plan of the round at work."""
    believed = [entry for entry in state.entries if entry["kind"] == "believed" and entry.get("targets")]
    charts = []
    for place, target in enumerate(believed[-1]["targets"] if believed else []):
        told = [(e["round"], e["targets"][place]) for e in believed if place < len(e["targets"])]
        for name in ("learning_rate", "batch_tokens"):
            charts.append(_narrowing(name, target, told))
    chosen = [entry for entry in state.entries if entry["kind"] == "chosen"]
    return f'<div class="charts">{"".join(charts)}</div>{_next(chosen)}' if charts or chosen else ""


def _narrowing(name: str, target: Mapping[str, Any], told: Sequence[tuple[int, Mapping[str, Any]]]) -> str:
    spans = [(float(n), each["optimum"][name]) for n, each in told if name in each["optimum"]]
    chart = Chart(
        "after round",
        f"best {name.replace('_', ' ')}",
        [(n, span["median"], f"round {n:.0f}: {span['median']:.3g}") for n, span in spans],
        bars=[(n, span["lower"], span["upper"]) for n, span in spans],
        log_y=True,
    )
    size = f"N = {short(target['params_nonembedding'])}, D = {short(target['tokens'])}"
    words = f"{name.replace('_', ' ')} for {target['optimizer']}, {size}: median and 90% interval"
    return f"<figure>{svg(chart, words)}<figcaption>{escape(words)}</figcaption></figure>"


def _next(chosen: Sequence[Mapping[str, Any]]) -> str:
    if not chosen:
        return ""
    entry = chosen[-1]
    regret = entry["regret"]
    buys = (
        f"{percent(regret['before'])} before, {percent(regret['after'])} after"
        if regret.get("after")
        else "-"
    )
    words = (
        f"Round {entry['round']}: {len(entry['runs'])} runs for {entry['cost']:.3g} {entry['unit']}, "
        f"expected regret {buys}; {entry['left']:.3g} {entry['unit']} of the budget were left."
    )
    return f"<p>{escape(words)}</p>"


def _journal(state: State) -> str:
    """The loop's journal as HTML: its tables and bold words; markup in names stays text."""
    if not state.entries:
        return ""
    from markdown_it import MarkdownIt

    reader = MarkdownIt("js-default", {"html": False, "linkify": False}).disable(
        ["image", "link", "autolink"]
    )
    text = journal.text(state.entries).partition("\n")[2]
    return f'<div class="journal">{reader.render(text)}</div>'


# -------------------------------------------------------------------------------------------- the runs


COLUMNS = {
    "optimizer": str,
    "params_nonembedding": lambda value: short(float(value)),
    "tokens": lambda value: short(float(value)),
    "batch_tokens": lambda value: short(float(value)),
    "learning_rate": lambda value: three_digits(float(value)),
    "loss": lambda value: f"{float(value):.4f}",
}
HEADS = ("run", "status", "optimizer", "N", "tokens", "batch, tokens", "peak lr", "loss")


def _runs(state: State, chosen: str | None) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in HEADS)
    rows = "".join(_run(run, run["run_id"] == chosen) for run in state.runs[:MOST_RUNS])
    more = len(state.runs) - MOST_RUNS
    tail = f'<p class="quiet">{more} more runs.</p>' if more > 0 else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    framed = f'<div class="scroll" tabindex="0">{table}</div>'
    return _chosen(state, chosen) + framed + tail if rows else '<p class="quiet">No run has begun.</p>'


def _run(run: Row, chosen: bool) -> str:
    status = str(run["status"])
    if status in ("running", "quiet"):
        status += f", {run.get('share', 0.0):.0%}"
    cells = [status, *(_cell_text(run.get(name), form) for name, form in COLUMNS.items())]
    name = str(run["run_id"])
    link = f'<a href="?run={quote(name, safe="")}#curve">{escape(name)}</a>'
    mark = ' aria-current="true"' if chosen else ""
    return (
        f'<tr{mark}><th scope="row">{link}</th>'
        + "".join(f"<td>{escape(text)}</td>" for text in cells)
        + "</tr>"
    )


def _cell_text(value: Any, form: Any) -> str:
    try:
        return "-" if value is None else str(form(value))
    except (TypeError, ValueError):
        return "-"


def _chosen(state: State, chosen: str | None) -> str:
    """The curve of one of the folder's runs; a name that is none of them shows nothing."""
    run = next((run for run in state.runs if run["run_id"] == chosen), None)
    if run is None:
        return ""
    points = [(tokens, loss) for tokens, loss in curve(run) if tokens > 0]
    name = str(run["run_id"])
    drawn = svg(Chart("tokens", "training loss", lines=[points]), f"loss of {name}") if points else ""
    words = (
        f"{name}: training loss"
        if drawn
        else f"{name} left no curve: it has not ended, or its runner keeps none"
    )
    return f'<figure id="curve" class="wide">{drawn}<figcaption>{escape(words)}</figcaption></figure>'


def posterior_of(path: Path | None) -> Posterior | None:
    """The fit in a file; None where there is none, or where it is just being replaced."""
    if path is None:
        return None
    try:
        return _read(path, path.stat().st_mtime_ns)
    except (OSError, BadInput):
        return None


@lru_cache(maxsize=2)
def _read(path: Path, _written: int) -> Posterior:
    from bayeslaw.posterior.netcdf import read_posterior

    return read_posterior(path)
