"""``motiongpt3 fit``: joints in; a body, its vertices and its parameters out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from motiongpt3.cli.given import files_in
from motiongpt3.cli.terminal import part_of, say, share_bar
from motiongpt3.errors import InputError

if TYPE_CHECKING:
    from motiongpt3.body.model import Body

BODY_FILES_VARIABLE = "MOTIONGPT3_BODY_MODELS"
OUTPUTS = ("mesh", "ply", "npz")
_MADE = ("_mesh.npy", "_faces.npy", "_params.npz")
# Refinement steps where none are asked for: a body that takes the clip's proportions needs none.
_STEPS = {"embedded": 0}
_SMPL_STEPS = 100


def fit(
    path: Path,
    out: Path = Path("out"),
    body: Literal["embedded", "light", "smpl", "smplh", "smplx"] = "embedded",
    body_model: Path | None = None,
    gender: Literal["neutral", "male", "female"] = "neutral",
    format: str = "mesh,npz",
    refine: int | None = None,
    fps: float | None = None,
    device: str = "auto",
) -> int:
    """Fit a body to joints.

    For every motion NAME: NAME_mesh.npy (frames x vertices x 3, metres, y up) with NAME_faces.npy, NAME_ply/
    (a mesh a frame) and NAME_params.npz (rotations and place, as AMASS has them).

    Args:
        path: motion file (.npy, .bvh, .npz), or a folder of them.
        out: folder to write to.
        body: embedded comes with this project; light has few triangles; smpl, smplh and smplx need your own
            licensed file.
        body_model: file of that body model, or a folder that has it (default: MOTIONGPT3_BODY_MODELS).
        gender: which body model of a folder.
        format: which files, separated by commas: mesh, ply, npz.
        refine: optimisation steps after the closed form (default: 0 for our own bodies, 100 for others).
        fps: frames per second of .npy files (default: 20).
        device: auto, cpu, cuda or mps.

    Returns:
        0.

    Raises:
        InputError: anything in the request that cannot be done.
    """
    outputs = _parse_outputs(format)
    files = motion_files(path)
    names = [file.stem for file in files]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled:
        raise InputError(f"{path}: two files named {doubled}; their results would overwrite each other")
    model = _load_body(body, body_model, gender, device)

    import numpy as np

    from motiongpt3.body.files import write_mesh, write_parameters, write_ply_frames
    from motiongpt3.body.fitting import fit_body, joint_error
    from motiongpt3.body.refinement import refine_fit
    from motiongpt3.files import atomic_file
    from motiongpt3.motion.formats import read_motion

    steps = _STEPS.get(model.name, _SMPL_STEPS) if refine is None else refine
    with share_bar() as bar:
        task = bar.add_task("fitting", total=len(files))
        for number, file in enumerate(files):
            rate = fps if file.suffix.lower() == ".npy" else None
            motion = read_motion(file, rate)
            fitted = fit_body(motion, model)
            if steps:
                fitted = refine_fit(fitted, motion, steps, progress=part_of(bar, task, number, 0.9))
            error = 1000 * float(joint_error(fitted, motion).mean())
            written = []
            if "mesh" in outputs:
                written += [out / f"{file.stem}_mesh.npy", out / f"{file.stem}_faces.npy"]
                write_mesh(fitted, written[0])
                with atomic_file(written[1]) as temporary, temporary.open("wb") as stream:
                    np.save(stream, fitted.body.faces.cpu().numpy().astype(np.int32))
            if "ply" in outputs:
                written.append(out / f"{file.stem}_ply")
                write_ply_frames(fitted, written[-1])
            if "npz" in outputs:
                written.append(out / f"{file.stem}_params.npz")
                write_parameters(fitted, written[-1])
            bar.update(task, completed=number + 1)
            say(f"{file.name}: {len(motion)} frames, joints {error:.1f} mm off on average", bar.console)
            for one in written:
                say(one)
    return 0


def motion_files(path: Path) -> list[Path]:
    """The motion files of a folder, in order of name; or the one file.

    What ``fit`` wrote into the same folder is left out.

    Raises:
        InputError: if there is none.
    """
    files = files_in([str(path)])
    if not path.is_dir():
        return files
    motions = [file for file in files if not file.name.endswith(_MADE)]
    if not motions:
        raise InputError(f"{path}: no motion files in this folder, only what fit made")
    return motions


def _parse_outputs(text: str) -> tuple[str, ...]:
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in OUTPUTS:
            raise InputError(f"unknown format {name!r}: choose from {', '.join(OUTPUTS)}")
    if not names:
        raise InputError(f"no format given: choose from {', '.join(OUTPUTS)}")
    return tuple(dict.fromkeys(names))


def _load_body(body: str, file: Path | None, gender: str, device: str) -> Body:
    from motiongpt3.body.embedded import embedded_body
    from motiongpt3.body.smpl import read_smpl
    from motiongpt3.cli.generate import choose_device

    where = choose_device(device)
    if body in ("embedded", "light"):
        if file is not None:
            raise InputError(f"--body-model is for smpl, smplh and smplx; {body} comes with this project")
        return embedded_body("full" if body == "embedded" else "light").to(where)
    folder = file or (Path(os.environ[BODY_FILES_VARIABLE]) if BODY_FILES_VARIABLE in os.environ else None)
    if folder is None:
        raise InputError(
            f"--body {body} needs your own licensed body model: give its file or folder with --body-model, "
            f"or set {BODY_FILES_VARIABLE}"
        )
    return read_smpl(folder, body, gender).to(where)
