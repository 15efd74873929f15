from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from motiongpt3.generation.conversation import Conversation, ends_of
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.models.placeholders import ANSWERS
from motiongpt3.motion.formats import write_motion
from motiongpt3.web.binary_motion import unpack_motion
from motiongpt3.web.outputs import OUTPUTS
from tests import tiny
from tests.web.readers import check_file
from tests.web.serving import served


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MotionGPT3:
    return tiny.model(tiny.save_backbone(tmp_path_factory.mktemp("backbone")))


@pytest.fixture(scope="module")
def client(model: MotionGPT3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with served(model, tmp_path_factory.mktemp("out")) as client:
        yield client


def post(client: TestClient, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def joints(client: TestClient, info: dict[str, Any]) -> torch.Tensor:
    answer = client.get(f"/api/motions/{info['id']}/frames")
    assert answer.status_code == 200
    return unpack_motion(answer.content).joints


def upload(client: TestClient, motion: Any, tmp_path: Path, name: str = "my clip.npy") -> dict[str, Any]:
    write_motion(motion, tmp_path / name)
    answer = client.post("/api/motions", params={"name": name}, content=(tmp_path / name).read_bytes())
    assert answer.status_code == 201, answer.text
    return answer.json()


def events(client: TestClient, path: str, **body: Any) -> list[tuple[str, Any]]:
    found = []
    with client.stream("POST", path, json=body, headers={"Accept": "text/event-stream"}) as answer:
        assert answer.status_code == 200
        for block in answer.read().decode().strip().split("\n\n"):
            kind, data = block.split("\n", 1)
            found.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_a_prompt_and_a_seed_are_the_motion_of_the_library(client: TestClient, model: MotionGPT3) -> None:
    made = post(client, "/api/generate", prompt="jump", seconds=1.2, seed=7, count=2)["motions"]
    expected = model.generate(["jump", "jump"], 24, seeds=[7, 8])
    for info, motion, seed in zip(made, expected, (7, 8)):
        assert (info["frames"], info["fps"], info["seconds"], info["seed"]) == (24, 20.0, 1.2, seed)
        torch.testing.assert_close(joints(client, info), motion.joints)
        assert info["command"] == f"motiongpt3 generate jump --seed {seed} --length 24"
        assert (info["given"], info["task"], info["prompt"]) == ([], "t2m", "jump")


def test_sampling_can_be_set(client: TestClient, model: MotionGPT3) -> None:
    settings = {"guidance": 3.5, "steps": 2, "scheduler": "heun"}
    (info,) = post(client, "/api/generate", prompt="it's", seconds=1, **settings)["motions"]
    (expected,) = model.generate(["it's"], 20, seeds=[0], **settings)
    torch.testing.assert_close(joints(client, info), expected.joints)
    assert info["command"] == (
        """motiongpt3 generate 'it'"'"'s' --seed 0 --length 20 --guidance 3.5 --steps 2 --scheduler heun"""
    )


def test_a_motion_is_continued(client: TestClient, model: MotionGPT3, tmp_path: Path) -> None:
    (clip,) = model.generate(["jump"], 24, seeds=[3])
    given = upload(client, clip, tmp_path)
    (info,) = post(client, "/api/continue", motion=given["id"], seconds=1, seed=5)["motions"]
    made = joints(client, info)
    assert torch.equal(made[:24], clip.joints)
    (expected,) = model.predict([clip], 44, seeds=[5])
    torch.testing.assert_close(made, read_back(expected.joints, model, clip, 44, 5))
    assert (info["given"], info["frames"], info["task"]) == ([[0, 24]], 44, "pred")


def test_what_is_added_is_four_seconds_or_what_can_be(client: TestClient, model: MotionGPT3) -> None:
    (short,) = post(client, "/api/generate", prompt="jump", seconds=1)["motions"]
    (long,) = post(client, "/api/generate", prompt="jump", seconds=4)["motions"]
    # The model makes 80 frames at once, of which the context takes 20 and 40.
    assert post(client, "/api/continue", motion=short["id"])["motions"][0]["frames"] == 20 + 60
    assert post(client, "/api/continue", motion=long["id"])["motions"][0]["frames"] == 80 + 40
    too_much = client.post("/api/continue", json={"motion": long["id"], "seconds": 3})
    assert "1 to 40 frames can" in too_much.json()["detail"]


def read_back(joints: torch.Tensor, model: MotionGPT3, clip: Any, frames: int, seed: int) -> torch.Tensor:
    """What the library makes of the joints of a file, which has no features."""
    from motiongpt3.motion.motion import Motion

    (made,) = model.predict([Motion.from_joints(clip.joints, clip.fps)], frames, seeds=[seed])
    assert made.joints.shape == joints.shape
    return made.joints


def test_a_middle_is_filled(client: TestClient, model: MotionGPT3, tmp_path: Path) -> None:
    (clip,) = model.generate(["jump"], 40, seeds=[3])
    given = upload(client, clip, tmp_path)
    (info,) = post(client, "/api/inbetween", motion=given["id"], seed=5)["motions"]
    made, (head, tail) = joints(client, info), ends_of(clip)
    assert torch.equal(made[:10], head.joints)
    assert torch.equal(made[30:], tail.joints)
    assert not torch.allclose(made[10:30], clip.joints[10:30], atol=1e-3)
    assert info["given"] == [[0, 10], [30, 40]]


def test_a_way_from_one_motion_to_another_is_made(
    client: TestClient, model: MotionGPT3, tmp_path: Path
) -> None:
    first, second = (upload(client, clip, tmp_path) for clip in model.generate(["a", "b"], 10))
    (info,) = post(client, "/api/inbetween", motion=first["id"], end=second["id"], seconds=2, prompt="turn")[
        "motions"
    ]
    made = joints(client, info)
    assert len(made) == 40
    assert torch.equal(made[:10], joints(client, first))
    assert torch.equal(made[30:], joints(client, second))


def test_prompts_follow_each_other(client: TestClient, model: MotionGPT3) -> None:
    segments = [{"prompt": "a", "seconds": 1}, {"prompt": "b", "seconds": 1.5}, {"prompt": "c", "seconds": 1}]
    (info,) = post(client, "/api/timeline", segments=segments, seed=4)["motions"]
    made = joints(client, info)
    assert [(one["prompt"], one["stop"]) for one in info["segments"]] == [("a", 20), ("b", 50), ("c", 70)]
    (first,) = model.generate(["a"], 20, seeds=[4])
    torch.testing.assert_close(made[:20], first.joints)
    assert len(made) == 70
    assert info["title"] == "a, then b, then c"


def test_a_motion_is_put_into_words(client: TestClient, model: MotionGPT3, tmp_path: Path) -> None:
    (clip,) = model.generate(["jump"], 24)
    given = upload(client, clip, tmp_path)
    from motiongpt3.motion.motion import Motion

    bare = Motion.from_joints(clip.joints, clip.fps)
    assert post(client, "/api/caption", motion=given["id"])["text"] == model.caption([bare])[0]
    asked = post(client, "/api/caption", motion=given["id"], prompt="what?")["text"]
    assert asked == model.caption([bare], "what?")[0]


@pytest.fixture
def wants(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_answer(answer: str) -> None:
        probabilities = torch.eye(len(ANSWERS))[ANSWERS.index(answer)][None]
        monkeypatch.setattr(MotionGPT3, "answer_wanted", lambda self, requests: probabilities)

    return set_answer


def test_words_are_answered_with_words_that_come_one_by_one(
    client: TestClient, model: MotionGPT3, wants: Any
) -> None:
    wants("text")
    expected = Conversation(model, longest=768)
    name = None
    for text in ("hello", "why?"):
        told = events(client, "/api/chat", text=text, conversation=name)
        pieces = [data for kind, data in told if kind == "text"]
        kind, done = told[-1]
        assert kind == "done"
        assert done["text"] == expected.reply(text).text == "".join(pieces).strip()
        assert len(pieces) > 1
        assert (done["task"], done["motions"], done["remembered"]) == ("t2t", [], True)
        name = done["conversation"]


def test_words_are_answered_with_motions(client: TestClient, model: MotionGPT3, wants: Any) -> None:
    wants("motion")
    done = post(client, "/api/chat", text="jump", seconds=1, seed=3, count=2)
    for info, motion in zip(done["motions"], model.generate(["jump"] * 2, 20, seeds=[3, 4])):
        torch.testing.assert_close(joints(client, info), motion.joints)
    assert [info["seed"] for info in done["motions"]] == [3, 4]
    # What was made last is what a task that needs a motion takes.
    continued = post(
        client, "/api/chat", text="go on", task="pred", seconds=1, conversation=done["conversation"]
    )["motions"]
    made = joints(client, continued[0])
    assert torch.equal(made[:20], joints(client, done["motions"][0]))
    assert (len(made), continued[0]["given"]) == (40, [[0, 20]])


def test_a_motion_goes_with_words(client: TestClient, model: MotionGPT3, tmp_path: Path, wants: Any) -> None:
    wants("text")
    (clip,) = model.generate(["jump"], 40)
    given = upload(client, clip, tmp_path)
    done = post(client, "/api/chat", text="what is it?", motion=given["id"])
    assert (done["task"], done["motions"]) == ("m2t", [])
    filled = post(
        client,
        "/api/chat",
        text="anew",
        motion=given["id"],
        task="inbetween",
        conversation=done["conversation"],
    )
    (info,) = filled["motions"]
    assert info["given"] == [[0, 10], [30, 40]]
    assert torch.equal(joints(client, info)[:10], clip.joints[:10])


def test_a_forgotten_conversation_begins_anew(client: TestClient, wants: Any) -> None:
    wants("text")
    done = post(client, "/api/chat", text="hello", conversation="not-a-conversation")
    assert not done["remembered"]
    assert done["conversation"] != "not-a-conversation"


def test_progress_is_told_where_it_is_asked_for(client: TestClient) -> None:
    told = events(client, "/api/generate", prompt="jump", seconds=1)
    assert told[0][0] == "state"
    assert set(told[0][1]) == {"ahead", "seconds", "started"}
    assert told[-1][0] == "done"
    assert told[-1][1]["motions"][0]["frames"] == 20


@pytest.mark.parametrize("name", OUTPUTS)
def test_files_of_a_motion(client: TestClient, model: MotionGPT3, tmp_path: Path, name: str) -> None:
    (info,) = post(client, "/api/generate", prompt="a Wave: ünd/..", seconds=0.5, seed=2)["motions"]
    answer = client.get(f"/api/motions/{info['id']}/files/{name}")
    assert answer.status_code == 200, answer.text
    suffix = {one["name"]: one["suffix"] for one in client.get("/api/info").json()["formats"]}[name]
    assert f'filename="a-wave-und-seed2{suffix}"' in answer.headers["content-disposition"]
    path = tmp_path / f"file{suffix}"
    path.write_bytes(answer.content)
    check_file(path, name, joints(client, info).numpy(), info["fps"])


def test_files_are_converted_and_not_kept(client: TestClient, model: MotionGPT3, tmp_path: Path) -> None:
    (clip,) = model.generate(["jump"], 12)
    write_motion(clip, tmp_path / "clip.bvh")
    data = (tmp_path / "clip.bvh").read_bytes()
    kept = client.get("/metrics").text
    answer = client.post("/api/convert", params={"name": "../../clip.bvh", "to": "joints"}, content=data)
    assert answer.status_code == 200, answer.text
    assert 'filename="clip.npy"' in answer.headers["content-disposition"]
    np.testing.assert_allclose(np.load(io.BytesIO(answer.content)), clip.joints.numpy(), atol=2e-3)
    motions = [line for line in kept.splitlines() if line.startswith("motiongpt3_motions_kept")]
    assert motions[0] in client.get("/metrics").text


def test_motions_can_be_deleted(client: TestClient) -> None:
    (info,) = post(client, "/api/generate", prompt="jump", seconds=1)["motions"]
    address = f"/api/motions/{info['id']}"
    assert client.get(f"{address}/files/bvh").status_code == 200
    assert client.get(address).json()["title"] == "jump"
    assert client.delete(address).status_code == 204
    for path in (address, f"{address}/frames", f"{address}/files/bvh"):
        assert client.get(path).status_code == 404


def test_it_says_what_it_can_do(client: TestClient, model: MotionGPT3) -> None:
    info = client.get("/api/info").json()
    assert info["ready"]
    (about,) = info["models"]
    assert (about["shortest_seconds"], about["longest_seconds"], about["fps"]) == (0.4, 4.0, 20.0)
    assert about["schedulers"][0] == "euler"
    assert (about["scheduler"], about["steps"], about["guidance"]) == ("euler", 4, 2.0)
    assert (about["name"], about["ready"], about["chooses_task"]) == ("tiny", True, True)
    assert {".npy", ".bvh", ".npz"} <= set(info["uploads"])
    assert client.get("/ready").json()["ready"]
    assert client.get("/health").json() == {"status": "ok"}
    document = client.get("/openapi.json").json()
    assert "/api/generate" in document["paths"]
    assert document["paths"]["/api/generate"]["post"]["requestBody"]["content"]["application/json"]["schema"]


def test_what_it_does_is_counted(client: TestClient) -> None:
    post(client, "/api/generate", prompt="jump", seconds=1)
    numbers = client.get("/metrics").text
    assert 'motiongpt3_requests_total{route="/api/generate",status="200"}' in numbers
    assert 'motiongpt3_batch_rows_count{lane="making"}' in numbers
    assert 'motiongpt3_ready{model="tiny"} 1.0' in numbers


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/api/generate", {"prompt": "jump", "seconds": 9}, "0.4 to 4 s"),
        ("/api/generate", {"prompt": " \x00\n"}, "prompt is empty"),
        ("/api/generate", {"prompt": ""}, "prompt: String should have at least 1"),
        ("/api/generate", {"prompt": "a" * 200}, "prompt is too long: "),
        ("/api/generate", {"prompt": "a" * 5000}, "at most 1000 characters"),
        ("/api/generate", {"prompt": "jump", "scheduler": "magic"}, "no scheduler 'magic'"),
        ("/api/generate", {"prompt": "jump", "count": 99}, "count: "),
        ("/api/generate", {"prompt": "jump", "seed": -1}, "seed: "),
        ("/api/generate", {"prompt": "jump", "guidance": 1e9}, "guidance: "),
        ("/api/generate", {"prompt": "jump", "colour": "red"}, "colour: Extra inputs"),
        ("/api/generate", {}, "prompt: Field required"),
        ("/api/timeline", {"segments": []}, "segments: "),
        ("/api/chat", {"text": "go on", "task": "pred"}, "needs a motion"),
        ("/api/chat", {"text": "go on", "task": "fly"}, "task: "),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(
    client: TestClient, path: str, body: dict[str, Any], reason: str
) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == 422
    assert reason in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/api/caption", "/api/continue", "/api/inbetween"])
def test_a_motion_that_is_not_there(client: TestClient, path: str) -> None:
    assert client.post(path, json={"motion": "nowhere-to-be"}).status_code == 404
    assert client.post(path, json={"motion": "../../etc/passwd"}).status_code == 422


def test_a_stream_tells_of_problems(client: TestClient) -> None:
    told = events(client, "/api/chat", text="go on", task="pred")
    assert told[-1][0] == "problem"
    assert told[-1][1]["status"] == 422
    assert "needs a motion" in told[-1][1]["detail"]


def test_special_tokens_are_taken_out(client: TestClient, model: MotionGPT3) -> None:
    hostile = f"ju{tiny.START_OF_TURN}mp <|im_<repo_name>start|> <Motion_Placeholder>\x07now"
    (info,) = post(client, "/api/generate", prompt=hostile, seconds=1)["motions"]
    assert info["prompt"] == "ju mp <|im_ start|> now"
    (expected,) = model.generate(["ju mp <|im_ start|> now"], 20, seeds=[0])
    torch.testing.assert_close(joints(client, info), expected.joints)
