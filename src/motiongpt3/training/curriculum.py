"""The requests and answers of a stage, written out for the clips of a dataset.

A stage has instruction templates; each clip gets some wordings of each task, drawn once. So there is a fixed
list of requests, and the frozen text branch reads each of them once however long the training is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from motiongpt3.data.instructions import Conversation, Template, fulfil
from motiongpt3.models.dialogue import MotionMark, request_parts
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.models.placeholders import LatentPlaceholders
from motiongpt3.tasks import ANSWERS, FIRST_MOTION, MASKED_MOTION, without_markers
from motiongpt3.training.encoded_clips import EncodedClip
from motiongpt3.training.lesson_batches import WovenRequest
from motiongpt3.training.lessons import Captioning, LessonPlan, TextLesson

T = TypeVar("T")

TEXT, MOTION, TEXT_THEN_MOTION = range(len(ANSWERS))


@dataclass(frozen=True)
class Wordings:
    """How many requests each clip gets, and what they are like.

    Args:
        requests: sentences that ask for the clip, per clip.
        bare: of those, the fraction that is the caption alone.
        completions: requests to continue the clip, and to fill it, per clip.
        captioning: requests for a caption, per clip.
        bare_captioning: of those, the fraction that is the model's own wording of the task.
        lengths: of the requests for a caption, the fraction that states the length or asks for it.
        longest_answer: captions of more tokens are left out of the answers where there are shorter ones.
    """

    requests: int = 2
    bare: float = 0.5
    completions: int = 1
    captioning: int = 2
    bare_captioning: float = 0.0
    lengths: float = 0.1
    longest_answer: int = 12


@dataclass
class Curriculum:
    """Plans of lessons for the splits, and the texts that their numbers stand for, as token ids.

    Attributes:
        plans: by split.
        requests: requests for a motion, or of unknown wish, up to the answer.
        openings: texts before a motion that is given.
    """

    plans: dict[str, LessonPlan] = field(default_factory=dict)
    requests: list[list[int]] = field(default_factory=list)
    openings: list[list[int]] = field(default_factory=list)


def write_curriculum(
    model: MotionGPT3,
    splits: Mapping[str, Sequence[EncodedClip]],
    templates: Sequence[Template],
    wordings: Wordings,
    conversation: Conversation | None = None,
    seed: int = 0,
) -> Curriculum:
    """Write the requests and answers of a stage.

    Args:
        model: its tokenizer and dialogue decide how they are written.
        splits: clips by split.
        templates: of the stage.
        wordings: how many.
        conversation: requests in free form, from which the model learns what kind of answer is wanted.
        seed: of the wordings that are drawn.
    """
    writer = _Writer(model, templates, wordings, conversation, np.random.default_rng(seed))
    for name, clips in splits.items():
        writer.curriculum.plans[name] = writer.plan(clips)
    return writer.curriculum


class _Writer:
    """Draws wordings and numbers texts."""

    def __init__(
        self,
        model: MotionGPT3,
        templates: Sequence[Template],
        wordings: Wordings,
        conversation: Conversation | None,
        random: np.random.Generator,
    ) -> None:
        self._model = model
        self._templates = templates
        self._wordings = wordings
        self._conversation = conversation
        self._random = random
        self._request_numbers: dict[str, int] = {}
        self._opening_numbers: dict[tuple[int, ...], int] = {}
        self._woven: list[WovenRequest] = []
        self.curriculum = Curriculum()

    def plan(self, clips: Sequence[EncodedClip]) -> LessonPlan:
        text_to_motion, prediction, inbetween, captioning = [], [], [], []
        count = self._wordings
        self._woven = []
        for clip in clips:
            text_to_motion.append([self._request_for(clip) for _ in range(count.requests)])
            prediction.append(self._completions(clip, "pred"))
            inbetween.append(self._completions(clip, "inbetween"))
            captioning.append(self._captioning(clip))
        return LessonPlan(
            text_to_motion,
            prediction,
            inbetween,
            captioning,
            self._decisions(),
            self._texts(clips),
            self._woven,
        )

    def _request_for(self, clip: EncodedClip) -> tuple[int, int]:
        """A sentence that asks for a clip, as its number and the kind of answer that it wants."""
        caption = self._one_of(clip.captions)
        usable = [t for t in self._templates if t.model_task in ("t2m", "random")]
        bare = not usable or self._random.random() < self._wordings.bare
        if bare:
            return self._number(caption), MOTION
        template = self._one_of(usable)
        text = self._fill(self._one_of(template.inputs), clip, caption)
        return self._number(text), TEXT_THEN_MOTION if template.class_name == "t2tm" else MOTION

    def _completions(self, clip: EncodedClip, task: str) -> list[tuple[int, int]]:
        usable = [template for template in self._templates if template.model_task == task]
        found = []
        for _ in range(self._wordings.completions if usable else 0):
            wording = self._one_of(self._one_of(usable).inputs)
            text = self._fill(wording, clip, self._one_of(clip.captions))
            if isinstance(self._model.placeholders, LatentPlaceholders):
                found.append((len(self._woven), MOTION))
                self._woven.append(self._weave(text, task))
                continue
            said = without_markers(text) or self._model.request_for(task)
            found.append((self._number(said), MOTION))
        return found

    def _weave(self, request: str, task: str) -> WovenRequest:
        """A request up to the motion that answers it, with marks where its motions stand."""
        marker = FIRST_MOTION if task == "pred" else MASKED_MOTION
        if marker not in request:
            request = f"{without_markers(request)} {marker}".lstrip()
        dialogue = self._model.config.dialogue
        suffix = dialogue.request_suffix + dialogue.motion_prefix
        return request_parts(
            self._model.tokenizer, dataclasses.replace(dialogue, request_suffix=suffix), request
        )

    def _captioning(self, clip: EncodedClip) -> list[Captioning]:
        """Requests for words about a clip, each with the answers that fit it."""
        usable = [t for t in self._templates if t.model_task == "m2t"]
        plain = [t for t in usable if t.class_name == "m2t" and not _speaks_of_length(t)]
        with_length = [t for t in usable if t not in plain]
        captions = self._captions_as_answers(clip)
        found = []
        for _ in range(self._wordings.captioning if plain else 0):
            long = with_length and self._random.random() < self._wordings.lengths
            template = self._one_of(with_length if long else plain)
            request = self._fill(self._one_of(template.inputs), clip, "")
            if not long and self._random.random() < self._wordings.bare_captioning:
                request = self._model.request_for("m2t")
            opening, after = self._around_motion(request)
            answers = captions
            if template.class_name == "m2l":
                outputs = [self._one_of(template.outputs) for _ in range(2)]
                answers = tuple(self._answer(self._fill(output, clip, "")) for output in outputs)
            found.append(Captioning(opening, after, answers))
        return found

    def _captions_as_answers(self, clip: EncodedClip) -> tuple[tuple[int, ...], ...]:
        answers = sorted((self._answer(caption) for caption in clip.captions), key=len)
        # The end token is one of theirs.
        short = [answer for answer in answers if len(answer) <= self._wordings.longest_answer + 1]
        return tuple(short if len(short) >= 3 else answers[:3])

    def _decisions(self) -> list[tuple[int, int]]:
        """Requests with the kind of answer that they want, for those that go with no clip."""
        if self._conversation is None:
            return []
        wanted = [(text, TEXT) for text in self._conversation.text]
        wanted += [(text, MOTION) for text in self._conversation.motion]
        wanted += [
            (without_markers(text), TEXT)
            for template in self._templates
            if template.model_task == "m2t" and not _speaks_of_length(template)
            for text in template.inputs
        ]
        return [(self._number(text), kind) for text, kind in wanted if text]

    def _texts(self, clips: Sequence[EncodedClip]) -> list[TextLesson]:
        """Sentences that are answered with sentences, one for each clip."""
        usable = [t for t in self._templates if t.model_task == "t2t"]
        lessons = []
        for clip in clips if usable else ():
            template = self._one_of(usable)
            caption = self._one_of(clip.captions)
            request = self._fill(self._one_of(template.inputs), clip, caption)
            answer = self._fill(self._one_of(template.outputs), clip, caption)
            prefix = self._model.config.dialogue.text_prefix
            lessons.append(
                TextLesson((*self._model.prompt_ids(request), *self._ids(prefix)), self._answer(answer))
            )
        return lessons

    def _around_motion(self, request: str) -> tuple[int, tuple[int, ...]]:
        """The number of the text before the motion, and the ids of what follows it up to the answer."""
        dialogue = self._model.config.dialogue
        dialogue = dataclasses.replace(
            dialogue, request_suffix=dialogue.request_suffix + dialogue.text_prefix
        )
        before, after = _around_mark(request_parts(self._model.tokenizer, dialogue, request))
        number = self._opening_numbers.setdefault(before, len(self._opening_numbers))
        if number == len(self.curriculum.openings):
            self.curriculum.openings.append(list(before))
        return number, after

    def _answer(self, text: str) -> tuple[int, ...]:
        return (*self._ids(text), *self._ids(self._model.config.dialogue.text_end))

    def _number(self, request: str) -> int:
        number = self._request_numbers.setdefault(request, len(self._request_numbers))
        if number == len(self.curriculum.requests):
            self.curriculum.requests.append(self._model.prompt_ids(request))
        return number

    def _fill(self, wording: str, clip: EncodedClip, caption: str) -> str:
        return fulfil(wording, caption, len(clip.features), self._model.fps)

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._model.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else ()

    def _one_of(self, pool: Sequence[T]) -> T:
        return pool[int(self._random.integers(len(pool)))]


def _around_mark(parts: Sequence[list[int] | MotionMark]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids before and behind the one motion of a request."""
    sides: list[list[int]] = [[]]
    for part in parts:
        if isinstance(part, MotionMark):
            sides.append([])
        else:
            sides[-1] += part
    before, after = sides
    return tuple(before), tuple(after)


def _speaks_of_length(template: Template) -> bool:
    return "framelen" in template.subtask or "seclen" in template.subtask
