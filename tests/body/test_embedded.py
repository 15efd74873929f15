from __future__ import annotations

import math

import pytest
import torch

from motiongpt3.body.embedded import (
    BODY_FILE,
    BONE_NAMES,
    EXTRA_BONES,
    MANNEQUIN_FILE,
    embedded_body,
    read_body,
    save_body,
)
from motiongpt3.body.model import joint_offsets, posed_joints
from motiongpt3.errors import InputError
from motiongpt3.motion.rotations import axis_angle_to_matrix
from motiongpt3.motion.skeleton import JOINT_INDEX, UNIFORM_OFFSETS


def rotations_with(**turns: tuple[float, float, float]) -> torch.Tensor:
    rotations = torch.eye(3).repeat(22, 1, 1)
    for name, turn in turns.items():
        rotations[JOINT_INDEX[name]] = axis_angle_to_matrix(torch.tensor(turn))
    return rotations


def girth(vertices: torch.Tensor, near: torch.Tensor) -> float:
    """How thick the vertices of a cross-section are: root mean square distance from their middle."""
    section = vertices[near]
    return float((section - section.mean(0)).square().sum(-1).mean().sqrt())


@pytest.fixture(scope="module", params=["full", "light"])
def body(request):
    return embedded_body(request.param)


@pytest.mark.parametrize(("file", "limit"), [(BODY_FILE, 1_000_000), (MANNEQUIN_FILE, 100_000)])
def test_files_are_small(file, limit):
    assert file.stat().st_size < limit


def test_the_rest_pose_is_a_t_pose_of_a_person(body):
    vertices = body.vertices(rotations_with(), torch.zeros(3))
    extent = vertices.amax(0) - vertices.amin(0)
    assert 1.6 < extent[1] < 1.9
    assert 0.85 < extent[0] / extent[1] < 1.15
    # Every joint is inside: something of the mesh on each side of it along every axis.
    for joint in body.joints:
        near = vertices[(vertices - joint).norm(dim=-1) < 0.2] - joint
        assert (near.amin(0) < 0).all()
        assert (near.amax(0) > 0).all()
    # Toes point forward, and the left hand is at +x.
    assert vertices[vertices[:, 1] < vertices[:, 1].min() + 0.03, 2].max() > 0.1
    assert body.joints[JOINT_INDEX["left_wrist"], 0] > 0.6


def test_bones_have_the_lengths_of_the_uniform_skeleton(body):
    lengths = joint_offsets(body.joints)[1:].norm(dim=-1)
    assert lengths == pytest.approx(UNIFORM_OFFSETS[1:].norm(dim=-1), abs=1e-5)


def test_faces_look_outward(body):
    vertices = body.vertices(rotations_with(), torch.zeros(3))
    a, b, c = (vertices[body.faces[:, k]] for k in range(3))
    # The signed volume of a closed surface is positive when its faces look outward.
    volume = float((a * torch.linalg.cross(b, c)).sum() / 6)
    assert 0.04 < volume < 0.09


def test_weights_are_shares_of_known_bones(body):
    assert body.weights.shape == (body.vertex_count, len(BONE_NAMES))
    assert body.weights.min() >= 0
    assert body.weights.sum(1) == pytest.approx(torch.ones(body.vertex_count), abs=1e-5)
    assert (body.weights > 0).sum(1).max() <= 4
    assert len(BONE_NAMES) == 22 + len(EXTRA_BONES)


def test_the_whole_body_turns_and_moves_rigidly(body):
    rotations = rotations_with(left_knee=(0.9, 0, 0), spine2=(0.2, 0.3, 0), right_elbow=(0, 1.2, 0))
    turn = axis_angle_to_matrix(torch.tensor([0.4, -1.0, 0.3]))
    turned = rotations.clone()
    turned[0] = turn @ rotations[0]
    pelvis, place = body.joints[0], torch.tensor([1.0, 2.0, -3.0])
    still = body.vertices(rotations, torch.zeros(3))
    moved = body.vertices(turned, place)
    expected = (still - pelvis) @ turn.T + pelvis + place
    assert (moved - expected).abs().max() < 2e-5


def test_batches_equal_single_frames(body):
    frames = torch.stack([rotations_with(left_elbow=(0, -angle, 0)) for angle in (0.0, 0.7, 1.4)])
    places = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    together = body.vertices(frames[None], places[None])[0]
    for k in range(3):
        assert (together[k] - body.vertices(frames[k], places[k])).abs().max() < 1e-5


def test_a_joint_moves_what_is_below_it_alone(body):
    still = body.vertices(rotations_with(), torch.zeros(3))
    bent = body.vertices(rotations_with(left_elbow=(0, -1.5, 0)), torch.zeros(3))
    moved = (bent - still).norm(dim=-1)
    hand = still[:, 0] > body.joints[JOINT_INDEX["left_wrist"], 0]
    assert moved[hand].min() > 0.2
    assert moved[still[:, 0] < 0.25].max() < 1e-5


def test_gradients_reach_rotations_and_place(body):
    rotations = rotations_with(left_shoulder=(0, 0, -1.0)).requires_grad_()
    place = torch.zeros(3, requires_grad=True)
    body.vertices(rotations, place).square().sum().backward()
    for tensor in (rotations, place):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad.abs().sum() > 0


@pytest.mark.parametrize("joint", ["left_shoulder", "left_wrist", "right_hip"])
def test_twisting_does_not_wring_limbs_out(joint):
    # Plain skinning with one bone a limb thins a forearm to 0.7 of its girth at a quarter turn.
    body = embedded_body("full")
    start, end = {
        "left_shoulder": ("left_shoulder", "left_elbow"),
        "left_wrist": ("left_elbow", "left_wrist"),
        "right_hip": ("right_hip", "right_knee"),
    }[joint]
    origin, tip = body.joints[JOINT_INDEX[start]], body.joints[JOINT_INDEX[end]]
    bone = tip - origin
    still = body.vertices(rotations_with(), torch.zeros(3))
    share = (still - origin) @ bone / bone.square().sum()
    aside = ((still - origin) - share[:, None] * bone).norm(dim=-1)
    axis = (bone / bone.norm() * math.pi / 2).tolist()
    twisted = body.vertices(rotations_with(**{joint: tuple(axis)}), torch.zeros(3))
    for place in (0.3, 0.5, 0.7):
        near = ((share - place).abs() < 0.1) & (aside < 0.12)
        assert near.sum() > 10
        assert girth(twisted, near) > 0.85 * girth(still, near)


def test_proportions_move_joints_and_mesh_together(body):
    offsets = joint_offsets(body.joints)
    longer = offsets.clone()
    legs = [JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("knee", "ankle")]
    longer[legs] *= 1.2
    tall = body.with_proportions(longer)
    assert posed_joints(tall, rotations_with(), torch.zeros(3)) == pytest.approx(tall.joints, abs=1e-6)
    assert joint_offsets(tall.joints) == pytest.approx(longer, abs=1e-6)
    before, after = (one.vertices(rotations_with(), torch.zeros(3))[:, 1] for one in (body, tall))
    grown = 0.2 * float(offsets[legs, 1].abs().sum()) / 2
    assert float(before.min() - after.min()) == pytest.approx(grown, abs=0.02)
    assert float(after.max()) == pytest.approx(float(before.max()), abs=1e-4)


def test_half_the_proportions_make_half_the_body(body):
    half = body.with_proportions(joint_offsets(body.joints) / 2)
    whole, small = (one.vertices(rotations_with(), torch.zeros(3)) for one in (body, half))
    assert (small - whole / 2).abs().max() < 1e-4


def test_joints_at_odd_places_do_not_bend_the_trunk():
    body = embedded_body("full")
    offsets = joint_offsets(body.joints)
    neck, spine3 = JOINT_INDEX["neck"], JOINT_INDEX["spine3"]
    collars = [JOINT_INDEX["left_collar"], JOINT_INDEX["right_collar"]]
    shift = torch.tensor([0.0, 0.05, 0.03])
    offsets[spine3] += shift
    offsets[[neck, *collars]] -= shift
    shifted = body.with_proportions(offsets)
    before, after = (one.vertices(rotations_with(), torch.zeros(3)) for one in (body, shifted))
    assert (before - after).abs().max() < 2e-3


def test_feet_become_as_high_as_asked_for(body):
    lower = body.with_proportions(joint_offsets(body.joints), ankle_height=0.06)
    assert lower.ankle_height == pytest.approx(0.06, abs=1e-3)
    assert body.ankle_height > 0.07


@pytest.mark.parametrize("factor", [0.0, 1e-6, 1e6, float("nan"), float("inf")])
def test_impossible_proportions_are_refused(factor):
    body = embedded_body("light")
    with pytest.raises(InputError):
        body.with_proportions(joint_offsets(body.joints) * factor)


def test_wrong_shapes_are_refused():
    body = embedded_body("light")
    with pytest.raises(InputError, match="22, 3, 3"):
        body.vertices(torch.eye(3).repeat(24, 1, 1), torch.zeros(3))
    with pytest.raises(InputError, match="proportions"):
        body.with_proportions(torch.ones(24, 3))
    with pytest.raises(InputError, match="detail"):
        embedded_body("huge")  # type: ignore[arg-type]


def test_packing_keeps_a_body(tmp_path):
    body = embedded_body("light")
    path = tmp_path / "body.npz"
    arrays = [tensor.numpy() for tensor in (body.template, body.faces, body.joints, body.bind, body.weights)]
    save_body(path, *arrays)
    again = read_body(path)
    for name in ("template", "faces", "joints", "bind"):
        assert torch.equal(getattr(again, name), getattr(body, name)), name
    assert (again.weights - body.weights).abs().max() < 2 / 255
