"""Runs of a sweep from a plan file: designs in TOML, or a list in CSV, one row per run.

A TOML plan holds constants in ``[sweep]`` and one design in each ``[[part]]``::

    [sweep]
    study = "first"
    corpus = "stdlib"
    tokens_per_param = 20

    [[part]]
    design = "sobol"                                  # or "grid", "random", "list"
    runs = 64                                         # of sobol and random; draw_seed is 0 by default
    optimizer = ["adamw", "muon"]                     # a list is a choice
    params_nonembedding = [25e3, 100e3]
    learning_rate = {low = 1e-4, high = 1e-1}         # a range, as in ``bayeslaw.space``
    batch_tokens = {low = 512, high = 16384}
    momentum = {low = 0.8, high = 0.98}

Keys are fields of ``RunSpec`` (``seed`` is the run's) and those of ``DERIVED``. A part overrides ``[sweep]``.
``each = {width = [16, 32], depth = [2, 4]}`` repeats a part's design, the same draws, in every combination.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import itertools
import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from bayeslaw.errors import BadInput
from bayeslaw.lab.models.counts import flops_per_token, params_nonembedding
from bayeslaw.lab.models.families import size_for
from bayeslaw.lab.train.spec import (
    KINDS,
    WHOLE_SEQUENCES,
    RunSpec,
    checked,
    choices_of,
    digest,
    in_words,
    shape_like,
    typed,
)
from bayeslaw.runs.formulas import ESCAPED
from bayeslaw.space import LARGEST, draw, read_toml, whole_number

log = logging.getLogger(__name__)

REQUIRED = tuple(f.name for f in fields(RunSpec) if f.default is MISSING and f.name != "run_id")
DERIVED = {
    "params_nonembedding": float,  # N: the nearest size of ``family`` gives width, depth and heads
    "family": str,
    "tokens_per_param": float,  # D is this times N
    "flops": float,  # C: D = C / FLOPs per token, so that runs of any size cost the same
    "warmup_share": float,  # warm-up over D
    "head_width": int,  # heads are width over this
}
ALTERNATIVES = (
    ("tokens", "tokens_per_param", "flops"),
    ("warmup_tokens", "warmup_share"),
    ("width", "params_nonembedding"),
    ("heads", "head_width"),
)
DESIGNS = ("grid", "random", "sobol", "list")

Values = dict[str, Any]


def read(path: Path, say: Callable[[str], None] = log.warning) -> list[RunSpec]:
    """Read the runs of a plan in order, each once; the same plan gives the same runs and run_ids.

    Drawn values have six digits. Batches are rounded to whole sequences, at least one, and so are tokens that
    follow from ``tokens_per_param`` or ``flops``. A design of 128 runs begins with the design of 64.

    Args:
        path: .toml, or .csv with fields of ``RunSpec`` and keys of ``DERIVED`` as columns; others are
            ignored.
        say: receives which columns were ignored, and how many rows repeat an earlier run.

    Raises:
        BadInput: names the file, the part or row, the value and what was expected.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such plan"
        raise BadInput(f"{path}: {what}; expected a .toml or .csv file; check the path (now in {Path.cwd()})")
    if path.suffix == ".csv":
        specs = [_spec(row, f"row {i}", path) for i, row in enumerate(_rows(path, say), start=1)]
    elif path.suffix == ".toml":
        specs = [_spec(values, place, path) for place, values in _designs(path, say)]
    else:
        raise BadInput(
            f"{path}: unknown suffix {path.suffix!r}; expected .toml or .csv; rename or convert it"
        )
    if not specs:
        raise BadInput(f"{path}: no runs; expected a row, or a [[part]] with a design, for at least one")
    return _each_once(specs, path, say)


def _each_once(specs: list[RunSpec], path: Path, say: Callable[[str], None]) -> list[RunSpec]:
    """Keep equal runs once; refuse one name for two different runs."""
    kept: dict[str, RunSpec] = {}
    for spec in specs:
        if kept.setdefault(spec.run_id, spec) != spec:
            raise BadInput(
                f"{path}: run_id {spec.run_id} stands for two different runs; expected each run_id once; "
                "rename one, or leave run_id out and the runs are named by what they are"
            )
    if len(kept) < len(specs):
        say(f"{path}: rows that repeat an earlier run, left out: {len(specs) - len(kept)}")
    return list(kept.values())


def _rows(path: Path, say: Callable[[str], None]) -> Iterator[Values]:
    """Rows of a CSV without empty cells and unknown columns; an explicit shape takes precedence over N."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, restkey="")
            names = reader.fieldnames or []
            ignored = [name for name in names if name not in KINDS and name not in DERIVED]
            if ignored:
                say(f"{path}: columns ignored, no settings of a run: {', '.join(ignored)}")
            for row in reader:
                found = {
                    k: ESCAPED.sub("", v.strip())
                    for k, v in row.items()
                    if k in names and k not in ignored and v and v.strip()
                }
                if {"width", "depth", "heads"} <= found.keys():
                    found.pop("params_nonembedding", None)
                yield found
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(
            f"{path}: not a readable CSV file ({error}); expected comma-separated UTF-8 text"
        ) from None


def _designs(path: Path, say: Callable[[str], None]) -> Iterator[tuple[str, Values]]:
    """Place and values of every run of a TOML plan."""
    plan = read_toml(path, "a plan in TOML")
    defaults, parts = plan.pop("sweep", {}), plan.pop("part", [])
    tables = [defaults, *parts] if isinstance(parts, list) else [parts, None]
    if plan or not all(isinstance(table, dict) for table in tables):
        raise BadInput(
            f"{path}: {', '.join(plan) or 'sweep or part of the wrong kind'}; "
            "expected one table [sweep] and tables [[part]]; see python -m pydoc bayeslaw.lab.train.plan"
        )
    for number, part in enumerate(parts, start=1):
        place = f"part {number}"
        own = {*part, *_each(part, f"{path}: {place}")}
        given = {name for group in ALTERNATIVES if own & {*group} for name in group}
        settings = {k: v for k, v in defaults.items() if k not in given} | part
        for i, values in enumerate(_repeated(settings, f"{path}: {place}", path, say), start=1):
            yield f"{place}, run {i}", values


def _repeated(part: Values, place: str, path: Path, say: Callable[[str], None]) -> Iterator[Values]:
    """Runs of one part in every combination of its ``each``, the last name running fastest."""
    each = _each(part, place)
    if twice := sorted(each.keys() & part.keys()):
        raise BadInput(f"{place}: {twice[0]} in each and beside it; expected one of them; drop the other")
    rest = {name: value for name, value in part.items() if name != "each"}
    for point in _grid(each, place):
        yield from _expanded(rest | point, place, path, say)


def _each(part: Values, place: str) -> dict[str, list[Any]]:
    """Choices of a part in whose combinations its design is repeated."""
    each = part.get("each", {})
    if not (isinstance(each, dict) and all(isinstance(values, list) for values in each.values())):
        raise BadInput(f"{place}: each = {each}; expected lists of choices, such as {{depth = [2, 4]}}")
    return each


def _expanded(part: Values, place: str, path: Path, say: Callable[[str], None]) -> Iterable[Values]:
    """Runs of one part."""
    part = dict(part)
    design = part.pop("design", None)
    if design not in DESIGNS:
        raise BadInput(f"{place}: design = {design}; expected one of {', '.join(DESIGNS)}")
    controls = {"list": ("file",), "grid": ()}.get(design, ("runs", "draw_seed"))
    drawn = {name: part.pop(name) for name in controls if name in part}
    for name in part:
        if name not in KINDS and name not in DERIVED:
            near = difflib.get_close_matches(name, [*KINDS, *DERIVED, *controls], n=1)
            raise BadInput(
                f"{place}: unknown key {name}; expected a setting of a run"
                + (f"; did you mean {near[0]}?" if near else "; see python -m pydoc bayeslaw.lab.train.spec")
            )
    varied: Values = {name: value for name, value in part.items() if isinstance(value, (list, dict))}
    ranges = [name for name, value in varied.items() if isinstance(value, dict)]
    constants = {name: value for name, value in part.items() if name not in varied}
    if design == "list":
        if varied or not isinstance(drawn.get("file"), str):
            raise BadInput(
                f"{place}: expected file = a CSV, one row a run, and constants beside it; give those only"
            )
        return ({**constants, **row} for row in _rows(path.parent / drawn["file"], say))
    if design == "grid":
        if ranges:
            raise BadInput(f"{place}: {ranges[0]} is a range; expected choices in a grid; list them")
        return ({**constants, **point} for point in _grid(varied, place))
    for name in ranges:
        _check_range(name, varied[name], place)
    if not varied:
        raise BadInput(
            f'{place}: nothing varies; expected a list or a range to draw from; or design = "grid"'
        )
    runs = whole_number("runs", drawn.get("runs"), place, 1, LARGEST)
    seed = whole_number("draw_seed", drawn.get("draw_seed", 0), place)
    points = draw(varied, runs, seed, place, random=design == "random")
    return ({**constants, **dict(zip(points, point))} for point in zip(*points.values()))


def _grid(choices: Values, place: str) -> Iterator[Values]:
    """Every combination, the last name running fastest."""
    if empty := [name for name, values in choices.items() if not values]:
        raise BadInput(f"{place}: {empty[0]} = []; expected at least one choice; add one")
    if (runs := math.prod(map(len, choices.values()))) > LARGEST:
        raise BadInput(f"{place}: a grid of {runs:,} runs; expected at most {LARGEST:,}; list fewer choices")
    return (dict(zip(choices, point)) for point in itertools.product(*choices.values()))


def _check_range(name: str, given: Values, place: str) -> None:
    kind = _kind(name)
    if kind in (str, bool) or (kind is int and name not in WHOLE_SEQUENCES):
        raise BadInput(f"{place}: {name} = {given}; expected a value or a list of choices; list them")


def _spec(values: Values, place: str, path: Path) -> RunSpec:
    """Make one checked run; messages name the file and the position in it."""
    try:
        return _resolved({name: typed(name, value, _kind(name)) for name, value in values.items()}, place)
    except BadInput as error:
        text = str(error).removeprefix(f"run {place}: ")
        raise BadInput(f"{path}: {place}: {text}") from None


def _resolved(values: Values, place: str) -> RunSpec:
    for group in ALTERNATIVES:
        if len(several := [name for name in group if name in values]) > 1:
            raise BadInput(f"{' and '.join(several)} given together; expected one of them; drop the others")
    values = choices_of(values.get("model")) | values
    derived = {name: values.pop(name) for name in DERIVED if name in values}
    run_id = values.pop("run_id", None)
    if "head_width" in derived:
        values["heads"] = _heads(values.get("width", 0), derived["head_width"])
    if "params_nonembedding" in derived:
        size = size_for(derived["params_nonembedding"], derived.get("family", "both"), shape_like(values))
        values.update(zip(("width", "depth", "heads"), size))
    later = {"tokens"} if {"tokens_per_param", "flops"} & derived.keys() else set()
    if missing := [name for name in REQUIRED if name not in values.keys() | later]:
        raise BadInput(f"{', '.join(missing)} missing; expected {_kinds(missing)}; add it to the plan")
    spec = RunSpec(**{"run_id": place, **dict.fromkeys(later, 0), **values})
    length = max(spec.sequence_length, 1)
    if "flops" in derived:
        spec = replace(spec, tokens=_whole(derived["flops"] / flops_per_token(spec.shape, length), length))
    elif "tokens_per_param" in derived:
        spec = replace(
            spec, tokens=_whole(derived["tokens_per_param"] * params_nonembedding(spec.shape), length)
        )
    if "warmup_share" in derived:
        spec = replace(spec, warmup_tokens=_whole(derived["warmup_share"] * spec.tokens, 1))
    spec = checked(replace(spec, batch_tokens=max(_whole(spec.batch_tokens, length), length)))
    return replace(spec, run_id=_own_name(run_id) if run_id else _name(spec))


def _heads(width: int, head_width: int) -> int:
    """Heads of this width that a network of that width has."""
    if head_width < 1 or not width or width % head_width:
        raise BadInput(f"head_width = {head_width} at width = {width}; expected a divisor of width")
    return width // head_width


def _name(spec: RunSpec) -> str:
    """Name a run by its main settings and a hash of everything else; unique, and valid as a folder name."""
    key = hashlib.sha256(f"{spec.study} {digest(spec)}".encode()).hexdigest()[:8]
    size, tokens = (_short(x) for x in (params_nonembedding(spec.shape), spec.tokens))
    shown = f"N{size}-D{tokens}-B{spec.batch_tokens}-lr{spec.learning_rate:.2g}-s{spec.seed}"
    return f"{spec.optimizer}-{shown}-{key}"


def _own_name(run_id: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_+=][A-Za-z0-9_.+=-]{0,199}", run_id):
        raise BadInput(
            f"run_id = {run_id!r}; expected letters, digits and _ . + = -, for it names a folder; rename it"
        )
    return run_id


def _kind(name: str) -> Any:
    return KINDS.get(name) or DERIVED[name]


def _kinds(names: list[str]) -> str:
    return ", ".join(dict.fromkeys(in_words(_kind(name)) for name in names))


def _whole(amount: float, unit: int) -> int:
    return round(amount / unit) * unit


def _short(count: int) -> str:
    """
    >>> _short(24736), _short(512_000), _short(96)
    ('24.7k', '512k', '96')
    """
    for unit, letter in ((1e9, "g"), (1e6, "m"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{letter}"
    return str(count)
