"""Files that the server gives, read by something else than what wrote them."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image
from pygltflib import GLTF2, BufferFormat

from tests.motion.formats.gltf_files import played


def check_file(path: Path, kind: str, joints: np.ndarray, fps: float) -> None:
    """Assert that a file shows a motion.

    Args:
        path: the file.
        kind: name of its format.
        joints: (T, 22, 3) of the motion.
        fps: its frames per second.
    """
    frames, seconds = len(joints), len(joints) / fps
    if kind == "joints":
        np.testing.assert_array_equal(np.load(path), joints)
    elif kind == "features":
        assert np.load(path).shape[1] == 263
    elif kind == "csv":
        with path.open(newline="") as file:
            rows = [row for row in csv.reader(file) if not row[0].startswith("#")]
        assert len(rows) == 1 + frames
    elif kind == "mp4":
        _, lasts = imageio_ffmpeg.count_frames_and_secs(str(path))
        assert abs(lasts - seconds) < 0.1
    elif kind == "gif":
        with Image.open(path) as film:
            assert film.n_frames > 1
    elif kind == "png":
        with Image.open(path) as strip:
            assert len(strip.convert("RGB").getcolors(2**24)) > 10
    else:
        np.testing.assert_allclose(_hips(path, kind), joints[:, 0] - joints[0, 0], atol=2e-3)


def _as_glb(path: Path) -> Path:
    gltf = GLTF2.load(str(path))
    gltf.convert_buffers(BufferFormat.BINARYBLOB)
    gltf.save_binary(str(path.with_suffix(".glb")))
    return path.with_suffix(".glb")


def _hips(path: Path, kind: str) -> np.ndarray:
    """Where the hips are (T, 3), from where they are at first; metres, y up."""
    if kind == "bvh":
        # By hand: bones of a motion that was made may stretch, which pybvh does not know.
        head, _, rows = path.read_text().partition("Frame Time:")
        assert re.search(r"ROOT pelvis\s*\{[^{}]*CHANNELS 6 Xposition Yposition Zposition ", head)
        places = np.array([line.split()[:3] for line in rows.splitlines()[1:] if line], float)
    elif kind in ("glb", "gltf"):
        _, world, nodes = played(path if kind == "glb" else _as_glb(path))
        places = world[:, nodes["pelvis"], :3, 3]
    else:
        with np.load(path) as arrays:
            if kind == "amass":
                assert arrays["poses"].shape[1] == 156
                x, y, z = arrays["trans"].T
                places = np.stack([x, z, -y], axis=1)
            else:
                places = arrays["transl"]
    return np.asarray(places - places[0])
