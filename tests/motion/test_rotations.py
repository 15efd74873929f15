from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.motion import rotations as rot

AXES = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
IDENTITY = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
components = st.floats(-1, 1, allow_subnormal=False)


@st.composite
def vectors(draw: st.DrawFn) -> Tensor:
    values = draw(st.tuples(components, components, components).filter(lambda v: math.hypot(*v) > 1e-3))
    return torch.tensor(values, dtype=torch.float64)


@st.composite
def quaternions(draw: st.DrawFn) -> Tensor:
    four = st.tuples(components, components, components, components)
    values = draw(four.filter(lambda v: math.hypot(*v) > 1e-3))
    return rot.unit_vector(torch.tensor(values, dtype=torch.float64))


def random_quaternions(count: int = 200, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return rot.unit_vector(torch.randn(count, 4, generator=generator, dtype=torch.float64)).to(dtype)


def scipy_rotation(quaternion: Tensor) -> Rotation:
    return Rotation.from_quat(quaternion[..., [1, 2, 3, 0]].numpy())


def assert_same_rotation(first: Tensor, second: Tensor, atol: float = 1e-10) -> None:
    torch.testing.assert_close(
        (first * second).sum(-1).abs(), torch.ones(first.shape[:-1]).to(first), atol=atol, rtol=0
    )
    sign = torch.sign((first * second).sum(-1, keepdim=True))
    torch.testing.assert_close(first * sign, second, atol=atol, rtol=0)


def test_product_rotation_and_matrix_agree_with_scipy():
    first, second = random_quaternions()[:100], random_quaternions()[100:]
    vector = torch.linspace(-1, 1, 300, dtype=torch.float64).reshape(100, 3)
    product = scipy_rotation(first) * scipy_rotation(second)
    torch.testing.assert_close(
        rot.quaternion_to_matrix(rot.quaternion_multiply(first, second)),
        torch.from_numpy(product.as_matrix()),
    )
    torch.testing.assert_close(
        rot.quaternion_rotate(first, vector), torch.from_numpy(scipy_rotation(first).apply(vector.numpy()))
    )


@settings(deadline=None)
@given(quaternions(), vectors())
def test_inverse_undoes(quaternion: Tensor, vector: Tensor):
    back = rot.quaternion_rotate(
        rot.quaternion_inverse(quaternion), rot.quaternion_rotate(quaternion, vector)
    )
    torch.testing.assert_close(back, vector)


@settings(deadline=None)
@given(quaternions())
def test_every_representation_goes_there_and_back(quaternion: Tensor):
    matrix = rot.quaternion_to_matrix(quaternion)
    assert_same_rotation(rot.matrix_to_quaternion(matrix), quaternion)
    assert_same_rotation(rot.rotation_6d_to_quaternion(rot.quaternion_to_rotation_6d(quaternion)), quaternion)
    assert_same_rotation(rot.axis_angle_to_quaternion(rot.quaternion_to_axis_angle(quaternion)), quaternion)
    torch.testing.assert_close(rot.axis_angle_to_matrix(rot.matrix_to_axis_angle(matrix)), matrix)
    torch.testing.assert_close(rot.rotation_6d_to_matrix(rot.matrix_to_rotation_6d(matrix)), matrix)


@settings(deadline=None)
@given(vectors(), st.floats(0, math.pi - 1e-6))
def test_axis_angle_comes_back_as_it_was(axis: Tensor, angle: float):
    axis_angle = rot.unit_vector(axis) * angle
    torch.testing.assert_close(
        rot.matrix_to_axis_angle(rot.axis_angle_to_matrix(axis_angle)), axis_angle, atol=1e-9, rtol=0
    )
    expected = torch.from_numpy(Rotation.from_rotvec(axis_angle.numpy()).as_matrix())
    torch.testing.assert_close(rot.axis_angle_to_matrix(axis_angle), expected)


@pytest.mark.parametrize("angle", [1e-12, 1e-6, 0.009999, 0.010001, 0.1])
def test_small_angles_are_accurate_on_both_sides_of_the_series(angle: float):
    axis_angle = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64) * angle
    quaternion = rot.axis_angle_to_quaternion(axis_angle)
    exact = torch.from_numpy(Rotation.from_rotvec(axis_angle.numpy()).as_quat()[[3, 0, 1, 2]])
    torch.testing.assert_close(quaternion, exact, rtol=1e-14, atol=0)
    torch.testing.assert_close(rot.quaternion_to_axis_angle(quaternion), axis_angle, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "axis", [*AXES, (0.6, 0.8, 0.0), (0.6, 0.0, 0.8), (0.0, 0.6, 0.8), (1 / 3, 2 / 3, 2 / 3)]
)
@pytest.mark.parametrize("short_of_half_turn", [0.0, 1e-9, 1e-4, 0.5])
def test_matrix_to_quaternion_is_accurate_near_half_turns(axis, short_of_half_turn):
    angle = math.pi - short_of_half_turn
    exact = Rotation.from_rotvec([component * angle for component in axis])
    quaternion = rot.matrix_to_quaternion(torch.from_numpy(exact.as_matrix()))
    assert_same_rotation(quaternion, torch.from_numpy(exact.as_quat()[[3, 0, 1, 2]]), atol=1e-12)
    assert quaternion[0] >= 0


def test_6d_is_the_first_column_then_the_second():
    matrix = rot.quaternion_to_matrix(random_quaternions(1))[0]
    expected = torch.cat([matrix[:, 0], matrix[:, 1]])
    torch.testing.assert_close(rot.matrix_to_rotation_6d(matrix), expected)


@settings(deadline=None)
@given(quaternions(), st.floats(0.1, 10), st.floats(0.1, 10), st.floats(-3, 3))
def test_6d_needs_neither_unit_nor_perpendicular_vectors(quaternion, first_scale, second_scale, shear):
    matrix = rot.quaternion_to_matrix(quaternion)
    first, second = matrix[:, 0] * first_scale, matrix[:, 1] * second_scale + shear * matrix[:, 0]
    torch.testing.assert_close(
        rot.rotation_6d_to_matrix(torch.cat([first, second])), matrix, atol=1e-9, rtol=0
    )


@settings(deadline=None)
@given(vectors(), vectors())
def test_between_turns_one_vector_onto_the_other_by_the_smallest_angle(source: Tensor, target: Tensor):
    quaternion = rot.quaternion_between(source, target)
    turned = rot.quaternion_rotate(quaternion, rot.unit_vector(source))
    torch.testing.assert_close(turned, rot.unit_vector(target), atol=1e-9, rtol=0)
    torch.testing.assert_close(quaternion.norm(), torch.ones(()).double())
    cosine = rot.unit_vector(source) @ rot.unit_vector(target)
    # w is the cosine of half the angle between the two: no detour.
    torch.testing.assert_close(quaternion[0].abs(), ((1 + cosine) / 2).clamp(min=0).sqrt(), atol=1e-7, rtol=0)


def test_between_is_the_formula_of_humanml3d_for_generic_vectors():
    source, target = random_quaternions()[:, :3], random_quaternions().flip(0)[:, 1:]
    w = source.norm(dim=-1) * target.norm(dim=-1) + (source * target).sum(-1)
    expected = torch.cat([w[:, None], torch.linalg.cross(source, target)], dim=-1)
    expected = expected / expected.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(rot.quaternion_between(source, target), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle_off", [0.0, 1e-7, 1e-5, 1e-4, 1e-3, 1e-2])
def test_between_is_accurate_for_opposite_vectors(dtype, angle_off):
    generator = torch.Generator().manual_seed(1)
    random = rot.unit_vector(torch.randn(50, 3, generator=generator, dtype=torch.float64))
    source = torch.cat([torch.tensor(AXES).double(), random])
    aside = rot.unit_vector(torch.linalg.cross(source, source.roll(1, -1) + 0.1))
    target = (-source * math.cos(angle_off) + aside * math.sin(angle_off)).to(dtype)
    source = source.to(dtype)
    turned = rot.quaternion_rotate(rot.quaternion_between(source, target), source)
    assert (turned - target).abs().max() < (1e-4 if dtype == torch.float32 else 1e-7)


def test_opposite_headings_are_turned_about_the_vertical():
    backward = torch.tensor([0.0, 0.0, -1.0])
    quaternion = rot.quaternion_between(backward, -backward)
    torch.testing.assert_close(quaternion.abs(), torch.tensor([0.0, 0.0, 1.0, 0.0]))


def test_between_gives_the_identity_for_a_vector_without_direction():
    zero, up = torch.zeros(3), torch.tensor([0.0, 1.0, 0.0])
    assert torch.equal(rot.quaternion_between(zero, up), IDENTITY.float())
    assert torch.equal(rot.quaternion_between(up, zero), IDENTITY.float())


@settings(deadline=None)
@given(st.floats(-math.pi + 1e-6, math.pi - 1e-6))
def test_yaw_goes_there_and_back_and_turns_z_toward_x(yaw: float):
    quaternion = rot.yaw_to_quaternion(torch.tensor(yaw, dtype=torch.float64))
    torch.testing.assert_close(rot.quaternion_to_yaw(quaternion).item(), yaw, atol=1e-9, rtol=0)
    torch.testing.assert_close(rot.quaternion_to_yaw(-quaternion).item(), yaw, atol=1e-9, rtol=0)
    forward = rot.quaternion_rotate(quaternion, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    expected = torch.tensor([math.sin(yaw), 0, math.cos(yaw)], dtype=torch.float64)
    torch.testing.assert_close(forward, expected)


@settings(deadline=None)
@given(st.floats(-3, 3), st.floats(-1.5, 1.5))
def test_yaw_ignores_a_tilt_about_a_horizontal_axis(yaw: float, tilt: float):
    turn = rot.yaw_to_quaternion(torch.tensor(yaw, dtype=torch.float64))
    swing = rot.axis_angle_to_quaternion(torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64) * tilt)
    torch.testing.assert_close(
        rot.quaternion_to_yaw(rot.quaternion_multiply(swing, turn)).item(), yaw, atol=1e-9, rtol=0
    )


def test_rotating_about_up_is_the_fast_way_to_rotate_by_a_yaw():
    yaw, vector = torch.linspace(-7, 7, 12).reshape(4, 3), torch.randn(4, 3, 3)
    torch.testing.assert_close(
        rot.rotate_about_up(vector, yaw), rot.quaternion_rotate(rot.yaw_to_quaternion(yaw), vector)
    )


@pytest.mark.parametrize("order", rot.EULER_ORDERS)
def test_euler_angles_agree_with_scipy(order: str):
    quaternion = random_quaternions()
    exact = scipy_rotation(quaternion)
    angles = torch.from_numpy(exact.as_euler(order).copy())  # upper case: intrinsic
    matrix = torch.from_numpy(exact.as_matrix())
    torch.testing.assert_close(rot.matrix_to_euler(matrix, order), angles, atol=1e-9, rtol=0)
    torch.testing.assert_close(rot.euler_to_matrix(angles, order), matrix)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("order", rot.EULER_ORDERS)
def test_euler_angles_give_the_matrix_back_in_and_near_gimbal_lock(order: str, dtype: torch.dtype):
    second = torch.tensor([1.0, -1.0]).double()[:, None] * (
        math.pi / 2 - torch.tensor([0.0, 1e-12, 1e-8, 1e-6, 1e-4, 1e-2]).double()
    )
    second = second.flatten()
    angles = torch.stack([torch.full_like(second, 0.7), second, torch.full_like(second, -1.9)], dim=-1)
    matrix = rot.euler_to_matrix(angles, order).to(dtype)
    again = rot.euler_to_matrix(rot.matrix_to_euler(matrix, order), order)
    torch.testing.assert_close(again, matrix, atol=2e-6 if dtype == torch.float32 else 1e-12, rtol=0)


@pytest.mark.parametrize("order", ["XYX", "xyz", "", "XY", "XYZW"])
def test_unknown_euler_order_is_an_error(order: str):
    with pytest.raises(InputError, match="Euler order"):
        rot.matrix_to_euler(torch.eye(3), order)


GRADIENT_CASES = {
    "6d_to_matrix": (rot.rotation_6d_to_matrix, torch.tensor([1.0, 0, 0, 0, 1, 0])),
    "6d_to_quaternion": (rot.rotation_6d_to_quaternion, torch.tensor([1.0, 0, 0, 0, 1, 0])),
    "matrix_to_quaternion": (rot.matrix_to_quaternion, torch.eye(3)),
    "quaternion_to_axis_angle": (rot.quaternion_to_axis_angle, IDENTITY),
    "axis_angle_to_quaternion": (rot.axis_angle_to_quaternion, torch.zeros(3)),
    "matrix_to_axis_angle": (rot.matrix_to_axis_angle, torch.eye(3)),
    "quaternion_to_yaw": (rot.quaternion_to_yaw, IDENTITY),
    "between": (lambda v: rot.quaternion_between(v, torch.tensor(AXES[1]).to(v)), torch.tensor(AXES[1])),
    "to_euler": (lambda m: rot.matrix_to_euler(m, "ZXY"), torch.eye(3)),
    "from_euler": (lambda a: rot.euler_to_matrix(a, "ZXY"), torch.zeros(3)),
}


@pytest.mark.parametrize("name", GRADIENT_CASES)
def test_gradients_at_the_identity_are_right(name: str):
    function, identity = GRADIENT_CASES[name]
    assert torch.autograd.gradcheck(function, identity.double().requires_grad_())


@pytest.mark.parametrize("name", ["6d_to_matrix", "6d_to_quaternion"])
def test_gradients_of_generic_6d_are_right(name: str):
    generic = torch.tensor([0.3, -1.2, 0.5, 0.9, 0.4, -0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(GRADIENT_CASES[name][0], generic)


@pytest.mark.parametrize(
    ("function", "singular"),
    [
        (rot.rotation_6d_to_matrix, torch.zeros(6)),
        (rot.rotation_6d_to_matrix, torch.ones(6)),
        (rot.quaternion_to_yaw, torch.tensor([0.0, 1.0, 0.0, 0.0])),
        (rot.quaternion_to_axis_angle, torch.tensor([0.0, 1.0, 0.0, 0.0])),
        (rot.matrix_to_quaternion, torch.diag(torch.tensor([1.0, -1.0, -1.0]))),
        (lambda v: rot.quaternion_between(v, torch.tensor(AXES[2])), torch.tensor([0.0, 0.0, -1.0])),
        (lambda v: rot.quaternion_between(v, torch.tensor(AXES[2])), torch.zeros(3)),
        (lambda m: rot.matrix_to_euler(m, "XYZ"), torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])),
    ],
)
def test_gradients_at_singular_points_are_finite(function, singular: Tensor):
    value = singular.clone().requires_grad_()
    function(value).sum().backward()
    assert torch.isfinite(value.grad).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_leading_dimensions_and_dtype_are_kept(dtype: torch.dtype):
    quaternion = random_quaternions(6, dtype).reshape(2, 3, 4)
    matrix, vector = rot.quaternion_to_matrix(quaternion), torch.ones(3, dtype=dtype)
    shapes = {
        rot.matrix_to_quaternion(matrix): (2, 3, 4),
        rot.quaternion_rotate(quaternion, vector): (2, 3, 3),
        rot.quaternion_between(quaternion[..., 1:], vector): (2, 3, 4),
        rot.quaternion_to_rotation_6d(quaternion): (2, 3, 6),
        rot.quaternion_to_axis_angle(quaternion): (2, 3, 3),
        rot.matrix_to_euler(matrix, "YXZ"): (2, 3, 3),
        rot.quaternion_to_yaw(quaternion): (2, 3),
    }
    for result, shape in shapes.items():
        assert result.shape == shape
        assert result.dtype == dtype
