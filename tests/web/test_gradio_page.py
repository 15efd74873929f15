from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.motion.formats import write_motion
from tests import tiny
from tests.web.running import running

gradio_client = pytest.importorskip("gradio_client", reason="gradio is not installed")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MotionGPT3:
    return tiny.model(tiny.save_backbone(tmp_path_factory.mktemp("backbone")))


@pytest.fixture(scope="module")
def address(model: MotionGPT3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(model, tmp_path_factory.mktemp("out")) as address:
        yield address


def test_its_endpoints_do_what_the_library_does(address: str, model: MotionGPT3, tmp_path: Path) -> None:
    client = gradio_client.Client(f"{address}/gradio", verbose=False, download_files=tmp_path / "got")
    made = np.load(client.predict("jump", 1.2, 7, "joints", api_name="/generate"))
    (expected,) = model.generate(["jump"], 24, seeds=[7])
    np.testing.assert_allclose(made, expected.joints.numpy(), atol=1e-5)
    write_motion(expected, tmp_path / "clip.npy")
    file = gradio_client.handle_file(tmp_path / "clip.npy")
    longer = np.load(client.predict(file, 1, 0, "joints", api_name="/continue"))
    np.testing.assert_array_equal(longer[:24], np.load(tmp_path / "clip.npy"))
    assert len(longer) == 44
    filled = np.load(client.predict(file, 0, "joints", api_name="/inbetween"))
    np.testing.assert_array_equal(filled[:6], np.load(tmp_path / "clip.npy")[:6])
    assert isinstance(client.predict(file, api_name="/caption"), str)
    with pytest.raises(Exception, match="prompt is empty"):
        client.predict(" ", 0, 0, "bvh", api_name="/generate")
