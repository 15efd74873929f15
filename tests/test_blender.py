from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from motiongpt3.blender import VARIABLE, find_blender, run_in_blender
from motiongpt3.errors import InputError, MissingDependencyError


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for Blender that is found on the path and prints its arguments."""
    monkeypatch.delenv(VARIABLE, raising=False)
    folder = tmp_path / "bin"
    folder.mkdir()
    path = folder / "blender"
    path.write_text(
        f'#!{sys.executable}\nimport sys; open("{tmp_path}/said", "w").write(" ".join(sys.argv[1:]))'
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    return path


def test_the_executable_runs_without_scripts_of_files(program: Path, tmp_path: Path) -> None:
    run_in_blender(tmp_path / "do.py", ["read", tmp_path / "a b.fbx"])
    said = (tmp_path / "said").read_text()
    assert said == (
        "--background --factory-startup --disable-autoexec --python-exit-code 3 "
        f"--python {tmp_path}/do.py -- read {tmp_path}/a b.fbx"
    )


def test_bpy_in_this_python_comes_first(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_blender()[0] == str(program)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "bpy" else None)
    assert find_blender() == [sys.executable]
    monkeypatch.setenv(VARIABLE, str(program))
    assert find_blender()[0] == str(program)


def test_the_variable_may_name_a_python(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, sys.executable)
    assert find_blender() == [sys.executable]
    (tmp_path / "do.py").write_text("import sys, pathlib; pathlib.Path(sys.argv[-1]).write_text('done')")
    run_in_blender(tmp_path / "do.py", [tmp_path / "result"])
    assert (tmp_path / "result").read_text() == "done"
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nothing"))
    with pytest.raises(MissingDependencyError, match="nothing', which is no program"):
        find_blender()


def test_what_is_missing_is_named(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(
        MissingDependencyError, match=r"writing FBX needs Blender: pip install 'motiongpt3\[bl"
    ):
        find_blender("writing FBX")


def test_failures_and_endless_scripts_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, sys.executable)
    (tmp_path / "fail.py").write_text("print('hello'); raise RuntimeError('no skeleton')")
    with pytest.raises(InputError, match=r"reading a.fbx failed in Blender: RuntimeError: no skeleton"):
        run_in_blender(tmp_path / "fail.py", [], "reading a.fbx")
    (tmp_path / "loop.py").write_text("import threading; threading.Event().wait()")
    with pytest.raises(InputError, match="did not finish in 0 s"):
        run_in_blender(tmp_path / "loop.py", [], timeout=0.3)
