"""The same through Gradio: a plain page, and named endpoints for ``gradio_client``.

Its functions hand jobs to the engine as requests over HTTP do, so they share queue, batches and limits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from queue import Full
from typing import Any

import gradio

from motiongpt3.errors import MotionGPT3Error
from motiongpt3.generation.captions import check_length
from motiongpt3.generation.conversation import ends_of
from motiongpt3.generation.motions import MotionRequest
from motiongpt3.motion.motion import Motion
from motiongpt3.web.lanes import Job
from motiongpt3.web.models import ServedModel
from motiongpt3.web.outputs import OUTPUTS, file_stem, write_as
from motiongpt3.web.sequence import continuation, extended, usual_addition
from motiongpt3.web.service import Service

_KINDS = [name for name in ("joints", "bvh", "glb", "amass", "mp4") if name in OUTPUTS]


def make_blocks(service: Service) -> gradio.Blocks:
    """Gradio's app, with the endpoints generate, caption, continue and inbetween."""
    functions = _Functions(service)
    cache = (600, int(service.store.seconds))

    def model() -> gradio.Dropdown:
        names = list(service.engine.models)
        return gradio.Dropdown(names, value=names[0], label="Model", visible=len(names) > 1)

    def seed_kind_and_model() -> list[Any]:
        seed = gradio.Number(0, label="Seed", precision=0, minimum=0)
        return [seed, gradio.Dropdown(_KINDS, value="bvh", label="File"), model()]

    with gradio.Blocks(title="MotionGPT3", analytics_enabled=False, delete_cache=cache) as blocks:
        gradio.Markdown("# MotionGPT3\nThe plain page; [the one with a viewer is here](/).")
        with gradio.Tab("Generate"):
            prompt = gradio.Textbox("a person waves with the left hand", label="What the person does")
            length = _seconds(0, "Seconds (0: the model decides)")
            _button("Generate", functions.generate, "generate", [prompt, length, *seed_kind_and_model()])
        with gradio.Tab("Caption"):
            inputs, words = [gradio.File(label="Motion file"), model()], gradio.Textbox(label="Caption")
            gradio.Button("Caption", variant="primary").click(
                functions.caption, inputs, words, api_name="caption"
            )
        with gradio.Tab("Continue"):
            clip, length = gradio.File(label="Motion file"), _seconds(4, "Seconds to add")
            _button("Continue", functions.continue_, "continue", [clip, length, *seed_kind_and_model()])
        with gradio.Tab("Fill the middle"):
            clip = gradio.File(label="Motion file")
            _button("Fill", functions.inbetween, "inbetween", [clip, *seed_kind_and_model()])
    return blocks


def _seconds(value: float, label: str) -> gradio.Number:
    return gradio.Number(value, label=label, minimum=0, maximum=60)


def _button(title: str, function: Callable[..., str], name: str, inputs: list[Any]) -> None:
    made = gradio.File(label="Motion")
    gradio.Button(title, variant="primary").click(function, inputs, made, api_name=name)


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a person can put right is told to them."""

    @functools.wraps(function)
    def call(*values: Any, **named: Any) -> Any:
        try:
            return function(*values, **named)
        except (MotionGPT3Error, Full) as error:
            raise gradio.Error(str(error)) from None
        except CancelledError:
            raise gradio.Error("the request was cancelled") from None

    return call


class _Functions:
    """What buttons and endpoints do."""

    def __init__(self, service: Service) -> None:
        self._service, self._engine = service, service.engine

    def _result(self, job: Job) -> Any:
        try:
            return job.done.result(timeout=self._service.timeout)
        except NotYet:
            raise gradio.Error(f"not done within {self._service.timeout:g} s: ask for less at once") from None
        finally:
            job.cancel()

    def _client(self, request: gradio.Request) -> str:
        return getattr(request.client, "host", None) or "gradio"

    def _given(self, path: str, client: str, served: ServedModel) -> Motion:
        file = Path(path)

        def read(job: Job) -> Motion:
            return self._service.read(file.read_bytes(), file.name)

        return served.given(self._result(self._engine.file(client, read)))

    def _made(self, served: ServedModel, motion: Motion, title: str, task: str, seed: int, kind: str) -> str:
        """The file of a motion; it is deleted when the motion is."""
        entry = self._service.store.add(motion, title, task, model=served.name, prompt=title, seed=seed)
        output = OUTPUTS[kind]
        path = self._service.store.folder_of(entry) / f"{file_stem(entry)}{output.suffix}"
        write_as(motion, path, output, title)
        return str(path)

    @_told
    def generate(
        self, prompt: str, seconds: float, seed: int, kind: str, model: str, request: gradio.Request
    ) -> str:
        """A motion from words."""
        served = self._engine.named(model)
        text, frames = served.prompt(prompt or ""), served.frames(seconds or None)
        asked = MotionRequest(served.model.request_for("t2m", text), frames, int(seed))
        job = self._engine.motions(self._client(request), served, [asked], served.sampling())
        (motion,) = self._result(job)
        return self._made(served, motion, text, "t2m", int(seed), kind)

    @_told
    def caption(self, file: str, model: str, request: gradio.Request) -> str:
        """What a motion shows."""
        served, client = self._engine.named(model), self._client(request)
        motion = self._given(file, client, served)
        check_length(served.model, motion)
        words = served.model.request_for("m2t")
        (text,) = self._result(self._engine.captions(client, served, [motion], [words]))
        return str(text)

    @_told
    def continue_(
        self, file: str, seconds: float, seed: int, kind: str, model: str, request: gradio.Request
    ) -> str:
        """A motion with more behind it."""
        served, client = self._engine.named(model), self._client(request)
        motion = self._given(file, client, served)
        added = served.frames(seconds or None) or usual_addition(served.model, motion)
        asked = continuation(served.model, motion, added, int(seed))
        (made,) = self._result(
            self._engine.motions(client, served, [asked], served.sampling(completing=True))
        )
        whole = extended(motion, asked, made, added)
        return self._made(served, whole, f"continue {motion.name}", "pred", int(seed), kind)

    @_told
    def inbetween(self, file: str, seed: int, kind: str, model: str, request: gradio.Request) -> str:
        """A motion whose middle is new."""
        served, client = self._engine.named(model), self._client(request)
        motion = self._given(file, client, served)
        head, tail = ends_of(motion)
        wording = served.model.request_for("inbetween")
        asked = MotionRequest(wording, len(motion), int(seed), head, tail)
        (made,) = self._result(
            self._engine.motions(client, served, [asked], served.sampling(completing=True))
        )
        return self._made(served, made, f"fill {motion.name}", "inbetween", int(seed), kind)
