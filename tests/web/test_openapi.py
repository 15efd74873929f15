"""The document of the interface, which its page is made from: each endpoint, with an example that works."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.motion.formats import write_motion
from motiongpt3.web.schemas import SOME_MOTION
from tests import tiny
from tests.web.serving import served

ENDPOINTS = {
    "POST /api/generate",
    "POST /api/continue",
    "POST /api/inbetween",
    "POST /api/timeline",
    "POST /api/caption",
    "POST /api/chat",
    "POST /api/motions",
    "GET /api/motions/{motion}",
    "DELETE /api/motions/{motion}",
    "GET /api/motions/{motion}/frames",
    "GET /api/motions/{motion}/files/{format}",
    "POST /api/convert",
    "GET /api/info",
    "GET /health",
    "GET /ready",
    "GET /metrics",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MotionGPT3:
    return tiny.model(tiny.save_backbone(tmp_path_factory.mktemp("backbone")))


@pytest.fixture(scope="module")
def client(model: MotionGPT3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with served(model, tmp_path_factory.mktemp("out")) as client:
        yield client


@pytest.fixture(scope="module")
def bvh(model: MotionGPT3, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.bvh"
    write_motion(model.generate(["jump"], 24)[0], path)
    return path.read_bytes()


def example(document: dict[str, Any], body: dict[str, Any]) -> Any:
    """The example of a body in JSON."""
    name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    return document["components"]["schemas"][name]["examples"][0]


def test_every_endpoint_has_an_example_that_works(client: TestClient, bvh: bytes) -> None:
    document = client.get("/openapi.json").json()
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert {f"{method} {path}" for method, path, _ in operations} >= ENDPOINTS
    known = {tag["name"] for tag in document["tags"]}
    for method, path, operation in operations:
        assert operation["description"]
        assert set(operation["tags"]) <= known
        motion = client.post("/api/motions?name=clip.bvh", content=bvh).json()["id"]
        given = {
            one["name"]: one["schema"]["examples"][0].replace(SOME_MOTION, motion)
            for one in operation.get("parameters", [])
            if one.get("required")
        }
        content: Any = None
        kind = "application/octet-stream"
        if body := operation.get("requestBody"):
            (kind,) = body["content"]
            is_json = kind == "application/json"
            content = json.dumps(example(document, body)).replace(SOME_MOTION, motion) if is_json else bvh
        headers = {"Content-Type": kind}
        answer = client.request(method, path.format(**given), params=given, content=content, headers=headers)
        assert answer.is_success, f"{method} {path}: {answer.text}"


def test_its_page_is_here(client: TestClient) -> None:
    answer = client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
