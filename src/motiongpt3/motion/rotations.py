"""Rotations as quaternions, matrices, 6D, axis-angle, yaw and Euler angles, and the ways between them.

Every function is pure, takes any leading dimensions, keeps dtype and device, and is differentiable, with
finite gradients at the identity and at the singular points of each representation.

Conventions: quaternions are (w, x, y, z) of unit length; 6D is the first column of the matrix followed by
the second (Zhou et al. 2019, "On the Continuity of Rotation Representations in Neural Networks");
axis-angle is the axis times the angle in radians; matrices rotate column vectors; yaw is about +y, radians.
"""

from __future__ import annotations

import torch
from torch import Tensor

from motiongpt3.errors import InputError

EULER_ORDERS = ("XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX")


def unit_vector(vector: Tensor) -> Tensor:
    """Scale vectors (..., n) to length 1; a zero vector stays zero, with a finite gradient."""
    square = (vector * vector).sum(-1, keepdim=True)
    zero = square < torch.finfo(vector.dtype).tiny
    return vector * torch.where(zero, torch.ones_like(square), square).rsqrt()


def quaternion_multiply(first: Tensor, second: Tensor) -> Tensor:
    """Compose rotations (..., 4): the result applies ``second`` and then ``first``."""
    w1, x1, y1, z1 = first.unbind(-1)
    w2, x2, y2, z2 = second.unbind(-1)
    return torch.stack(
        [
            w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
            w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
            w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
            w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
        ],
        dim=-1,
    )


def quaternion_inverse(quaternion: Tensor) -> Tensor:
    """Undo a rotation: the conjugate of unit quaternions (..., 4)."""
    return quaternion * quaternion.new_tensor([1.0, -1.0, -1.0, -1.0])


def quaternion_rotate(quaternion: Tensor, vector: Tensor) -> Tensor:
    """Rotate vectors (..., 3) by unit quaternions (..., 4); leading dimensions broadcast."""
    axis, vector = torch.broadcast_tensors(quaternion[..., 1:], vector)
    once = torch.linalg.cross(axis, vector)
    twice = torch.linalg.cross(axis, once)
    return vector + 2 * (quaternion[..., :1] * once + twice)


def quaternion_between(source: Tensor, target: Tensor) -> Tensor:
    """The smallest rotation that turns the direction of ``source`` to that of ``target``.

    For opposite vectors the half-turn is made about the axis nearest to +y (about one nearest to +x where
    the vectors are vertical), so that turning a heading around never tips a body over. A zero vector has no
    direction; the identity is returned for it.

    Args:
        source: (..., 3), any length.
        target: (..., 3), any length; leading dimensions broadcast.

    Returns:
        (..., 4) unit quaternions.
    """
    source, target = torch.broadcast_tensors(source, target)
    source, target = unit_vector(source), unit_vector(target)
    up, side = source.new_tensor([0.0, 1.0, 0.0]), source.new_tensor([1.0, 0.0, 0.0])
    zero = ((source == 0).all(-1) | (target == 0).all(-1))[..., None]
    source, target = torch.where(zero, up, source), torch.where(zero, up, target)

    # The axis of nearly opposite vectors drowns in rounding, so half a turn is taken first, exactly.
    opposite = (source * target).sum(-1, keepdim=True) < -1 + 32 * torch.finfo(source.dtype).eps
    reference = torch.where(source[..., 1:2].abs() > 0.9, side, up)
    axis = unit_vector(reference - (reference * source).sum(-1, keepdim=True) * source)
    half_turn = torch.cat([torch.zeros_like(axis[..., :1]), axis], dim=-1)

    start = torch.where(opposite, -source, source)
    turn = torch.cat(
        [1 + (start * target).sum(-1, keepdim=True), torch.linalg.cross(start, target)],
        dim=-1,
    )
    turn = unit_vector(turn)
    return torch.where(opposite, quaternion_multiply(turn, half_turn), turn)


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """Unit quaternions (..., 4) as rotation matrices (..., 3, 3)."""
    w, x, y, z = quaternion.unbind(-1)
    return torch.stack(
        [
            1 - 2 * (y * y + z * z),
            2 * (x * y - w * z),
            2 * (x * z + w * y),
            2 * (x * y + w * z),
            1 - 2 * (x * x + z * z),
            2 * (y * z - w * x),
            2 * (x * z - w * y),
            2 * (y * z + w * x),
            1 - 2 * (x * x + y * y),
        ],
        dim=-1,
    ).unflatten(-1, (3, 3))


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) as unit quaternions (..., 4) with w >= 0.

    The matrix gives all products 4 q_i q_j; the row of the largest component is q up to a factor that is
    never small, so the result is accurate for every rotation.
    """
    (m00, m01, m02), (m10, m11, m12), (m20, m21, m22) = (row.unbind(-1) for row in matrix.unbind(-2))
    ww, xx, yy, zz = 1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22
    wx, wy, wz = m21 - m12, m02 - m20, m10 - m01
    xy, xz, yz = m10 + m01, m02 + m20, m21 + m12
    products = torch.stack([ww, wx, wy, wz, wx, xx, xy, xz, wy, xy, yy, yz, wz, xz, yz, zz], dim=-1)
    products = products.unflatten(-1, (4, 4))
    largest = products.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = products.gather(-2, largest[..., None, None].expand(*largest.shape, 1, 4)).squeeze(-2)
    quaternion = unit_vector(row)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def matrix_to_rotation_6d(matrix: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) as 6D (..., 6): first column, then second."""
    return matrix[..., :2].transpose(-1, -2).flatten(-2)


def rotation_6d_to_matrix(rotation_6d: Tensor) -> Tensor:
    """6D (..., 6) as rotation matrices (..., 3, 3) by Gram-Schmidt (Zhou et al. 2019, section B).

    The two vectors need be neither unit nor perpendicular, but must not be parallel or zero.
    """
    first = unit_vector(rotation_6d[..., :3])
    third = unit_vector(torch.linalg.cross(first, rotation_6d[..., 3:]))
    second = torch.linalg.cross(third, first)
    return torch.stack([first, second, third], dim=-1)


def quaternion_to_rotation_6d(quaternion: Tensor) -> Tensor:
    """Unit quaternions (..., 4) as 6D (..., 6)."""
    return matrix_to_rotation_6d(quaternion_to_matrix(quaternion))


def rotation_6d_to_quaternion(rotation_6d: Tensor) -> Tensor:
    """6D (..., 6) as unit quaternions (..., 4) with w >= 0."""
    return matrix_to_quaternion(rotation_6d_to_matrix(rotation_6d))


def axis_angle_to_quaternion(axis_angle: Tensor) -> Tensor:
    """Axis-angle (..., 3), radians, as unit quaternions (..., 4)."""
    square = (axis_angle * axis_angle).sum(-1, keepdim=True)
    # Below 0.01 rad the series are exact to double precision, and smooth where sqrt is not.
    small = square < 1e-4
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    cosine = torch.where(small, 1 - square / 8 + square**2 / 384, (angle / 2).cos())
    sine_ratio = torch.where(small, 0.5 - square / 48 + square**2 / 3840, (angle / 2).sin() / angle)
    return torch.cat([cosine, sine_ratio * axis_angle], dim=-1)


def quaternion_to_axis_angle(quaternion: Tensor) -> Tensor:
    """Unit quaternions (..., 4) as axis-angle (..., 3) with an angle of at most pi."""
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    w, vector = quaternion[..., :1], quaternion[..., 1:]
    square = (vector * vector).sum(-1, keepdim=True)
    small = square < 1e-6
    length = torch.where(small, torch.ones_like(square), square).sqrt()
    safe_w = torch.where(small, w, torch.ones_like(w))
    tangent = square / (safe_w * safe_w)
    near = (1 - tangent / 3 + tangent**2 / 5) / safe_w
    return 2 * torch.where(small, near, torch.atan2(length, w) / length) * vector


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Axis-angle (..., 3), radians, as rotation matrices (..., 3, 3)."""
    return quaternion_to_matrix(axis_angle_to_quaternion(axis_angle))


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) as axis-angle (..., 3) with an angle of at most pi."""
    return quaternion_to_axis_angle(matrix_to_quaternion(matrix))


def yaw_to_quaternion(yaw: Tensor) -> Tensor:
    """Rotations about +y by ``yaw`` (...), radians, as unit quaternions (..., 4)."""
    half = yaw / 2
    zero = torch.zeros_like(half)
    return torch.stack([half.cos(), zero, half.sin(), zero], dim=-1)


def quaternion_to_yaw(quaternion: Tensor) -> Tensor:
    """The turn about +y in unit quaternions (..., 4), radians in [-pi, pi].

    This is the twist of the swing-twist decomposition; a half-turn about a horizontal axis has none, and 0
    is returned for it.
    """
    w, y = quaternion[..., 0], quaternion[..., 2]
    return 2 * _safe_atan2(torch.where(w < 0, -y, y), w.abs())


def rotate_about_up(vector: Tensor, yaw: Tensor) -> Tensor:
    """Rotate vectors (..., 3) about +y by ``yaw`` (...), radians; leading dimensions broadcast.

    The same as ``quaternion_rotate(yaw_to_quaternion(yaw), vector)`` with a third of the work.
    """
    cosine, sine = yaw.cos(), yaw.sin()
    x, y, z = vector.unbind(-1)
    x, y, z = torch.broadcast_tensors(cosine * x + sine * z, y, cosine * z - sine * x)
    return torch.stack([x, y, z], dim=-1)


def euler_to_matrix(angles: Tensor, order: str) -> Tensor:
    """Intrinsic Euler angles (..., 3), radians, as rotation matrices (..., 3, 3).

    Args:
        angles: one angle per letter of ``order``.
        order: one of ``EULER_ORDERS``; "ZXY" is Rz(a) Rx(b) Ry(c), the way BVH channels are listed.

    Raises:
        InputError: for any other order.
    """
    axes = _euler_axes(order)
    first, second, third = (
        _axis_rotation(axis, angle) for axis, angle in zip(axes, angles.unbind(-1), strict=True)
    )
    return first @ second @ third


def matrix_to_euler(matrix: Tensor, order: str) -> Tensor:
    """Rotation matrices (..., 3, 3) as intrinsic Euler angles (..., 3), radians, in ``order``.

    The second angle is in [-pi/2, pi/2]. Where it is a right angle the other two are not unique; those
    returned still give the matrix back.

    Raises:
        InputError: if ``order`` is not one of ``EULER_ORDERS``.
    """
    i, j, k = _euler_axes(order)
    sign = 1.0 if (j - i) % 3 == 1 else -1.0
    first = _safe_atan2(-sign * matrix[..., j, k], matrix[..., k, k])
    cosine_square = matrix[..., i, i] ** 2 + matrix[..., i, j] ** 2
    flat = cosine_square < torch.finfo(matrix.dtype).tiny
    cosine = torch.where(flat, torch.ones_like(cosine_square), cosine_square).sqrt()
    second = torch.atan2(sign * matrix[..., i, k], torch.where(flat, cosine_square, cosine))
    # What is left after undoing the first angle: right even where that angle was arbitrary.
    cosine_first, sine_first = first.cos(), first.sin()
    third = torch.atan2(
        sign * (cosine_first * matrix[..., j, i] + sign * sine_first * matrix[..., k, i]),
        cosine_first * matrix[..., j, j] + sign * sine_first * matrix[..., k, j],
    )
    return torch.stack([first, second, third], dim=-1)


def _euler_axes(order: str) -> tuple[int, int, int]:
    if order not in EULER_ORDERS:
        raise InputError(f"unknown Euler order {order!r}: use one of {', '.join(EULER_ORDERS)}")
    i, j, k = ("XYZ".index(letter) for letter in order)
    return i, j, k


def _axis_rotation(axis: int, angle: Tensor) -> Tensor:
    cosine, sine = angle.cos(), angle.sin()
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    # Entries for the axes in cyclic order (axis, next, next but one), then rolled into place.
    entries = torch.stack([one, zero, zero, zero, cosine, -sine, zero, sine, cosine], dim=-1)
    return entries.unflatten(-1, (3, 3)).roll((axis, axis), dims=(-2, -1))


def _safe_atan2(y: Tensor, x: Tensor) -> Tensor:
    """``atan2`` that is 0 with a zero gradient where both arguments are 0."""
    undefined = (x == 0) & (y == 0)
    return torch.atan2(y, torch.where(undefined, torch.ones_like(x), x)) * (~undefined).to(y.dtype)
