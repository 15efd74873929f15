"""Joints in, body out: the rotations that put a body's joints where a motion has them, in closed form.

Positions say where bones point, not how they twist. Twist comes from what positions do show: hips and
shoulders turn the trunk, the plane of a bent elbow or knee turns upper arm and thigh, a foot turns a straight
leg. Where they show little (straight arms), the twist is the natural one, and it changes smoothly over time.

A motion whose source had rotations keeps them, where its rest pose is the body's.

Bone lengths, the geometry of pelvis and chest, and how high the ankles are over flat feet are those of the
clip: the body takes its proportions. Joints are then matched up to what no rigid body could do.

Shapes: T frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.linalg import solveh_banded
from torch import Tensor

from motiongpt3.body.model import Body, joint_offsets, posed_joints
from motiongpt3.body.smpl import SmplBody
from motiongpt3.body.twist import natural_rotation
from motiongpt3.errors import InputError
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.pose import BRANCHES, BodyPose, best_rotation
from motiongpt3.motion.rotations import (
    axis_angle_to_matrix,
    matrix_to_quaternion,
    quaternion_between,
    quaternion_to_axis_angle,
    quaternion_to_matrix,
    unit_vector,
)
from motiongpt3.motion.skeleton import JOINT_COUNT, JOINT_INDEX, JOINT_NAMES, PARENTS

J = JOINT_INDEX
UP = (0.0, 1.0, 0.0)

# Twist is a least-squares path through what is observed, each with its confidence: pull towards the natural
# twist, and towards the frames before and after (at 20 frames a second).
_NATURAL_PULL = 0.02
_SMOOTHNESS = 4.0
_FEET_PULL = 0.3
_HIP_TWIST = 0.9  # radians that a foot can turn a straight leg
_SMOOTHNESS_RATE = 20.0

# A foot is planted when its ball is this near the floor (metres) and slower than this (metres a second).
_PLANTED_HEIGHT, _PLANTED_SPEED = 0.03, 0.2
# Sources disagree where the head joint is. Beyond the first of these angles, more and more, and beyond the
# second wholly, what a clip shows most of the time is taken for looking ahead.
_HEAD_OFFSET_DEGREES = (15.0, 30.0)
_LARGEST_TILT_DEGREES = 15.0
_TOE_BEND = 1.0  # radians at most
# Rotations mean the same on two bodies whose limbs point this nearly the same way without them.
_SAME_REST_DEGREES = 20.0
_LIMB_ENDS = ("knee", "ankle", "elbow", "wrist")


@dataclass(frozen=True, eq=False)
class BodyMotion:
    """A body that moves.

    Attributes:
        body: with the proportions of whoever moves.
        rotations: (T, 22, 3, 3) of each joint relative to its parent; of the pelvis in the world.
        translation: (T, 3) metres; see `Body.vertices`.
        fps: frames per second.
        name: for file names and messages.
    """

    body: Body
    rotations: Tensor
    translation: Tensor
    fps: float
    name: str = "motion"

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.rotations)

    def joints(self) -> Tensor:
        """(T, 22, 3) metres."""
        return posed_joints(self.body, self.rotations, self.translation)

    def motion(self) -> Motion:
        """The motion of the body's joints, with their rotations as its pose."""
        body = self.body
        pose = BodyPose(
            matrix_to_quaternion(self.rotations.double()).cpu(), joint_offsets(body.joints).double().cpu()
        )
        if isinstance(body, SmplBody):
            pose = replace(pose, betas=body.betas.cpu(), gender=body.gender)
        root = (self.translation + body.joints[0]).double().cpu()
        return Motion.from_pose(pose, root, self.fps, self.name)

    def vertices(self, frames: slice | list[int] | None = None) -> Tensor:
        """(T, V, 3) metres, of all frames or some."""
        chosen = slice(None) if frames is None else frames
        return self.body.vertices(self.rotations[chosen], self.translation[chosen])


def joint_error(fitted: BodyMotion, motion: Motion) -> Tensor:
    """(T, 22) distances, metres, between the joints of a body and those of the motion it was fitted to."""
    return torch.linalg.vector_norm(fitted.joints().cpu() - motion.joints, dim=-1)


def fit_body(motion: Motion, body: Body, proportions: bool = True) -> BodyMotion:
    """Put a body where the joints of a motion are.

    Args:
        motion: the joints.
        body: any body; its device is where the work is done.
        proportions: let the body take the clip's proportions; otherwise it keeps its own, and its feet and
            hands come to other places than the clip's.

    Raises:
        InputError: if the joints have no extent, so that there is no pose to find.
    """
    joints = motion.joints.to(body.joints)
    _check_extent(joints, motion.source or motion.name)
    known = _known_rotations(motion.pose, joint_offsets(body.joints))
    if proportions:
        offsets, ankle_height = clip_proportions(joints, motion.fps, joint_offsets(body.joints))
        if known is not None and motion.pose is not None:
            offsets[1:] = motion.pose.rest[1:].to(offsets)
        body = body.with_proportions(offsets, ankle_height)
    rotations = known
    if rotations is None:
        world = _world_rotations(joints, motion.fps, joint_offsets(body.joints))
        above = world[:, list(PARENTS[1:])].transpose(-1, -2)
        rotations = torch.cat([world[:, :1], above @ world[:, 1:]], dim=1)
    translation = joints[:, 0] - body.joints[0]
    # Where lengths differ, spread the difference over all joints rather than over the far ones.
    placed = posed_joints(body, rotations, translation)
    translation = translation + (joints - placed).mean(dim=1)
    return BodyMotion(body, rotations, translation, motion.fps, motion.name)


def _known_rotations(pose: BodyPose | None, offsets: Tensor) -> Tensor | None:
    """(T, 22, 3, 3) of a pose, if they mean the same on a body with these offsets (22, 3) in its T-pose."""
    if pose is None:
        return None
    apart = (unit_vector(pose.rest[1:].to(offsets)) * unit_vector(offsets[1:])).sum(-1)
    limbs = [J[f"{side}_{end}"] - 1 for side in ("left", "right") for end in _LIMB_ENDS]
    if not (apart[limbs] > math.cos(math.radians(_SAME_REST_DEGREES))).all():
        return None
    return quaternion_to_matrix(pose.rotations.to(offsets))


def clip_proportions(joints: Tensor, fps: float, offsets: Tensor) -> tuple[Tensor, float | None]:
    """The proportions of whoever moves.

    Args:
        joints: (T, 22, 3).
        fps: frames per second.
        offsets: (22, 3) of a body in the T-pose, whose directions are kept where the clip has none.

    Returns:
        Offsets (22, 3) in the T-pose, and the height of the ankles over flat feet; None if none is ever flat.
    """
    bones = joint_offsets(joints)
    lengths = torch.linalg.vector_norm(bones, dim=-1).median(dim=0).values
    fallback = torch.linalg.vector_norm(offsets, dim=-1)
    # A joint may sit on its parent in files of other tools; a thousandth keeps directions defined.
    lengths = torch.where(lengths < 1e-3 * fallback, 1e-3 * fallback, lengths)
    directions = unit_vector(offsets)
    for children in _BRANCHES:
        frame, rest_frame = _branch_frame(bones, children), _branch_frame(offsets[None], children)[0]
        if children == _BRANCHES[0]:
            rest_frame = _levelled(rest_frame, frame, bones, offsets)
        for child in children:
            seen = _into(frame, unit_vector(bones[:, child])).mean(0)
            if torch.linalg.vector_norm(seen) > 0.3:
                directions[child] = rest_frame @ unit_vector(seen)
    rest = lengths[:, None] * directions
    pelvis, chest = (best_rotation(rest[c], bones[:, c]) for c in _BRANCHES)
    for _, child, frame in _spine_frames(pelvis, chest):
        directions[child] = _usual(_into(frame, unit_vector(bones[:, child])), directions[child])
    directions[J["head"]] = _looking_ahead(
        _into(chest, unit_vector(bones[:, J["head"]])), directions[J["head"]]
    )
    _lower_shoulders(directions, bones, chest)
    slope, ankle_height = _flat_feet(joints, bones, fps)
    if slope is not None:
        for foot in _FEET:
            flat = unit_vector(directions[foot] * directions.new_tensor([1, 0, 1]))
            directions[foot] = slope.cos() * flat - slope.sin() * flat.new_tensor(UP)
    rest = lengths[:, None] * directions
    rest[0] = offsets[0]
    return rest, ankle_height


_BRANCHES = tuple(children for _, *children in BRANCHES)
_FEET = (J["left_foot"], J["right_foot"])


def _world_rotations(joints: Tensor, fps: float, offsets: Tensor) -> Tensor:
    """(T, 22, 3, 3) rotation of every joint in the world, for a body with ``offsets`` in the T-pose."""
    bones, rest = unit_vector(joint_offsets(joints)), unit_vector(offsets)
    world: list[Tensor] = [torch.empty(0)] * JOINT_COUNT
    pelvis, chest = (best_rotation(offsets[c], joint_offsets(joints)[:, c]) for c in _BRANCHES)
    world[0], world[J["spine3"]] = pelvis, chest
    for joint, child, between in _spine_frames(pelvis, chest):
        world[joint] = _swing(between, rest[child], bones[:, child])
    world[J["neck"]] = _swing(chest, rest[J["head"]], bones[:, J["head"]])
    world[J["head"]] = world[J["neck"]]
    for side in ("left", "right"):
        _turn_arm(world, side, bones, rest, chest, fps)
        _turn_leg(world, side, bones, rest, joints, fps)
    return torch.stack(world, dim=1)


def _turn_arm(world: list[Tensor], side: str, bones: Tensor, rest: Tensor, chest: Tensor, fps: float) -> None:
    collar, shoulder, elbow, wrist = (
        J[f"{side}_{part}"] for part in ("collar", "shoulder", "elbow", "wrist")
    )
    world[collar] = _swing(chest, rest[shoulder], bones[:, shoulder])
    upper, fore = bones[:, elbow], bones[:, wrist]
    local = _into(world[collar], upper)
    natural = world[collar] @ natural_rotation(shoulder, rest[elbow], local)
    # Flexing the elbow in the T-pose brings the forearm forward: about -y on the left, +y on the right.
    hinge = rest.new_tensor([0.0, -1.0 if side == "left" else 1.0, 0.0])
    bend = torch.linalg.cross(upper, fore)
    angle = _angle_between(natural @ hinge, bend, upper)
    twist = _smooth_path([(angle, bend.square().sum(-1))], fps)
    world[shoulder] = natural @ axis_angle_to_matrix(twist[:, None] * rest[elbow])
    world[elbow] = _swing(world[shoulder], rest[wrist], fore)
    world[wrist] = world[elbow]


def _turn_leg(
    world: list[Tensor], side: str, bones: Tensor, rest: Tensor, joints: Tensor, fps: float
) -> None:
    hip, knee, ankle, foot = (J[f"{side}_{part}"] for part in ("hip", "knee", "ankle", "foot"))
    thigh, shin, sole = bones[:, knee], bones[:, ankle], bones[:, foot]
    natural = world[0] @ natural_rotation(hip, rest[knee], _into(world[0], thigh))
    # A knee bends about +x: the shin goes back. A foot points across that axis.
    bend = torch.linalg.cross(thigh, shin)
    knee_angle = _angle_between(natural @ rest.new_tensor([1.0, 0.0, 0.0]), bend, thigh)
    across, rest_across = torch.linalg.cross(sole, shin), torch.linalg.cross(rest[foot], rest[ankle])
    foot_angle = _angle_between(natural @ rest_across, across, thigh).clamp(-_HIP_TWIST, _HIP_TWIST)
    bent = bend.square().sum(-1)
    observed = [(knee_angle, bent), (foot_angle, _FEET_PULL * (1 - bent) * across.square().sum(-1))]
    twist = _smooth_path(observed, fps)
    world[hip] = natural @ axis_angle_to_matrix(twist[:, None] * rest[knee])
    world[knee] = _swing(world[hip], rest[ankle], shin)
    swung = _swing(world[knee], rest[foot], sole)
    # On the floor soles are level: no roll about the foot. In the air they go with the shin.
    height = joints[:, foot, 1] - _floor(joints)
    near = torch.sigmoid((0.06 - height) / 0.015)
    level = torch.linalg.cross(rest.new_tensor(UP).expand_as(sole), sole)
    side_axis = torch.linalg.cross(rest.new_tensor(UP), rest[foot])
    roll_angle = _angle_between(swung @ side_axis, level, sole).clamp(-0.5, 0.5)
    roll = _smooth_path([(roll_angle, near * level.square().sum(-1))], fps, natural_pull=0.2)
    world[ankle] = swung @ axis_angle_to_matrix(roll[:, None] * rest[foot])
    # A lifted heel bends the toes, so that they stay on the floor.
    slope, rest_slope = -sole[:, 1].clamp(-1, 1).asin(), -rest[foot, 1].asin()
    lift = (slope - rest_slope).clamp(0, _TOE_BEND) * torch.sigmoid((0.05 - height) / 0.012)
    lift = _smooth_path([(lift, torch.ones_like(lift))], fps, natural_pull=0.0, smoothness=2.0)
    world[foot] = world[ankle] @ axis_angle_to_matrix(-lift[:, None] * unit_vector(side_axis))


def _smooth_path(
    observed: list[tuple[Tensor, Tensor]],
    fps: float,
    natural_pull: float = _NATURAL_PULL,
    smoothness: float = _SMOOTHNESS,
) -> Tensor:
    """The path (T,) of least squares through angles (T,) with confidences (T,), near 0 and smooth."""
    stay = smoothness * (fps / _SMOOTHNESS_RATE) ** 2
    weight = torch.stack([confidence for _, confidence in observed]).sum(0)
    pull = torch.stack([confidence * angle for angle, confidence in observed]).sum(0)
    diagonal = weight.double().cpu().numpy() + natural_pull + 1e-9
    bands = np.zeros((2, len(diagonal)))
    bands[0, 1:] = -stay
    bands[1] = diagonal + 2 * stay
    bands[1, [0, -1]] -= stay
    path = solveh_banded(bands, pull.double().cpu().numpy())
    return torch.from_numpy(path).to(pull)


def _flat_feet(joints: Tensor, bones: Tensor, fps: float) -> tuple[Tensor | None, float | None]:
    """How steeply feet that stand flat slope from ankle to ball (radians), and how high their ankles are."""
    floor = _floor(joints)
    speeds = torch.linalg.vector_norm(joints[1:] - joints[:-1], dim=-1) * fps
    speeds = torch.cat([speeds, speeds[-1:]])
    slopes, heights = [], []
    for foot in _FEET:
        ankle = PARENTS[foot]
        still = (speeds[:, foot] < _PLANTED_SPEED) & (speeds[:, ankle] < _PLANTED_SPEED)
        planted = still & (joints[:, foot, 1] - floor < _PLANTED_HEIGHT)
        slopes.append(-unit_vector(bones[planted, foot])[:, 1].clamp(-1, 1).asin())
        heights.append(joints[planted, ankle, 1] - floor)
    slope, height = torch.cat(slopes), torch.cat(heights)
    if len(slope) < 3:
        return None, None
    # Of the planted frames those with the lower ankles: in the others the heel is lifted.
    flattest = height <= height.median()
    return slope[flattest].median(), float(height[flattest].median().clamp(min=0.02))


def _spine_frames(pelvis: Tensor, chest: Tensor) -> list[tuple[int, int, Tensor]]:
    """Each vertebra between pelvis and chest, the joint above it, and how it turns if they share the turn."""
    turn = quaternion_to_axis_angle(matrix_to_quaternion(pelvis.transpose(-1, -2) @ chest))
    steps = (("spine1", "spine2", 1 / 3), ("spine2", "spine3", 2 / 3))
    return [(J[name], J[child], pelvis @ axis_angle_to_matrix(share * turn)) for name, child, share in steps]


def _levelled(rest_frame: Tensor, frame: Tensor, bones: Tensor, offsets: Tensor) -> Tensor:
    """The pelvis's axes in the T-pose (3, 3), tilted so that trunks usually rise from it as the body's does.

    Where the lowest vertebra is taken to be differs between sources, and tilts the pelvis by it.
    """
    left, right, _ = _BRANCHES[0]
    spine = [J["spine1"], J["spine2"], J["spine3"]]

    def tilt(axes: Tensor, trunk: Tensor) -> Tensor:
        rise = trunk[:, spine].sum(1) - (trunk[:, left] + trunk[:, right]) / 2
        _, upward, forward = _into(axes, rise).unbind(-1)
        return torch.atan2(forward, upward)

    excess = tilt(frame, bones).median() - tilt(rest_frame[None], offsets[None])[0]
    limit = math.radians(_LARGEST_TILT_DEGREES)
    excess = excess.clamp(-limit, limit)
    return rest_frame @ axis_angle_to_matrix(-excess * rest_frame.new_tensor([1.0, 0.0, 0.0]))


def _usual(directions: Tensor, fallback: Tensor) -> Tensor:
    """The middle (3,) of directions (T, 3), without a component sideways."""
    middle = directions.median(dim=0).values * directions.new_tensor([0, 1, 1])
    return unit_vector(middle) if torch.linalg.vector_norm(middle) > 0.3 else fallback


def _looking_ahead(directions: Tensor, rest: Tensor) -> Tensor:
    """(3,) direction of the head joint from the neck when the head looks ahead, for a body in the T-pose."""
    turn = quaternion_to_axis_angle(quaternion_between(rest, _usual(directions, rest)))
    first, second = _HEAD_OFFSET_DEGREES
    share = ((torch.linalg.vector_norm(turn).rad2deg() - first) / (second - first)).clamp(0, 1)
    return axis_angle_to_matrix(share * turn) @ rest


def _lower_shoulders(directions: Tensor, bones: Tensor, chest: Tensor) -> None:
    """Take the shoulders of hanging arms for relaxed ones: sources differ in how high they put them."""
    seen = []
    for side, sign in (("left", 1.0), ("right", -1.0)):
        hanging = _into(chest, unit_vector(bones[:, J[f"{side}_elbow"]]))[:, 1] < -0.5
        shoulder = _into(chest, unit_vector(bones[:, J[f"{side}_shoulder"]]))[hanging]
        seen.append(shoulder * shoulder.new_tensor([sign, 1.0, 1.0]))
    both = torch.cat(seen)
    if len(both) < 3 or torch.linalg.vector_norm(both.mean(0)) < 0.3:
        return
    usual = unit_vector(both.median(dim=0).values)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        directions[J[f"{side}_shoulder"]] = usual * usual.new_tensor([sign, 1.0, 1.0])


def _floor(joints: Tensor) -> Tensor:
    """Height of the floor: 0 if the clip stands there, else its lowest joint."""
    lowest = joints[..., 1].min()
    return torch.where(lowest.abs() < 0.15, torch.zeros_like(lowest), lowest)


def _branch_frame(bones: Tensor, children: Sequence[int]) -> Tensor:
    """(T, 3, 3) axes, as columns, of a joint with a left, a right and an upper child."""
    left, right, top = (bones[:, child] for child in children)
    across = unit_vector(left - right)
    upward = top - (left + right) / 2
    upward = unit_vector(upward - (upward * across).sum(-1, keepdim=True) * across)
    return torch.stack([across, upward, torch.linalg.cross(across, upward)], dim=-1)


def _swing(frame: Tensor, rest: Tensor, seen: Tensor) -> Tensor:
    """Rotations (T, 3, 3) nearest to ``frame`` that bring a direction (3,) to (T, 3)."""
    return frame @ quaternion_to_matrix(quaternion_between(rest, _into(frame, seen)))


def _into(frame: Tensor, vectors: Tensor) -> Tensor:
    """Vectors (T, 3) of the world as seen in frames (T, 3, 3)."""
    return (frame.transpose(-1, -2) @ vectors[..., None])[..., 0]


def _angle_between(source: Tensor, target: Tensor, axis: Tensor) -> Tensor:
    """(T,) by how much ``source`` must turn about unit ``axis`` to come nearest to ``target``."""
    sine = (axis * torch.linalg.cross(source, target)).sum(-1)
    along = (axis * source).sum(-1) * (axis * target).sum(-1)
    cosine = (source * target).sum(-1) - along
    return torch.atan2(sine, torch.where((sine == 0) & (cosine == 0), torch.ones_like(cosine), cosine))


def _check_extent(joints: Tensor, where: str) -> None:
    lengths = torch.linalg.vector_norm(joint_offsets(joints)[:, 1:], dim=-1).median(dim=0).values
    essential = [J[name] - 1 for name in ("left_knee", "right_knee", "left_ankle", "right_ankle", "left_hip")]
    if not (lengths[essential] > 1e-4).all():
        bone = JOINT_NAMES[1 + essential[int((lengths[essential] <= 1e-4).nonzero()[0])]]
        raise InputError(f"{where}: the bone that ends at {bone} has no length: these are not body joints")
