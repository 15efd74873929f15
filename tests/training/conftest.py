"""In every test of training code the test split stays closed: nothing but evaluation may read it."""

from __future__ import annotations

import pytest

from motiongpt3.data.humanml3d import HumanML3DDataset


@pytest.fixture(autouse=True)
def closed_test_split(monkeypatch: pytest.MonkeyPatch) -> None:
    split = HumanML3DDataset.split

    def guarded(self: HumanML3DDataset, name: str) -> list[str]:
        assert name in ("train", "val"), f"training code opened the split {name!r}"
        return split(self, name)

    monkeypatch.setattr(HumanML3DDataset, "split", guarded)
