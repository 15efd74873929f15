"""The page in Chromium, driven by Playwright: opening it, asking, and looking at what came."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

TIMEOUT = 90_000  # milliseconds; without a graphics card every frame is drawn by the processor
NEWEST = ".turn:last-child .answer"


@contextmanager
def opened(
    browser: Any, address: str, path: str = "", ready: str = ".pill[data-state=ready]"
) -> Iterator[Any]:
    """The page in a small window; asking another machine, or complaining, fails.

    Args:
        browser: the browser.
        address: of the server.
        path: of the page there.
        ready: selector of what is there once it is ready.
    """
    context = browser.new_context(viewport={"width": 640, "height": 560}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(TIMEOUT)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("request", lambda asked: wrong.append(asked.url) if _is_elsewhere(asked.url, address) else None)
    page.goto(f"{address}/{path}")
    page.wait_for_selector(ready)
    yield page
    context.close()
    assert [line for line in wrong if not line.startswith("Failed to load resource")] == []


def _is_elsewhere(url: str, address: str) -> bool:
    return not url.startswith((f"{address}/", "data:", "blob:"))


def say(page: Any, words: str) -> None:
    """Type words and send them."""
    page.fill("#text", words)
    page.press("#text", "Enter")


def wait_for_reply(page: Any) -> None:
    """Wait until what was asked for is there, whatever it is."""
    page.wait_for_selector(".send[aria-label^=Send]")


def wait_until(true: Callable[[], bool]) -> None:
    """Ask from here: Playwright's own waiting for a function is kept from the page by its content policy."""
    end = time.monotonic() + TIMEOUT / 1000
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def shown_joints(page: Any) -> np.ndarray:
    """The joints that the newest viewer has."""
    script = "Array.from([...document.querySelectorAll('.answer .viewer')].at(-1).viewer.joints)"
    return np.array(page.evaluate(script), np.float32).reshape(-1, 22, 3)


def frame(page: Any) -> int:
    """The frame that the newest viewer shows."""
    return int(page.evaluate("[...document.querySelectorAll('.answer .viewer')].at(-1).viewer.currentFrame"))


def picture(page: Any) -> bytes:
    """The newest figure, as a PNG."""
    return bytes(page.locator(f"{NEWEST} canvas").screenshot())


def downloaded(page: Any, name: str, folder: Path) -> Path:
    """A file of the newest motion, by what its link says."""
    with page.expect_download() as started:
        page.locator(f"{NEWEST} .tools").get_by_role("link", name=name, exact=True).click()
    path = folder / started.value.suggested_filename
    started.value.save_as(path)
    return path
