"""Networks by name: how each is built, what it costs and reads, and what it leaves no choice of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from bayeslaw.lab.models.mixer import Mixer, TextMixer, mixing_width
from bayeslaw.lab.models.transformer import Shape, Transformer
from bayeslaw.lab.models.vit import VisionTransformer


@dataclass(frozen=True)
class Network:
    """A network of the lab: a plan may name it once it is in ``NETWORKS``.

    Attributes:
        build: from a shape with its ``length``. Rows of whole numbers come in, tokens (sequence, time) or
            pixels (image, pixel); logits go out, (sequence, time, vocabulary) or (image, 1, class). Embedding
            and head are the submodules ``embedding`` and ``head``.
        mixing: name and parameters of what mixes positions in one block.
        mixing_flops: of it in training on one token, or patch, in sequences of a length.
        source: paper.
        images: whether it reads images and guesses their classes.
        label_smoothing: of its loss (Szegedy et al. 2016, arXiv:1512.00567).
        places: whether the embedding has a vector for each position.
        fixed: choices of a run that it does not leave.
        usual: choices of a run where nothing else is said.
    """

    build: Callable[[Shape], nn.Module]
    mixing: Callable[[Shape], tuple[str, int]]
    mixing_flops: Callable[[Shape, int], int]
    source: str
    images: bool = False
    label_smoothing: float = 0.0
    places: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict)
    usual: Mapping[str, Any] = field(default_factory=dict)


def build(shape: Shape, seed: int) -> nn.Module:
    """Build a network whose weights depend only on shape and seed; the global random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[shape.model].build(shape)


def _attention(shape: Shape) -> tuple[str, int]:
    return "attention", 4 * shape.width**2


def _attention_flops(shape: Shape, length: int) -> int:
    """Four matrices, then scores and averages; causal masking not deducted."""
    return 6 * 4 * shape.width**2 + 12 * shape.width * length


STANDARD = {"parametrization": "standard"}
DIGITS = {"corpus": "digits", "vocabulary": 10, "sequence_length": 16}

NETWORKS: dict[str, Network] = {
    "transformer": Network(
        lambda shape: Transformer(shape, shape.length),
        _attention,
        _attention_flops,
        "decoder-only; Vaswani et al. 2017, arXiv:1706.03762",
    ),
    "vit": Network(
        VisionTransformer,
        _attention,
        _attention_flops,
        "vision transformer; Dosovitskiy et al. 2021, arXiv:2010.11929",
        images=True,
        label_smoothing=0.1,
        places=True,
        fixed={"tied": False, **STANDARD},
        usual=DIGITS,
    ),
    "mixer": Network(
        Mixer,
        lambda shape: ("mixing", 2 * shape.length * mixing_width(shape)),
        lambda shape, length: 6 * 2 * mixing_width(shape) * shape.width,
        "MLP-Mixer of images; Tolstikhin et al. 2021, arXiv:2105.01601",
        images=True,
        label_smoothing=0.1,
        fixed={"heads": 1, "tied": False, **STANDARD},
        usual=DIGITS,
    ),
    "text_mixer": Network(
        TextMixer,
        lambda shape: ("mixing", shape.length * (shape.length + 1)),
        lambda shape, length: 6 * 2 * length * shape.width,
        "MLP-Mixer of text, its mixing triangular; Tolstikhin et al. 2021, Liu et al. 2021, arXiv:2105.08050",
        fixed={"heads": 1, **STANDARD},
    ),
}
"""By the name that plans and run tables use."""
