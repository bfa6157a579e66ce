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


def study_parser(description: str | None) -> argparse.ArgumentParser:
    """The command line of a study: ``run`` does what is not there, ``table`` prints it."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "table"])
    return parser


def run_or_print(description: str | None, run: Callable[[], None], table: Callable[[], str]) -> None:
    """The command line of a study without options."""
    if study_parser(description).parse_args().what == "run":
        run()
    else:
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
        _fits(rows),
    ]
    return "\n\n".join(part for part in parts if part)


def _starting(rows: Sequence[Row], prefix: str) -> list[Row]:
    return [row for row in rows if row["case"].startswith(prefix)]


def markdown(title: str, header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *body)]
    return f"**{title}**\n\n" + "\n".join(lines) if len(lines) > 2 else ""


def percent(value: float | None, digits: int = 3) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{100 * value:.{digits}f}%"


def _split_at_5e8(rows: Sequence[Row]) -> list[Row]:
    """The rolling origin whose held-out cells are those with N > 5e8."""
    origins = _starting(rows, "steplaw/origin")
    return [row for row in origins if min(cell["params"] for cell in row["cells"]) > 5e8][:1]


def _regret(rows: Sequence[Row]) -> str:
    chosen = _split_at_5e8(rows) + _starting(rows, "steplaw/baseline") + _starting(rows, "steplaw/law")
    body = [
        [
            "bayeslaw" if "origin" in row["case"] else row["case"].removeprefix("steplaw/"),
            percent(row["summary"]["regret_mean"]),
            percent(row["summary"]["regret_max"]),
            percent(row["coverage"], 1),
        ]
        for row in chosen
    ]
    header = ["method", "mean regret", "largest", "90% intervals of run losses cover"]
    return markdown("Step Law runs: fitted on N < 5e8, scored on the cells with N > 5e8", header, body)


def _optima(rows: Sequence[Row]) -> str:
    origins = _starting(rows, "steplaw/origin")
    body, every = [], []
    for row in origins:
        flags = [value for cell in row["cells"] for value in (cell["covered"] or {}).values()]
        every += flags
        mean = np.mean([cell["regret"] for cell in row["cells"]])
        body.append(
            [row["case"].split()[-1], str(len(row["cells"])), percent(mean), f"{sum(flags)} of {len(flags)}"]
        )
    if every:
        body.append(["all", "", "", f"{sum(every)} of {len(every)} ({np.mean(every):.0%})"])
    header = ["fitted on", "cells beyond", "mean regret", "smoothed optima inside the 90% intervals"]
    return markdown("Step Law runs: rolling origin", header, body)


def counted(flags: Sequence[bool]) -> str:
    """How many of them hold; a dash without any."""
    return f"{sum(flags)} of {len(flags)}" if flags else "-"


def _inside(row: Row, name: str) -> str:
    """How many of a split's smoothed optima of a setting lie inside their intervals."""
    return counted([cell["covered"][name] for cell in row["cells"] if name in (cell["covered"] or {})])


def _losses(rows: Sequence[Row]) -> str:
    """Losses and optima of ScaleBench's splits."""
    chosen = [row for row in _starting(rows, "scalebench/") if "seed" not in row["case"]]
    body = [
        [
            row["case"].removeprefix("scalebench/"),
            str(row["n"]),
            f"{row['r2']:.4f}",
            f"{row['r2_within_cells']:.3f}",
            percent(row["coverage"], 1),
            _inside(row, "learning_rate"),
            _inside(row, "batch_tokens"),
        ]
        for row in chosen
    ]
    head = [
        "split",
        "runs",
        "R2",
        "R2 within cells",
        "losses covered",
        "best rates inside",
        "best batches inside",
    ]
    return markdown("ScaleBench: losses and smoothed optima of held-out cells, 90% intervals", head, body)


def _few(rows: Sequence[Row]) -> str:
    body = []
    for prefix in ("scalebench/1% seed", "scalebench/last cell 1% seed"):
        if chosen := _starting(rows, prefix):
            r2, cover = [row["r2"] for row in chosen], [row["coverage"] for row in chosen]
            used = [row["fit"]["rows"] for row in chosen]
            counts = [prefix.removeprefix("scalebench/").removesuffix(" seed"), str(len(chosen))]
            scores = [f"{np.median(r2):.4f}", f"{min(r2):.3f}", percent(float(np.mean(cover)), 1)]
            body.append([*counts, f"{min(used)} to {max(used)}", *scores])
    header = [
        "ScaleBench, 1% of the FLOPs at random",
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
        if chosen := _starting(rows, prefix):
            regret = [row["summary"]["regret_median"] for row in chosen]
            cover = [row["coverage"] for row in chosen]
            body.append(
                [prefix.removeprefix("newstudy/"), str(len(chosen)), percent(float(np.median(regret))),
                 percent(float(np.max(regret))), percent(float(np.mean(cover)), 1)]
            )  # fmt: skip
    header = ["8 own runs at N < 3e8", "seeds", "median regret at N > 5e8", "worst seed", "coverage"]
    return markdown("A new study", header, body)


def _pooling(rows: Sequence[Row]) -> str:
    chosen = _starting(rows, "marin/")
    optimizers = sorted({row["case"].split("/")[1].split()[0] for row in chosen})
    found = {row["case"]: row for row in chosen}
    body = []
    for optimizer in optimizers:
        kinds = [found.get(f"marin/{optimizer} {kind}") for kind in ("partial", "none", "complete")]
        if all(kinds):
            body.append([optimizer, *(f"{k['crps']:.4f} ({percent(k['coverage'], 0)})" for k in kinds if k)])
    header = ["Marin, scored at 520M: CRPS (coverage)", "partial pooling", "none", "complete"]
    return markdown("Leave one optimizer out, then add its 130M runs", header, body)


def _side(rows: Sequence[Row]) -> str:
    """Weight decay and momentum of a held-out cell's best run: mean CRPS over cells that all three have."""
    found = {row["case"]: row.get("side", {}) for row in _starting(rows, "marin/")}
    optimizers = sorted({case.split("/")[1].split()[0] for case in found})
    kinds = ("partial", "none", "complete")
    body = []
    for name in ("weight_decay", "momentum"):
        scored = [[found.get(f"marin/{o} {kind}", {}).get(name) for kind in kinds] for o in optimizers]
        known = [each for each in scored if all(each)]
        if not known:
            continue
        cells = [each[0]["cells"] for each in known]
        means = [
            np.average([each[k]["crps_nats"] for each in known], weights=cells) for k in range(len(kinds))
        ]
        counts = f"{name.replace('_', ' ')} ({len(known)} optimizers, {sum(cells)} cells)"
        body.append([counts, *(f"{mean:.3f}" for mean in means)])
    header = ["best run's setting at 520M: CRPS, nats", "partial pooling", "none", "complete"]
    return markdown("The same fits: weight decay, and the gap of momentum to 1", header, body)


def _fits(rows: Sequence[Row]) -> str:
    fits = [row["fit"] for row in rows if "fit" in row]
    if not fits:
        return ""
    good = [f for f in fits if f["rhat_max"] <= 1.01 and min(f["ess_bulk_min"], f["ess_tail_min"]) >= 400]
    clean = [f for f in good if f["divergences"] == 0]
    return (
        f"{len(good)} of {len(fits)} fits met R-hat <= 1.01 and bulk and tail ESS >= 400; "
        f"{len(clean)} of them had no divergence."
    )
