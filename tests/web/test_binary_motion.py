from __future__ import annotations

import numpy as np
import pytest
import torch

from motiongpt3.motion.motion import Motion
from motiongpt3.web.binary_motion import pack_motion, unpack_motion


def test_joints_come_back_bit_for_bit() -> None:
    motion = Motion.from_joints(torch.randn(7, 22, 3), 12.5)
    data = pack_motion(motion)
    assert len(data) == 16 + 7 * 22 * 3 * 4
    read = unpack_motion(data)
    assert read.fps == 12.5
    assert torch.equal(read.joints, motion.joints)


def test_the_layout_is_this() -> None:
    data = pack_motion(Motion.from_joints(torch.arange(2 * 66.0).reshape(2, 22, 3), 20.0))
    assert data[:4] == b"MG3M"
    assert np.frombuffer(data[4:12], "<u4").tolist() == [2, 22]
    assert np.frombuffer(data[12:16], "<f4").tolist() == [20.0]
    np.testing.assert_array_equal(np.frombuffer(data[16:], "<f4"), np.arange(132, dtype=np.float32))


def test_other_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="not a motion"):
        unpack_motion(b"MG3X" + bytes(1000))
