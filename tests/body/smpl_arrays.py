"""Body models of the SMPL family: arrays of the right shapes, with nobody's licensed values in them."""

from __future__ import annotations

import numpy as np

from motiongpt3.body.smpl import FAMILY
from motiongpt3.motion.skeleton import PARENTS, UNIFORM_OFFSETS


def _hand(wrist: int, first: int) -> list[int]:
    return [wrist if k % 3 == 0 else first + k - 1 for k in range(15)]


_EXTRA_PARENTS = {
    "smpl": [20, 21],
    "smplh": [*_hand(20, 22), *_hand(21, 37)],
    "smplx": [15, 15, 15, *_hand(20, 25), *_hand(21, 40)],
}


def smpl_arrays(model: str = "smpl", vertices: int = 330, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays by the names of the official files; every joint is the mean of a few vertices around it."""
    generator = np.random.default_rng(seed)
    count = FAMILY[model]
    parents = [*PARENTS, *_EXTRA_PARENTS[model]]
    # Arms out, unlike HumanML3D's rest pose; hands and face 2 cm apart from their parents.
    offsets = UNIFORM_OFFSETS.numpy().astype(np.float64)
    for joint in (18, 20):
        offsets[joint] = offsets[joint][[1, 0, 2]] * [-1, 1, 1]
        offsets[joint + 1] = offsets[joint + 1][[1, 0, 2]]
    joints = np.zeros((count, 3))
    for joint in range(1, count):
        offset = offsets[joint] if joint < 22 else generator.normal(size=3) * 0.02
        joints[joint] = joints[parents[joint]] + offset
    owner = np.arange(vertices) % count
    around = 0.04 * generator.normal(size=(vertices, 3))
    regressor = np.zeros((count, vertices))
    for joint in range(count):
        around[owner == joint] -= around[owner == joint].mean(axis=0)
        regressor[joint, owner == joint] = 1 / (owner == joint).sum()
    weights = 0.9 * np.eye(count)[owner] + 0.1 * np.eye(count)[np.maximum(np.array(parents), 0)[owner]]
    shapes = np.zeros((vertices, 3, 16))
    # The first parameter grows the body, the second its legs alone; the others do little.
    shapes[..., 0] = 0.05 * joints[owner]
    legs = np.isin(owner, [4, 5, 7, 8, 10, 11])
    shapes[legs, 1, 1] = -0.03
    shapes[..., 2:] = 0.001 * generator.normal(size=(vertices, 3, 14))
    tree = np.array([parents, range(count)], dtype=np.int64)
    tree[0, 0] = 2**32 - 1
    arrays = {
        "v_template": joints[owner] + around,
        "f": generator.permutation(np.arange(3 * (vertices // 3)) % vertices)
        .reshape(-1, 3)
        .astype(np.uint32),
        "J_regressor": regressor,
        "weights": weights,
        "posedirs": 0.001 * generator.normal(size=(vertices, 3, 9 * (count - 1))),
        "shapedirs": shapes,
        "kintree_table": tree,
    }
    if model != "smpl":
        arrays["hands_meanl"] = 0.2 * generator.normal(size=45)
        arrays["hands_meanr"] = 0.2 * generator.normal(size=45)
    return arrays
