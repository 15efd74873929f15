"""The pivot type for motion: every importer ends in a `Motion`, every exporter starts from one.

A motion is the path of 22 joint positions. Features may come with it when it was made from them, and joint
rotations when its source had them; anything that changes the joints drops the features, and a pose that does
not belong to the joints is dropped, so they never disagree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.motion.features import FEATURE_WIDTH, FRAMES_PER_SECOND, check_features, features_to_joints
from motiongpt3.motion.pose import BodyPose, interpolate_rotations
from motiongpt3.motion.skeleton import JOINT_COUNT, mirror_joints

MAX_FRAMES_PER_SECOND = 10_000.0
POSE_TOLERANCE = 1e-3
"""Metres by which the joints that a pose makes may differ from a motion's joints, or it is dropped."""


@dataclass(frozen=True, eq=False)
class Motion:
    """A clip of one person, checked when it is made.

    Attributes:
        joints: (T, 22, 3) float32 on the CPU, T >= 2; metres, y up, joints in the order of `JOINT_NAMES`.
        fps: frames per second.
        features: (T, 263) HumanML3D features, not normalised, that the joints were made from; or None.
        name: short name, used for file names and messages.
        source: file or prompt it came from; or None.
        pose: rotations that make the joints to a millimetre, from a source that has rotations; or None.
            One that makes other joints is dropped, because the joints were changed since.

    Raises:
        InputError: for another shape, fewer than two frames, NaN or infinite values, or an impossible
            frame rate; the message names ``source`` (else ``name``).
    """

    joints: Tensor
    fps: float = FRAMES_PER_SECOND
    features: Tensor | None = None
    name: str = "motion"
    source: str | None = None
    pose: BodyPose | None = None

    def __post_init__(self) -> None:
        where = self.source or self.name
        joints = _float32(self.joints, where)
        if joints.ndim != 3 or joints.shape[1:] != (JOINT_COUNT, 3):
            found = tuple(joints.shape)
            raise InputError(f"{where}: expected joints of shape (frames, {JOINT_COUNT}, 3), found {found}")
        if len(joints) < 2:
            raise InputError(f"{where}: a motion needs at least 2 frames, found {len(joints)}")
        unusable = ~torch.isfinite(joints).flatten(1).all(1)
        if unusable.any():
            frame = int(unusable.nonzero()[0])
            raise InputError(f"{where}: NaN or infinite position in frame {frame}; repair or cut the clip")
        object.__setattr__(self, "joints", joints)
        object.__setattr__(self, "fps", _frame_rate(self.fps, where))
        if self.features is not None:
            features = _float32(self.features, where)
            if features.shape != (len(joints), FEATURE_WIDTH):
                expected, found = (len(joints), FEATURE_WIDTH), tuple(features.shape)
                raise InputError(
                    f"{where}: expected features of shape {expected}, as its joints, found {found}"
                )
            check_features(features, f"{where}: features")
            object.__setattr__(self, "features", features)
        if self.pose is not None:
            object.__setattr__(self, "pose", _fitting_pose(self.pose, joints))

    @classmethod
    def from_joints(
        cls,
        joints: Tensor | np.ndarray,
        fps: float = FRAMES_PER_SECOND,
        name: str = "motion",
        source: str | None = None,
    ) -> Motion:
        """A motion from positions (T, 22, 3), any floating-point type; errors as for the class."""
        return cls(_float32(joints, source or name), fps, name=name, source=source)

    @classmethod
    def from_pose(
        cls,
        pose: BodyPose,
        root: Tensor,
        fps: float = FRAMES_PER_SECOND,
        name: str = "motion",
        source: str | None = None,
    ) -> Motion:
        """A motion from rotations and the path of the pelvis (T, 3), metres; errors as for the class."""
        joints = pose.joints(root.to(pose.rotations))
        return cls(_float32(joints, source or name), fps, name=name, source=source, pose=pose)

    @classmethod
    def from_features(
        cls,
        features: Tensor | np.ndarray,
        fps: float = FRAMES_PER_SECOND,
        name: str = "motion",
        source: str | None = None,
    ) -> Motion:
        """A motion from HumanML3D features (T, 263), not normalised, by the position path.

        It keeps the features. Frame 0 stands over the origin and faces +z.

        Raises:
            InputError: for another width (251 is KIT-ML's), a batch, fewer than two frames, NaN or infinity.
        """
        where = source or name
        rows = _float32(features, where)
        check_features(rows, f"{where}: features")
        if rows.ndim != 2:
            found = tuple(rows.shape)
            raise InputError(f"{where}: expected features of shape (frames, {FEATURE_WIDTH}), found {found}")
        return cls(features_to_joints(rows), fps, rows, name, source)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.joints)

    @property
    def duration(self) -> float:
        """Seconds, counting each frame for 1/fps as HumanML3D does: 60 frames at 20 fps last 3 s."""
        return len(self) / self.fps

    def resample(self, fps: float) -> Motion:
        """The same movement at another frame rate, without features.

        Positions are interpolated linearly between the two nearest frames: exact where a new frame falls on
        an old one (120 to 20 fps takes every sixth), otherwise bones may shorten by a hair in fast turns.
        Where there is a pose, its rotations are interpolated instead, which keeps the bones.
        There is no low-pass filter, as in HumanML3D. The first frame stays; the last new frame is at or
        before the last old one.

        Raises:
            InputError: for an impossible frame rate, or if fewer than two frames would remain.
        """
        where = self.source or self.name
        fps = _frame_rate(fps, where)
        if fps == self.fps:
            return self
        frames = math.floor((len(self) - 1) * fps / self.fps + 1e-6) + 1
        if frames < 2:
            raise InputError(f"{where}: {self.duration:.3g} s are too short to resample to {fps:g} fps")
        moments = torch.arange(frames, dtype=torch.float64) * (self.fps / fps)
        before = (moments + 1e-6).floor().long().clamp(max=len(self) - 2)
        weight = (moments - before).clamp(0, 1).to(self.joints)[:, None, None]
        weight = torch.where(weight < 1e-6, torch.zeros_like(weight), weight)
        joints = torch.lerp(self.joints[before], self.joints[before + 1], weight)
        pose = self.pose
        if pose is not None:
            turns = interpolate_rotations(
                pose.rotations[before], pose.rotations[before + 1], weight.to(pose.rotations)
            )
            pose = replace(pose, rotations=turns)
            made = pose.joints(joints[:, 0].to(turns)).to(joints)
            joints = torch.where((weight == 0) | (weight == 1), joints, made)
        return replace(self, joints=joints, fps=fps, features=None, pose=pose)

    def mirrored(self) -> Motion:
        """The motion seen in a mirror (x to -x, left and right swapped), without features, named ``M...``."""
        pose = None if self.pose is None else self.pose.mirrored()
        joints = mirror_joints(self.joints)
        return replace(self, joints=joints, features=None, name=f"M{self.name}", pose=pose)


def _float32(values: Tensor | np.ndarray | Sequence[float], where: str) -> Tensor:
    try:
        if isinstance(values, Tensor):
            tensor = values
        else:
            # What is too large for float32 becomes infinite, and is refused as such.
            with np.errstate(over="ignore"):
                tensor = torch.from_numpy(np.array(values, dtype=np.float32))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: not an array of numbers ({error})") from error
    if tensor.is_complex():
        raise InputError(f"{where}: complex numbers are not positions")
    return tensor.detach().to("cpu", torch.float32)


def _fitting_pose(pose: BodyPose, joints: Tensor) -> BodyPose | None:
    if pose.rotations.shape != (len(joints), JOINT_COUNT, 4) or pose.rest.shape != (JOINT_COUNT, 3):
        return None
    rotations = pose.rotations.detach().to("cpu", torch.float64)
    pose = replace(pose, rotations=rotations, rest=pose.rest.detach().to("cpu", torch.float64))
    made = pose.joints(joints[:, 0].double())
    return pose if bool(((made - joints).abs() <= POSE_TOLERANCE).all()) else None


def _frame_rate(fps: float, where: str) -> float:
    try:
        rate = float(fps)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {fps!r} is not a frame rate") from error
    if not 0 < rate <= MAX_FRAMES_PER_SECOND:
        limit = f"above 0 and at most {MAX_FRAMES_PER_SECOND:g}"
        raise InputError(f"{where}: the frame rate must be {limit}, not {fps!r}")
    return rate
