"""Does the curvature of a network predict its best learning rate? A minute, from bayeslaw/assets/shapes.csv.

    python -m train.sweep --plan train/plans/shapes.toml --out out/shapes --workers 1
    python -m train.collect out/shapes -o bayeslaw/assets/shapes.csv
    python -m tests.studies.curvature run      # results/curvature.jsonl
    python -m tests.studies.curvature table    # prints its part of docs/benchmarks.md

A cell is one network, optimizer and D. Its best rate is the smoothed minimum along the learning rate.
Curvature comes from the cell's runs at two fixed rates, chosen before anything was known of the optimum.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from bayeslaw.arrays import Floats
from bayeslaw.evaluation.curvature import Law, Predictor, Rule, degrees, network_cells
from bayeslaw.evaluation.smoothing import SmoothedCell, smooth_cell
from bayeslaw.runs.cells import group_cells
from bayeslaw.runs.io import read_runs
from tests.studies.tables import Row, markdown, percent, read_rows, run_or_print

SWEEP = Path(__file__).parents[2] / "bayeslaw" / "assets" / "shapes.csv"
RESULTS = Path(__file__).parent / "results" / "curvature.jsonl"
MEASURES = {
    "raw": "lambda_max",
    "preconditioned": "lambda_preconditioned",
    "directional": "directional_sharpness",
    "critical": "critical_learning_rate",
    "noise": "noise_scale",
}
"""Short names of the columns that ``train.curvature`` writes."""
PER_PARAMETER = (20, 60)
"""Tokens per parameter of the cells whose D grows with N."""
MOMENTS = {"start": ("0",), "step 20": ("0.08", "0.02"), "half": ("0.5",), "end": ("1",)}
"""Shares of the run, as plans give them."""
PROBES = ("low", "near")
NAMES = {"raw": "lambda_max", "preconditioned": "preconditioned lambda_max", "critical": "critical rate"}
LARGER = 30e3
"""Parameters; held out are networks with more."""
RATIOS = (5, 20)
"""Width over depth; held out are networks outside."""
FEWEST = 4
SPARE = 2
"""Networks beyond the fitted numbers that a predictor needs to be judged."""
RESAMPLES = 2000


# ------------------------------------------------------------------------------------------ cells


def joined(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[SmoothedCell]]:
    """Best rate and curvature of each cell whose optimum lies inside its sweep and whose curvature is known.

    Returns:
        As of ``network_cells``, with one column of logarithms for each measure, moment and probe.
    """
    cells, smoothed = network_cells(runs)
    rows = dict(group_cells(runs))
    found = [measured(rows[cell.key]) for cell in smoothed]
    known = [i for i, values in enumerate(found) if values]
    curvature = pd.DataFrame([found[i] for i in known])
    return cells.iloc[known].reset_index(drop=True).join(curvature), [smoothed[i] for i in known]


def measured(runs: pd.DataFrame) -> dict[str, float]:
    """Logarithms by measure, moment and probe, NaN where there is none above 0; empty without probes."""
    probes = runs[runs["curvature_seconds"].notna()].sort_values("learning_rate")
    found = {}
    for probe, (_, run) in zip(PROBES, probes.iterrows()):
        for measure, column in MEASURES.items():
            for moment, shares in MOMENTS.items():
                values = [run.get(f"{column}_at_{share}", np.nan) for share in shares]
                value = next((v for v in values if pd.notna(v) and v > 0), np.nan)
                found[f"{measure} {moment} {probe}"] = float(np.log(value))
    return found


def spread_of(runs: pd.DataFrame) -> float:
    """Jackknife standard error of the smoothed optimum's logarithm over the cell's runs [nats]."""
    (key, _), *_ = group_cells(runs)
    without = [smooth_cell(key, runs.drop(index=i)).learning_rate for i in runs.index]
    logs = np.log([rate for rate in without if np.isfinite(rate)])
    return float(np.sqrt((len(logs) - 1) * np.var(logs))) if len(logs) > 2 else np.nan


# ------------------------------------------------------------------------------------------ predictors


RAW, OWN, CRITICAL, NOISE = (f"{name} step 20 low" for name in ("raw", "preconditioned", "critical", "noise"))
SIZE, LIMIT, CAP = (
    Law(("params",)),
    Law(given=((1, "threshold"), (-1, OWN)), level=False),
    Law(given=((1, CRITICAL),)),
)
PREDICTORS: dict[str, Predictor] = {
    "one rate for all": Law(),
    "power law in N": SIZE,
    "power law in width and depth": Law(("width", "depth")),
    "width alone": Law(("width",)),
    "depth alone": Law(("depth",)),
    "kappa / lambda_max": Law(given=((-1, RAW),)),
    "kappa / lambda_max of the preconditioned Hessian": Law(given=((-1, OWN),)),
    "c(optimizer) / lambda_max": Law(given=((1, "threshold"), (-1, RAW)), level=False),
    "c(optimizer) / lambda_max of the preconditioned Hessian": LIMIT,
    "kappa x critical rate": CAP,
    "power of lambda_max": Law((RAW,)),
    "power of the preconditioned lambda_max": Law((OWN,)),
    "power of the critical rate": Law((CRITICAL,)),
    "N and critical rate": Law(("params", CRITICAL)),
    "width, depth and critical rate": Law(("width", "depth", CRITICAL)),
    "width, depth and preconditioned lambda_max": Law(("width", "depth", OWN)),
    "width, depth, critical rate and preconditioned lambda_max": Law(("width", "depth", CRITICAL, OWN)),
    "min(power law in N, c / preconditioned lambda_max)": Rule(np.minimum, (SIZE, LIMIT)),
    "max(power law in N, c / preconditioned lambda_max)": Rule(np.maximum, (SIZE, LIMIT)),
    "min(power law in N, kappa x critical rate)": Rule(np.minimum, (SIZE, CAP)),
    "max(power law in N, kappa x critical rate)": Rule(np.maximum, (SIZE, CAP)),
}

RIVAL = "power law in N"
"""The predictor that the others are paired with."""

EVERYTHING = {
    "width": "width",
    "depth": "depth",
    "tokens": "D",
    OWN: "preconditioned lambda_max",
    CRITICAL: "critical rate",
    NOISE: "noise scale",
}
"""Columns of the model from which each is removed in turn, and their names."""

ELSEWHERE = (
    "one rate for all",
    "power law in N",
    "power law in width and depth",
    "kappa / lambda_max",
    "kappa / lambda_max of the preconditioned Hessian",
    "power of the preconditioned lambda_max",
    "power of the critical rate",
)
"""Predictors that are tried in set-ups where nothing was fitted."""


# ------------------------------------------------------------------------------------------ scores


def scored(
    label: str,
    law: Predictor,
    cells: pd.DataFrame,
    smoothed: Sequence[SmoothedCell],
    rival: pd.DataFrame | None = None,
) -> Row:
    """Fit to all cells, networks left out one by one, and the two splits, of one predictor.

    ``rival`` is what ``left_out`` has of the predictor that it is paired with.
    """
    truth, residual = cells["rate"].to_numpy(), law.predict(cells, cells) - cells["rate"].to_numpy()
    count, square = len(truth), float(np.sum(residual**2))
    information = count * np.log(square / count)
    left = left_out(law, cells)
    row = {
        "predictor": label,
        "parameters": law.parameters,
        "cells": count,
        "r2": 1 - square / float(np.sum((truth - truth.mean()) ** 2)),
        "aic": information + 2 * (law.parameters + 1),
        "bic": information + np.log(count) * (law.parameters + 1),
        **summary(left, rival),
    }
    for name, out in held_out(cells).items():
        if out.sum() < 2 or (~out).sum() <= law.parameters:
            continue
        predicted = law.predict(cells[~out], cells[out])
        places = np.flatnonzero(out)
        regret = regrets([smoothed[i] for i in places], predicted)
        row[name] = {
            "rms": rms(predicted - truth[out]),
            "regret": float(np.mean(regret)),
            "cells": int(out.sum()),
        }
    return row


def left_out(law: Predictor, cells: pd.DataFrame) -> pd.DataFrame:
    """``error`` and ``density`` (ln, Student t) of each cell's ln rate, with its ``network`` left out."""
    network = cells.groupby(["study", "params", "width", "depth"], dropna=False).ngroup()
    parts = []
    for number in network.unique():
        here, others = cells[network == number], cells[network != number]
        truth, location = here["rate"].to_numpy(), law.predict(others, here)
        density = t.logpdf(truth, degrees(law, others), location, law.scale(others, here))
        found = {"network": number, "error": location - truth, "density": density}
        parts.append(pd.DataFrame(found, index=here.index))
    return pd.concat(parts).sort_index()


def summary(left: pd.DataFrame, than: pd.DataFrame | None = None) -> Row:
    """Root mean square and mean ln density of left-out cells with intervals over networks.

    ``gain`` is the mean ln density above that of ``than``, paired by cell.
    """
    row = {
        "loo": rms(left["error"]),
        "loo_interval": [float(np.sqrt(q)) for q in resampled(left["error"] ** 2, left["network"])],
        "density": float(left["density"].mean()),
    }
    if than is not None:
        gain = left["density"] - than["density"]
        row |= {"gain": float(gain.mean()), "gain_interval": resampled(gain, left["network"])}
    return row


def removed(cells: pd.DataFrame) -> list[Row]:
    """The model of all predictors, and each removed in turn; paired with the whole."""
    names = [name for name in EVERYTHING if name in cells and cells[name].std() > 1e-9]
    known = cells[cells[names].notna().all(axis=1)].reset_index(drop=True)
    if len(known) < len(names) + 1 + SPARE:
        return []
    whole = left_out(Law(tuple(names)), known)
    rows = [{"removed": None, "cells": len(known), **_fitted(Law(tuple(names)), known), **summary(whole)}]
    for name in names:
        law = Law(tuple(other for other in names if other != name))
        rows.append(
            {"removed": EVERYTHING[name], **_fitted(law, known), **summary(left_out(law, known), whole)}
        )
    return rows


def _fitted(law: Law, cells: pd.DataFrame) -> Row:
    truth = cells["rate"].to_numpy()
    return {
        "r2": 1
        - float(np.sum((law.predict(cells, cells) - truth) ** 2) / np.sum((truth - truth.mean()) ** 2))
    }


def elsewhere(cells: pd.DataFrame, smoothed: Sequence[SmoothedCell], main: np.ndarray) -> list[Row]:
    """AdamW in other set-ups, foretold by what was fitted to the networks of the main one, by predictor."""
    others = (cells["optimizer"] == "adamw") & ~main
    usual = cells.loc[main, "tokens"].iloc[0]
    setup = pd.Series([_setup(cell, usual) for cell in cells.to_dict("records")], cells.index)
    rows = []
    for name in dict.fromkeys(setup[others]):
        out = (others & (setup == name)).to_numpy()
        for label in ELSEWHERE:
            law = PREDICTORS[label]
            if cells.loc[out, law.needs()].isna().any(axis=None):
                continue
            predicted = law.predict(cells[main], cells[out])
            errors = predicted - cells.loc[out, "rate"].to_numpy()
            row = {"setup": name, "predictor": label, "cells": int(out.sum()), "rms": rms(errors)}
            row |= {"mean": float(errors.mean())}
            regret = regrets([smoothed[i] for i in np.flatnonzero(out)], predicted)
            rows.append(row | {"regret": float(np.mean(regret))})
    return rows


def _setup(cell: Row, usual: float) -> str:
    """A set-up's name: the study, or D where the study is the main one, whose usual ln D is given."""
    if cell["study"] != "shapes":
        return str(cell["study"])
    times, ratio = np.exp([cell["tokens"] - usual, cell["tokens"] - cell["params"]])
    if abs(times - 4) < 0.1:
        return "D, four times as large"
    near = (f"D = {each} N" for each in PER_PARAMETER if abs(ratio / each - 1) < 0.1)
    return next(near, f"D = {np.exp(cell['tokens']):,.0f}")


def regrets(smoothed: Sequence[SmoothedCell], predicted: Floats) -> list[float]:
    """Regret of each cell's predicted ln rate, at the cell's batch."""
    return [cell.regret(np.exp(p), cell.batch_tokens)[0] for cell, p in zip(smoothed, predicted, strict=True)]


def held_out(cells: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which cells each split scores, (cell,)."""
    ratio = np.exp(cells["width"] - cells["depth"]).to_numpy()
    return {
        "larger": np.exp(cells["params"]).to_numpy() > LARGER,
        "other shapes": (ratio < 0.99 * RATIOS[0]) | (ratio > 1.01 * RATIOS[1]),
    }


def rms(errors: Floats) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.asarray(errors) ** 2)))


def resampled(values: Floats | pd.Series, networks: Floats | pd.Series) -> list[float]:
    """90% interval of a mean, by resampling networks with their cells."""
    by = pd.Series(np.asarray(values, float)).groupby(np.asarray(networks)).agg(["sum", "count"]).to_numpy()
    drawn = by[np.random.default_rng(0).integers(len(by), size=(RESAMPLES, len(by)))].sum(axis=1)
    return [float(q) for q in np.quantile(drawn[:, 0] / drawn[:, 1], [0.05, 0.95])]


def exponents(cells: pd.DataFrame, column: str) -> Row | None:
    """Exponents of a column in width and depth, with standard errors; None with too few cells."""
    known = cells[cells[column].notna()] if column in cells else cells.iloc[:0]
    design = np.column_stack([np.ones(len(known)), known[["width", "depth"]].to_numpy(float)])
    if len(known) < FEWEST or np.linalg.matrix_rank(design) < 3:
        return None
    y = known[column].to_numpy(float)
    coefs, _, _, _ = np.linalg.lstsq(design, y, rcond=None)
    variance = float(np.sum((y - design @ coefs) ** 2)) / max(len(known) - 3, 1)
    errors = np.sqrt(variance * np.diag(np.linalg.inv(design.T @ design)))
    return {"of": column, "cells": len(known), "exponents": [*coefs[1:]], "errors": [*errors[1:]]}


# ------------------------------------------------------------------------------------------ results


def results(runs: pd.DataFrame) -> list[Row]:
    """Result lines of the study."""
    cells, smoothed = joined(runs)
    adamw = (cells["optimizer"] == "adamw") & (cells["study"] == "shapes")
    usual = cells.loc[adamw, "tokens"].mode().iloc[0]
    main = adamw & (cells["tokens"] == usual)
    mine, surfaces = cells[main].reset_index(drop=True), [smoothed[i] for i in np.flatnonzero(main)]
    rows: list[Row] = [_counts(runs, cells, mine)]
    known = {
        name: law
        for name, law in PREDICTORS.items()
        if law.parameters + SPARE <= len(mine) and mine[law.needs()].notna().all(axis=None)
    }
    rival = left_out(PREDICTORS[RIVAL], mine)
    rows += [{"what": "predictor", **scored(name, law, mine, surfaces, rival)} for name, law in known.items()]
    rows += [{"what": "removed", **row} for row in removed(cells[adamw])]
    rows += [row for row in (_one_measure(mine, surfaces, column) for column in _columns(mine)) if row]
    for name, group in _groups(cells):
        columns = ("rate", RAW, OWN, CRITICAL)
        found = [exponents(group[group["tokens"] == usual], column) for column in columns]
        rows += [{"what": "exponents", "group": name, **row} for row in found if row]
        rows += [{"what": "constants", "group": name, **_constants(group)}]
    rows += [{"what": "elsewhere", **row} for row in elsewhere(cells, smoothed, main.to_numpy())]
    rows += [{"what": "adaptation", **row} for row in _adaptation(mine)]
    return rows


def _counts(runs: pd.DataFrame, cells: pd.DataFrame, main: pd.DataFrame) -> Row:
    status = {str(name): int(count) for name, count in runs["status"].value_counts().items()}
    spread = np.nanmedian([spread_of(rows) for _, rows in group_cells(runs)])
    own = float(main["rate"].std())
    moments = [name for name in runs if name.startswith("lambda_max_at_")]
    four = runs[runs[moments].notna().sum(axis=1) == 4]
    return {
        "what": "counts",
        "runs": len(runs),
        "status": status,
        "cells": len(cells),
        "spread": float(spread),
        "spread_main": own,
        "four": [float(f(four["curvature_gradients"])) for f in (np.mean, np.min, np.max)]
        if len(four)
        else None,
        "ceiling": 1 - float(spread) ** 2 / own**2,
    }


def _groups(cells: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    names = [f"{optimizer}, {study}" for optimizer, study in zip(cells["optimizer"], cells["study"])]
    return [(str(name), group) for name, group in cells.groupby(np.array(names))]


def _columns(cells: pd.DataFrame) -> list[str]:
    parts = [f"{measure} {moment} {probe}" for measure in MEASURES for moment in MOMENTS for probe in PROBES]
    return [name for name in parts if name in cells]


def _one_measure(cells: pd.DataFrame, smoothed: Sequence[SmoothedCell], column: str) -> Row | None:
    """A power of one measure at one moment, on the cells that have it."""
    known = cells[column].notna().to_numpy()
    if known.sum() < 0.75 * len(cells):
        return None
    there = cells[known].reset_index(drop=True)
    row = scored(column, Law((column,)), there, [smoothed[i] for i in np.flatnonzero(known)])
    slope = float(np.polyfit(there[column], there["rate"], 1)[0])
    return {
        "what": "measure",
        **{k: row[k] for k in ("predictor", "cells", "r2", "loo", "loo_interval")},
        "slope": slope,
    }


def _constants(group: pd.DataFrame) -> Row:
    """Best rate in units of what curvature says, geometric means and ranges over networks."""
    ratios = {
        "raw": group["rate"] + group[RAW],
        "preconditioned": group["rate"] + group[OWN],
        "critical": group["rate"] - group[CRITICAL],
    }
    shown = {
        name: [float(np.exp(f(values.dropna()))) for f in (np.mean, np.min, np.max)]
        for name, values in ratios.items()
        if values.notna().any()
    }
    return {"cells": len(group), "threshold": float(np.exp(group["threshold"].iloc[0])), **shown}


def _adaptation(cells: pd.DataFrame) -> list[Row]:
    """-d ln measure / d ln rate between the two probes; 1 where sharpness is a constant over the rate."""
    rows = []
    for measure in ("raw", "preconditioned", "critical"):
        for moment in MOMENTS:
            low, near = (f"{measure} {moment} {probe}" for probe in PROBES)
            if low in cells and near in cells and (change := (cells[near] - cells[low]).dropna()).size:
                step = np.log(RATE_OF["near"] / RATE_OF["low"])
                slopes = change / step * (1 if measure == "critical" else -1)
                error = float(slopes.std(ddof=1) / np.sqrt(len(slopes)))
                found = {"cells": len(slopes), "mean": float(slopes.mean()), "error": error}
                rows.append({"of": measure, "moment": moment, **found})
    return rows


RATE_OF = {"low": 3e-3, "near": 1e-2}
"""Learning rates of AdamW's probes, as in train/plans/shapes.toml."""


def run() -> None:
    """Write all result lines anew."""
    RESULTS.write_text("".join(json.dumps(_short(row)) + "\n" for row in results(read_runs(SWEEP))))
    print(f"{RESULTS} written")


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _short(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_short(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, (float, np.floating)) else value


# ------------------------------------------------------------------------------------------ tables


def table(rows: Sequence[Row]) -> str:
    """All tables of the study."""
    kinds = {what: [row for row in rows if row["what"] == what] for what in {row["what"] for row in rows}}
    makers = (_predictors, _removed, _measures, _elsewhere, _exponents, _told_constants, _told_adaptation)
    names = ("predictor", "removed", "measure", "elsewhere", "exponents", "constants", "adaptation")
    parts = [make(kinds[name]) for name, make in zip(names, makers) if name in kinds]
    (counts,) = kinds["counts"]
    ended = ", ".join(f"{count} {status}" for status, count in counts["status"].items())
    told = (
        f"{counts['runs']} runs ({ended}); {counts['cells']} cells have an optimum inside their sweep and "
        f"curvature. Standard error of ln eta*, by leaving out runs: {counts['spread']:.2f} (median cell). "
        f"Over the networks of the first table ln eta* has a standard deviation of "
        f"{counts['spread_main']:.2f}, so that a perfect predictor would have an R2 of about "
        f"{counts['ceiling']:.2f}."
    )
    if counts["four"]:
        told += (
            " Runs with exactly four measurements spent {:.0f} gradient evaluations on the measured "
            "sequences ({:.0f} to {:.0f})."
        ).format(*counts["four"])
    return "\n\n".join([told, *(part for part in parts if part)])


def _predictors(rows: Sequence[Row]) -> str:
    judged = {name: rows[0][name]["cells"] for name in ("larger", "other shapes") if name in rows[0]}
    body = []
    for row in rows:
        low, high = row["loo_interval"]
        fit = [str(row["parameters"]), f"{row['r2']:.2f}", f"{row['aic']:.1f}", f"{row['bic']:.1f}"]
        splits = [cell for name in judged for cell in _split(row.get(name))]
        body.append(
            [row["predictor"], *fit, f"{row['loo']:.2f} ({low:.2f} to {high:.2f})", *_densities(row), *splits]
        )
    head = ["predictor of ln eta*", "fitted", "R2", "AIC", "BIC", "left-out network: rms (90% over networks)"]
    head += ["ln density a network", "gain over the power law in N"]
    for name, count in judged.items():
        head += [f"{count} {name}: rms", "regret"]
    return markdown(f"AdamW, {rows[0]['cells']} networks, one D and B: errors of ln eta* in nats", head, body)


def _densities(row: Row) -> list[str]:
    if "gain" not in row:
        return [f"{row['density']:+.2f}", "-"]
    return [
        f"{row['density']:+.2f}",
        "{:+.2f} ({:+.2f} to {:+.2f})".format(row["gain"], *row["gain_interval"]),
    ]


def _removed(rows: Sequence[Row]) -> str:
    body = []
    for row in rows:
        low, high = row["loo_interval"]
        shown = [f"{row['r2']:.2f}", f"{row['loo']:.2f} ({low:.2f} to {high:.2f})", *_densities(row)]
        body.append([row["removed"] or "nothing", *shown])
    head = [
        "removed",
        "R2",
        "left-out network: rms (90% over networks)",
        "ln density a cell",
        "gain over the whole",
    ]
    names = ", ".join(row["removed"] for row in rows if row["removed"])
    return markdown(f"AdamW, {rows[0]['cells']} cells: a model of {names}, each removed in turn", head, body)


def _split(found: Row | None) -> list[str]:
    return [f"{found['rms']:.2f}", percent(found["regret"], 2)] if found else ["-", "-"]


def _measures(rows: Sequence[Row]) -> str:
    found = {row["predictor"]: row for row in rows}
    body = []
    for measure in MEASURES:
        for probe in PROBES:
            cells = [found.get(f"{measure} {moment} {probe}") for moment in MOMENTS]
            if any(cells):
                shown = [f"{c['loo']:.2f} ({c['slope']:+.2f})" if c else "-" for c in cells]
                body.append([MEASURES[measure].replace("_", " "), probe, *shown])
    head = ["a power of", "run", *MOMENTS]
    return markdown(
        "AdamW: rms of a left-out network's ln eta* (fitted exponent), by when it is measured", head, body
    )


def _elsewhere(rows: Sequence[Row]) -> str:
    setups = list(dict.fromkeys(row["setup"] for row in rows))
    found = {(row["setup"], row["predictor"]): row for row in rows}
    body = []
    for label in dict.fromkeys(row["predictor"] for row in rows):
        cells = [found.get((setup, label)) for setup in setups]
        shown = [f"{c['rms']:.2f} ({c['mean']:+.2f}), {percent(c['regret'], 2)}" if c else "-" for c in cells]
        body.append([label, *shown])
    counts = {row["setup"]: row["cells"] for row in rows}
    head = ["fitted to the networks above", *(f"{setup}: {counts[setup]} networks" for setup in setups)]
    title = "AdamW in other set-ups: rms error of ln eta* (its mean), regret"
    return markdown(title, head, body)


def _exponents(rows: Sequence[Row]) -> str:
    names = {
        "rate": "best rate",
        RAW: "lambda_max",
        OWN: "preconditioned lambda_max",
        CRITICAL: "critical rate",
    }
    body = []
    for row in rows:
        shown = [f"{value:+.2f} ± {error:.2f}" for value, error in zip(row["exponents"], row["errors"])]
        body.append([row["group"], names[row["of"]], str(row["cells"]), *shown])
    head = ["optimizer, study", "of", "networks", "in width", "in depth"]
    return markdown("Exponents in width and depth; curvature at step 20 of the low run", head, body)


def _told_constants(rows: Sequence[Row]) -> str:
    body = []
    for row in rows:
        shown = [
            "{:.3g} ({:.2g} to {:.2g})".format(*row[name]) if name in row else "-"
            for name in ("raw", "preconditioned", "critical")
        ]
        body.append([row["group"], str(row["cells"]), *shown, f"{row['threshold']:.3g}"])
    head = [
        "optimizer, study",
        "cells",
        "eta* x lambda_max",
        "eta* x preconditioned",
        "eta* / critical rate",
        "threshold",
    ]
    return markdown("The best rate in units of curvature at step 20: geometric mean (range)", head, body)


def _told_adaptation(rows: Sequence[Row]) -> str:
    found = {(row["of"], row["moment"]): row for row in rows}
    names = {"raw": "lambda_max", "preconditioned": "preconditioned lambda_max", "critical": "critical rate"}
    body = [
        [
            names[m],
            *(f"{r['mean']:+.2f} ± {r['error']:.2f}" if (r := found.get((m, t))) else "-" for t in MOMENTS),
        ]
        for m in names
    ]
    head = ["how far it follows the rate", *MOMENTS]
    title = (
        "AdamW: sharpness follows the rate: -d ln lambda / d ln eta between the two runs (critical rate: +)"
    )
    return markdown(title, head, body)


if __name__ == "__main__":
    run_or_print(__doc__, run, lambda: table(read_rows(RESULTS)))
