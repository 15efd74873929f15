"""How many pictures a second the viewer of the web app draws, and what one costs, in headless Chromium.

Against a server that runs already (``motiongpt3 serve``). Without a graphics card Chromium draws with
SwiftShader, on the processor: pictures a second are then a lower bound that says more about the machine than
about the page. What does not depend on it: draw calls and triangles (shadows included), and the microseconds
that posing takes. The page's own milliseconds are all it does for a picture, the hand-over to the browser's
graphics process included.

Prints one line per kind and number of figures and one line of JSON last. Needs Playwright and Chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from typing import Any

from playwright.sync_api import Page, sync_playwright

FIGURES = ("body", "capsules", "bones")
NEWEST = "[...document.querySelectorAll('.answer .viewer')].at(-1).viewer"
WATCH = """async ([viewer, seconds]) => {
    const { stage } = viewer, { show, draw } = stage, began = performance.now();
    let pictures = 0, own = 0;
    const timed = (method, last) => (...given) => {
        const start = performance.now(), result = method.apply(stage, given);
        own += performance.now() - start;
        pictures += last;
        return result;
    };
    stage.show = timed(show, 0);
    stage.draw = timed(draw, 1);
    await new Promise(done => setTimeout(done, seconds * 1000));
    delete stage.show;
    delete stage.draw;
    const took = (performance.now() - began) / 1000;
    return { pictures_a_second: pictures / took, own_milliseconds: own / pictures, ...stage.counts };
}"""
POSE = """viewer => {
    viewer.pause();
    const times = 3000, pose = () => {
        for (let time = 0; time < times; time++) viewer.stage.show((time % viewer.frames) + 0.5);
    };
    pose();
    const began = performance.now();
    pose();
    return (1000 * (performance.now() - began)) / times;
}"""


def watched(page: Page, address: str, figure: str, count: int, seconds: float) -> dict[str, Any]:
    """What playing ``count`` figures of a kind costs."""
    page.goto(address)
    page.evaluate(f"localStorage.setItem('figure', '{figure}')")
    page.goto(f"{address}/?prompt=a+man+runs+forward&seconds=4&seed=1&count={count}")
    page.wait_for_selector(".answer .viewer")
    viewer = page.evaluate_handle(NEWEST)
    while set(page.evaluate("viewer => viewer.figures", viewer)) != {figure}:
        page.wait_for_timeout(100)
    page.evaluate(WATCH, [viewer, 1])
    found: dict[str, Any] = page.evaluate(WATCH, [viewer, seconds])
    posing: float = page.evaluate(POSE, viewer)
    return {"figure": figure, "count": count, "posing_microseconds": posing, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", default="http://127.0.0.1:8888")
    parser.add_argument("--seconds", type=float, default=8.0)
    options = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    arguments = [
        "--no-sandbox",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        "--ignore-gpu-blocklist",
    ]
    results = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.set_default_timeout(180_000)
        for figure in FIGURES:
            for count in (1, 4):
                found = watched(page, options.address, figure, count, options.seconds)
                print(
                    f"{figure:9}{count:2} figures: {found['pictures_a_second']:5.1f} pictures a second, "
                    f"{found['own_milliseconds']:5.2f} ms each, of which posing "
                    f"{found['posing_microseconds']:.0f} µs, {found['calls']} draw calls, "
                    f"{found['triangles']} triangles"
                )
                results.append(found)
        browser.close()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
