from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from motiongpt3.cli import serve as verb
from motiongpt3.cli.main import VERBS, _parser, main

pytest.importorskip("fastapi", reason="the extra web is not installed")


def test_the_options_are_these() -> None:
    _, options = _parser(verb.serve, "motiongpt3 serve", VERBS["serve"])
    own = {
        "host",
        "port",
        "model",
        "model+",
        "out",
        "token",
        "keep",
        "timeout",
        "batch",
        "gradio",
        "no_gradio",
        "device",
    }
    assert options == {f"--{name}" for name in own | {"help", "config", "print_config", "debug"}} | {"-h"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--port", "99999"], "port is 99999"),
        (["--keep", "soon"], "keep is 'soon'"),
        (["--token", "short"], "at least 8"),
        (["--token", "has;semicolon and space"], "at least 8"),
        (["--batch", "0"], "batch from 1 to 64"),
        (["--timeout", "0"], "at least 1 second"),
        (["--model", "/nowhere/model"], "/nowhere/model"),
        (["--model", "mini", "--model", "mini"], "mini is named twice"),
        (["--out", "full"], "full has files of something else"),
        (["--out", "file"], "file is a file"),
        (["--host", "not an address"], "cannot listen at"),
    ],
)
def test_what_cannot_be_is_refused(
    options: list[str],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    assert main(["serve", "--no_gradio", *options]) == 2
    assert reason in capsys.readouterr().err
    assert (tmp_path / "full" / "thesis.txt").exists()


def started(options: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], Any]:
    """Models and settings of a server that is not let run."""
    import uvicorn

    import motiongpt3.web.server as server

    monkeypatch.chdir(folder)
    made: list[Any] = []
    make_app = server.make_app
    monkeypatch.setattr(server, "make_app", lambda *given: made.append(given) or make_app(*given))
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: sockets[0].close())
    assert main(["serve", "--no_gradio", "--port", "0", *options]) == 0
    return made[0]


@pytest.mark.parametrize(
    ("options", "models"),
    [
        ([], [("mini", "models/mini")]),
        (["--model", "mini"], [("mini", "mini")]),
        (["--model", "mini", "--model=owner/large"], [("mini", "mini"), ("large", "owner/large")]),
    ],
)
def test_models_are_served_by_name(
    options: list[str], models: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOTIONGPT3_MODEL", raising=False)
    made, _ = started(options, tmp_path, monkeypatch)
    assert [(one.name, one.source) for one in made] == models


def test_the_model_may_be_set_for_all_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTIONGPT3_MODEL", "owner/large")
    ((large,), _) = started([], tmp_path, monkeypatch)
    assert (large.name, large.source) == ("large", "owner/large")


@pytest.mark.parametrize(
    ("options", "token", "any_host"),
    [
        ([], None, False),
        (["--token", "a-secret-word"], "a-secret-word", False),
        (["--host", "0.0.0.0"], "made", True),
        (["--host", "0.0.0.0", "--token", "a-secret-word"], "a-secret-word", True),
        (["--host", "0.0.0.0", "--token", "none"], None, True),
    ],
)
def test_who_is_let_in(
    options: list[str],
    token: str | None,
    any_host: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, how = started(options, tmp_path, monkeypatch)
    printed = capsys.readouterr().out.strip()
    if token == "made":
        assert len(how.rules.token) > 16
        token = how.rules.token
    assert how.rules.token == token
    assert (how.rules.hosts == frozenset()) is any_host
    assert printed.endswith(f"/?token={token}" if token else "/")
    assert how.keep == 3600
