"""What goes over the wire: requests, answers, and their limits. The OpenAPI document is made of these."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from motiongpt3.sampling import SEED_COUNT

MAX_PROMPT = 1000
MAX_COUNT = 4
MAX_SEGMENTS = 12

Prompt = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT, description="In English.")]
Name = Annotated[str, Field(pattern=r"^[\w-]{8,40}$", description="Of a motion on this server.")]
Seconds = Annotated[float, Field(gt=0, le=60, description="Seconds; the model's limits are in /api/info.")]


SOME_MOTION = "id-of-a-motion"
"""Stands for a motion in examples; the page of the interface puts a real one in its place."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _example(**fields: JsonValue) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [fields]})


class ModelChoice(_Request):
    """Which model is asked."""

    model: str | None = Field(
        None,
        max_length=200,
        description="One of /api/info's; by default the one that made the motion, else that of the "
        "conversation, else the first.",
    )


class SamplingOptions(ModelChoice):
    """How to sample; what is left out is the model's own."""

    seed: int = Field(0, ge=0, lt=SEED_COUNT, description="Sample i has seed + i.")
    guidance: float | None = Field(None, ge=0, le=20, description="How strongly to follow the words.")
    steps: int | None = Field(None, ge=1, le=200, description="Of the scheduler.")
    scheduler: str | None = Field(None, max_length=20, description="One of the model's in /api/info.")


class GenerateRequest(SamplingOptions):
    """A motion from words."""

    model_config = _example(prompt="a person waves with the left hand", seconds=3, seed=7)

    prompt: Prompt
    seconds: Seconds | None = Field(None, description="By default the model decides.")
    count: int = Field(1, ge=1, le=MAX_COUNT, description="Samples.")


class ContinueRequest(SamplingOptions):
    """More of a motion; what is there stays as it is."""

    model_config = _example(motion=SOME_MOTION, seconds=2, prompt="a person jumps")

    motion: Name
    seconds: Seconds | None = Field(None, description="To add; by default four, or as many as can be.")
    prompt: Prompt | None = Field(None, description="How it goes on.")
    count: int = Field(1, ge=1, le=MAX_COUNT, description="Samples.")


class InbetweenRequest(SamplingOptions):
    """The middle of a motion; both its ends stay as they are."""

    model_config = _example(motion=SOME_MOTION, keep=0.25)

    motion: Name
    end: Name | None = Field(None, description="A motion to arrive at, in the same world; needs seconds.")
    seconds: Seconds | None = Field(None, description="Of the whole, with an end.")
    keep: float = Field(0.25, gt=0, lt=0.5, description="Fraction kept on each side, without an end.")
    prompt: Prompt | None = Field(None, description="What happens between.")
    count: int = Field(1, ge=1, le=MAX_COUNT, description="Samples.")


class SegmentRequest(_Request):
    """One prompt of a sequence."""

    prompt: Prompt
    seconds: Seconds | None = Field(None, description="By default the model decides.")


class TimelineRequest(SamplingOptions):
    """Prompts that follow each other in one motion."""

    model_config = _example(
        segments=[{"prompt": "a person walks forward", "seconds": 3}, {"prompt": "a person bows"}], seed=1
    )

    segments: list[SegmentRequest] = Field(min_length=1, max_length=MAX_SEGMENTS)


class CaptionRequest(ModelChoice):
    """What a motion shows."""

    model_config = _example(motion=SOME_MOTION)

    motion: Name
    prompt: Prompt | None = Field(None, description="A question about it.")


class ChatRequest(SamplingOptions):
    """What is said in a conversation."""

    model_config = _example(text="What is this person doing?", motion=SOME_MOTION)

    text: Prompt
    conversation: Name | None = Field(None, description="From an earlier answer; by default a new one.")
    motion: Name | None = Field(None, description="A motion that goes with it.")
    task: Literal["t2m", "m2t", "pred", "inbetween", "t2t", "random"] | None = Field(
        None, description="By default the model decides."
    )
    seconds: Seconds | None = Field(None, description="Of what is made; to continue, what is added.")
    count: int = Field(1, ge=1, le=MAX_COUNT, description="Samples of a motion.")


class Segment(BaseModel):
    """A prompt and where its part of the motion ends."""

    prompt: str
    stop: int


class MotionInfo(BaseModel):
    """A motion on this server."""

    id: str
    title: str
    task: str
    frames: int
    fps: float
    seconds: float
    model: str | None = Field(description="Which one made it; none if it was given.")
    prompt: str | None
    seed: int | None
    command: str | None = Field(description="Makes it on the command line, if one command does.")
    given: list[tuple[int, int]] = Field(description="Frames [start, stop) that were given.")
    segments: list[Segment]
    expires_in: float = Field(description="Seconds until it is deleted.")


class MotionsAnswer(BaseModel):
    """What was made."""

    motions: list[MotionInfo]


class TextAnswer(BaseModel):
    """Words."""

    text: str


class ChatAnswer(BaseModel):
    """A reply: words, motions, or both."""

    conversation: str
    task: str
    text: str
    motions: list[MotionInfo]
    remembered: bool = Field(description="False if the conversation had been forgotten and begins anew.")


class Problem(BaseModel):
    """What went wrong, and what to do about it."""

    detail: str


class FileFormat(BaseModel):
    """A kind of file that motions can be had in."""

    name: str
    title: str
    suffix: str


class ModelInfo(BaseModel):
    """A model and what it can do; what is not known before it is loaded is null."""

    name: str
    ready: bool
    stage: str = Field(description="What is being done to load it.")
    failure: str | None = Field(description="Why it could not be loaded.")
    about: dict[str, str] = Field({}, description="Names and values for people.")
    tasks: list[str] = Field([], description="That a chat may name.")
    chooses_task: bool = Field(False, description="Whether it can tell by itself which task is meant.")
    fps: float | None = None
    shortest_seconds: float | None = None
    longest_seconds: float | None = None
    schedulers: list[str] = []
    scheduler: str | None = Field(None, description="Used by default, as are steps and guidance.")
    steps: int | None = None
    guidance: float | None = None


class Info(BaseModel):
    """What the server can do."""

    ready: bool = Field(description="Whether the first model is loaded.")
    stage: str
    failure: str | None
    version: str
    models: list[ModelInfo] = Field(description="The first answers requests that name none.")
    formats: list[FileFormat]
    uploads: list[str]
    upload_bytes: int
    upload_seconds: float
    kept_seconds: float
    max_count: int
    max_prompt: int
    max_segments: int
    gradio: bool = Field(description="Whether Gradio is served at /gradio.")
