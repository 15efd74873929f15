"""``motiongpt3 convert-smpl``: an original SMPL pickle into an archive of plain arrays."""

from __future__ import annotations

from pathlib import Path

from motiongpt3.cli.terminal import say
from motiongpt3.errors import InputError


def convert_smpl(path: Path, out: Path) -> int:
    """Convert a body model of the SMPL family from the authors' pickle to .npz, without running the pickle.

    The result is for you alone: the licence of the model applies to it as to the original.

    Args:
        path: the .pkl file of SMPL, SMPL-H or SMPL-X.
        out: the .npz file to write.

    Returns:
        0.

    Raises:
        InputError: if the file is not a body model, or asks for anything to be run.
    """
    if out.suffix.lower() != ".npz":
        raise InputError(f"{out}: the result is an archive of arrays: name it .npz")
    from motiongpt3.body.smpl import smpl_from_arrays
    from motiongpt3.body.smpl_pickle import read_smpl_pickle
    from motiongpt3.motion.formats.npz import write_npz

    arrays = read_smpl_pickle(path)
    body = smpl_from_arrays(arrays, str(path))
    write_npz(out, arrays)
    say(f"{out}: {body.name}, {body.vertex_count} vertices, {len(body.parents)} joints")
    return 0
