from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.web.guard import Guard, Rules
from motiongpt3.web.metrics import Metrics
from tests import tiny
from tests.web.serving import served


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MotionGPT3:
    return tiny.model(tiny.save_backbone(tmp_path_factory.mktemp("backbone")))


@pytest.fixture(scope="module")
def client(model: MotionGPT3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with served(model, tmp_path_factory.mktemp("out")) as client:
        yield client


@pytest.fixture(scope="module")
def locked(model: MotionGPT3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    rules = Rules(hosts=frozenset(), token="a-secret-word")
    with served(model, tmp_path_factory.mktemp("locked"), rules) as client:
        yield client


def test_other_names_of_this_machine_are_refused(client: TestClient) -> None:
    assert client.get("/api/info", headers={"Host": "localhost:8888"}).status_code == 200
    assert client.get("/api/info", headers={"Host": "[::1]:8888"}).status_code == 200
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "[", ""):
        assert client.get("/api/info", headers={"Host": host}).status_code == 421


def test_pages_of_other_sites_cannot_ask(client: TestClient) -> None:
    body = {"prompt": "jump", "seconds": 1}
    for origin in ("http://evil.example", "null", "http://localhost:1234"):
        assert client.post("/api/generate", json=body, headers={"Origin": origin}).status_code == 403
    assert client.post("/api/generate", json=body, headers={"Origin": "http://localhost"}).status_code == 200


def test_a_page_may_load_nothing_from_elsewhere(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert client.get("/api/info").headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in client.get("/api/info").headers


def test_without_the_token_nothing_but_health_is_told(locked: TestClient) -> None:
    for path in ("/", "/api/info", "/metrics", "/docs", "/openapi.json", "/assets/app.js"):
        assert locked.get(path).status_code == 401
    assert locked.post("/api/generate", json={"prompt": "jump"}).status_code == 401
    for wrong in ("Bearer a-secret-wor", "Bearer ", "a", "Bearer \u00e4"):
        headers = {"Authorization": wrong.encode("utf-8")}
        assert locked.get("/api/info", headers=headers).status_code == 401
    assert locked.get("/?token=wrong", follow_redirects=False).status_code == 401
    assert locked.get("/health").status_code == 200
    assert locked.get("/ready").status_code == 200


def test_the_token_opens(locked: TestClient) -> None:
    headers = {"Authorization": "Bearer a-secret-word"}
    assert locked.get("/api/info", headers=headers).status_code == 200
    answer = locked.get("/", params={"token": "a-secret-word", "prompt": "jump"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/?prompt=jump")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    kept = {"Cookie": cookie.partition(";")[0]}
    assert locked.get("/api/info", headers=kept).status_code == 200


def test_bodies_that_are_too_large_are_refused_whatever_they_announce(client: TestClient) -> None:
    answer = client.post("/api/generate", content=b"x" * 200_000)
    assert answer.status_code == 413
    assert "at most" in answer.json()["detail"]

    def chunks() -> Iterator[bytes]:
        for _ in range(30):
            yield b"x" * 2**20

    assert client.post("/api/motions?name=a.npy", content=chunks()).status_code == 413


def run(asked: Coroutine[Any, Any, None]) -> None:
    """In a thread of its own: Playwright, once started, has an event loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, asked).result()


def ask(app: Any, messages: list[Any], rules: Rules) -> list[Any]:
    """What a guarded app sends to a client whose messages come when they come."""
    sent: list[Any] = []

    async def receive() -> Any:
        if messages:
            return messages.pop(0)
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/generate",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    run(Guard(app, rules, Metrics())(scope, receive, send))
    return sent


def test_a_body_that_does_not_arrive_is_not_waited_for() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass

    part = {"type": "http.request", "body": b"x", "more_body": True}
    sent = ask(app, [part], Rules(body_seconds=0.05))
    assert sent[0]["status"] == 408
    assert b"took too long" in sent[1]["body"]


def test_websockets_are_not_served() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the app was asked")

    run(Guard(app, Rules(), Metrics())({"type": "websocket"}, None, None))  # type: ignore[arg-type]
