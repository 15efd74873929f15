"""Joints to the 263 features of HumanML3D and back, and the statistics that normalise them.

The features (Guo et al. 2022, "Generating Diverse and Natural 3D Human Motions from Text", section 5.1, in
the numbers of the published code) describe frame t and the step from t to t + 1, so T frames of joints
give T - 1 rows, and the rows give back T - 1 frames. The way back follows the *position path* (root
trajectory plus local positions: exact, differentiable, used in losses) or the *rotation path* (root
trajectory plus rotations on a given skeleton).

Shapes: joints (..., T, 22, 3) in metres, y up, 20 frames a second; features (..., T, 263), velocities per
frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.files import atomic_file
from motiongpt3.motion.kinematics import (
    HEADING_SMOOTHING,
    face_forward,
    foot_contacts,
    forward_kinematics,
    inverse_kinematics,
    put_on_floor,
    uniform_skeleton,
)
from motiongpt3.motion.rotations import (
    quaternion_inverse,
    quaternion_multiply,
    quaternion_rotate,
    quaternion_to_rotation_6d,
    rotate_about_up,
    rotation_6d_to_quaternion,
    yaw_to_quaternion,
)
from motiongpt3.motion.skeleton import JOINT_COUNT, UNIFORM_OFFSETS

FEATURE_WIDTH = 263
KIT_FEATURE_WIDTH = 251
FRAMES_PER_SECOND = 20.0
"""Rate of HumanML3D's motions, which its velocities per frame and its contact threshold presume."""

FEATURE_SLICES: dict[str, slice] = {
    "root_yaw_velocity": slice(0, 1),
    "root_linear_velocity": slice(1, 3),
    "root_height": slice(3, 4),
    "local_positions": slice(4, 67),
    "local_rotations": slice(67, 193),
    "local_velocities": slice(193, 259),
    "foot_contacts": slice(259, 263),
}
"""Columns of each group, in order.

root_yaw_velocity: half of the root's turn about +y in a step, radians; root_linear_velocity: x and z seen
from the facing direction, metres per frame; root_height: metres; local_positions: joints 1-21 about the
root's ground point, facing +z, metres; local_rotations: 6D of joints 1-21; local_velocities: joints 0-21,
metres per frame; foot_contacts: left ankle, left foot, right ankle, right foot, 0 or 1.
"""


def check_features(features: Tensor, name: str = "features") -> None:
    """Refuse what is not HumanML3D features.

    Raises:
        InputError: if the last dimension is not 263, or a value is NaN or infinite; ``name`` says whose.
    """
    _check_width(features.shape, name)
    if not torch.isfinite(features).all():
        raise InputError(f"{name} contain NaN or infinite values: repair or remove the clip")


def _check_width(shape: tuple[int, ...] | torch.Size, name: str) -> None:
    width = shape[-1] if len(shape) else 0
    if width == FEATURE_WIDTH:
        return
    if width == KIT_FEATURE_WIDTH:
        raise InputError(
            f"{name}: {KIT_FEATURE_WIDTH} values a frame is the 21-joint layout of KIT-ML, which is not "
            f"supported; use HumanML3D's {FEATURE_WIDTH}"
        )
    raise InputError(f"{name}: expected {FEATURE_WIDTH} values a frame, found shape {tuple(shape)}")


def joints_to_features(
    joints: Tensor,
    offsets: Tensor = UNIFORM_OFFSETS,
    retarget: bool = True,
    continuous_heading: bool = False,
) -> Tensor:
    """HumanML3D features of a motion at 20 frames a second.

    The motion is fitted to the uniform skeleton, put on the floor and over the origin, and turned to face
    +z in its first frame; the features do not depend on where it was before.

    Args:
        joints: (..., T, 22, 3) with T >= 2, metres, y up.
        offsets: (22, 3) rest pose of the uniform skeleton.
        retarget: False keeps the body as it is (for joints that are on the uniform skeleton already).
        continuous_heading: HumanML3D's formula gives root_yaw_velocity the wrong sign in the one step in
            which the heading passes 180 degrees from where it began, so that the path read back turns by
            twice that step. False reproduces this, as stored data have it; True gives the true velocity.

    Returns:
        (..., T - 1, 263).

    Raises:
        InputError: for another shape, fewer than two frames, or NaN or infinite positions.
    """
    _check_joints(joints)
    if retarget:
        joints = uniform_skeleton(joints, offsets)
    joints = face_forward(put_on_floor(joints))

    quaternions = inverse_kinematics(joints, HEADING_SMOOTHING)
    to_forward = quaternions[..., 0, :]
    steps = joints[..., 1:, :, :] - joints[..., :-1, :, :]
    root_steps = quaternion_rotate(to_forward[..., 1:, :], steps[..., 0, :])
    velocities = quaternion_rotate(to_forward[..., :-1, None, :], steps)
    ground = joints[..., :1, :] * joints.new_tensor([1.0, 0.0, 1.0])
    positions = quaternion_rotate(to_forward[..., None, :], joints - ground)
    rotations = quaternion_to_rotation_6d(quaternions)
    return torch.cat(
        [
            _yaw_velocity(to_forward, continuous_heading),
            root_steps[..., 0::2],
            joints[..., :-1, 0, 1:2],
            positions[..., :-1, 1:, :].flatten(-2),
            rotations[..., :-1, 1:, :].flatten(-2),
            velocities.flatten(-2),
            foot_contacts(joints),
        ],
        dim=-1,
    )


def _check_joints(joints: Tensor) -> None:
    shape = tuple(joints.shape)
    if len(shape) < 3 or shape[-2:] != (JOINT_COUNT, 3):
        raise InputError(f"expected joints of shape (frames, {JOINT_COUNT}, 3), found {shape}")
    if shape[-3] < 2:
        raise InputError(f"a motion needs at least 2 frames to have velocities, found {shape[-3]}")
    if not torch.isfinite(joints).all():
        raise InputError("joints contain NaN or infinite values: repair or remove the clip")


def _yaw_velocity(to_forward: Tensor, continuous: bool) -> Tensor:
    """Half of the turn between successive frames, (..., T, 4) -> (..., T - 1, 1)."""
    turn = quaternion_multiply(to_forward[..., 1:, :], quaternion_inverse(to_forward[..., :-1, :]))
    if continuous:
        # q and -q are one rotation; the sine of the half-angle is the angle's only where w >= 0.
        turn = torch.where(turn[..., :1] < 0, -turn, turn)
    return turn[..., 2:3].clamp(-1, 1).asin()


def root_trajectory(features: Tensor) -> tuple[Tensor, Tensor]:
    """Sum up where the root goes and what it faces.

    Args:
        features: (..., T, 263).

    Returns:
        (..., T) half of the angle about +y, radians, that turns each frame's facing direction to +z, not
        wrapped (the heading itself is minus twice this); (..., T, 3) positions of the pelvis, metres,
        beginning over the origin.
    """
    yaw_half_angle = _sum_before(features[..., 0], dim=-1)
    velocity = features[..., FEATURE_SLICES["root_linear_velocity"]]
    # A step is stored as seen from the frame that it leads to.
    x, z = F.pad(velocity[..., :-1, :], (0, 0, 1, 0)).unbind(-1)
    steps = rotate_about_up(torch.stack([x, torch.zeros_like(x), z], dim=-1), -2 * yaw_half_angle)
    path = steps.cumsum(-2)
    return yaw_half_angle, torch.stack([path[..., 0], features[..., 3], path[..., 2]], dim=-1)


def _sum_before(values: Tensor, dim: int) -> Tensor:
    """Cumulative sum of all earlier values; 0 first."""
    return values.cumsum(dim) - values


def features_to_joints(features: Tensor) -> Tensor:
    """Joint positions from features by the position path (HumanML3D's ``recover_from_ric``).

    Args:
        features: (..., T, 263), not normalised.

    Returns:
        (..., T, 22, 3) metres; frame 0 stands over the origin and faces +z. Differentiable.

    Raises:
        InputError: if the width is not 263.
    """
    _check_width(features.shape, "features")
    yaw_half_angle, root = root_trajectory(features)
    local = features[..., FEATURE_SLICES["local_positions"]].unflatten(-1, (JOINT_COUNT - 1, 3))
    turned = rotate_about_up(local, -2 * yaw_half_angle[..., None])
    ground = root * root.new_tensor([1.0, 0.0, 1.0])
    return torch.cat([root[..., None, :], turned + ground[..., None, :]], dim=-2)


def features_to_joints_from_rotations(features: Tensor, offsets: Tensor = UNIFORM_OFFSETS) -> Tensor:
    """Joint positions from features by the rotation path: the root's trajectory and forward kinematics.

    Args:
        features: (..., T, 263), not normalised.
        offsets: (22, 3) rest pose of the skeleton to move, metres.

    Returns:
        (..., T, 22, 3) metres, with exactly the bone lengths of ``offsets``.

    Raises:
        InputError: if the width is not 263.
    """
    _check_width(features.shape, "features")
    yaw_half_angle, root = root_trajectory(features)
    rotations = features[..., FEATURE_SLICES["local_rotations"]].unflatten(-1, (JOINT_COUNT - 1, 6))
    # The first bones' rotations are relative to the root's, which turns the heading to +z; so the product
    # is in the world's axes already, and nothing is to be inverted.
    to_forward = yaw_to_quaternion(2 * yaw_half_angle)
    quaternions = torch.cat([to_forward[..., None, :], rotation_6d_to_quaternion(rotations)], dim=-2)
    return forward_kinematics(quaternions, root, offsets)


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each feature, (263,) tensors.

    Raises:
        InputError: for a wrong width, a NaN or infinite value, or a standard deviation that is not positive.
    """

    mean: Tensor
    std: Tensor

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            check_features(values, f"statistics ({name})")
            if values.dim() != 1:
                raise InputError(f"statistics ({name}): expected one row, found shape {tuple(values.shape)}")
        if not (self.std > 0).all():
            column = int((self.std <= 0).nonzero()[0])
            value = self.std[column].item()
            raise InputError(f"statistics (std): feature {column} has {value:g}, must be positive")

    def normalize(self, features: Tensor) -> Tensor:
        """(..., 263) features to zero mean and unit deviation."""
        return (features - self.mean.to(features)) / self.std.to(features)

    def denormalize(self, features: Tensor) -> Tensor:
        """The inverse of `normalize`."""
        return features * self.std.to(features) + self.mean.to(features)

    def renormalize(self, features: Tensor, to: Statistics) -> Tensor:
        """Take features (..., 263) normalised by these statistics to the scale of others."""
        return to.normalize(self.denormalize(features))

    def to(self, device: torch.device | str) -> Statistics:
        """A copy on another device, which saves copying with every batch."""
        return Statistics(self.mean.to(device), self.std.to(device))

    @classmethod
    def load(cls, source: str | Path | tuple[str | Path, str | Path]) -> Statistics:
        """Read statistics from numpy files.

        Args:
            source: a folder with ``Mean.npy`` and ``Std.npy`` (or ``mean.npy`` and ``std.npy``), or the
                paths of the two files.

        Raises:
            InputError: if a file is missing or unreadable, or its content is not 263 finite numbers.
        """
        paths = _statistics_files(Path(source)) if isinstance(source, str | Path) else source
        mean, std = (_read_vector(Path(path)) for path in paths)
        return cls(mean, std)

    def save(self, folder: str | Path) -> None:
        """Write ``Mean.npy`` and ``Std.npy`` (float32) into a folder, which is created."""
        for name, values in (("Mean.npy", self.mean), ("Std.npy", self.std)):
            with atomic_file(Path(folder) / name) as path:
                np.save(path, values.detach().to("cpu", torch.float32).numpy())

    @classmethod
    def of(cls, clips: Iterable[Tensor | np.ndarray], feature_bias: float = 1.0) -> Statistics:
        """Statistics of a set of clips, as HumanML3D computes them.

        The standard deviation of each feature over all frames is averaged within its group, so that a
        group keeps its proportions. A group that never changes gets 1, which leaves it at zero.

        Args:
            clips: (T, 263) features each.
            feature_bias: divides the deviation of the root features and of the foot contacts, to give them
                weight. 1 for generators; for evaluators HumanML3D's code says 5, and the files that came with
                its evaluators were made with 25.

        Raises:
            InputError: if there is no frame, or a clip is not features.
        """
        frames, mean, squares = 0, torch.zeros(FEATURE_WIDTH).double(), torch.zeros(FEATURE_WIDTH).double()
        for index, clip in enumerate(clips):
            rows = torch.as_tensor(clip)
            check_features(rows, f"clip {index}")
            rows = rows.detach().to("cpu", torch.float64).reshape(-1, FEATURE_WIDTH)
            if not len(rows):
                continue
            # Chan's update: sums of squares about the running mean, with no cancellation.
            difference = rows.mean(0) - mean
            total = frames + len(rows)
            squares += (rows - rows.mean(0)).square().sum(0) + difference**2 * (frames * len(rows) / total)
            mean += difference * (len(rows) / total)
            frames = total
        if not frames:
            raise InputError("no statistics without frames: the set of clips is empty")
        std = (squares / frames).sqrt()
        for name, columns in FEATURE_SLICES.items():
            average = std[columns].mean()
            biased = name in ("root_yaw_velocity", "root_linear_velocity", "root_height", "foot_contacts")
            std[columns] = average / (feature_bias if biased else 1.0) if average > 0 else 1.0
        return cls(mean.float(), std.float())


def _statistics_files(folder: Path) -> tuple[Path, Path]:
    for mean, std in (("Mean.npy", "Std.npy"), ("mean.npy", "std.npy")):
        if (folder / mean).is_file() and (folder / std).is_file():
            return folder / mean, folder / std
    raise InputError(f"no statistics in {folder}: it must hold Mean.npy and Std.npy of the training data")


def _read_vector(path: Path) -> Tensor:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot read statistics {path}: {error}") from None
    if not isinstance(values, np.ndarray) or not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"cannot read statistics {path}: not an array of floating-point numbers")
    if values.ndim != 1 or values.shape[0] != FEATURE_WIDTH:
        _check_width(values.shape, str(path))
        raise InputError(f"{path}: expected shape ({FEATURE_WIDTH},), found {values.shape}")
    return torch.from_numpy(values.astype(np.float32))
