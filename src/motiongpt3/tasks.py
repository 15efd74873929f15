"""The tasks: what goes in, what comes out, and what is said to the model when nobody says it otherwise.

A request is text in which markers say where given motions stand; an answer is text, a motion, or text and
then a motion. This table is the only place that knows a task's shape: training, generation, command line,
evaluation and the official sequences all read it. How requests and answers become tokens is `dialogue`'s
business; which frames are given, `motion.completion`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from motiongpt3.errors import InputError

CAPTION = "<Caption_Placeholder>"
MOTION = "<Motion_Placeholder>"
FIRST_MOTION = "<Motion_Placeholder_s1>"
SECOND_MOTION = "<Motion_Placeholder_s2>"
MASKED_MOTION = "<Motion_Placeholder_Masked>"
FRAMES = "<Frame_Placeholder>"
SECONDS = "<Second_Placeholder>"
MOTION_MARKERS = (MOTION, FIRST_MOTION, SECOND_MOTION, MASKED_MOTION)
ANSWERS = ("text", "motion", "text then motion")
"""What a request can want; models number their answers in this order."""


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: as commands and the official release call it.
        title: in words.
        text: whether the user's words are needed, may be given, or have no place.
        motion: which part of a motion is given: none, the whole, its beginning, or both its ends.
        answer: what the model makes.
        request: what a native model is told, with the markers of the instruction files; a completed motion
            has no marker, since its given frames stand in the answer.
        official: what official checkpoints are told, word for word as their evaluation does.
    """

    name: str
    title: str
    text: Literal["needed", "optional", "none"]
    motion: Literal["none", "whole", "beginning", "ends"]
    answer: Literal["motion", "text"]
    request: str
    official: str


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("t2m", "text-to-motion", "needed", "none", "motion", CAPTION, f"Generate motion: {CAPTION}"),
        Task(
            "m2t",
            "motion-to-text",
            "optional",
            "whole",
            "text",
            f"Generate text: {MOTION}",
            f"Generate text: {MOTION}",
        ),
        Task(
            "pred",
            "motion prediction",
            "optional",
            "beginning",
            "motion",
            "Predict motion:",
            f"Predict motion: {FIRST_MOTION}",
        ),
        Task(
            "inbetween",
            "motion in-between",
            "optional",
            "ends",
            "motion",
            "Complete the masked motion:",
            f"Complete the masked motion: {MASKED_MOTION}",
        ),
        Task("t2t", "text-to-text", "needed", "none", "text", CAPTION, CAPTION),
        Task(
            "random",
            "any motion",
            "none",
            "none",
            "motion",
            "Show me any motion you like.",
            "Generate motion: ",
        ),
    )
}
"""Every task, by name."""


def task_named(name: str) -> Task:
    """The task called ``name``.

    Raises:
        InputError: if there is none.
    """
    if name not in TASKS:
        raise InputError(f"no task {name!r}: choose from {', '.join(TASKS)}")
    return TASKS[name]


def without_markers(request: str) -> str:
    """A request as it reads without the motions that are given in it: for tasks that place them elsewhere."""
    for marker in MOTION_MARKERS:
        request = request.replace(marker, " ")
    return " ".join(request.split())
