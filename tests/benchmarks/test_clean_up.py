from __future__ import annotations

import pytest
from benchmarks.clean_up import COLUMNS, measured, standing_speed

from motiongpt3.motion.motion import Motion
from tests.motion.test_clean_up import FPS, crouching, sway


def test_sliding_is_seen_before_and_not_after() -> None:
    slides = crouching(60) + sway(60, 40, 0.05)
    assert standing_speed(slides, slides, FPS) == pytest.approx(0.05 * 100 * 4 / 2, rel=0.1)
    before, after = (
        dict(zip(COLUMNS, measured([Motion.from_joints(slides)], name).tolist(), strict=True))
        for name in ("", "feet")
    )
    assert before["moved mm"] == 0
    assert after["standing cm/s"] < 0.1 < before["standing cm/s"]
    assert after["median most moved mm"] > 20
