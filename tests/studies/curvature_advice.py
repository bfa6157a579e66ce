"""Is a prediction better for knowing the curvature of one's own network? And the line that `predict` uses.

    python -m tests.studies.curvature_advice run      # bayeslaw/assets/curvature.json and the results
    python -m tests.studies.curvature_advice table

From bayeslaw/assets/shapes.csv, anew whenever it has more rows: ln eta* of each network as a line in ln of
the largest eigenvalue of its preconditioned Hessian at step 20 (``tests.studies.curvature``), for optimizers
with enough networks. It is judged by leaving networks out: a posterior of books.csv (AdamW, Laplace
approximation of the law's core) foretells each network's best rate at its batch, alone and given the
network's own eigenvalue by the line through the others. A line in ln N through them is the rival that needs
no eigenvalue. And for a network that nobody trained: the eigenvalue by its own law in width, depth and D,
with its predictive spread, composed with the line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.advice.curvature import CurvatureLaw, condition, fit_line
from bayeslaw.advice.target_surface import TargetSurface, log_lr_at_batch, surface_at
from bayeslaw.assets import BOOKS, CURVATURE
from bayeslaw.evaluation.curvature import Law, degrees
from bayeslaw.evaluation.scores import crps
from bayeslaw.files import write_atomically
from bayeslaw.inference.approximation import approximate
from bayeslaw.runs.io import read_runs
from bayeslaw.target import NEVER_SEEN, Target
from tests.studies.curvature import LARGER, OWN, SWEEP, joined, resampled, rms
from tests.studies.tables import Row, markdown, read_rows, run_or_print

RESULTS = Path(__file__).parent / "results" / "curvature_advice.jsonl"
STUDY = "shapes"
FEWEST, CLEAR = 8, 3.0
"""Networks of an optimizer for whom a line is shipped, and standard errors of its slope from 0."""
LEVEL = 0.9
MEASURED = "of the preconditioned Hessian at step 20 of a run at a quarter of the usual rate, on 8 sequences"
WAYS = ("posterior", "size", "line", "both")
STUDIES = (None, "books")
PLACE = ("width", "depth", "tokens")
UNMEASURED = {
    "N only": Law(("params",)),
    "width, depth, D": Law(PLACE),
    "extrapolated": Law((OWN,)),
    "measured": Law((OWN,)),
}
"""Way -> law of ln eta*; ``extrapolated`` has ln lambda from its own law in ``PLACE``."""


def networks(runs: pd.DataFrame, optimizer: str) -> pd.DataFrame:
    """One row a network: logarithms of best rate and eigenvalue, and sizes."""
    cells, _ = joined(runs)
    kept = (cells["optimizer"] == optimizer) & (cells["study"] == STUDY) & cells[OWN].notna()
    return cells[kept].reset_index(drop=True)


def alike(cells: pd.DataFrame) -> pd.DataFrame:
    """Those of the most common D, for whom step 20 lies at one place in one warm-up."""
    return cells[cells["tokens"] == cells["tokens"].mode()[0]].reset_index(drop=True)


def line_of(cells: pd.DataFrame, column: str = OWN) -> CurvatureLaw:
    """The line through some networks, in ln of the eigenvalue or of another column."""
    x, y = cells[column].to_numpy(float), cells["rate"].to_numpy(float)
    level, slope, sd = fit_line(x, y)
    sizes = {
        "lambda_max": np.exp(x),
        "params_nonembedding": np.exp(cells["params"]).round(),
        "tokens": np.exp(cells["tokens"]).round(),
        "batch_tokens": np.exp(cells["batch"]).round(),
    }
    ranges = {name: (float(np.min(v)), float(np.max(v))) for name, v in sizes.items()}
    return CurvatureLaw(
        len(cells), level, slope, float(x.mean()), float(np.sum((x - x.mean()) ** 2)), sd, ranges, MEASURED
    )


def run() -> None:
    """Write the shipped line and all result lines anew."""
    runs = read_runs(SWEEP)
    by_optimizer = {name: networks(runs, name) for name in sorted(runs["optimizer"].unique())}
    lines = {name: line_of(alike(cells)) for name, cells in by_optimizer.items() if _shipped(alike(cells))}
    with write_atomically(CURVATURE) as temporary:
        temporary.write_text(json.dumps(_short({k: asdict(v) for k, v in lines.items()}), indent=1) + "\n")
    rows = [_short(row) for row in judged(alike(by_optimizer["adamw"]))]
    rows += [_short(row) for row in unmeasured(by_optimizer["adamw"])]
    for optimizer, cells in by_optimizer.items():
        for which, used in (("one D", alike(cells)), ("all", cells)):
            if len(used) > 2 and (which == "one D" or len(used) > len(alike(cells))):
                row = {"what": "line", "optimizer": optimizer, "which": which, "networks": len(used)}
                rows.append(row | {"shipped": which == "one D" and optimizer in lines, **_line(used)})
    RESULTS.write_text("".join(json.dumps(row) + "\n" for row in map(_short, rows)))
    print(f"{CURVATURE} and {RESULTS} written")


def _shipped(cells: pd.DataFrame) -> bool:
    """Whether there are enough networks, and a slope that they tell from 0."""
    if len(cells) < FEWEST:
        return False
    line = _line(cells)
    return bool(abs(line["slope"]) >= CLEAR * line["slope_error"])


def _line(cells: pd.DataFrame) -> Row:
    line = line_of(cells)
    error = line.residual_sd / np.sqrt(line.square_log_lambda)
    return {"slope": line.slope, "slope_error": float(error), "residual_sd": line.residual_sd}


def judged(cells: pd.DataFrame) -> Iterator[Row]:
    """Each network foretold in each way."""
    books = read_runs(BOOKS)
    posterior = approximate(books[books["optimizer"] == "adamw"].reset_index(drop=True), parts=(), draws=1000)
    for study in STUDIES:
        for i, cell in cells.iterrows():
            target = Target(
                *(float(np.exp(cell[name])) for name in ("params", "tokens")),
                "adamw",
                study,
                float(np.exp(cell["batch"])),
            )
            at, others = surface_at(posterior, target, independent=True), cells.drop(index=i)
            found = condition(at, float(np.exp(cell[OWN])), LEVEL, line_of(others))
            lines = [_line_draws(others, cell, column) for column in ("params", OWN)]
            draws = dict(zip(WAYS, (_rates(at), *lines, _rates(found.surface)), strict=True))
            for way, values in draws.items():
                place = {"what": "network", "study": study or NEVER_SEEN, "way": way}
                yield place | _scores(values, float(cell["rate"])) | {"pareto_k": found.told["pareto_k"]}


def unmeasured(cells: pd.DataFrame) -> Iterator[Row]:
    """Each network foretold from others by ``UNMEASURED``: left out alone, and from smaller ones."""
    for split, out, train in _splits(cells):
        for _, cell in cells[out].iterrows():
            here, rng = cell.to_frame().T.infer_objects(), np.random.default_rng(0)
            sharpness = _drawn(Law(PLACE), train.assign(rate=train[OWN]), here, rng)
            error = float(np.median(sharpness) - cell[OWN])
            for way, law in UNMEASURED.items():
                where = pd.DataFrame({OWN: sharpness}) if way == "extrapolated" else here
                draws = _drawn(law, train, where, rng)
                place = {"what": "unmeasured", "split": split, "way": way, "network": _network(cell)}
                yield place | _scores(draws, float(cell["rate"])) | {"sharpness_error": error}


def _splits(cells: pd.DataFrame) -> Iterator[tuple[str, pd.Series, pd.DataFrame]]:
    """Which cells are foretold, and from which."""
    network = cells["params"]
    for one in network.unique():
        yield "left out one by one", network == one, cells[network != one]
    larger = np.exp(network) > LARGER
    if larger.any() and (~larger).sum() > len(PLACE) + 1:
        yield "larger than all others", larger, cells[~larger]


def _network(cell: pd.Series) -> str:
    return "{:.0f} x {:.0f}".format(*np.exp(cell[["width", "depth"]].astype(float)))


def _drawn(law: Law, train: pd.DataFrame, test: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """1000 draws of ln rate: of one test cell, or one draw of each of 1000."""
    location, scale = law.predict(train, test), law.scale(train, test)
    return np.asarray(location + scale * rng.standard_t(degrees(law, train), 1000))


def _line_draws(others: pd.DataFrame, cell: pd.Series, column: str) -> np.ndarray:
    line = line_of(others, column)
    location, scale = line.predict(float(cell[column]))
    return location + scale * np.random.default_rng(0).standard_t(line.dof, 1000)


def _rates(at: TargetSurface) -> np.ndarray:
    return log_lr_at_batch(at, float(np.log(at.target.batch_tokens or np.nan)))


def _scores(draws: np.ndarray, truth: float) -> Row:
    low, middle, high = np.quantile(draws, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
    return {
        "error": float(middle - truth),
        "width": float(high - low),
        "inside": bool(low <= truth <= high),
        "crps": crps(draws[:, None], [truth]),
    }


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _short(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_short(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, (float, np.floating)) else value


def table(rows: Sequence[Row]) -> str:
    """What the eigenvalue adds, and the lines."""
    found = [row for row in rows if row["what"] == "network"]
    body = []
    for study in dict.fromkeys(row["study"] for row in found):
        for way in WAYS:
            mine = [row for row in found if (row["study"], row["way"]) == (study, way)]
            body.append([study, NAMES[way], *_told(mine)])
    head = ["set-up", "foretold by", "rms error, nats", "intervals, nats", "inside", "CRPS, nats (90%)"]
    count = len(found) // len(WAYS) // len(STUDIES)
    title = f"AdamW, {count} networks left out one by one: ln of their best rate, {LEVEL:.0%} intervals"
    ks = [row["pareto_k"] for row in found if row["way"] == "both"]
    note = f"Pareto k of the weights: at most {max(ks):.2f}."
    return "\n\n".join([markdown(title, head, body), note, _unmeasured(rows), _lines(rows)])


NAMES = {
    "posterior": "posterior of books.csv",
    "size": "line in ln N through the other networks",
    "line": "line in ln lambda_max through them",
    "both": "posterior given lambda_max",
}


def _unmeasured(rows: Sequence[Row]) -> str:
    found = [row for row in rows if row["what"] == "unmeasured"]
    body, notes = [], []
    for split in dict.fromkeys(row["split"] for row in found):
        by_way = {w: [r for r in found if (r["split"], r["way"]) == (split, w)] for w in UNMEASURED}
        body += [[split, way, *_told(mine)] for way, mine in by_way.items()]
        error = rms(np.array([row["sharpness_error"] for row in by_way["measured"]]))
        notes.append(f"{error:.2f} nat ({split})")
    head = ["cells", "foretold by", "rms error, nats", "intervals, nats", "inside", "CRPS, nats (90%)"]
    title = "AdamW: lambda_max measured, extrapolated by its law in width, depth and D, or not used"
    return (
        f"{markdown(title, head, body)}\n\nrms error of the extrapolated ln lambda_max: {', '.join(notes)}."
    )


def _told(rows: Sequence[Row]) -> list[str]:
    errors, scores = (np.array([row[name] for row in rows]) for name in ("error", "crps"))
    low, high = resampled(scores, np.array([row.get("network", i) for i, row in enumerate(rows)]))
    return [
        f"{rms(errors):.2f}",
        f"{np.median([row['width'] for row in rows]):.2f}",
        f"{sum(row['inside'] for row in rows)} of {len(rows)}",
        f"{scores.mean():.3f} ({low:.3f} to {high:.3f})",
    ]


def _lines(rows: Sequence[Row]) -> str:
    body = [
        [
            row["optimizer"],
            f"{row['networks']}, {row['which']}",
            f"{row['slope']:+.2f} ± {row['slope_error']:.2f}",
            f"{row['residual_sd']:.2f}",
            "yes" if row["shipped"] else "no",
        ]
        for row in rows
        if row["what"] == "line"
    ]
    head = [
        "optimizer",
        "networks, of which D",
        "slope of ln eta* in ln lambda_max",
        "residual, nats",
        "used by predict",
    ]
    return markdown("Lines in the preconditioned lambda_max at step 20", head, body)


if __name__ == "__main__":
    run_or_print(__doc__, run, lambda: table(read_rows(RESULTS)))
