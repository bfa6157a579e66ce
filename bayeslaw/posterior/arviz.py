"""Convert a posterior for ArviZ: separate chains, and labels on every dimension.

data = to_inference_data(read_posterior("posterior.nc"))
az.summary(data, var_names=["gamma", "delta"])           # gamma[marin/muon], ...
data.posterior["cell_lr"].sel(cell=data.posterior.cell_params > 1e9)
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayeslaw.arrays import Floats
from bayeslaw.posterior.convergence import arviz_module
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.netcdf import is_label, named_draws, named_labels, named_numbers
from bayeslaw.text import short

if TYPE_CHECKING:
    import arviz


def to_inference_data(posterior: Posterior) -> arviz.InferenceData:
    """Convert a posterior to ``arviz.InferenceData``, with variables and dimensions named as in its file.

    Group ``posterior`` has the draws, with dimensions chain, draw, and group, study, group_parameter, cell or
    size;
    beside ``group`` stand the coordinates group_study and group_optimizer, likewise for cells and sizes.
    Group ``constant_data`` has group_prior and study_prior (mean, sd).

    Args:
        posterior: the fit; ``chain_rows`` assigns its draws to chains.
    """
    az = arviz_module()
    rows = chain_rows(posterior)
    draws = named_draws(posterior)
    labels, numbers = named_labels(posterior), named_numbers(posterior)
    labels |= {
        "cell": (
            "cell",
            [_place(*cell[:4], *(f"{k}={v}" for k, v in cell.others)) for cell in posterior.cells],
        )
    }
    labels |= {"size": ("size", [_place(*size) for size in posterior.sizes])}
    priors = {name: entry for name, entry in numbers.items() if name.endswith("_prior")}
    dims = {name: list(axes[1:]) for name, (axes, _) in draws.items()}
    data = az.from_dict(
        posterior={name: values[rows] for name, (_, values) in draws.items()},
        constant_data={name: np.array(values, float) for name, (_, values) in priors.items()},
        dims=dims | {name: list(axes) for name, (axes, _) in priors.items()},
        coords={name: list(texts) for name, (axis, texts) in labels.items() if name == axis},
        posterior_attrs={
            "pivot": json.dumps(posterior.pivot),
            "conventions": json.dumps(posterior.conventions, default=str),
            "provenance": json.dumps(posterior.provenance, default=str),
        },
    )
    beside = {name: (axis, list(texts)) for name, (axis, texts) in labels.items()}
    beside |= {name: (axes[0], values) for name, (axes, values) in numbers.items()}
    data.posterior = data.posterior.assign_coords(
        {name: entry for name, entry in beside.items() if is_label(name)}
    )
    return data


def _place(*parts: str | float) -> str:
    return "/".join(part if isinstance(part, str) else short(part) for part in parts)


def scalars(posterior: Posterior) -> dict[str, Floats]:
    """Draws by name and label, such as ``gamma[ours/adamw]``; (chain, draw) each."""
    found = {}
    for name, values in to_inference_data(posterior)["posterior"].items():
        rest = [axis for axis in values.dims if axis not in ("chain", "draw")]
        if not rest:
            found[str(name)] = values.to_numpy()
        for number, label in enumerate(values[rest[0]].to_numpy() if rest else []):
            column = values.to_numpy()[..., number]
            if np.isfinite(column).all():
                found[f"{name}[{label}]"] = column
    return found


def chain_rows(posterior: Posterior) -> NDArray[np.int64]:
    """Rows of the draws of each chain, (chain, draw).

    ``fit`` keeps evenly spaced draws of all chains, one chain after the other; ``diagnostics`` has the number
    of chains and of draws of each. A chain with more kept draws than another drops its last. There is one
    chain if the diagnostics do not say, or give fewer draws than there are.
    """
    chains, each = (int(posterior.diagnostics.get(name, 0)) for name in ("chains", "draws"))
    if not (0 < chains <= posterior.draws <= chains * each):
        return np.arange(posterior.draws)[None]
    kept = np.linspace(0, chains * each - 1, posterior.draws).round().astype(int)
    chain = kept // each
    shortest = int(np.bincount(chain, minlength=chains).min())
    return np.stack([np.flatnonzero(chain == number)[:shortest] for number in range(chains)])
