"""Throws mutated files at the readers, guided by coverage: all but a motion or an `InputError` is a crash.

Not part of the tests. It needs ``pip install atheris``, and runs until stopped or as its options say::

    python tests/fuzz/fuzz_formats.py bvh|glb|gltf|npz|npz-array|npy|csv [-max_total_time=120]

``npz-array`` puts the mutated bytes into a sound archive as the array ``poses``, since most damage to an
archive ends at its checksums. The first seeds are files of our own; what is found is kept in ``out/fuzz``.
"""

from __future__ import annotations

import os
import sys
import tempfile
import zipfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["motiongpt3.motion.formats"]):
    from motiongpt3.errors import InputError
    from motiongpt3.motion.formats import WriteOptions, read_motion, write_motion

import numpy as np
import torch

from motiongpt3.motion.motion import Motion
from motiongpt3.motion.pose import T_POSE_OFFSETS, BodyPose

CORPUS = Path("out/fuzz")
SUFFIXES = ("bvh", "glb", "gltf", "npz", "npy", "csv")
ARRAY = "npz-array"


def still_motion() -> Motion:
    """Three frames of a T-pose that moves forward."""
    rotations = torch.zeros(3, 22, 4, dtype=torch.float64)
    rotations[..., 0] = 1
    root = torch.tensor([[0, 0.9, 0], [0, 0.9, 0.1], [0, 1.0, 0.2]], dtype=torch.float64)
    return Motion.from_pose(BodyPose(rotations, T_POSE_OFFSETS), root)


def seed_files(folder: Path, suffix: str) -> None:
    """Write a few small files for the fuzzer to start from."""
    folder.mkdir(parents=True, exist_ok=True)
    motion = still_motion()
    if suffix == ARRAY:
        np.save(folder / "seed.npy", np.zeros((3, 156)))
        np.save(folder / "seed-short.npy", np.zeros((2, 66), dtype=">f4"))
        return
    bare = WriteOptions(skin="none") if suffix in ("glb", "gltf") else None
    write_motion(motion, folder / f"seed.{suffix}", options=bare)
    if suffix == "npz":
        write_motion(motion, folder / "seed-smpl.npz", "smpl")
    if suffix in ("bvh", "glb", "gltf"):
        options = WriteOptions(naming="mixamo", stretch=True, skin=bare.skin if bare else None)
        write_motion(motion, folder / f"seed-mixamo.{suffix}", options=options)


def main() -> None:
    """Fuzz the format that the first argument names."""
    suffix = sys.argv[1] if len(sys.argv) > 1 else ""
    if suffix not in (*SUFFIXES, ARRAY):
        sys.exit(f"usage: fuzz_formats.py {'|'.join(SUFFIXES)}|{ARRAY} [libFuzzer options]")
    corpus = CORPUS / suffix
    seed_files(corpus, suffix)
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else None))
    place = folder / f"input.{suffix.removesuffix('-array')}"
    others = {"trans": np.zeros((3, 3)), "mocap_framerate": 30.0}

    def read(data: bytes) -> None:
        if suffix == ARRAY:
            np.savez(place, **others)  # type: ignore[arg-type]
            with zipfile.ZipFile(place, "a") as archive:
                archive.writestr("poses.npy", data)
        else:
            place.write_bytes(data)
        try:
            motion = read_motion(place)
        except InputError as error:
            if "\n" in str(error):
                raise AssertionError("a message of several lines") from error
            return
        assert motion.joints.isfinite().all()

    atheris.Setup([sys.argv[0], *sys.argv[2:], str(corpus)], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
