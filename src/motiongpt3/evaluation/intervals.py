"""Intervals for means over clips."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000


def bootstrap_interval(values: Sequence[float], resamples: int = RESAMPLES) -> tuple[float, float]:
    """95 % interval of the mean: percentiles of the means of resampled values (Efron 1979).

    The same values give the same interval. Values that belong together (several seeds of one clip) are to be
    averaged first.

    Returns:
        NaN, NaN without values.
    """
    array = np.asarray(values, dtype=np.float64)
    if not len(array):
        return math.nan, math.nan
    draws = np.random.default_rng(0).integers(len(array), size=(resamples, len(array)))
    low, high = np.quantile(array[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)
