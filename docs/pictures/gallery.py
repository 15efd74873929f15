"""Draw ``docs/pictures/gallery.png``: motions made by a model, a row for each sentence.

    python docs/pictures/gallery.py [MODEL]

The seeds are the first ones: nothing was picked.
"""

from __future__ import annotations

import sys
from pathlib import Path

from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.render.strips import write_strip

SENTENCES = (
    "a person waves with the left hand",
    "a person raises both hands above their head",
    "someone jumps up high",
    "a person walks forward and turns left",
    "a man runs forward",
    "a person bows",
)


def main(model: str = "models/mini") -> None:
    """Make one motion for each sentence, with seed 0, and draw them."""
    motions = MotionGPT3.from_pretrained(model).generate(SENTENCES, seeds=[0] * len(SENTENCES))
    write_strip(motions, Path(__file__).with_name("gallery.png"), list(SENTENCES))


if __name__ == "__main__":
    main(*sys.argv[1:])
