"""Text on pictures: captions that wrap, and small labels, in the font that comes with Pillow."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

INK = np.array([44, 51, 66], dtype=np.float32)
_LINE_HEIGHT = 1.32
_ELLIPSIS = "…"


@lru_cache(maxsize=16)
def font(pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font at a height in pixels."""
    return ImageFont.load_default(max(pixels, 6))


def wrap(text: str, width: int, pixels: int, lines: int) -> list[str]:
    """Break text into at most ``lines`` lines of at most ``width`` pixels; the rest becomes "…"."""
    face = font(pixels)
    wrapped: list[str] = []
    current = ""
    for word in text.split():
        longer = f"{current} {word}".strip()
        if face.getlength(longer) <= width or not current:
            current = longer
        else:
            wrapped.append(current)
            current = word
    wrapped += [current] if current else []
    if len(wrapped) > lines:
        wrapped = wrapped[:lines]
        wrapped[-1] += _ELLIPSIS
    return [_shorten(line, width, pixels) for line in wrapped]


def text_height(lines: int, pixels: int) -> int:
    """Height in pixels of so many lines of text."""
    return round(lines * pixels * _LINE_HEIGHT)


def centred(lines: list[str], width: int, pixels: int) -> list[tuple[str, float, float]]:
    """Labels ``(text, centre x, top y)`` of lines in the middle of a picture, from its top."""
    return [(line, width / 2, 0.5 * pixels + text_height(k, pixels)) for k, line in enumerate(lines)]


def text_layer(
    size: tuple[int, int], labels: list[tuple[str, float, float]], pixels: int
) -> NDArray[np.float32]:
    """Coverage (H, W, 1), 0 to 1, of labels ``(text, centre x, top y)``."""
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for text, x, y in labels:
        # Start on a whole pixel: letters of a centred line are then as sharp as those of any other.
        left = round(x - font(pixels).getlength(text) / 2)
        draw.text((left, round(y)), text, fill=255, font=font(pixels))
    return np.asarray(mask, dtype=np.float32)[..., None] / np.float32(255)


class Caption:
    """Text at the top of pictures of one size.

    Args:
        text: to be wrapped into at most three lines; none when empty or ``None``.
        size: width and height of the pictures in pixels.
    """

    def __init__(self, text: str | None, size: tuple[int, int]) -> None:
        width, height = size
        letters = max(round(height / 26), 9)
        lines = wrap(text or "", round(0.92 * width), letters, 3)
        self.above = text_height(len(lines), letters) + 0.6 * letters if lines else 0.0
        """Pixels at the top that the text takes."""
        labels = centred(lines, width, letters)
        self._layer = text_layer((width, math.ceil(self.above)), labels, letters) if lines else None

    def lay(self, picture: NDArray[np.float32]) -> None:
        """Write the text onto a picture (H, W, 3), 0 to 255, in place."""
        if self._layer is not None:
            banner = picture[: len(self._layer)]
            banner += self._layer * (INK - banner)


def _shorten(line: str, width: int, pixels: int) -> str:
    face = font(pixels)
    if face.getlength(line) <= width:
        return line
    kept = line.rstrip(_ELLIPSIS)
    while kept and face.getlength(kept + _ELLIPSIS) > width:
        kept = kept[:-1]
    return kept.rstrip() + _ELLIPSIS
