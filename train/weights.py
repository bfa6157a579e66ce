"""Weights that a run leaves on request, with its network and tokenizer, for a run that begins with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bayeslaw.errors import BadInput
from bayeslaw.files import write_atomically
from bayeslaw.lab.train.spec import RunSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS = "weights.pt"
"""In the folder of the run."""


class Weights(NamedTuple):
    """What a run left.

    Attributes:
        spec: choices of the run, by name.
        tokenizer: JSON text, as `tokenizers` reads it.
        model: parameters by name.
    """

    spec: Mapping[str, Any]
    tokenizer: str
    model: Mapping[str, Tensor]


def write(folder: Path, spec: RunSpec, tokenizer: str, model: nn.Module) -> None:
    """Write the weights of a run into its folder.

    Raises:
        BadInput: they cannot be written.
    """
    import torch

    with write_atomically(folder / WEIGHTS) as temporary:
        torch.save(Weights(asdict(spec), tokenizer, model.state_dict())._asdict(), temporary)


def read(folder: Path) -> Weights:
    """The weights in the folder of a run.

    Raises:
        BadInput: none there, or a file that cannot be read.
    """
    import torch

    path = folder / WEIGHTS
    try:
        return Weights(**torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # whatever a missing or broken file makes pickle, zip or torch raise
        what = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise BadInput(
            f"{path}: no readable weights ({what}); expected the folder of a run trained with "
            "--keep-weights; train it so"
        ) from None


def load(weights: Weights, model: nn.Module, place: str) -> None:
    """Put weights into a network of the same shape.

    Raises:
        BadInput: the network has another shape; names ``place``.
    """
    try:
        model.load_state_dict(dict(weights.model))
    except RuntimeError as error:
        raise BadInput(
            f"{place}: weights of another network ({str(error).splitlines()[-1].strip()}); expected its "
            "width, depth, vocabulary, norm, activation and tied; give those of its run"
        ) from None
