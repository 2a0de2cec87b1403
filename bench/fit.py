"""A straight line through measured sizes: what a thing costs in any case, and what each one more costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Line", "exponent", "fit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """``seconds = fixed_s + each_s * size``; ``fitted`` is the share of the variance that it explains (R squared)."""

    fixed_s: float
    each_s: float
    fitted: float


def fit(points: Sequence[tuple[float, float]]) -> Line:
    """Return the line through (size, seconds) with the least squares of *relative* errors.

    Sizes differ by orders of magnitude, and so does the noise: weights of one over the square of the seconds keep the
    small sizes from being ignored. Raises ValueError with fewer than two sizes.
    """
    if len({size for size, _ in points}) < 2:
        raise ValueError("a slope needs two sizes at least")
    weights = [1 / max(seconds, 1e-9) ** 2 for _, seconds in points]
    total = sum(weights)
    mean_x = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
    mean_y = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
    xx = sum(w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, points, strict=True))
    xy = sum(w * (x - mean_x) * (y - mean_y) for w, (x, y) in zip(weights, points, strict=True))
    yy = sum(w * (y - mean_y) ** 2 for w, (_, y) in zip(weights, points, strict=True))
    each = xy / xx
    return Line(fixed_s=mean_y - each * mean_x, each_s=each, fitted=1.0 if yy == 0 else xy * xy / (xx * yy))


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope in a plot with two logarithmic axes: 1 grows with the size, 2 with its square, 0 not at all."""
    logs = [(math.log(size), math.log(seconds)) for size, seconds in points]
    mean_x = sum(x for x, _ in logs) / len(logs)
    mean_y = sum(y for _, y in logs) / len(logs)
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs)
