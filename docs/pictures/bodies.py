"""Draw ``docs/pictures/bodies.jpg``: bodies that move as a model says, a row for each sentence.

    python docs/pictures/bodies.py [MODEL]

The seeds are the first ones: nothing was picked.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.render.stills import render_sequence, write_picture

SENTENCES = ("a man runs forward", "a person raises both hands above their head")


def main(model: str = "models/mini") -> None:
    """Make one motion for each sentence, with seed 0, and draw its body through time."""
    motions = MotionGPT3.from_pretrained(model).generate(SENTENCES, seeds=[0] * len(SENTENCES))
    rows = [
        render_sequence(motion, 6, (1100, 400), sentence, "mesh")
        for motion, sentence in zip(motions, SENTENCES)
    ]
    write_picture(np.concatenate(rows), Path(__file__).with_name("bodies.jpg"))


if __name__ == "__main__":
    main(*sys.argv[1:])
