"""MLP-Mixers: positions are mixed by matrices instead of attention; for images, and for text.

Tolstikhin et al. 2021 (arXiv:2105.01601). For text the matrices are triangular, so that no token sees a later
one, as in the causal gMLP (Liu et al. 2021, arXiv:2105.08050).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bayeslaw.lab.models.transformer import FeedForward, Shape, dropout_of, initialise, norm_of
from bayeslaw.lab.models.vit import PatchEmbedding


class Triangle(nn.Linear):
    """Each position as a weighted sum of itself and those before it.

    The sums are multiplied by sqrt(length / terms), so that short ones are as large as the longest.
    """

    scale: Tensor

    def __init__(self, length: int) -> None:
        super().__init__(length, length, bias=False)
        scale = (length / torch.arange(1, length + 1)).sqrt()[:, None]
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., time) to the same shape; a time shorter than the matrix takes its corner."""
        time = x.shape[-1]
        return F.linear(x, (self.weight.tril() * self.scale)[:time, :time])


class Mixing(nn.Module):
    """Two layers with GELU along the positions, the same for each feature."""

    def __init__(self, shape: Shape, causal: bool) -> None:
        super().__init__()
        length, hidden = shape.length, mixing_width(shape)
        self.up = Triangle(length) if causal else nn.Linear(length, hidden, bias=False)
        self.down = Triangle(length) if causal else nn.Linear(hidden, length, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, position, width) to the same shape."""
        return self.down(F.gelu(self.up(x.transpose(1, 2)))).transpose(1, 2)


class MixerBlock(nn.Module):
    """Mixing and feed-forward, each with a norm before it and a residual around it."""

    def __init__(self, shape: Shape, causal: bool) -> None:
        super().__init__()
        self.mixing_norm = norm_of(shape)
        self.mixing = Mixing(shape, causal)
        self.feed_forward_norm = norm_of(shape)
        self.feed_forward = FeedForward(shape)
        self.dropout = dropout_of(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, position, width) to the same shape."""
        x = x + self.dropout(self.mixing(self.mixing_norm(x)))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class Mixer(nn.Module):
    """Classifier that maps pixels (image, pixel) to logits (image, 1, class)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embedding = PatchEmbedding(shape, places=False)
        self.blocks = nn.Sequential(*(MixerBlock(shape, causal=False) for _ in range(shape.depth)))
        self.norm = norm_of(shape)
        self.head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        initialise(self, shape)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (image, pixel) to (image, 1, class)."""
        return self.head(self.norm(self.blocks(self.embedding(pixels))).mean(dim=1, keepdim=True))


class TextMixer(nn.Module):
    """Decoder that maps token indices (batch, time) to logits (batch, time, vocabulary)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.dropout = dropout_of(shape)
        self.blocks = nn.Sequential(*(MixerBlock(shape, causal=True) for _ in range(shape.depth)))
        self.norm = norm_of(shape)
        self.head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        if shape.tied:
            self.head.weight = self.embedding.weight
        initialise(self, shape)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, time) to (batch, time, vocabulary)."""
        return self.head(self.norm(self.blocks(self.dropout(self.embedding(tokens)))))


def mixing_width(shape: Shape) -> int:
    """Hidden width of the mixing of images: half the residual stream, as in table 1 of the paper."""
    return shape.width // 2
