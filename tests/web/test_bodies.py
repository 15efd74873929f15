from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from motiongpt3.body.embedded import embedded_body
from motiongpt3.body.fitting import fit_body
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.motion.motion import Motion
from motiongpt3.web import bodies
from motiongpt3.web.binary_body import pack_body, pack_pose
from motiongpt3.web.binary_motion import unpack_motion
from motiongpt3.web.server import STATIC
from motiongpt3.web.store import Entry, Store
from tests import tiny
from tests.figures import raising_arm, walking
from tests.web.serving import served


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    model: MotionGPT3 = tiny.model(tiny.save_backbone(tmp_path_factory.mktemp("backbone")))
    with served(model, tmp_path_factory.mktemp("out")) as client:
        yield client


def kept(client: TestClient, motion: Motion) -> str:
    """The address of a motion that the server keeps."""
    entry = client.app.state.service.store.add(motion, "a motion", "upload")  # type: ignore[attr-defined]
    return f"/api/motions/{entry.id}"


def test_the_mesh_is_sent_once(client: TestClient) -> None:
    first = client.get("/api/body")
    assert first.content == pack_body(embedded_body())
    again = client.get("/api/body", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/api/body", headers={"If-None-Match": '"another"'}).status_code == 200


def test_the_movement_is_what_the_body_was_fitted_to(client: TestClient) -> None:
    motion = raising_arm("left", 6)
    answer = client.get(f"{kept(client, motion)}/pose")
    assert answer.content == pack_pose(fit_body(motion, embedded_body()))
    assert answer.headers["cache-control"] == "private, max-age=3600"


def test_joints_stay_those_of_the_motion(client: TestClient) -> None:
    motion = walking()
    address = kept(client, motion)
    client.get(f"{address}/pose")
    assert torch.equal(unpack_motion(client.get(f"{address}/frames").content).joints, motion.joints)


def test_a_motion_is_fitted_once(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    address = kept(client, walking())
    first = client.get(f"{address}/pose").content
    monkeypatch.setattr(bodies, "fit_body", None)
    assert client.get(f"{address}/pose").content == first


def test_what_no_body_can_do_is_said(client: TestClient) -> None:
    point = Motion.from_joints(np.zeros((4, 22, 3), np.float32), 20.0)
    answer = client.get(f"{kept(client, point)}/pose")
    assert answer.status_code == 422
    assert "no length" in answer.json()["detail"]


def test_a_motion_that_is_gone_has_no_body(client: TestClient) -> None:
    address = kept(client, walking())
    client.get(f"{address}/pose")
    client.delete(address)
    assert client.get(f"{address}/pose").status_code == 404


def test_other_requests_do_not_wait_for_a_fit(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pose = bodies.write_pose

    def beside_others(store: Store, entry: Entry) -> Path:
        # Not answered if the loop waited for this.
        assert other.submit(client.get, "/health").result(timeout=5).status_code == 200
        return write_pose(store, entry)

    monkeypatch.setattr(bodies, "write_pose", beside_others)
    with ThreadPoolExecutor(1) as other:
        assert client.get(f"{kept(client, walking())}/pose").status_code == 200


def test_the_greeting_has_the_movement_of_its_joints() -> None:
    """After a change of body or layout, write what `pack_pose` gives to web/public/examples/hello.pose."""
    motion = unpack_motion((STATIC / "examples" / "hello.motion").read_bytes())
    made = np.frombuffer(pack_pose(fit_body(motion, embedded_body())), "u1")
    found = np.frombuffer((STATIC / "examples" / "hello.pose").read_bytes(), "u1")
    assert len(found) == len(made)
    rotations = len(motion) * 36 * 4
    close = np.abs(found.view("<i2")[-rotations:].astype(int) - made.view("<i2")[-rotations:]) < 100
    assert close.all()
