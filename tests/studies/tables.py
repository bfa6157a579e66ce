"""Markdown tables of the studies' result lines."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The result lines of a study so far; none before its first."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def study_parser(description: str | None, *before: str) -> argparse.ArgumentParser:
    """The command line of a study: steps ``before``; ``run`` does what is not there, ``table`` prints it."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=[*before, "run", "table"])
    return parser


def run_or_print(description: str | None, run: Callable[[], None], table: Callable[[], str]) -> None:
    """The command line of a study without options."""
    if study_parser(description).parse_args().what == "run":
        run()
    else:
        print(table())


def run_and_print(
    description: str | None,
    option: tuple[str, int],
    run: Callable[[int, int], None],
    table: Callable[[], str],
) -> None:
    """The command line of a study with one number, such as ``("kills", 200)``, and a seed."""
    name, usual = option
    parser = study_parser(description)
    parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--seed", type=int, default=0)
    asked = vars(parser.parse_args())
    if asked["what"] == "run":
        run(asked[name], asked["seed"])
    print(table())


def heldout_tables(rows: Sequence[Row]) -> str:
    """All the tables that the results allow, one under the other."""
    parts = [
        _regret(rows),
        _optima(rows),
        _losses(rows),
        _few(rows),
        _new_study(rows),
        _pooling(rows),
        _side(rows),
        *(_fits(law, own) for law, own in by_law(rows).items()),
    ]
    return "\n\n".join(part for part in parts if part)


LAWS = ("core", "default")


def by_law(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of fits, by the law that was fitted."""
    return {law: own for law in LAWS if (own := [row for row in rows if row.get("law") == law])}


def _starting(rows: Sequence[Row], prefix: str) -> list[Row]:
    return [row for row in rows if row["case"].startswith(prefix)]


def markdown(title: str, header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *body)]
    return f"**{title}**\n\n" + "\n".join(lines) if len(lines) > 2 else ""


def percent(value: float | None, digits: int = 3) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{100 * value:.{digits}f}%"


def _split_at_5e8(rows: Sequence[Row]) -> list[Row]:
    """The rolling origin whose held-out cells are those with N > 5e8, by each law."""
    origins = _starting(rows, "steplaw/origin N<5.37e+08")
    return [row for own in by_law(origins).values() for row in own]


def _regret(rows: Sequence[Row]) -> str:
    chosen = _split_at_5e8(rows) + _starting(rows, "steplaw/baseline") + _starting(rows, "steplaw/law")
    body = [
        [
            f"bayeslaw, {row['law']}" if "law" in row else row["case"].removeprefix("steplaw/"),
            percent(row["summary"]["regret_mean"]),
            percent(row["summary"]["regret_max"]),
            percent(row["coverage"], 1),
        ]
        for row in chosen
    ]
    header = ["method", "mean regret", "largest", "90% intervals of run losses cover"]
    return markdown("Step Law runs: fitted on N < 5e8, scored on the cells with N > 5e8", header, body)


def _optima(rows: Sequence[Row]) -> str:
    body = []
    for law, origins in by_law(_starting(rows, "steplaw/origin")).items():
        every = []
        for row in origins:
            flags = [value for cell in row["cells"] for value in (cell["covered"] or {}).values()]
            every += flags
            mean = percent(np.mean([cell["regret"] for cell in row["cells"]]))
            body.append([law, row["case"].split()[-1], str(len(row["cells"])), mean, counted(flags)])
        body.append([law, "all", "", "", f"{counted(every)} ({np.mean(every):.0%})"])
    header = ["law", "fitted on", "cells beyond", "mean regret", "smoothed optima inside the 90% intervals"]
    return markdown("Step Law runs: rolling origin", header, body)


def counted(flags: Sequence[bool]) -> str:
    """How many of them hold; a dash without any."""
    return f"{sum(flags)} of {len(flags)}" if flags else "-"


def _inside(row: Row, name: str) -> str:
    """How many of a split's smoothed optima of a setting lie inside their intervals."""
    return counted([cell["covered"][name] for cell in row["cells"] if name in (cell["covered"] or {})])


def _losses(rows: Sequence[Row]) -> str:
    """Losses and optima of ScaleBench's splits."""
    splits = [row for row in _starting(rows, "scalebench/") if "seed" not in row["case"]]
    body = [
        [
            row["case"].removeprefix("scalebench/"),
            row["law"],
            str(row["n"]),
            f"{row['effective_n']:.1f}" if row.get("effective_n") else "-",
            f"{row['r2']:.4f}",
            f"{row['r2_within_cells']:.3f}",
            percent(row["coverage"], 1),
            f"{row['joint_pit']:.2f}" if row.get("joint_pit") is not None else "-",
            _inside(row, "learning_rate"),
            _inside(row, "batch_tokens"),
            percent(row["summary"]["regret_mean"]),
        ]
        for row in sorted(splits, key=lambda row: row["case"])
    ]
    head = [
        "split",
        "law",
        "runs",
        "worth",
        "R2",
        "R2 within cells",
        "losses covered",
        "joint PIT",
        "best rates inside",
        "best batches inside",
        "mean regret",
    ]
    return markdown("ScaleBench: losses and smoothed optima of held-out cells, 90% intervals", head, body)


def _few(rows: Sequence[Row]) -> str:
    body = []
    for prefix in ("scalebench/1% seed", "scalebench/last cell 1% seed"):
        for law, chosen in by_law(_starting(rows, prefix)).items():
            r2, cover = [row["r2"] for row in chosen], [row["coverage"] for row in chosen]
            used = [row["fit"]["rows"] for row in chosen]
            counts = [prefix.removeprefix("scalebench/").removesuffix(" seed"), law, str(len(chosen))]
            scores = [f"{np.median(r2):.4f}", f"{min(r2):.3f}", percent(float(np.mean(cover)), 1)]
            body.append([*counts, f"{min(used)} to {max(used)}", *scores])
    header = [
        "ScaleBench, 1% of the FLOPs at random",
        "law",
        "seeds",
        "runs used",
        "median R2",
        "worst R2",
        "mean coverage",
    ]
    return markdown("Few runs", header, body)


def _new_study(rows: Sequence[Row]) -> str:
    body = []
    for prefix in ("newstudy/with marin", "newstudy/alone"):
        for law, chosen in by_law(_starting(rows, prefix)).items():
            regret = [row["summary"]["regret_median"] for row in chosen]
            cover = float(np.mean([row["coverage"] for row in chosen]))
            scores = [float(np.median(regret)), float(np.max(regret))]
            counts = [prefix.removeprefix("newstudy/"), law, str(len(chosen))]
            body.append([*counts, *map(percent, scores), percent(cover, 1)])
    header = ["8 own runs at N < 3e8", "law", "seeds", "median regret at N > 5e8", "worst seed", "coverage"]
    return markdown("A new study", header, body)


KINDS = ("partial", "none", "complete")


def _trios(rows: Sequence[Row]) -> list[tuple[str, str, list[Row]]]:
    """Law, optimizer and its three fits, where all three are there."""
    found = []
    for law, own in by_law(_starting(rows, "marin/")).items():
        cases = {row["case"]: row for row in own}
        for optimizer in sorted({case.split("/")[1].split()[0] for case in cases}):
            names = [f"marin/{optimizer} {kind}" for kind in KINDS]
            if all(name in cases for name in names):
                found.append((law, optimizer, [cases[name] for name in names]))
    return found


def _pooling(rows: Sequence[Row]) -> str:
    body = [
        [law, optimizer, *(f"{row['crps']:.4f} ({percent(row['coverage'], 0)})" for row in trio)]
        for law, optimizer, trio in _trios(rows)
    ]
    header = ["law", "Marin, scored at 520M: CRPS (coverage)", "partial pooling", "none", "complete"]
    return markdown("Leave one optimizer out, then add its 130M runs", header, body)


def _side(rows: Sequence[Row]) -> str:
    """Weight decay and momentum of a held-out cell's best run: mean CRPS over cells that all three have."""
    body = []
    for law in LAWS:
        for name in ("weight_decay", "momentum"):
            scored = [[row["side"].get(name) for row in trio] for own, _, trio in _trios(rows) if own == law]
            known = [each for each in scored if all(each)]
            if not known:
                continue
            cells = [each[0]["cells"] for each in known]
            means = np.average(
                [[kind["crps_nats"] for kind in each] for each in known], axis=0, weights=cells
            )
            counts = f"{name.replace('_', ' ')} ({len(known)} optimizers, {sum(cells)} cells)"
            body.append([law, counts, *(f"{mean:.3f}" for mean in means)])
    header = ["law", "best run's setting at 520M: CRPS, nats", "partial pooling", "none", "complete"]
    return markdown("The same fits: weight decay, and the gap of momentum to 1", header, body)


def _fits(law: str, rows: Sequence[Row]) -> str:
    fits = [row["fit"] for row in rows]
    good = [f for f in fits if f["rhat_max"] <= 1.01 and min(f["ess_bulk_min"], f["ess_tail_min"]) >= 400]
    clean = [f for f in good if f["divergences"] == 0]
    return (
        f"{len(good)} of {len(fits)} fits of the {law} law met R-hat <= 1.01 and bulk and tail ESS >= 400; "
        f"{len(clean)} of them had no divergence."
    )
