"""The page in a real browser: Chromium, driven by Playwright; skipped where there is none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from motiongpt3.body.embedded import embedded_body
from motiongpt3.body.fitting import fit_body
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.models.placeholders import ANSWERS
from motiongpt3.motion.formats import write_motion
from motiongpt3.motion.motion import Motion
from tests import tiny
from tests.figures import raising_arm
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
from tests.web.readers import check_file
from tests.web.running import running

VERTICES = """viewer => {
    const { mesh, skeleton } = viewer.stage.figures[0], found = [];
    const { position, skinIndex, skinWeight } = mesh.geometry.attributes;
    for (let vertex = 0; vertex < position.count; vertex += 50) {
        const [x, y, z] = position.array.slice(vertex * 3, vertex * 3 + 3), place = [0, 0, 0];
        for (let bone = 4 * vertex; bone < 4 * vertex + 4; bone++) {
            const first = 16 * skinIndex.array[bone], m = skeleton.boneMatrices.slice(first, first + 16);
            for (let axis = 0; axis < 3; axis++)
                place[axis] +=
                    skinWeight.array[bone] * (m[axis] * x + m[4 + axis] * y + m[8 + axis] * z + m[12 + axis]);
        }
        found.push(place);
    }
    return found;
}"""
"""Where the graphics card puts every 50th vertex of a viewer's first figure."""
GREEN = """viewer => {
    const { width, height } = viewer.canvas;
    const pixels = viewer.canvas.getContext("2d").getImageData(0, 0, width, height).data;
    let count = 0;
    for (let at = 0; at < pixels.length; at += 4)
        count += pixels[at + 1] > pixels[at] + 20 && pixels[at + 1] > pixels[at + 2] + 8;
    return count / (width * height);
}"""
"""How much of a viewer's picture is green."""
COUNT_PICTURES = """viewer => {
    const { stage } = viewer, draw = stage.draw;
    viewer.pictures = 0;
    stage.draw = seconds => {
        viewer.pictures++;
        return draw.call(stage, seconds);
    };
}"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MotionGPT3:
    return tiny.model(tiny.save_backbone(tmp_path_factory.mktemp("backbone")))


@pytest.fixture(scope="module")
def address(model: MotionGPT3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        # What a random model wants cannot be foretold: a question is answered, anything else is done.
        patch.setattr(MotionGPT3, "answer_wanted", _wanted)
        with running(model, tmp_path_factory.mktemp("out"), gradio=False) as address:
            yield address


def _wanted(self: MotionGPT3, requests: list[str]) -> torch.Tensor:
    answer = "text" if requests[0].endswith("?") else "motion"
    return torch.eye(len(ANSWERS))[ANSWERS.index(answer)][None]


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with opened(browser, address) as page:
        yield page


def test_words_become_a_figure_that_moves(page: Any, model: MotionGPT3, tmp_path: Path) -> None:
    page.click("summary")
    page.fill("#seed", "7")
    page.fill("#seconds", "1.2")
    say(page, "jump")
    page.wait_for_selector(f"{NEWEST} .viewer")
    (expected,) = model.generate(["jump"], 24, seeds=[7])
    np.testing.assert_allclose(shown_joints(page), expected.joints.numpy(), atol=1e-5)
    wait_for_figure(page, "body")
    # The picture changes with the frame, and is the same again at the same frame.
    page.locator(f"{NEWEST} canvas").focus()
    page.keyboard.press("f")
    page.keyboard.press("Home")
    assert frame(page) == 0
    first = picture(page)
    page.keyboard.press("Shift+ArrowRight")
    assert frame(page) == 10
    assert picture(page) != first
    page.keyboard.press("Home")
    assert picture(page) == first
    page.keyboard.press("End")
    assert frame(page) == 23
    # It plays by itself, and stands when told.
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    wait_until(lambda: frame(page) > 0)
    page.keyboard.press("Space")
    assert page.locator(f"{NEWEST} .controls button").first.get_attribute("aria-label").startswith("Play")
    # Every file opens with something else than what wrote it.
    links = {"npy": "joints", "BVH": "bvh", "GLB": "glb", "AMASS": "amass", "mp4": "mp4"}
    row = page.locator(f"{NEWEST} .tools").get_by_role("group", name="Download")
    assert row.get_by_role("link").all_text_contents() == list(links)
    for link, kind in links.items():
        file = downloaded(page, link, tmp_path)
        assert file.stem == "jump-seed7"
        check_file(file, kind, shown_joints(page), 20.0)
    command = page.locator("[data-copies^='motiongpt3']").get_attribute("data-copies")
    assert command == "motiongpt3 generate jump --seed 7 --length 24"


def test_a_shared_address_makes_the_same_again(page: Any, address: str, model: MotionGPT3) -> None:
    page.goto(f"{address}/?prompt=turn&seed=5&seconds=1&steps=3")
    page.wait_for_selector(f"{NEWEST} .viewer")
    (expected,) = model.generate(["turn"], 20, seeds=[5], steps=3)
    np.testing.assert_allclose(shown_joints(page), expected.joints.numpy(), atol=1e-5)
    link = page.locator("[data-copies^='http']").get_attribute("data-copies")
    assert link == f"{address}/?prompt=turn&seed=5&seconds=1&steps=3"


def test_a_file_is_captioned_continued_and_filled(page: Any, model: MotionGPT3, tmp_path: Path) -> None:
    (clip,) = model.generate(["jump"], 40, seeds=[3])
    write_motion(clip, tmp_path / "my clip.bvh")
    page.set_input_files("input[type=file]", tmp_path / "my clip.bvh")
    page.wait_for_selector(".attached button")
    say(page, "what is it?")
    page.wait_for_selector(f"{NEWEST} .words:not(:empty)")
    wait_for_reply(page)
    assert page.locator(".said .viewer").count() == 1
    say(page, "jump")
    page.wait_for_selector(f"{NEWEST} .viewer")
    wait_for_reply(page)
    made = shown_joints(page)
    page.locator(NEWEST).get_by_role("button", name="Continue").click()
    page.wait_for_selector(".turn:nth-child(3) .viewer")
    wait_for_reply(page)
    continued = shown_joints(page)
    np.testing.assert_array_equal(continued[: len(made)], made)
    assert len(continued) > len(made)
    assert page.locator(f"{NEWEST} .mark.given").count() == 1
    page.locator(".turn:nth-child(2)").get_by_role("button", name="Fill the middle").click()
    page.wait_for_selector(".turn:nth-child(4) .viewer")
    filled = shown_joints(page)
    quarter = len(made) // 4
    np.testing.assert_array_equal(filled[:quarter], made[:quarter])
    assert len(filled) == len(made)
    assert np.abs(filled - made).max() > 1e-3


def test_prompts_follow_each_other(page: Any) -> None:
    page.get_by_role("tab", name="Timeline").click()
    for row in page.locator(".lines li").all():
        row.locator("input").nth(1).fill("1")
    page.click(".send")
    page.wait_for_selector(f"{NEWEST} .viewer")
    assert len(shown_joints(page)) == 60
    assert page.locator(".said li").count() == 3


def test_a_narrow_screen_has_it_all(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 640})
    page.get_by_role("button", name="Dark or light").click()
    page.click("summary")
    page.select_option("#count", "2")
    page.click("summary")
    say(page, "jump")
    page.wait_for_selector(f"{NEWEST} .viewer")
    width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1]
    page.get_by_role("button", name="Sample 2").click()
    assert "seed" in page.locator("[data-copies^='http']").get_attribute("data-copies")
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, a, input:not([hidden]), select, textarea')]"
        ".filter(e => !(e.ariaLabel || e.textContent.trim() || e.labels?.length)).map(e => e.outerHTML)"
    )
    assert unnamed == []


def test_what_goes_wrong_is_said(page: Any, tmp_path: Path, address: str) -> None:
    (tmp_path / "evil.npy").write_bytes(b"\x80\x04pickle")
    page.set_input_files("input[type=file]", tmp_path / "evil.npy")
    page.wait_for_selector(".attached.wrong")
    assert "not NumPy joints" in page.locator(".attached.wrong").text_content()
    say(page, "a" * 900)
    page.wait_for_selector(f"{NEWEST} .problem")
    assert "too long" in page.locator(f"{NEWEST} .problem").text_content()
    page.route("**/api/**", lambda route: route.abort())
    page.locator(NEWEST).get_by_role("button", name="Try again").click()
    page.wait_for_selector(".problem:has-text('cannot be reached')")
    page.unroute("**/api/**")


@pytest.mark.parametrize(
    ("state", "status", "answer", "words"),
    [
        ("loading", 200, {"ready": False, "stage": "loading mini"}, "The model is loading: loading mini"),
        ("failed", 200, {"ready": False, "failure": "no such layer"}, "no such layer"),
        ("locked", 401, {"detail": "a token is needed"}, "a token is needed"),
        ("offline", 0, {}, "The server cannot be reached"),
    ],
)
def test_why_it_cannot_answer_is_said(
    page: Any, address: str, state: str, status: int, answer: dict[str, Any], words: str
) -> None:
    info = page.request.get(f"{address}/api/info").json()

    def reply(route: Any) -> None:
        if status:
            route.fulfill(status=status, json={**info, **answer})
        else:
            route.abort()

    page.route("**/api/info", reply)
    page.reload()
    page.wait_for_selector(f".banner[data-state={state}]")
    assert words in page.locator(".banner").text_content()
    assert page.locator(".send").is_disabled()
    # It goes on by itself.
    page.unroute("**/api/info")
    page.wait_for_selector(".pill[data-state=ready]")
    assert page.locator(".banner").is_hidden()


def test_a_reply_can_be_stopped(page: Any) -> None:
    page.route("**/api/chat", lambda route: None)
    say(page, "jump")
    page.get_by_role("button", name="Stop", exact=True).click()
    page.wait_for_selector(f"{NEWEST} .note")
    assert page.locator(NEWEST).text_content() == "Stopped."


def test_a_model_can_be_chosen(
    browser: Any, model: MotionGPT3, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    backbone = tiny.save_backbone(tmp_path_factory.mktemp("backbone"))
    fast = tiny.model(backbone, seed=1, frames_per_second=40.0, guidance=3.5, stage="text-to-motion")
    with running({"slow": model, "fast": fast}, tmp_path / "out", gradio=False) as address:
        with opened(browser, address) as page:
            page.click("summary")
            assert page.locator("#guidance").get_attribute("placeholder") == "2"
            page.select_option("#model", "fast")
            assert page.locator("#guidance").get_attribute("placeholder") == "3.5"
            # It was not trained to tell what is wanted, or to put motions into words.
            assert page.input_value("#task") == "t2m"
            assert page.locator("#task option[value=m2t]").is_disabled()
            page.fill("#seed", "5")
            page.fill("#seconds", "1")
            say(page, "turn")
            page.wait_for_selector(f"{NEWEST} .viewer")
            (expected,) = fast.generate(["turn"], 40, seeds=[5])
            np.testing.assert_allclose(shown_joints(page), expected.joints.numpy(), atol=1e-5)
            link = page.locator("[data-copies^='http']").get_attribute("data-copies")
            assert link == f"{address}/?prompt=turn&seed=5&seconds=1&model=fast"
            command = page.locator("[data-copies^='motiongpt3']").get_attribute("data-copies")
            assert command.endswith("--model fast")
            # What is done with a motion is done by the model that made it, whichever is chosen now.
            page.select_option("#model", "slow")
            assert page.locator("#task option[value=m2t]").is_enabled()
            page.locator(NEWEST).get_by_role("button", name="Fill the middle").click()
            page.wait_for_selector(".turn:nth-child(2) .viewer")
            assert len(shown_joints(page)) == 40
        with opened(browser, address, link.removeprefix(f"{address}/"), f"{NEWEST} .viewer") as page:
            np.testing.assert_allclose(shown_joints(page), expected.joints.numpy(), atol=1e-5)
        with opened(browser, address, "?prompt=turn&model=large", f"{NEWEST} .problem") as page:
            assert "no model 'large'" in page.locator(f"{NEWEST} .problem").text_content()


def test_one_model_is_no_choice(page: Any) -> None:
    page.click("summary")
    assert page.locator("#model").is_hidden()
    assert page.locator("output").text_content() == "tiny"


def test_the_page_of_the_interface_sends_examples(browser: Any, address: str) -> None:
    with opened(browser, address, "docs", ".operation") as page:
        assert page.locator("[id='GET /metrics']").count() == 1
        for name in ("generate", "caption"):
            operation = page.locator(f"[id='POST /api/{name}']")
            operation.locator("summary").click()
            operation.get_by_role("button", name="Send").click()
            operation.get_by_text("200 OK").wait_for()
        # What was made is what is put into words.
        made = page.locator("[id='POST /api/generate'] form [aria-live]").text_content()
        command = page.locator("[id='POST /api/caption'] [aria-label=Command]").text_content()
        motion = re.search(r'"motion": "([^"]+)"', command)
        assert motion is not None
        assert f'"id": "{motion[1]}"' in made
        page.get_by_role("link", name="MotionGPT3").click()
        page.wait_for_selector(".pill[data-state=ready]")


def of_viewer(page: Any, script: str) -> Any:
    """What a script of the newest viewer gives: a function of it, or the end of an expression."""
    newest = page.evaluate_handle("[...document.querySelectorAll('.viewer:not(.quiet)')].at(-1).viewer")
    return page.evaluate(script if "=>" in script else f"viewer => viewer.{script}", newest)


def give(page: Any, motion: Motion, tmp_path: Path) -> None:
    """Give a motion and ask about it, so that it has a viewer, which stands still."""
    write_motion(motion, tmp_path / "clip.npy")
    page.set_input_files("input[type=file]", tmp_path / "clip.npy")
    page.wait_for_selector(".attached button")
    say(page, "what is it?")
    page.wait_for_selector(".said .viewer")
    wait_for_reply(page)
    of_viewer(page, "pause()")
    page.locator(".said canvas").focus()
    page.keyboard.press("Home")


def wait_for_figure(page: Any, name: str) -> None:
    wait_until(lambda: set(of_viewer(page, "figures")) == {name})


def drawn(page: Any) -> bytes:
    """The picture of the newest viewer, after whatever was to be drawn."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return bytes(page.locator(".viewer:not(.quiet) canvas").last.screenshot())


def test_the_body_is_where_it_was_fitted(page: Any, tmp_path: Path) -> None:
    give(page, raising_arm("left", 8), tmp_path)
    wait_for_figure(page, "body")
    joints = np.array(of_viewer(page, "viewer => Array.from(viewer.joints)"), np.float32).reshape(-1, 22, 3)
    fitted = fit_body(Motion.from_joints(joints, 20.0), embedded_body()).vertices()[:, ::50].numpy()

    def vertices(number: float) -> np.ndarray:
        of_viewer(page, f"seek({number})")
        return np.array(of_viewer(page, VERTICES))

    for number in (0, 3, 7):
        np.testing.assert_allclose(vertices(number), fitted[number], atol=2e-3)
    # Between frames it is between poses.
    between = vertices(3.5)
    np.testing.assert_allclose(between, (fitted[3] + fitted[4]) / 2, atol=0.03)
    assert np.abs(between - fitted[3]).max() > 0.03


def test_figures_can_be_chosen_and_are_remembered(page: Any, tmp_path: Path) -> None:
    give(page, raising_arm("left", 8), tmp_path)
    wait_for_figure(page, "body")
    pictures = {"body": drawn(page)}
    for name in ("capsules", "bones"):
        page.keyboard.press("b")
        wait_for_figure(page, name)
        pictures[name] = drawn(page)
    assert len(set(pictures.values())) == 3
    page.reload()
    page.wait_for_selector(".pill[data-state=ready]")
    give(page, raising_arm("left", 8), tmp_path)
    wait_for_figure(page, "bones")
    assert drawn(page) == pictures["bones"]
    page.get_by_label("Figure").last.select_option("Body")
    wait_for_figure(page, "body")
    assert drawn(page) == pictures["body"]


@pytest.mark.parametrize("name", ["body", "capsules", "bones"])
def test_given_frames_are_tinted(page: Any, tmp_path: Path, name: str) -> None:
    page.evaluate(f"localStorage.setItem('figure', '{name}')")
    give(page, raising_arm("left", 8), tmp_path)
    wait_for_figure(page, name)
    of_viewer(page, "viewer => { viewer.takes[0].info.given = [[0, 5]]; }")
    green = []
    for number in (2, 6):
        of_viewer(page, f"seek({number})")
        drawn(page)
        green.append(of_viewer(page, GREEN))
    assert green[0] > 0.002
    assert green[1] < 0.1 * green[0]


def test_ghosts_and_shadows_are_drawn_of_the_body(page: Any, tmp_path: Path) -> None:
    give(page, raising_arm("left", 8), tmp_path)
    wait_for_figure(page, "body")
    alone = drawn(page)
    faces = len(embedded_body().faces)
    assert 2 * faces <= of_viewer(page, "stage.counts")["triangles"] < 3 * faces
    page.keyboard.press("g")
    assert drawn(page) != alone
    page.keyboard.press("g")
    assert drawn(page) == alone


def test_nothing_is_drawn_while_nothing_changes(page: Any, tmp_path: Path) -> None:
    give(page, raising_arm("left", 8), tmp_path)
    wait_for_figure(page, "body")
    drawn(page)
    of_viewer(page, COUNT_PICTURES)
    for _ in range(5):
        drawn(page)
    assert of_viewer(page, "pictures") == 0
    page.keyboard.press("ArrowRight")
    drawn(page)
    assert of_viewer(page, "pictures") > 0


def test_without_a_body_there_are_capsules(page: Any, tmp_path: Path) -> None:
    page.route("**/api/motions/*/pose", lambda route: route.abort())
    give(page, raising_arm("left", 8), tmp_path)
    page.wait_for_selector(".said .legend:has-text('The body cannot be shown.')")
    assert of_viewer(page, "figures") == ["capsules"]
    page.unroute("**/api/motions/*/pose")
    for name in ("capsules", "bones", "body"):
        page.keyboard.press("b")
        wait_for_figure(page, name)
    assert page.locator(".said .legend").text_content() == ""


def test_a_body_that_is_late_takes_over_from_capsules(page: Any, tmp_path: Path) -> None:
    held: list[Any] = []
    page.route("**/api/motions/*/pose", lambda route: held.append(route))
    give(page, raising_arm("left", 8), tmp_path)
    wait_for_figure(page, "capsules")
    assert page.locator(".said .legend").text_content() == ""
    held[0].continue_()
    wait_for_figure(page, "body")
