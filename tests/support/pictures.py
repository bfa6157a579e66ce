"""What a picture file shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.image import imread


def inked(path: Path) -> float:
    """Share of a PNG's pixels that differ from its first one, the paper."""
    pixels = imread(path)
    return float(np.mean(np.any(pixels != pixels[0, 0], axis=-1)))
