"""The file of a posterior: netCDF4 that xarray and ArviZ open, read here by h5py alone."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.files import plain_json, write_atomically
from bayeslaw.law.parameters import CELL_SHIFTS, PARAMETERS, SIZE_SHIFTS, SPREADS, derived
from bayeslaw.posterior.draws import REFIT, TRIED, Posterior, check_posterior
from bayeslaw.target import Cell

Contents = dict[str, Any]

FORMAT_VERSION = 3
"""Raised whenever a file written before could be misread; version 2 is still read."""

CHECKSUM = "content_sha256"
"""Attribute with the digest of the rest of the file; files of old have none."""

STEPS_PER_SD = 1024
"""Draws are stored to a power of two below sd / STEPS_PER_SD: deflate then halves the file."""


# ------------------------------------------------------------------------------------------------ writing


def write_posterior(posterior: Posterior, path: str | Path) -> None:
    """Write a posterior, whole or not at all: to a temporary file beside it, then renamed.

    Draws are rounded to about a thousandth of their standard deviation (``STEPS_PER_SD``).

    Raises:
        BadInput: for a posterior that ``check_posterior`` refuses, or a place that cannot be written.
    """
    import h5netcdf

    path = Path(path)
    check_posterior(posterior, str(path))
    image = io.BytesIO()  # HDF5 itself does not survive a disk that fills up
    with h5netcdf.File(image, "w") as file:
        _fill(file, posterior)
    _seal(image)
    with write_atomically(path) as temporary:
        temporary.write_bytes(image.getvalue())


def _fill(file: Any, p: Posterior) -> None:
    file.attrs["format_version"] = np.int64(FORMAT_VERSION)
    file.attrs["title"] = "bayeslaw posterior; natural logarithms about the pivot"
    labels, numbers, draws = named_labels(p), named_numbers(p), named_draws(p)
    file.attrs["coordinates"] = " ".join(filter(is_label, (*labels, *numbers)))
    lengths = {dimension: len(texts) for dimension, texts in labels.values()}
    file.dimensions = lengths | {"draw": p.draws}
    for name, (dimension, texts) in labels.items():
        _texts(file, name, np.array(list(texts), object), (dimension,))
    for name, (dimensions, values) in numbers.items():
        file.create_variable(name, dimensions, float, data=np.asarray(values, float))
    for name in ("conventions", "provenance", "diagnostics"):
        _texts(file, name, np.array(json.dumps(getattr(p, name), default=plain_json), object), ())
    packing: dict[str, Any] = {
        "compression": "gzip",
        "compression_opts": 6,
        "shuffle": True,
        "fletcher32": True,
    }
    for name, (dimensions, values) in draws.items():
        file.create_variable(
            name, dimensions, np.float32, data=rounded(values), chunks=values.shape, **packing
        )


def is_label(name: str) -> bool:
    """Whether a variable labels the groups, cells or sizes."""
    return name.startswith(("group_", "cell_", "size_")) and not name.endswith(("_parameter", "_prior"))


def _seal(image: BinaryIO) -> None:
    """Add the checksum of what the file holds, as it is read back."""
    import h5py

    digest = _content_sha256(_contents(image))
    with h5py.File(image, "r+") as file:
        file.attrs[CHECKSUM] = digest


def _content_sha256(contents: Contents) -> str:
    """Digest of the names, shapes and bytes of all variables, and of the attributes that are read.

    A file that xarray wrote again, with attributes of its own, has the same.
    """
    digest = hashlib.sha256()
    variables = {name for name in contents if not name.startswith("@")}
    for name in sorted(variables | (contents.keys() & {"@format_version", "@pivot"})):
        values = np.atleast_1d(contents[name])
        told = repr(values.tolist()).encode() if values.dtype.kind in "OSU" else values.tobytes()
        digest.update(f"{name} {values.shape} {values.dtype.kind} {len(told)}\n".encode() + told)
    return digest.hexdigest()


def named_labels(p: Posterior) -> dict[str, tuple[str, Sequence[str]]]:
    """Text variables: name -> (dimension, texts)."""
    labels: dict[str, tuple[str, Sequence[str]]] = {
        "group": ("group", [f"{study}/{optimizer}" for study, optimizer in p.groups]),
        "group_study": ("group", [study for study, _ in p.groups]),
        "group_optimizer": ("group", [optimizer for _, optimizer in p.groups]),
        "study": ("study", p.studies),
        "optimizer": ("optimizer", p.optimizers),
        "group_parameter": ("group_parameter", tuple(p.group_prior)),
        "study_parameter": ("study_parameter", tuple(p.study_prior)),
        "common_parameter": ("common_parameter", tuple(p.common_prior)),
        "covariate": ("covariate", tuple(p.pivot)),
        "moment": ("moment", ("mean", "sd")),
        "cell_study": ("cell", [cell.study for cell in p.cells]),
        "cell_optimizer": ("cell", [cell.optimizer for cell in p.cells]),
        "cell_others": ("cell", [json.dumps(dict(cell.others)) for cell in p.cells]),
    }
    labels |= {f"factor_value_{name}": (f"factor_{name}", values) for name, values in p.factor_values.items()}
    labels |= {"bound": ("bound", ("least", "greatest"))} if p.tried else {}
    return labels | ({"size_study": ("size", [study for study, _ in p.sizes])} if p.sizes else {})


def named_numbers(p: Posterior) -> dict[str, tuple[tuple[str, ...], Any]]:
    """Variables without a draw axis: name -> (dimensions, values)."""
    numbers: dict[str, tuple[tuple[str, ...], Any]] = {
        "pivot": (("covariate",), list(p.pivot.values())),
        "cell_params": (("cell",), [cell.params_nonembedding for cell in p.cells]),
        "cell_tokens": (("cell",), [cell.tokens for cell in p.cells]),
        "group_prior": (("group_parameter", "moment"), list(p.group_prior.values())),
        "study_prior": (("study_parameter", "moment"), list(p.study_prior.values())),
        "common_prior": (("common_parameter", "moment"), list(p.common_prior.values())),
    }
    if p.tried:
        unknown = (math.nan, math.nan)
        for name in TRIED:
            ranges = [p.tried.get(group, {}).get(name, unknown) for group in p.groups]
            numbers[f"tried_{name}"] = (("group", "bound"), ranges)
    if p.only_batch:
        numbers["only_batch"] = (("group",), [p.only_batch.get(group, math.nan) for group in p.groups])
    return numbers | ({"size_params": (("size",), [n for _, n in p.sizes])} if p.sizes else {})


def named_draws(p: Posterior) -> dict[str, tuple[tuple[str, ...], Floats]]:
    """Variables with a draw axis: name -> (dimensions, values)."""
    draws: dict[str, tuple[tuple[str, ...], Floats]] = {}
    draws |= {name: (("draw",), values) for name, values in p.common.items()}
    draws |= {name: (("draw", "group"), values) for name, values in p.group.items()}
    draws |= {name: (("draw", "group"), values) for name, values in derived(p.group).items()}
    draws |= {name: (("draw", "study"), values) for name, values in p.study.items()}
    draws |= {f"cell_{name}": (("draw", "cell"), values) for name, values in p.cell.items()}
    draws |= {f"size_{name}": (("draw", "size"), values) for name, values in p.size.items()}
    draws |= {f"factor_shift_{k}": (("draw", f"factor_{k}"), values) for k, values in p.factor.items()}
    draws |= {f"factor_spread_{name}": (("draw",), values) for name, values in p.factor_spread.items()}
    for kind in SPREADS:
        spreads = np.column_stack([getattr(p, kind)[name] for name in p.group_prior])
        draws[kind] = (("draw", "group_parameter"), spreads)
    return draws


def _texts(file: Any, name: str, texts: Any, dimensions: tuple[str, ...]) -> None:
    import h5py

    file.create_variable(name, dimensions, h5py.string_dtype(), data=texts)


def rounded(values: Floats) -> NDArray[np.float32]:
    """Draws to the nearest multiple of a power of two below sd / STEPS_PER_SD, column by column.

    >>> bool(abs(rounded(np.array([0.1, 1.1, 2.1])) - [0.1, 1.1, 2.1]).max() < 0.001)
    True
    """
    spread = np.std(values, axis=0)
    usable = np.isfinite(spread) & (spread > 0)
    step = 2.0 ** np.floor(np.log2(np.where(usable, spread, 1.0) / STEPS_PER_SD))
    return np.where(usable, np.round(values / step) * step, values).astype(np.float32)


# ------------------------------------------------------------------------------------------------ reading


def read_posterior(path: str | Path) -> Posterior:
    """Read a posterior written by ``write_posterior``.

    Raises:
        BadInput: the file is missing, is no HDF5 file, is damaged or differs from its checksum, has
            another format version, lacks variables, or holds draws that are not finite.
    """
    path = Path(path)
    try:
        known = path.is_file()
    except OSError:  # a name longer than any file's
        known = False
    if not known:
        what = "is a folder" if os.path.isdir(path) else "no such file"
        raise BadInput(
            f"{path}: {what}; expected a posterior; fit one with `bayeslaw fit RUNS -o posterior.nc`"
        )
    try:
        contents = _contents(path)
    except Exception as error:  # whatever h5py raises for a damaged file
        reason = " ".join(str(error).strip("'\"").partition("\n")[0].split())
        raise BadInput(
            f"{path}: cannot be read as netCDF4 ({reason}); expected a posterior written by `bayeslaw fit`, "
            "undamaged; fit it again or copy the file again"
        ) from None
    version = _checked_version(contents, path)
    if contents.get(f"@{CHECKSUM}", digest := _content_sha256(contents)) != digest:
        raise BadInput(f"{path}: its contents differ from its checksum: damaged, or edited; {REFIT}")
    try:
        posterior = _assembled(_of_version_2(contents) if version == 2 else contents)
    except KeyError as error:
        raise BadInput(f"{path}: lacks the variable {error.args[0]!r}; {REFIT}") from None
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise BadInput(f"{path}: variables do not fit together ({error}); {REFIT}") from None
    check_posterior(posterior, str(path))
    return posterior


def _contents(path: Path | BinaryIO) -> Contents:
    """Every variable as (dimension names, array); texts as str; attributes under ``@name``."""
    import h5py

    contents: Contents = {}
    with h5py.File(path, "r") as file:
        for name, value in file.attrs.items():
            contents[f"@{name}"] = value
        for name, item in file.items():
            text = h5py.check_string_dtype(item.dtype)
            contents[name] = (item.asstr() if text else item)[()]
    return contents


def _checked_version(contents: Contents, path: Path) -> int:
    if "@format_version" not in contents:
        raise BadInput(
            f"{path}: has no format_version; expected a posterior written by `bayeslaw fit`; name such a file"
        )
    version = int(np.ravel(contents["@format_version"])[0])
    if version not in (2, FORMAT_VERSION):
        raise BadInput(
            f"{path}: format_version = {version}; this bayeslaw reads 2 and {FORMAT_VERSION}; "
            + ("upgrade bayeslaw" if version > FORMAT_VERSION else "fit it again with this version")
        )
    return version


def _of_version_2(c: Contents) -> Contents:
    """The contents of a file of format 2 under the names of today's."""
    bend = PARAMETERS["bend"]
    return c | {
        "group_parameter": c["family"],
        "group_prior": c["family_prior"],
        "common_parameter": ["bend"],
        "common_prior": np.array([[bend.mean, bend.sd]]),
        "covariate": ["n", "d"],
        "pivot": c["@pivot"],
        "cell_others": ["{}"] * len(c["cell_study"]),
    }


def _assembled(c: Contents) -> Posterior:
    groups, studies, common = (tuple(c[f"{level}_parameter"]) for level in ("group", "study", "common"))
    cells = zip(
        c["cell_study"],
        c["cell_optimizer"],
        c["cell_params"],
        c["cell_tokens"],
        c["cell_others"],
        strict=True,
    )
    sizes = zip(c.get("size_study", ()), c.get("size_params", ()), strict=True)
    factors = [name.removeprefix("factor_value_") for name in c if name.startswith("factor_value_")]
    return Posterior(
        group={name: _floats(c[name]) for name in groups},
        study={name: _floats(c[name]) for name in studies},
        common={name: _floats(c[name]) for name in common},
        between_optimizers=dict(zip(groups, _floats(c["between_optimizers"]).T, strict=True)),
        between_studies=dict(zip(groups, _floats(c["between_studies"]).T, strict=True)),
        cell={name: _floats(c[f"cell_{name}"]) for name in CELL_SHIFTS},
        group_prior=_prior(groups, c["group_prior"]),
        study_prior=_prior(studies, c["study_prior"]),
        common_prior=_prior(common, c["common_prior"]),
        groups=tuple(zip(c["group_study"], c["group_optimizer"], strict=True)),
        studies=tuple(c["study"]),
        optimizers=tuple(c["optimizer"]),
        cells=tuple(
            Cell(str(s), str(o), float(n), float(d), tuple(json.loads(others).items()))
            for s, o, n, d, others in cells
        ),
        pivot={str(name): float(value) for name, value in zip(c["covariate"], c["pivot"], strict=True)},
        conventions=json.loads(c["conventions"]),
        provenance=_provenance(c["provenance"], common),
        diagnostics=json.loads(c["diagnostics"]),
        sizes=tuple((str(s), float(n)) for s, n in sizes),
        size={name: _floats(c[f"size_{name}"]) for name in SIZE_SHIFTS if f"size_{name}" in c},
        factor={name: _floats(c[f"factor_shift_{name}"]) for name in factors},
        factor_spread={name: _floats(c[f"factor_spread_{name}"]) for name in factors},
        factor_values={name: tuple(map(str, c[f"factor_value_{name}"])) for name in factors},
        tried=_tried(c),
        only_batch=_only_batch(c),
    )


def _provenance(text: str, common: Collection[str]) -> dict[str, Any]:
    """Where the posterior comes from; ``schedule`` in a file with a free slope is the part of that slope.

    >>> _provenance('{"parts": ["schedule"]}', ["alpha_share"])
    {'parts': ['schedule_slope']}
    """
    found: dict[str, Any] = json.loads(text)
    if "parts" in found and "alpha_share" in common:
        found["parts"] = ["schedule_slope" if part == "schedule" else part for part in found["parts"]]
    return found


def _tried(c: Contents) -> dict[tuple[str, str], dict[str, tuple[float, float]]]:
    found: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
    for name in TRIED:
        for study, optimizer, (low, high) in zip(
            c["group_study"], c["group_optimizer"], c.get(f"tried_{name}", ()), strict=False
        ):
            if np.isfinite([low, high]).all():
                found.setdefault((study, optimizer), {})[name] = (float(low), float(high))
    return found


def _only_batch(c: Contents) -> dict[tuple[str, str], float]:
    groups = zip(c["group_study"], c["group_optimizer"], c.get("only_batch", ()), strict=False)
    return {(study, optimizer): float(batch) for study, optimizer, batch in groups if np.isfinite(batch)}


def _floats(values: Any) -> Floats:
    return np.asarray(values, np.float64)


def _prior(names: tuple[str, ...], table: Floats) -> dict[str, tuple[float, float]]:
    return {name: (float(mean), float(sd)) for name, (mean, sd) in zip(names, table, strict=True)}
