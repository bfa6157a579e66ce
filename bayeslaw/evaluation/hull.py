"""Geometry of scattered runs on a line or a plane: convex hull and interpolation.

Clouds have shape (row, axis) and points (point, axis), with one axis or two (the plane only where said).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, Delaunay

from bayeslaw.arrays import Floats


def average_repeats(points: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Merge points equal to three decimals, with the mean of their values; sorted."""
    frame = pd.DataFrame(np.round(points, 3)).assign(value=values)
    mean = frame.groupby(list(frame.columns[:-1]), sort=True)["value"].mean().reset_index()
    return mean.iloc[:, :-1].to_numpy(float), mean["value"].to_numpy(float)


def in_hull(cloud: Floats, points: Floats, slack: float = 2e-3) -> NDArray[np.bool_]:
    """Whether points lie in the cloud's convex hull, boundary included (slack in ln units).

    >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> in_hull(square, np.array([[0.5, 0.5], [1.0, 0.5], [1.5, 0.5]])).tolist()
    [True, True, False]
    """
    if cloud.shape[1] == 1:
        return (points[:, 0] >= cloud.min() - slack) & (points[:, 0] <= cloud.max() + slack)
    faces = ConvexHull(cloud).equations
    return np.all(points @ faces[:, :2].T + faces[:, 2] <= slack, axis=1)


def nearest_in_hull(cloud: Floats, points: Floats) -> Floats:
    """Nearest point on the boundary of the cloud's hull in the plane, shape (point, 2).

    >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> nearest_in_hull(square, np.array([[3.0, 0.5], [2.0, 2.0]])).tolist()
    [[1.0, 0.5], [1.0, 1.0]]
    """
    corners = cloud[ConvexHull(cloud).vertices]
    start, edge = corners, np.roll(corners, -1, axis=0) - corners
    along = np.einsum("pek,ek->pe", points[:, None] - start, edge) / np.sum(edge**2, axis=1)
    foot = start + np.clip(along, 0, 1)[..., None] * edge
    nearest = np.argmin(np.sum((foot - points[:, None]) ** 2, axis=-1), axis=1)
    return foot[np.arange(len(points)), nearest]


def interpolate(cloud: Floats, values: Floats, points: Floats) -> Floats:
    """Interpolate linearly between neighbouring rows, shape (point,); outside the hull use the nearest row.

    On a line the cloud must be sorted.

    >>> corner = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    >>> interpolate(corner, np.array([1.0, 3.0, 5.0]), np.array([[1.0, 0.0], [0.5, 0.5]])).tolist()
    [2.0, 2.5]
    """
    if cloud.shape[1] == 1:
        return np.interp(points[:, 0], cloud[:, 0], values)
    triangles = Delaunay(cloud)
    simplex = triangles.find_simplex(points)
    nearest = np.argmin(np.sum((points[:, None] - cloud) ** 2, axis=-1), axis=1)
    transform = triangles.transform[np.maximum(simplex, 0)]
    first = np.einsum("pij,pj->pi", transform[:, :2], points - transform[:, 2])
    share = np.column_stack([first, 1 - first.sum(axis=1)])
    linear = np.sum(share * values[triangles.simplices[np.maximum(simplex, 0)]], axis=1)
    return np.where(simplex >= 0, linear, values[nearest])
