"""Two models on one server: a slow one, and one that makes twice as many frames a second."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient

from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.web.binary_motion import unpack_motion
from tests import tiny
from tests.web.serving import served


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, MotionGPT3]:
    backbone = tiny.save_backbone(tmp_path_factory.mktemp("backbone"))
    fast = {"frames_per_second": 40.0, "guidance": 3.0}
    return {"slow": tiny.model(backbone), "fast": tiny.model(backbone, seed=1, **fast)}


@pytest.fixture(scope="module")
def client(models: dict[str, MotionGPT3], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with served(models, tmp_path_factory.mktemp("out")) as client:
        yield client


def post(client: TestClient, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def generated(client: TestClient, **body: Any) -> dict[str, Any]:
    (info,) = post(client, "/api/generate", prompt="jump", seconds=1, **body)["motions"]
    return dict(info)


def joints(client: TestClient, info: dict[str, Any]) -> torch.Tensor:
    return unpack_motion(client.get(f"/api/motions/{info['id']}/frames").content).joints


def test_each_says_what_it_can_do(client: TestClient) -> None:
    slow, fast = client.get("/api/info").json()["models"]
    assert [(one["name"], one["fps"], one["guidance"]) for one in (slow, fast)] == [
        ("slow", 20.0, 2.0),
        ("fast", 40.0, 3.0),
    ]
    assert (slow["longest_seconds"], fast["longest_seconds"]) == (4.0, 2.0)


def test_the_one_that_is_named_answers_and_else_the_first(
    client: TestClient, models: dict[str, MotionGPT3]
) -> None:
    for name, model, asked in (
        ("slow", models["slow"], {}),
        ("slow", models["slow"], {"model": "slow"}),
        ("fast", models["fast"], {"model": "fast"}),
    ):
        info = generated(client, seed=4, **asked)
        (expected,) = model.generate(["jump"], round(model.fps), seeds=[4])
        torch.testing.assert_close(joints(client, info), expected.joints)
        assert (info["model"], info["fps"], info["seconds"]) == (name, model.fps, 1.0)
        assert info["command"].endswith(f"--model {name}")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/generate", {"prompt": "jump"}),
        ("/api/timeline", {"segments": [{"prompt": "jump"}]}),
        ("/api/chat", {"text": "jump"}),
        ("/api/continue", {}),
        ("/api/inbetween", {}),
        ("/api/caption", {}),
    ],
)
def test_a_model_that_is_not_there_is_refused(client: TestClient, path: str, body: dict[str, Any]) -> None:
    if not body:
        body = {"motion": generated(client)["id"]}
    answer = client.post(path, json={**body, "model": "large"})
    assert answer.status_code == 422
    assert answer.json()["detail"] == "no model 'large': choose from slow, fast"


def test_a_motion_stays_with_the_model_that_made_it(client: TestClient) -> None:
    made = generated(client, model="fast")
    (longer,) = post(client, "/api/continue", motion=made["id"], seconds=0.5)["motions"]
    assert (longer["model"], longer["fps"], longer["frames"], longer["given"]) == (
        "fast",
        40.0,
        60,
        [[0, 40]],
    )
    (filled,) = post(client, "/api/inbetween", motion=made["id"])["motions"]
    assert (filled["model"], filled["frames"]) == ("fast", 40)
    (told,) = post(client, "/api/chat", text="go on", task="pred", motion=made["id"], seconds=0.5)["motions"]
    assert told["model"] == "fast"


def test_a_motion_that_goes_to_another_model_is_brought_to_its_rate(
    client: TestClient, models: dict[str, MotionGPT3]
) -> None:
    made = generated(client, model="fast")
    (longer,) = post(client, "/api/continue", motion=made["id"], model="slow", seconds=1)["motions"]
    assert (longer["model"], longer["fps"], longer["frames"], longer["given"]) == (
        "slow",
        20.0,
        40,
        [[0, 20]],
    )
    assert torch.equal(joints(client, longer)[:20], joints(client, made)[::2])
    text = post(client, "/api/caption", motion=made["id"], model="slow")["text"]
    given = unpack_motion(client.get(f"/api/motions/{made['id']}/frames").content).resample(20.0)
    assert text == models["slow"].caption([given])[0]


def test_a_conversation_remembers_its_model_and_can_go_on_with_another(client: TestClient) -> None:
    first = post(client, "/api/chat", text="jump", task="t2m", seconds=1, model="fast")
    name = first["conversation"]
    second = post(client, "/api/chat", text="turn", task="t2m", seconds=1, conversation=name)
    assert second["motions"][0]["model"] == "fast"
    # What was made last is taken along, at the other model's rate.
    third = post(client, "/api/chat", text="on", task="pred", seconds=1, conversation=name, model="slow")
    (info,) = third["motions"]
    assert (third["conversation"], info["model"], info["given"]) == (name, "slow", [[0, 20]])
    assert torch.equal(joints(client, info)[:20], joints(client, second["motions"][0])[::2])
