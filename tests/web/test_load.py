"""Many clients at once, and those that behave badly, against a server on a port of this machine."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch

from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.web.binary_motion import unpack_motion
from motiongpt3.web.guard import Rules
from tests import tiny
from tests.web.running import running

CLIENTS, REQUESTS = 32, 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MotionGPT3:
    return tiny.model(tiny.save_backbone(tmp_path_factory.mktemp("backbone")))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def address(model: MotionGPT3, out: Path) -> Iterator[str]:
    with running(model, out, gradio=False, rules=Rules(body_seconds=1.0)) as address:
        yield address


def get(address: str) -> bytes:
    return bytes(urllib.request.urlopen(address, timeout=60).read())


def post(address: str, body: dict[str, Any], client: str = "test") -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "X-Client": client}
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)
    return dict(json.loads(urllib.request.urlopen(request, timeout=120).read()))


def open_socket(address: str) -> socket.socket:
    where = urlsplit(address)
    return socket.create_connection((where.hostname, where.port), timeout=60)


def request_bytes(path: str, body: bytes, length: int | None = None) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def test_many_clients_get_each_their_own(address: str, model: MotionGPT3) -> None:
    answers: dict[int, torch.Tensor] = {}
    wrong: list[str] = []

    def ask(client: int) -> None:
        try:
            for number in range(REQUESTS):
                seed = client * REQUESTS + number
                body = {"prompt": f"jump {client}", "seconds": 0.5 + client % 3, "seed": seed}
                (info,) = post(f"{address}/api/generate", body, f"client{client}")["motions"]
                answers[seed] = unpack_motion(get(f"{address}/api/motions/{info['id']}/frames")).joints
        except Exception as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(answers) == CLIENTS * REQUESTS
    for seed in (0, 31, 64, 95):
        client = seed // REQUESTS
        frames = round((0.5 + client % 3) * 20)
        (expected,) = model.generate([f"jump {client}"], frames, seeds=[seed])
        torch.testing.assert_close(answers[seed], expected.joints, atol=1e-4, rtol=0)
    numbers = dict(
        line.rsplit(" ", 1) for line in get(f"{address}/metrics").decode().splitlines() if line[0] != "#"
    )
    passes = float(numbers['motiongpt3_batch_rows_count{lane="making"}'])
    assert passes < CLIENTS * REQUESTS / 3
    assert not [line for line in numbers if 'status="5' in line]


def test_clients_that_leave_stop_their_work(address: str) -> None:
    body = json.dumps(
        {"prompt": "jump", "seconds": 4, "steps": 200, "count": 4, "scheduler": "heun"}
    ).encode()
    leavers = [open_socket(address) for _ in range(6)]
    for leaver in leavers:
        leaver.sendall(request_bytes("/api/generate", body))
    for leaver in leavers:
        leaver.close()
    (info,) = post(f"{address}/api/generate", {"prompt": "jump", "seconds": 1})["motions"]
    assert info["frames"] == 20
    numbers = get(f"{address}/metrics").decode()
    assert 'motiongpt3_waiting{lane="making"} 0.0' in numbers


def test_clients_that_are_slow_are_not_waited_for(address: str) -> None:
    with open_socket(address) as slow:
        slow.sendall(request_bytes("/api/generate", b'{"prompt"', 500))
        assert slow.recv(4096).startswith(b"HTTP/1.1 408")
    with open_socket(address) as large:
        large.sendall(request_bytes("/api/motions?name=a.npy", b"", 10**12))
        assert large.recv(4096).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/assets/../../server.py",
        "/assets/%2e%2e/%2e%2e/server.py",
        "/..%2f..%2fserver.py",
        "//etc/passwd",
        "/api/motions/..%2f..%2fetc/frames",
        "/api/motions/aaaaaaaaaaaaaaaa/files/../../../etc",
        "/api/motions/aaaaaaaaaaaaaaaa/files/%2e%2e%2f%2e%2e",
    ],
)
def test_nothing_outside_can_be_read(address: str, path: str) -> None:
    with open_socket(address) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.split(b" ")[1] in (b"404", b"422")
    assert b"root:" not in answer
    assert b"make_app" not in answer


def test_hostile_files_leave_nothing_behind_and_the_server_well(address: str, out: Path) -> None:
    before = sorted(path.name for path in out.iterdir())
    for name, data in (
        ("a.npy", b"\x93NUMPY" + bytes(200)),
        ("a.bvh", b"HIERARCHY\n" + b"{" * 50_000),
        ("../../a.npz", b"PK\x03\x04" + bytes(200)),
        ("a.exe", b"MZ"),
    ):
        request = urllib.request.Request(f"{address}/api/motions?name={name}", data, method="POST")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=60)
        assert caught.value.code == 422
    assert sorted(path.name for path in out.iterdir()) == before
    assert json.loads(get(f"{address}/ready"))["ready"]
