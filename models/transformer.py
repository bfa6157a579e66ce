"""A decoder-only transformer, short enough to read in one go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bayeslaw.errors import BadInput

Norm = Literal["rmsnorm", "layernorm"]
Activation = Literal["gelu", "swiglu"]
Parametrization = Literal["standard", "mup"]
OUTER, EMBEDDING_SHARE = ("embedding", "head"), 0.25
ROPE_BASE = 10_000.0
BASE_WIDTH = 32
"""Where the two parametrizations are the same network."""


@dataclass(frozen=True)
class Shape:
    """Size and shape of the network.

    Attributes:
        vocabulary: number of tokens.
        width: width of the residual stream.
        depth: number of blocks.
        heads: attention heads; width / heads is even, as rotary embeddings need.
        norm: "rmsnorm", or "layernorm" without bias.
        activation: "gelu" with a hidden layer of 4 widths, or "swiglu" of 8/3 widths,
            rounded up to a multiple of 8.
        tied: the output head shares the embedding's matrix.
        parametrization: "standard", or "mup": matrices of the blocks learn at ``BASE_WIDTH`` / width times
            the rate, embeddings do not shrink with width, logits are divided by width / ``BASE_WIDTH``. Rates
            are multipliers in the forward pass, true for optimizers whose step does not depend on the
            gradient's scale: AdamW, Lion, RMSprop. Source: Yang et al. 2022 (arXiv:2203.03466),
            table 8, in width alone.
        model: name in ``networks.NETWORKS``.
        length: positions of a sequence: tokens of a text, or patches of an image; read where weights belong
            to positions.
        patch: side of a patch [pixels], of networks that read images.
        channels: of a pixel, 1 for grey or 3 for red, green and blue.
        dropout: chance that an element of the embeddings, or of what a layer adds to the residual stream, is
            0 in training (Vaswani et al. 2017, section 5.4).

    Raises:
        BadInput: a number that is not positive, heads that do not divide the width, an unknown name, a
            dropout outside 0 to 1.
    """

    vocabulary: int
    width: int
    depth: int
    heads: int
    norm: Norm = "rmsnorm"
    activation: Activation = "gelu"
    tied: bool = True
    parametrization: Parametrization = "standard"
    model: str = "transformer"
    length: int = 0
    patch: int = 2
    channels: int = 1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be built."""
        for name in ("vocabulary", "width", "depth", "heads"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} = {getattr(self, name)}; expected a whole number above 0")
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise BadInput(
                f"heads = {self.heads} at width = {self.width}; expected width / heads to be an even number; "
                "choose other heads"
            )
        if not 0 <= self.dropout < 1:
            raise BadInput(f"dropout = {self.dropout}; expected at least 0 and below 1; correct it")
        kinds = {"norm": Norm, "activation": Activation, "parametrization": Parametrization}
        for name, kind in kinds.items():
            known = get_args(kind)
            if getattr(self, name) not in known:
                raise BadInput(f"{name} = {getattr(self, name)}; expected one of {', '.join(known)}")

    @property
    def hidden(self) -> int:
        """Width of the feed-forward layer.

        >>> Shape(1024, 32, 2, 2).hidden, Shape(1024, 32, 2, 2, activation="swiglu").hidden
        (128, 88)
        """
        return 4 * self.width if self.activation == "gelu" else -(-8 * self.width // 24) * 8

    @property
    def share(self) -> float:
        """``BASE_WIDTH`` over width in "mup", else 1: multiplies what comes out of each matrix.

        >>> Shape(1024, 64, 2, 2, parametrization="mup").share, Shape(1024, 64, 2, 2).share
        (0.5, 1.0)
        """
        return BASE_WIDTH / self.width if self.parametrization == "mup" else 1.0


class Matrix(nn.Linear):
    """A matrix whose product is multiplied by a share, and which is as much larger to begin with."""

    def __init__(self, inputs: int, outputs: int, share: float) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        return super().forward(x) if self.share == 1 else super().forward(x) * self.share


class Attention(nn.Module):
    """Self-attention: causal with rotary positions, or of every position to every other with none."""

    def __init__(self, shape: Shape, causal: bool = True) -> None:
        super().__init__()
        self.heads, self.causal = shape.heads, causal
        self.qkv = Matrix(shape.width, 3 * shape.width, shape.share)
        self.out = Matrix(shape.width, shape.width, shape.share)

    def forward(self, x: Tensor, rotation: Tensor | None = None) -> Tensor:
        """Map (batch, time, width) to the same shape."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (batch, head, time, width / heads)
        if rotation is not None:
            q, k = rotated(q, rotation), rotated(k, rotation)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Feed-forward layer: two layers with GELU, or three with SwiGLU (Shazeer 2020)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gated = shape.activation == "swiglu"
        self.up = Matrix(shape.width, shape.hidden * (2 if self.gated else 1), shape.share)
        self.down = Matrix(shape.hidden, shape.width, shape.share)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, time, width) to the same shape."""
        if self.gated:
            gate, value = self.up(x).chunk(2, dim=-1)
            return self.down(F.silu(gate) * value)
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    """Block of attention and feed-forward, each with a norm before it and a residual around it."""

    def __init__(self, shape: Shape, causal: bool = True) -> None:
        super().__init__()
        self.attention_norm = norm_of(shape)
        self.attention = Attention(shape, causal)
        self.feed_forward_norm = norm_of(shape)
        self.feed_forward = FeedForward(shape)
        self.dropout = dropout_of(shape)

    def forward(self, x: Tensor, rotation: Tensor | None = None) -> Tensor:
        """Map (batch, time, width) to the same shape."""
        x = x + self.dropout(self.attention(self.attention_norm(x), rotation))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class Transformer(nn.Module):
    """Decoder that maps token indices (batch, time) to logits (batch, time, vocabulary)."""

    rotation: Tensor

    def __init__(self, shape: Shape, sequence_length: int) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.dropout = dropout_of(shape)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.norm = norm_of(shape)
        self.head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        if shape.tied:
            self.head.weight = self.embedding.weight
        rotation = rotary_angles(sequence_length, shape.width // shape.heads)
        self.register_buffer("rotation", rotation, persistent=False)
        initialise(self, shape)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, time) to (batch, time, vocabulary)."""
        x = self.dropout(self.embedding(tokens))
        rotation = self.rotation[:, : tokens.shape[1]]
        for block in self.blocks:
            x = block(x, rotation)
        logits = self.head(self.norm(x))
        return logits if self.shape.share == 1 else logits * self.shape.share


def initialise(model: nn.Module, shape: Shape) -> None:
    """Initialise normally with sd 1/sqrt(inputs); embedding and head a quarter of it, for nearly uniform
    guesses.

    Layers that write to the residual stream are also divided by sqrt(2 depth) (GPT-2). GPT-2's constant 0.02
    is too small for narrow networks: at width 16 a high learning rate ended on the plateau (LOG.md).
    """
    for name, weight in model.named_parameters():
        if weight.ndim > 1:
            outer = name.partition(".")[0] in OUTER
            share = 1.0 if outer else shape.share
            fixed = outer and shape.parametrization == "mup"
            sd = (BASE_WIDTH if fixed else weight.shape[1]) ** -0.5 / share
            if name.endswith(("out.weight", "down.weight")):
                sd /= (2 * shape.depth) ** 0.5
            nn.init.normal_(weight, std=sd * EMBEDDING_SHARE if outer else sd)


def build(shape: Shape, sequence_length: int, seed: int) -> Transformer:
    """Build a network whose weights depend only on shape and seed; leaves the global random state
    untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Transformer(shape, sequence_length)


def rotary_angles(length: int, size: int) -> Tensor:
    """Cosine and sine of position times frequency, (2, length, size / 2). Source: Su et al. 2021, eq. 15."""
    frequency = ROPE_BASE ** (-torch.arange(0, size, 2) / size)
    angle = torch.arange(length)[:, None] * frequency
    return torch.stack([angle.cos(), angle.sin()])


def rotated(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate queries or keys (batch, head, time, size), with the two halves of ``size`` as pairs."""
    cos, sin = rotation.to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


def norm_of(shape: Shape) -> nn.Module:
    """RMSNorm, or LayerNorm without bias."""
    if shape.norm == "rmsnorm":
        return nn.RMSNorm(shape.width, eps=1e-5)
    return nn.LayerNorm(shape.width, bias=False)


def dropout_of(shape: Shape) -> nn.Module:
    """Dropout of a shape, in training alone."""
    return nn.Dropout(shape.dropout) if shape.dropout else nn.Identity()
