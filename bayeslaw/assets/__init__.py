"""Files shipped with the package: run tables and a posterior."""

from pathlib import Path

_FOLDER = Path(__file__).parent
BOOKS = _FOLDER / "books.csv"
CURVATURE = _FOLDER / "curvature.json"
EXAMPLE_SWEEP = _FOLDER / "example_sweep.csv"
POSTERIOR = _FOLDER / "posterior.nc"
SHAPES = _FOLDER / "shapes.csv"
