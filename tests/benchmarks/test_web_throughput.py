from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import web_throughput
from tests import tiny
from tests.web.running import running

pytest.importorskip("fastapi", reason="the extra web is not installed")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = tiny.model(tiny.save_backbone(tmp_path_factory.mktemp("backbone")))
    with running(model, tmp_path_factory.mktemp("out"), gradio=False, keep=3600.0) as address:
        yield address


def run(address: str, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any], str]:
    code = web_throughput.main([address, "--clients", "3", "--seconds", "0.3", "--warm_up", "0.1", *options])
    printed = capsys.readouterr().out
    return code, json.loads(printed.splitlines()[-1])["results"][0], printed


def test_a_server_that_is_well_passes(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, numbers, _ = run(address, capsys)
    assert (code, numbers["wrong"], numbers["clients"]) == (0, 0, 3)
    assert numbers["motions"] >= 3
    kept = web_throughput.request(address, "GET", "/metrics").decode()
    assert "motiongpt3_motions_kept 0.0" in kept


def test_requests_that_fail_are_told(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, numbers, printed = run(address, capsys, "--model", "large")
    assert code == 1
    assert (numbers["motions"], numbers["wrong"] > 0) == (0, True)
    assert "no model 'large'" in printed


def test_a_server_that_is_not_there_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = "http://127.0.0.1:9"
    assert not web_throughput.wait_for(nowhere, 0.0)
    monkeypatch.setattr(web_throughput, "wait_for", lambda address: False)
    assert web_throughput.main([nowhere]) == 2
    assert f"no server that is ready at {nowhere}" in capsys.readouterr().err


def test_memory_that_grows_is_told(
    address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = iter([1000.0, 1100.0])
    monkeypatch.setattr(web_throughput, "memory", lambda address: next(sizes))
    code, _, printed = run(address, capsys)
    assert code == 1
    assert "memory grew from 1000 to 1100 MiB" in printed


def test_a_queue_that_is_not_fair_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clients = web_throughput.Clients("", 2, None)

    def ask(seconds: float) -> float:
        clients.waits = [[0.1] * 9, [0.1] * 3]
        return 1.0

    monkeypatch.setattr(clients, "ask", ask)
    monkeypatch.setattr(web_throughput, "memory", lambda address: 1000.0)
    web_throughput.measured(clients, 1.0, 0.0)
    assert clients.wrong == ["unfair: 3 to 9 answers per client"]
