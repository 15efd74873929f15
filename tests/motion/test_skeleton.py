from __future__ import annotations

import numpy as np
import torch

from motiongpt3.motion.skeleton import (
    CHAINS,
    JOINT_COUNT,
    JOINT_INDEX,
    JOINT_NAMES,
    MIRROR,
    PARENTS,
    RAW_DIRECTIONS,
    UNIFORM_OFFSETS,
    mirror_joints,
)


def test_every_joint_has_an_earlier_parent_and_the_chains_follow_the_tree():
    assert len(JOINT_NAMES) == len(set(JOINT_NAMES)) == len(PARENTS) == JOINT_COUNT == 22
    assert all(parent < joint for joint, parent in enumerate(PARENTS))
    ends = set()
    for chain in CHAINS:
        assert [PARENTS[joint] for joint in chain[1:]] == list(chain[:-1])
        ends |= set(chain[1:])
    assert ends == set(range(1, JOINT_COUNT))


def test_joints_hang_where_their_names_say():
    parent_of = {name: JOINT_NAMES[PARENTS[JOINT_INDEX[name]]] for name in JOINT_NAMES[1:]}
    assert parent_of["left_wrist"] == "left_elbow"
    assert parent_of["right_foot"] == "right_ankle"
    assert parent_of["left_collar"] == parent_of["right_collar"] == parent_of["neck"] == "spine3"


def test_mirror_pairs_left_with_right_and_keeps_the_middle():
    for joint, name in enumerate(JOINT_NAMES):
        other = JOINT_NAMES[MIRROR[joint]]
        assert MIRROR[MIRROR[joint]] == joint
        if name.startswith("left_"):
            assert other == name.replace("left_", "right_")
        elif not name.startswith("right_"):
            assert other == name


def test_mirroring_swaps_sides_and_twice_is_identity():
    joints = torch.randn(2, 5, 22, 3, dtype=torch.float64)
    mirrored = mirror_joints(joints)
    left, right = JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]
    expected = joints[..., right, :] * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.equal(mirrored[..., left, :], expected)
    assert torch.equal(mirror_joints(mirrored), joints)


def test_the_rest_pose_is_mirrored_onto_itself():
    assert torch.equal(mirror_joints(RAW_DIRECTIONS), RAW_DIRECTIONS)


def test_uniform_offsets_lie_along_the_raw_directions_with_the_size_of_a_body():
    lengths = UNIFORM_OFFSETS.norm(dim=-1)
    assert torch.equal(UNIFORM_OFFSETS, RAW_DIRECTIONS * lengths[:, None])
    leg = lengths[JOINT_INDEX["right_knee"]] + lengths[JOINT_INDEX["right_ankle"]]
    torch.testing.assert_close(leg.item(), 0.81583147, atol=1e-7, rtol=0)
    assert lengths[0] == 0
    assert (lengths[1:] > 0.05).all()


def test_uniform_offsets_are_the_published_target(local_data):
    with np.load(local_data("golden/features.npz")) as arrays:
        np.testing.assert_array_equal(UNIFORM_OFFSETS.numpy(), arrays["target_offsets"])
