"""Made-up files of the SMPL family: a body model of the right shapes, and recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from motiongpt3.motion.pose import T_POSE_OFFSETS
from motiongpt3.motion.skeleton import PARENTS

VERTICES = 60
SMPLH_JOINTS = 52


def body_model(path: Path, seed: int = 0, shapes: int = 16) -> dict[str, np.ndarray]:
    """Write a body model whose joints are near the T-pose, the pelvis away from the origin."""
    random = np.random.default_rng(seed)
    places = np.zeros((22, 3))
    places[0] = (0.01, -0.22, 0.03)
    for joint in range(1, 22):
        places[joint] = places[PARENTS[joint]] + T_POSE_OFFSETS[joint].numpy()
    # Each of the first joints is the mean of two vertices; the others are anywhere.
    regressor = np.zeros((SMPLH_JOINTS, VERTICES))
    vertices = random.normal(size=(VERTICES, 3))
    for joint in range(22):
        shift = random.normal(size=3) * 0.1
        vertices[2 * joint], vertices[2 * joint + 1] = places[joint] + shift, places[joint] - shift
        regressor[joint, 2 * joint : 2 * joint + 2] = 0.5
    arrays = {
        "v_template": vertices,
        "shapedirs": random.normal(size=(VERTICES, 3, shapes)) * 0.01,
        "J_regressor": regressor,
        "weights": np.zeros((VERTICES, SMPLH_JOINTS)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return arrays


def recording(frames: int = 24, seed: int = 0) -> dict[str, object]:
    """The arrays of an AMASS file of SMPL-H: someone upright (z up) who wriggles."""
    random = np.random.default_rng(seed)
    time = np.arange(frames)[:, None] / 60
    poses = 0.5 * np.sin(time * random.uniform(1, 4, 156) + random.uniform(0, 6, 156))
    upright = Rotation.from_euler("x", 90, degrees=True)
    lean = Rotation.from_rotvec(0.3 * poses[:, :3])
    poses[:, :3] = (lean * upright).as_rotvec()
    return {
        "trans": np.concatenate([np.sin(time), np.cos(time), 0.9 + 0.05 * np.sin(4 * time)], axis=1),
        "gender": np.array("female"),
        "mocap_framerate": np.array(60.0),
        "betas": random.normal(size=16),
        "dmpls": random.normal(size=(frames, 8)),
        "poses": poses,
    }


def smpl_joints(model: dict[str, np.ndarray], arrays: dict[str, object]) -> np.ndarray:
    """(T, 22, 3) joint positions as the body model defines them, z up, by scipy, frame by frame."""
    poses, trans, betas = (np.asarray(arrays[name]) for name in ("poses", "trans", "betas"))
    rest = model["J_regressor"] @ (model["v_template"] + model["shapedirs"] @ betas)
    joints = np.zeros((len(poses), 22, 3))
    for frame, pose in enumerate(poses):
        world: list[Rotation] = []
        for joint, parent in enumerate(PARENTS):
            own = Rotation.from_rotvec(pose[3 * joint : 3 * joint + 3])
            world.append(own if parent < 0 else world[parent] * own)
            joints[frame, joint] = (
                rest[joint]
                if parent < 0
                else joints[frame, parent] + world[parent].apply(rest[joint] - rest[parent])
            )
        joints[frame] += trans[frame]
    return joints
