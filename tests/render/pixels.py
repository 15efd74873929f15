"""What a test looks for in a picture (H, W, 3) of integers."""

from __future__ import annotations

import numpy as np


def left_pixels(picture: np.ndarray) -> np.ndarray:
    """Where the orange of the left side is."""
    red, green, blue = np.moveaxis(picture, -1, 0)
    return (red - blue > 70) & (green - blue > 20)


def right_pixels(picture: np.ndarray) -> np.ndarray:
    """Where the blue of the right side is."""
    return picture[..., 2] - picture[..., 0] > 70


def figure_pixels(picture: np.ndarray) -> np.ndarray:
    return left_pixels(picture) | right_pixels(picture)


def middle_column(mask: np.ndarray) -> float:
    return float(np.nonzero(mask)[-1].mean())


def top_row(mask: np.ndarray) -> int:
    return int(np.nonzero(mask)[-2].min())


def empty_floor(picture: np.ndarray) -> np.ndarray:
    """Where nothing stands: sky and tiles are almost grey."""
    colours = picture.astype(int)
    return np.ptp(colours, axis=-1) < 22
