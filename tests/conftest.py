"""What several test folders share: golden arrays, the weights behind them, and local-only data."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from motiongpt3.data.humanml3d import HumanML3DDataset

GOLDEN = Path(__file__).parent / "golden"
# A folder of motion capture and reference files that not everyone has; see `local_data`.
LOCAL_DATA = Path(os.environ.get("MOTIONGPT3_TEST_DATA", Path(__file__).parents[2] / "shared"))

# The text embedding appears under four names in the official checkpoint.
TIED_KEYS = dict.fromkeys(
    (
        "lm.language_model.transformer.wte.weight",
        "lm.language_model.pre_processors.0.weight",
        "lm.language_model.post_processors.0.weight",
    ),
    "lm.language_model.lm_head.weight",
)

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# How long an example takes says more about the machine than about the code.
settings.register_profile("motiongpt3", deadline=None)
settings.load_profile("motiongpt3")


@pytest.fixture
def closed_test_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where the test split is opened: nothing but evaluation may read it."""
    split = HumanML3DDataset.split

    def guarded(self: HumanML3DDataset, name: str) -> list[str]:
        assert name in ("train", "val"), f"training code opened the split {name!r}"
        return split(self, name)

    monkeypatch.setattr(HumanML3DDataset, "split", guarded)


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    """Load one file of ``tests/golden`` as a dictionary of arrays."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"{name}.npz") as arrays:
            return dict(arrays)

    return load


@pytest.fixture(scope="session")
def local_data() -> Callable[[str], Path]:
    """Path of a file or folder that only some machines have; the test is skipped where it is missing."""

    def find(relative: str) -> Path:
        path = LOCAL_DATA / relative
        if not path.exists():
            pytest.skip(
                f"{relative} is not on this machine (set MOTIONGPT3_TEST_DATA to the folder that has it)"
            )
        return path

    return find


def golden_weight(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The weights behind the golden arrays: a tensor that depends on its full key and shape alone."""
    seed = zlib.crc32(key.encode()) & 0xFFFFFFFF
    array = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
    is_scale = key.rsplit(".", 1)[-1] == "weight" and any(part in key for part in ("norm", "ln_", "in_ln"))
    return torch.from_numpy(1 + 0.1 * array if is_scale else 0.05 * array)


def golden_state_dict(prefix: str, keys_file: str = "upstream_keys.txt") -> dict[str, torch.Tensor]:
    """All floating-point tensors under ``prefix`` of the official checkpoint, with the prefix kept.

    Tensors that share storage in the official model hold the values of the first of their keys.
    """
    tensors = {}
    for line in (GOLDEN / keys_file).read_text().splitlines():
        key, shape, dtype = line.split("\t")
        if key.startswith(prefix) and dtype == "torch.float32":
            name = TIED_KEYS.get(key, key)
            tensors[key] = golden_weight(name, tuple(int(size) for size in re.findall(r"\d+", shape)))
    return tensors


def golden_vq_state_dict() -> dict[str, torch.Tensor]:
    """All tensors of the official VQ-VAE, with the prefix ``vae.`` that they have in a checkpoint."""
    tensors = {}
    for line in (GOLDEN / "upstream_keys_vqvae.txt").read_text().splitlines():
        key, shape = line.split("\t")
        sizes = tuple(int(size) for size in re.findall(r"\d+", shape))
        tensors[key] = golden_weight(f"vq.{key.removeprefix('vae.')}", sizes)
    return tensors
