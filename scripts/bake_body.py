"""Make the two bodies in ``src/motiongpt3/body/``, which come with this project and need no licence.

    python scripts/bake_body.py --source anny          # needs: pip install anny fast-simplification
    python scripts/bake_body.py --source baked.npz     # the same arrays, written by --keep

The body is MakeHuman's (CC0 1.0, as shipped in the package ``anny``) on the rig ``game_engine``. Baking it

1. relaxes the fingers and smooths away what a mannequin does not need,
2. folds the rig's 53 bones into the 22 joints of `motiongpt3.motion.skeleton` and bones that spread a twist
   along upper arms, forearms and thighs,
3. ties the mesh, in its own A-pose, to joints in SMPL's T-pose, with the bone lengths of `UNIFORM_OFFSETS`,
4. reduces the number of triangles, and packs the arrays.

The same input gives the same files.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from motiongpt3.body.embedded import BODY_FILE, MANNEQUIN_FILE, save_body
from motiongpt3.body.twist import TWIST_BONES
from motiongpt3.motion.skeleton import JOINT_COUNT, JOINT_INDEX, JOINT_NAMES, PARENTS, UNIFORM_OFFSETS

Array = NDArray[np.float64]

# The game_engine bone behind each of the 22 joints.
RIG_BONES = (
    *(
        "pelvis",
        "thigh_l",
        "thigh_r",
        "spine_01",
        "calf_l",
        "calf_r",
        "spine_02",
        "foot_l",
        "foot_r",
        "spine_03",
    ),
    *("ball_l", "ball_r", "neck_01", "clavicle_l", "clavicle_r", "head", "upperarm_l", "upperarm_r"),
    *("lowerarm_l", "lowerarm_r", "hand_l", "hand_r"),
)
FINGERS = ("thumb", "index", "middle", "ring", "pinky")
# Degrees that each phalanx bends from MakeHuman's flat hand to a relaxed one.
CURL = {
    "thumb": (2, 8, 8),
    "index": (12, 18, 12),
    "middle": (16, 22, 14),
    "ring": (18, 24, 15),
    "pinky": (18, 22, 14),
}

# Direction from the parent in the T-pose, left side, x to the left, y up, z forward: what SMPL's rest pose
# looks like, to two digits, so that rotations mean the same on both.
REST_DIRECTIONS: dict[str, tuple[float, float, float]] = {
    "hip": (0.56, -0.82, -0.04),
    "spine1": (0.0, 0.97, -0.24),
    "knee": (0.09, -1.0, -0.01),
    "spine2": (0.0, 1.0, 0.0),
    "ankle": (-0.03, -0.99, -0.11),
    "spine3": (0.0, 0.90, 0.43),
    "foot": (0.19, -0.42, 0.89),
    "neck": (0.0, 0.99, -0.14),
    "collar": (0.50, 0.84, -0.22),
    "head": (0.0, 0.80, 0.60),
    "shoulder": (0.95, 0.30, -0.08),
    "elbow": (0.99, -0.05, -0.10),
    "wrist": (1.0, 0.03, 0.0),
}

# Where SMPL has its hips in this mesh, and how much the mesh grows sideways, upwards and forward.
HIP_HEIGHT, HIP_DEPTH = 0.105, 0.012
TRUNK_SCALE = np.array([0.98, 1.03, 0.98])
BALL_HEIGHT = 0.020  # of the foot joint over the sole


@dataclass(frozen=True)
class Mesh:
    """Vertices (V, 3), faces (F, 3), and weights (V, B) of bones."""

    vertices: Array
    faces: NDArray[np.int64]
    weights: Array


def main() -> None:
    """Read the source, bake, and write both bodies."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--source", required=True, help="anny, or an .npz written by --keep")
    parser.add_argument("--keep", type=Path, help="write what was taken from anny to this .npz")
    parser.add_argument("--out", type=Path, default=BODY_FILE.parent)
    options = parser.parse_args()
    arrays = from_anny() if options.source == "anny" else dict(np.load(options.source))
    if options.keep:
        np.savez_compressed(options.keep, **arrays)
    body, heads = read_rig(arrays)
    body = relax_fingers(body, heads, list(arrays["names"]))
    body = drop_hidden_faces(body)
    body = smooth_trunk(body)
    anchors = place_joints(heads)
    rest = rest_joints()
    body = replace(body, weights=fold_weights(body, anchors, list(arrays["names"])))
    bind = bind_matrices(anchors, rest, heads)
    for path, triangles in ((BODY_FILE, 14_000), (MANNEQUIN_FILE, 2_600)):
        lighter = decimate(body, triangles)
        path = options.out / path.name
        save_body(path, lighter.vertices, lighter.faces, rest, bind, lighter.weights)
        size = path.stat().st_size / 1000
        print(f"{path}: {len(lighter.vertices)} vertices, {len(lighter.faces)} faces, {size:.0f} kB")


def from_anny() -> dict[str, np.ndarray]:
    """A young adult, average in all else, from anny with the rig game_engine: z up, facing -y, metres.

    The first time anny builds its rig, which takes some minutes.
    """
    import anny

    model = anny.Anny(rig="game_engine")
    rest = model(phenotype_kwargs={"age": 2 / 3})
    return {
        "v": rest["rest_vertices"][0].numpy(),
        "f": model.get_triangular_faces().numpy(),
        "heads": rest["rest_bone_heads"][0].numpy(),
        "names": np.array(model.bone_labels),
        "vertex_bone_weights": model.vertex_bone_weights.numpy(),
        "vertex_bone_indices": model.vertex_bone_indices.numpy(),
    }


def read_rig(arrays: dict[str, np.ndarray]) -> tuple[Mesh, dict[str, Array]]:
    """The mesh with dense weights of the rig's bones, y up and facing +z, and where each bone starts."""

    def turned(points: np.ndarray) -> Array:
        return points.astype(np.float64)[:, [0, 2, 1]] * np.array([1.0, 1.0, -1.0])

    vertices = turned(arrays["v"])
    weights = np.zeros((len(vertices), len(arrays["names"])))
    np.add.at(
        weights,
        (np.arange(len(vertices))[:, None], arrays["vertex_bone_indices"]),
        arrays["vertex_bone_weights"],
    )
    heads = dict(zip(arrays["names"].tolist(), turned(arrays["heads"])))
    return Mesh(vertices, arrays["f"].astype(np.int64), weights), heads


def relax_fingers(body: Mesh, heads: dict[str, Array], names: list[str]) -> Mesh:
    """Bend the phalanges of both hands, each about an axis across its finger and along the palm."""
    turned = body.vertices.copy()
    for side in ("l", "r"):
        across = _unit(heads[f"index_01_{side}"] - heads[f"pinky_01_{side}"])
        for finger in FINGERS:
            bones = [f"{finger}_0{k}_{side}" for k in (1, 2, 3)]
            along = _unit(heads[bones[2]] - heads[bones[0]])
            knuckles = _unit(heads[f"middle_01_{side}"] - heads[f"hand_{side}"])
            if finger == "thumb":
                # The thumb closes towards the middle of the palm.
                axis = _unit(np.cross(along, heads[f"ring_01_{side}"] - heads[bones[0]]))
            else:
                palm = np.cross(knuckles, across) * (1 if side == "l" else -1)
                axis = _unit(np.cross(along, palm))
            transform = np.eye(4)
            for bone, degrees in zip(bones, CURL[finger], strict=True):
                turn = Rotation.from_rotvec(np.radians(degrees) * axis).as_matrix()
                step = np.eye(4)
                step[:3, :3] = turn
                step[:3, 3] = heads[bone] - turn @ heads[bone]
                transform = transform @ step
                moved = body.vertices @ transform[:3, :3].T + transform[:3, 3]
                turned += body.weights[:, [names.index(bone)]] * (moved - body.vertices)
    return replace(body, vertices=turned)


def drop_hidden_faces(body: Mesh) -> Mesh:
    """Leave out what cannot be seen from any side, such as the inside of the mouth."""
    from motiongpt3.render.rasterizer import visible_samples

    seen = np.zeros(len(body.faces), dtype=bool)
    ends = np.arange(200) + 0.5
    heights = 1 - 2 * ends / 200
    angles = np.pi * (1 + 5**0.5) * ends
    size = 1400
    for height, angle in zip(heights, angles):
        flat = np.sqrt(1 - height**2)
        back = np.array([flat * np.sin(angle), height, flat * np.cos(angle)])
        right = _unit(np.array([back[2], 0, -back[0]]))
        axes = np.stack([right, np.cross(back, right), back])
        view = (body.vertices - body.vertices.mean(axis=0)) @ axes.T
        pixels = np.stack([size / 2 + 700 * view[:, 0], size / 2 - 700 * view[:, 1]], axis=-1)
        samples = visible_samples(pixels, view[:, 2], body.faces, (size, size))
        seen[samples.triangles] = True
    # Small triangles in folds may fall between samples: keep those whose corners are all on seen ones.
    corner = np.zeros(len(body.vertices), dtype=bool)
    corner[body.faces[seen]] = True
    return _compact(body, body.faces[corner[body.faces].all(axis=1)])


def smooth_trunk(body: Mesh) -> Mesh:
    """Smooth the front of chest and groin (Taubin 1995), so that the body is nobody's in particular."""
    x, y, z = body.vertices.T
    chest = (
        _ramp((0.22 - np.abs(x)) / 0.06)
        * _ramp((0.62 - y) / 0.06)
        * _ramp((y - 0.36) / 0.06)
        * _ramp(z / 0.03)
    )
    groin = (
        _ramp((0.10 - np.abs(x)) / 0.04)
        * _ramp((0.22 - y) / 0.06)
        * _ramp((y + 0.02) / 0.04)
        * _ramp((z + 0.03) / 0.03)
    )
    amount = np.maximum(0.9 * chest, groin)[:, None]
    average = _averaging(body)
    vertices = body.vertices
    for _ in range(30):
        for strength in (0.6, -0.61):
            vertices = vertices + strength * amount * (average @ vertices - vertices)
    return replace(body, vertices=vertices)


def rest_joints() -> Array:
    """(22, 3) joints of the T-pose, pelvis at the origin, metres."""
    joints = np.zeros((JOINT_COUNT, 3))
    lengths = np.linalg.norm(UNIFORM_OFFSETS.numpy().astype(np.float64), axis=-1)
    for joint in range(1, JOINT_COUNT):
        side, _, part = JOINT_NAMES[joint].rpartition("_")
        direction = _unit(np.array(REST_DIRECTIONS[part])) * np.array([-1 if side == "right" else 1, 1, 1])
        joints[joint] = joints[PARENTS[joint]] + lengths[joint] * direction
    return joints


def place_joints(heads: dict[str, Array]) -> Array:
    """(22, 3) where the joints sit in the mesh.

    Limbs turn about the rig's own joints. Hips, spine and collars sit where SMPL has them, lower and closer
    together, because the trunk would otherwise be stretched by a fifth to fit.
    """
    rest = rest_joints()
    hips = (rest[JOINT_INDEX["left_hip"]] + rest[JOINT_INDEX["right_hip"]]) / 2
    anchors = np.stack([heads[bone] for bone in RIG_BONES])
    for name in (
        "pelvis",
        "left_hip",
        "right_hip",
        "spine1",
        "spine2",
        "spine3",
        "neck",
        "left_collar",
        "right_collar",
        "head",
    ):
        joint = JOINT_INDEX[name]
        anchors[joint] = (rest[joint] - hips) / TRUNK_SCALE + np.array([0, HIP_HEIGHT, HIP_DEPTH])
    sole = min(heads["ball_l"][1], heads["ball_r"][1])
    for side in ("left", "right"):
        anchors[JOINT_INDEX[f"{side}_foot"], 1] = sole + BALL_HEIGHT
    return anchors


def fold_weights(body: Mesh, anchors: Array, names: list[str]) -> Array:
    """Weights (V, 22 + twist bones) from those of the rig."""
    joint_weights = np.zeros((len(body.vertices), JOINT_COUNT))
    for bone, name in enumerate(names):
        base = name.rsplit("_", 2)[0] if name.rpartition("_")[0][-3:-1] == "_0" else name
        if base in FINGERS:
            target = JOINT_INDEX["left_wrist" if name.endswith("_l") else "right_wrist"]
        else:
            target = RIG_BONES.index(name) if name in RIG_BONES else 0
        joint_weights[:, target] += body.weights[:, bone]
    spine = [JOINT_INDEX[name] for name in ("pelvis", "spine1", "spine2", "spine3")]
    trunk = joint_weights[:, spine].sum(axis=1)
    height = body.vertices[:, 1]
    # Each vertebra takes over within a few centimetres of its joint.
    above = [
        _ramp((height - anchors[joint, 1]) / span + 0.5) for joint, span in zip(spine[1:], (0.16, 0.16, 0.14))
    ]
    shares = np.stack(
        [
            1 - above[0],
            above[0] * (1 - above[1]),
            above[0] * above[1] * (1 - above[2]),
            above[0] * above[1] * above[2],
        ],
        axis=1,
    )
    joint_weights[:, spine] = trunk[:, None] * shares
    average = _averaging(body)
    for _ in range(3):
        joint_weights = 0.5 * joint_weights + 0.5 * (average @ joint_weights)
    weights = np.concatenate([joint_weights, np.zeros((len(height), len(TWIST_BONES)))], axis=1)
    for joint, end in sorted({(bone.joint, bone.end) for bone in TWIST_BONES}):
        bone = anchors[end] - anchors[joint]
        along = np.clip((body.vertices - anchors[joint]) @ bone / (bone @ bone), 0, 1)
        columns = [
            (twist.fraction, JOINT_COUNT + k) for k, twist in enumerate(TWIST_BONES) if twist.joint == joint
        ]
        if not any(fraction == 1 for fraction, _ in columns):
            columns.append((1.0, joint))
        columns.sort()
        mass = weights[:, joint].copy()
        weights[:, joint] = 0
        fractions = np.array([fraction for fraction, _ in columns])
        for k, (_, column) in enumerate(columns):
            hat = np.interp(along, fractions, np.eye(len(columns))[k])
            weights[:, column] += mass * hat
    return weights / weights.sum(axis=1, keepdims=True)


def bind_matrices(anchors: Array, rest: Array, heads: dict[str, Array]) -> Array:
    """(B, 3, 4) from the mesh's own pose into the frame of each bone: its joint, the axes of the T-pose."""
    turns = np.tile(np.eye(3), (JOINT_COUNT, 1, 1))
    scales = np.tile(np.diag(TRUNK_SCALE), (JOINT_COUNT, 1, 1))
    girth = (TRUNK_SCALE[0] + TRUNK_SCALE[2]) / 2

    def stretch(joint: int, child: int) -> None:
        bone = rest[child] - rest[joint]
        ratio = np.linalg.norm(bone) / np.linalg.norm(anchors[child] - anchors[joint])
        along = _unit(bone)
        scales[joint] = girth * np.eye(3) + (ratio - girth) * np.outer(along, along)

    for side, sign in (("left", 1.0), ("right", -1.0)):
        shoulder, elbow, wrist = (JOINT_INDEX[f"{side}_{part}"] for part in ("shoulder", "elbow", "wrist"))
        upper, fore = anchors[elbow] - anchors[shoulder], anchors[wrist] - anchors[elbow]
        # The mesh bends its elbows a little, which shows the axis they turn about; it is vertical in T-pose.
        hinge, upright = np.cross(upper, fore), np.array([0, -sign, 0])
        turns[shoulder] = _frame(rest[elbow] - rest[shoulder], upright) @ _frame(upper, hinge).T
        turns[elbow] = _frame(rest[wrist] - rest[elbow], upright) @ _frame(fore, hinge).T
        letter = side[0]
        hand = heads[f"middle_01_{letter}"] - heads[f"hand_{letter}"]
        across = heads[f"index_01_{letter}"] - heads[f"pinky_01_{letter}"]
        turns[wrist] = _frame(rest[wrist] - rest[elbow], np.array([0, 0, 1.0])) @ _frame(hand, across).T
        scales[wrist] = girth * np.eye(3)
        stretch(shoulder, elbow)
        stretch(elbow, wrist)
        hip, knee, ankle, foot = (JOINT_INDEX[f"{side}_{part}"] for part in ("hip", "knee", "ankle", "foot"))
        for joint, child in ((hip, knee), (knee, ankle)):
            bone, wanted = anchors[child] - anchors[joint], rest[child] - rest[joint]
            turns[joint] = Rotation.align_vectors(
                [_unit(wanted), [1, 0, 0]], [_unit(bone), [1, 0, 0]], weights=[np.inf, 1]
            )[0].as_matrix()
            stretch(joint, child)
        # Feet turn about the vertical alone, so that the soles stay flat.
        yaw = np.arctan2(*(rest[foot] - rest[ankle])[[0, 2]]) - np.arctan2(
            *(anchors[foot] - anchors[ankle])[[0, 2]]
        )
        turns[ankle] = turns[foot] = Rotation.from_rotvec([0, yaw, 0]).as_matrix()
        flat = [np.linalg.norm((points[foot] - points[ankle])[[0, 2]]) for points in (rest, anchors)]
        drop = (rest[foot] - rest[ankle])[1] / (anchors[foot] - anchors[ankle])[1]
        scales[ankle] = np.diag([girth, drop, flat[0] / flat[1]])
        scales[foot] = np.eye(3) * girth
    scales[JOINT_INDEX["head"]] = np.eye(3)
    bind = np.zeros((JOINT_COUNT + len(TWIST_BONES), 3, 4))
    for bone in range(len(bind)):
        joint = bone if bone < JOINT_COUNT else TWIST_BONES[bone - JOINT_COUNT].joint
        bind[bone, :, :3] = scales[joint] @ turns[joint]
        bind[bone, :, 3] = -bind[bone, :, :3] @ anchors[joint]
    return bind


def decimate(body: Mesh, triangles: int) -> Mesh:
    """A mesh of about so many triangles (quadric error metric), weights taken from the nearest vertices."""
    import fast_simplification

    vertices, faces = fast_simplification.simplify(
        body.vertices.astype(np.float32), body.faces.astype(np.int32), target_count=triangles
    )
    distance, nearest = cKDTree(body.vertices).query(vertices, k=4)
    closeness = 1 / np.maximum(distance, 1e-5)
    closeness /= closeness.sum(axis=1, keepdims=True)
    weights = (body.weights[nearest] * closeness[..., None]).sum(axis=1)
    return _compact(
        Mesh(vertices.astype(np.float64), faces.astype(np.int64), weights), faces.astype(np.int64)
    )


def _compact(body: Mesh, faces: NDArray[np.int64]) -> Mesh:
    used = np.unique(faces)
    places = np.full(len(body.vertices), -1)
    places[used] = np.arange(len(used))
    return Mesh(body.vertices[used], places[faces], body.weights[used])


def _averaging(body: Mesh) -> sparse.csr_matrix:
    """The matrix that replaces each vertex by the mean of its neighbours."""
    count = len(body.vertices)
    edges = np.concatenate([body.faces[:, [0, 1]], body.faces[:, [1, 2]], body.faces[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    matrix = sparse.csr_matrix((np.ones(len(edges)), edges.T), shape=(count, count))
    matrix.data[:] = 1
    degree = np.maximum(np.asarray(matrix.sum(axis=1)).ravel(), 1)
    return sparse.diags(1 / degree) @ matrix


def _ramp(values: Array) -> Array:
    inside = np.clip(values, 0, 1)
    return inside * inside * (3 - 2 * inside)


def _unit(vector: Array) -> Array:
    return vector / np.linalg.norm(vector)


def _frame(along: Array, beside: Array) -> Array:
    first = _unit(along)
    second = _unit(beside - (beside @ first) * first)
    return np.stack([first, second, np.cross(first, second)], axis=1)


if __name__ == "__main__":
    main()
