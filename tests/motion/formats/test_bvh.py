from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motiongpt3.errors import InputError
from motiongpt3.motion.formats.bvh import (
    MAX_JOINTS,
    BVHJoint,
    joint_positions,
    parse_bvh,
    rest_positions,
    serialise_bvh,
)
from tests.motion.formats.foreign import bandai, foreign, lafan

SMALL = """HIERARCHY
ROOT Hips
{
  OFFSET 0 1 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Left Arm
  {
    OFFSET 2 0 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 1 0 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.05
0 0 0 0 0 0 0 0 0
1 2 3 90 0 0 -90 0 0
"""


def test_reads_a_small_file() -> None:
    bvh = parse_bvh(SMALL)
    assert bvh.frame_time == 0.05
    assert [joint.name for joint in bvh.joints] == ["Hips", "Left Arm", "Left Arm/End"]
    assert [joint.parent for joint in bvh.joints] == [-1, 0, 1]
    assert bvh.joints[1] == BVHJoint("Left Arm", 0, (2.0, 0.0, 0.0), ("Zrotation", "Xrotation", "Yrotation"))
    assert bvh.joints[2].is_end_site
    expected = torch.tensor([[[0, 0, 0], [2, 0, 0], [3, 0, 0]], [[1, 2, 3], [1, 4, 3], [2, 4, 3]]])
    assert torch.allclose(joint_positions(bvh), expected.double(), atol=1e-9)
    assert torch.equal(rest_positions(bvh), torch.tensor([[0, 1, 0], [2, 1, 0], [3, 1, 0]]).double())


@pytest.mark.parametrize("order", ["XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"])
@pytest.mark.parametrize("six_channels", [False, True])
def test_positions_agree_with_scipy(order: str, six_channels: bool) -> None:
    made = foreign(bandai(), order, six_channels=six_channels, newline="\r\n")
    bvh = parse_bvh(made.text)
    positions = joint_positions(bvh).numpy()
    assert len(bvh.joints) == len(made.positions)
    for index, joint in enumerate(bvh.joints):
        assert np.allclose(positions[:, index], made.positions[joint.name], atol=1e-5), joint.name


def test_position_channels_replace_only_the_offsets_they_name() -> None:
    text = SMALL.replace(
        "CHANNELS 3 Zrotation Xrotation Yrotation", "CHANNELS 3 Yposition Zrotation Xrotation"
    )
    positions = joint_positions(parse_bvh(text.replace("-90 0 0", "7 0 0")))
    assert torch.allclose(positions[0, 1], torch.tensor([2.0, 0, 0]).double())
    assert torch.allclose(positions[1, 1], torch.tensor([1.0 - 7, 2 + 2, 3]).double())


def test_writing_and_reading_again_changes_nothing() -> None:
    bvh = parse_bvh(foreign(lafan()).text)
    back = parse_bvh(serialise_bvh(bvh))
    assert [(joint.name, joint.parent, joint.channels) for joint in back.joints] == [
        (joint.name, joint.parent, joint.channels) for joint in bvh.joints
    ]
    assert torch.allclose(back.values, bvh.values, atol=1e-6)
    assert back.frame_time == pytest.approx(bvh.frame_time)
    assert serialise_bvh(back) == serialise_bvh(bvh)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace("  ", "\t"),
        lambda text: (
            text.replace("HIERARCHY", "hierarchy").replace("JOINT", "Joint").replace("MOTION", "Motion")
        ),
        lambda text: text.replace("Zrotation", "ZROTATION"),
        lambda text: text.replace("\n{", " {").replace("{\n    OFFSET", "{ OFFSET"),
        lambda text: text.replace(
            "End Site\n    {\n      OFFSET 1 0 0\n    }", "End Site { OFFSET 1.0e+00 0 0 }"
        ),
        lambda text: text.replace("Frames: 2", "Frames:   2\n").replace("Time: 0.05", "Time:\t5.0E-2 "),
        lambda text: text + "\n\n  \n",
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("0 0 0 0 0 0 0 0 0", "  0.0\t-0 +0 0e0 .0 0. 0 0 0  "),
    ],
)
def test_unusual_layout_reads_the_same(change) -> None:  # type: ignore[no-untyped-def]
    changed = change(SMALL)
    assert changed != SMALL
    original, back = parse_bvh(SMALL), parse_bvh(changed)
    assert back.joints == original.joints
    assert torch.equal(back.values, original.values)
    assert back.frame_time == original.frame_time


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("HIERARCHY", "", "line 2: a BVH file begins with HIERARCHY"),
        ("ROOT Hips", "JOINT Hips", "line 2: unexpected 'JOINT' outside any joint"),
        ("ROOT Hips", "ROOT", "line 3: ROOT without a name"),
        ("OFFSET 0 1 0", "", "line 2: joint 'Hips' has no OFFSET"),
        (
            "OFFSET 0 1 0",
            "OFFSET 0 1",
            "line 5: expected three numbers for the OFFSET of 'Hips', found 'CHANNELS'",
        ),
        ("OFFSET 0 1 0", "OFFSET 0 nan 0", "line 4: .*found 'nan'"),
        ("OFFSET 0 1 0", "OFFSET 0 1e999 0", "line 4: .*found '1e999'"),
        ("CHANNELS 6", "CHANNELS 7", "line 5: 'Hips' cannot have 7 channels"),
        ("CHANNELS 6", "CHANNELS 2.5", "line 5: 'Hips' cannot have 2.5 channels"),
        ("CHANNELS 6", "CHANNELS 5", "line 5: unexpected 'Yrotation' in 'Hips'"),
        ("Xposition Y", "Wposition Y", "line 5: expected a channel .*found 'Wposition'"),
        ("Xposition Yposition", "Xposition Xposition", "found 'Xposition'"),
        ("OFFSET 1 0 0", "OFFSET 1 0 0\nCHANNELS 1 Xrotation", "unexpected 'CHANNELS' in 'Left Arm/End'"),
        ("}\nMOTION", "MOTION", "unexpected 'MOTION' in 'Hips'"),
        ("Frames: 2", "Frames: many", "line 17: expected 'Frames: <number>', found 'Frames: many'"),
        ("Frames: 2", "Frames: 0", "line 17: 0 is not a number of frames"),
        ("Frames: 2", "Frames: 3", "3 frames announced, 2 found; the file is cut short"),
        ("Frames: 2", "Frames: 1e15", "2 found; the file is cut short"),
        ("Frames: 2", "Frames: 1", "line 20: more frames than the 1 announced"),
        ("Frame Time: 0.05", "", "line 19: expected 'Frame Time: <number>'"),
        ("Frame Time: 0.05", "Frame Time: 0", "line 18: a frame time of 0 s"),
        ("Frame Time: 0.05", "Frame Time: -inf", "line 18: expected 'Frame Time"),
        ("0 0 0 0 0 0 0 0 0", "0 0 0 0 0 0 0 0", "line 19: expected 9 values in a frame, not 8"),
        ("0 0 0 0 0 0 0 0 0", "0 0 0 0 0 0 0 0 0 0", "line 19: expected 9 values in a frame, not 10"),
        ("1 2 3 90", "1 2 NaN 90", "line 20: 'NaN' is not a finite number"),
        ("1 2 3 90", "1 2 3,5 90", "line 20: '3,5' is not a finite number"),
    ],
)
def test_mistakes_are_named_with_their_line(old: str, new: str, message: str) -> None:
    assert old in SMALL
    with pytest.raises(InputError, match=f"clip.bvh, .*{message}") as error:
        parse_bvh(SMALL.replace(old, new, 1), "clip.bvh")
    assert "\n" not in str(error.value)


def test_every_truncation_is_an_input_error() -> None:
    # The last line may lose digits and still be a line of numbers.
    for length in range(SMALL.index("1 2 3 90")):
        with pytest.raises(InputError):
            parse_bvh(SMALL[:length])


def test_nothing_to_move_is_an_input_error() -> None:
    with pytest.raises(InputError, match="no joint has channels"):
        parse_bvh("HIERARCHY ROOT a { OFFSET 0 0 0 } MOTION\nFrames: 1\nFrame Time: 1\n\n")


def test_hostile_files_are_refused_quickly() -> None:
    start = time.monotonic()
    deep = "HIERARCHY\nROOT a\n{ OFFSET 0 0 0 CHANNELS 0\n" + "JOINT a\n{ OFFSET 0 0 0 CHANNELS 0\n" * 100_000
    with pytest.raises(InputError, match=f"more than {MAX_JOINTS} joints"):
        parse_bvh(deep)
    with pytest.raises(InputError, match="unexpected"):
        parse_bvh("HIERARCHY\nROOT a {" + "{" * 200_000)
    with pytest.raises(InputError, match="expected a name"):
        parse_bvh("HIERARCHY\nROOT " + "a " * 200_000)
    with pytest.raises(InputError, match="found") as error:
        parse_bvh("HIERARCHY\nROOT a { OFFSET " + "9" * 200_000)
    assert len(str(error.value)) < 200
    assert time.monotonic() - start < 10


def test_a_deep_chain_is_read() -> None:
    depth = 500
    text = "HIERARCHY\nROOT a { OFFSET 0 0 0 CHANNELS 1 Zrotation\n"
    text += "JOINT b { OFFSET 1 0 0\n" * depth + "}" * (depth + 1)
    text += "\nMOTION\nFrames: 1\nFrame Time: 1\n90"
    bvh = parse_bvh(text)
    assert torch.allclose(joint_positions(bvh)[0, -1], torch.tensor([0.0, depth, 0]).double())
    assert parse_bvh(serialise_bvh(bvh)).joints == bvh.joints


WORDS = st.sampled_from(
    [
        *("HIERARCHY", "ROOT", "JOINT", "End", "Site", "{", "}", "OFFSET", "CHANNELS", "MOTION", "Frames:"),
        *(
            "Frame",
            "Time:",
            "Xposition",
            "Zrotation",
            "0",
            "1",
            "-1.5",
            "1e400",
            "nan",
            "\n",
            "\ufeff",
            "\x00",
        ),
    ]
)


@settings(max_examples=120, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=60).map(" ".join)))
def test_random_text_raises_nothing_but_input_errors(text: str) -> None:
    for start in ("", "HIERARCHY\nROOT a\n{\n"):
        with pytest.raises(InputError) as error:
            parse_bvh(start + text)
        assert len(str(error.value)) < 400


@settings(max_examples=120, deadline=None)
@given(st.integers(0, len(SMALL)), st.integers(0, 12), st.one_of(st.text(max_size=8), WORDS))
def test_damaged_files_raise_nothing_but_input_errors(position: int, length: int, junk: str) -> None:
    damaged = SMALL[:position] + junk + SMALL[position + length :]
    try:
        bvh = parse_bvh(damaged)
    except InputError:
        return
    assert torch.isfinite(bvh.values).all()
    assert bvh.frame_time > 0
    assert joint_positions(bvh).shape == (len(bvh.values), len(bvh.joints), 3)
    serialise_bvh(bvh)
