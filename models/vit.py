"""A vision transformer: patches of an image, blocks in which each sees all, one guess of the image's class.

Dosovitskiy et al. 2021 (arXiv:2010.11929), with the mean over patches in place of a class token (Beyer et al.
2022, arXiv:2205.01580), and the blocks of the decoder.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bayeslaw.lab.models.transformer import Block, Shape, dropout_of, initialise, norm_of

GREY = 127.5
"""Half of the brightest value of a pixel."""


class PatchEmbedding(nn.Module):
    """Patches of images, each mapped to the residual stream; with a learnt vector for each place or without.

    Pixels come row by row, a pixel's channels together, as whole numbers from 0 to 255.
    """

    def __init__(self, shape: Shape, places: bool) -> None:
        super().__init__()
        self.patch, self.channels = shape.patch, shape.channels
        self.rows = math.isqrt(shape.length)
        self.patches = nn.Linear(shape.patch**2 * shape.channels, shape.width, bias=False)
        self.places = nn.Parameter(torch.zeros(shape.length, shape.width)) if places else None
        self.dropout = dropout_of(shape)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (image, pixel) to (image, patch, width)."""
        grid = pixels.unflatten(-1, (self.rows, self.patch, self.rows, self.patch, self.channels))
        patches = grid.transpose(2, 3).flatten(3).flatten(1, 2)
        found = self.patches(patches.to(self.patches.weight.dtype) / GREY - 1)
        return self.dropout(found if self.places is None else found + self.places)


class VisionTransformer(nn.Module):
    """Classifier that maps pixels (image, pixel) to logits (image, 1, class)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embedding = PatchEmbedding(shape, places=True)
        self.blocks = nn.ModuleList(Block(shape, causal=False) for _ in range(shape.depth))
        self.norm = norm_of(shape)
        self.head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        initialise(self, shape)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (image, pixel) to (image, 1, class)."""
        x = self.embedding(pixels)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(dim=1, keepdim=True))
