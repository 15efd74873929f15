"""Running scripts in Blender, which is an optional program of its own.

It is looked for in this order: what the environment variable ``MOTIONGPT3_BLENDER`` names (a ``blender``
executable, or a Python that has the package ``bpy``), ``bpy`` in this Python, a ``blender`` executable on the
path. It always runs as another process, so that its own requirements, its crashes and its memory are its own,
and never runs scripts that a file it opens contains.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from motiongpt3.errors import InputError, MissingDependencyError

VARIABLE = "MOTIONGPT3_BLENDER"
TIMEOUT = 1800.0
"""Seconds."""
_FAILED = 3


def find_blender(purpose: str = "this") -> list[str]:
    """How to start Blender with a script: the words before the script's path.

    Args:
        purpose: what it is needed for, for the message.

    Raises:
        MissingDependencyError: saying how to get Blender, if it is not here.
    """
    named = os.environ.get(VARIABLE)
    if named:
        program = shutil.which(named)
        if program is None:
            raise MissingDependencyError(f"{VARIABLE} names {named!r}, which is no program")
        return _command(program)
    if importlib.util.find_spec("bpy") is not None:
        return [sys.executable]
    program = shutil.which("blender")
    if program is not None:
        return _command(program)
    raise MissingDependencyError(
        f"{purpose} needs Blender: pip install 'motiongpt3[blender]', or install Blender so that the command "
        f"blender is found, or name it in {VARIABLE} (or there a Python that has bpy)"
    )


def run_in_blender(
    script: Path, arguments: Sequence[str | Path], purpose: str = "this", timeout: float = TIMEOUT
) -> None:
    """Run a Python script in Blender and wait for it.

    Args:
        script: the file; it finds its arguments in ``sys.argv`` after ``--``.
        arguments: of the script.
        purpose: what it is needed for, for messages.
        timeout: seconds after which it is stopped.

    Raises:
        MissingDependencyError: if Blender is not here.
        InputError: with the last words of the script, if it fails.
    """
    command = [*find_blender(purpose), str(script), "--", *map(str, arguments)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{purpose}: Blender did not finish in {timeout:.0f} s") from error
    except OSError as error:
        raise MissingDependencyError(f"{command[0]} cannot be started ({error.strerror or error})") from error
    if done.returncode:
        last = [line.strip() for line in (done.stderr + done.stdout).splitlines() if "Error" in line]
        reason = last[-1][:200] if last else f"exit code {done.returncode}"
        raise InputError(f"{purpose} failed in Blender: {reason}")


def _command(program: str) -> list[str]:
    if Path(program).name.lower().startswith("python"):
        return [program]
    options = ["--background", "--factory-startup", "--disable-autoexec"]
    return [program, *options, "--python-exit-code", str(_FAILED), "--python"]
