"""Write the tables of all studies into their pages of docs: ``python -m tests.studies.publish``.

A study's tables stand between ``<!-- study: NAME -->`` and ``<!-- end -->``. They are computed from committed
result lines, so no study has to run. ``tests/test_docs.py`` fails where the page is behind the results.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType

from bayeslaw.files import write_atomically
from tests.strain import fuzz, kills, places
from tests.studies import (
    announced,
    architectures,
    calibration,
    calibration_default,
    code,
    confirmation,
    curvature,
    curvature_advice,
    curvature_cost,
    early_curvature,
    finetuning,
    fixed_batch,
    growth,
    heldout,
    leave_one_out,
    live,
    muon_blocks,
    newcomer,
    noise_scale,
    own_schedules,
    population,
    recipes,
    replay,
    saturating_rate,
    scaling,
    schedule_shift,
    schedules,
    sensitivity,
    shapes,
    stopping,
    structures,
    theory_prior,
    training_speed,
    transfer,
    updates,
)
from tests.studies.tables import heldout_tables, read_rows
from tests.studies.validation import report as validation_report
from tests.studies.validation.trials import RESULTS as VALIDATION

PAGES = [
    transfer.ROOT / "docs" / name
    for name in ("benchmarks.md", "reliability.md", "theory.md", "validation.md")
]
MARKED = re.compile(r"(?<=<!-- study: )(\w+)( -->\n).*?(?=<!-- end -->)", re.S)


def _of_rows(study: ModuleType, table: Callable[..., str]) -> Callable[[], str]:
    return lambda: table(read_rows(study.RESULTS))


TABLES: dict[str, Callable[[], str]] = {
    "announced": announced.table,
    "architectures": _of_rows(architectures, architectures.table),
    "calibration": _of_rows(calibration, calibration.table),
    "calibration_default": _of_rows(calibration_default, calibration_default.table),
    "code": code.printed,
    "confirmation": _of_rows(confirmation, confirmation.table),
    "curvature": _of_rows(curvature, curvature.table),
    "curvature_advice": _of_rows(curvature_advice, curvature_advice.table),
    "curvature_cost": _of_rows(curvature_cost, curvature_cost.table),
    "early_curvature": _of_rows(early_curvature, early_curvature.table),
    "finetuning": _of_rows(finetuning, finetuning.table),
    "fixed_batch": _of_rows(fixed_batch, fixed_batch.table),
    "fuzz": _of_rows(fuzz, fuzz.table),
    "growth": growth.table,
    "heldout": _of_rows(heldout, heldout_tables),
    "kills": _of_rows(kills, kills.table),
    "leave_one_out": _of_rows(leave_one_out, leave_one_out.table),
    "live": live.table,
    "places": _of_rows(places, places.table),
    "muon_blocks": _of_rows(muon_blocks, muon_blocks.table),
    "newcomer": _of_rows(newcomer, newcomer.table),
    "noise_scale": _of_rows(noise_scale, noise_scale.table),
    "own_schedules": _of_rows(own_schedules, own_schedules.table),
    "population": _of_rows(population, population.table),
    "recipes": _of_rows(recipes, recipes.table),
    "replay": lambda: replay.tables(replay.whole(read_rows(replay.RESULTS))),
    "schedule_shift": schedule_shift.table,
    "schedules": schedules.table,
    "sensitivity": sensitivity.table,
    "saturating_rate": _of_rows(saturating_rate, saturating_rate.table),
    "scaling": _of_rows(scaling, scaling.table),
    "shapes": _of_rows(shapes, shapes.table),
    "stopping": _of_rows(stopping, stopping.tables),
    "structures": _of_rows(structures, structures.table),
    "theory_prior": _of_rows(theory_prior, theory_prior.table),
    "training_speed": training_speed.table,
    "transfer": transfer.table,
    "updates": _of_rows(updates, updates.table),
    "validation": lambda: validation_report.tables(read_rows(VALIDATION)),
}


def filled(page: str) -> str:
    """A page with the tables of its studies as the results have them."""
    return MARKED.sub(lambda found: f"{found[1]}{found[2]}{TABLES[found[1]]()}\n", page)


def main() -> None:
    """Rewrite the pages where a table has changed."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if (current := filled(text)) != text:
            with write_atomically(page) as temporary:
                temporary.write_text(current, encoding="utf-8")
            print(f"{page} written")


if __name__ == "__main__":
    main()
