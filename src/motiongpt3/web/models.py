"""Models that the server has, by name: whether each is there yet, and what requests may ask of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from motiongpt3.errors import InputError, MissingDependencyError, MotionGPT3Error
from motiongpt3.generation.motions import Sampling
from motiongpt3.models.locate import DEFAULT_MODEL
from motiongpt3.models.placeholders import SequencePlaceholders
from motiongpt3.motion.motion import Motion
from motiongpt3.sampling import schedulers_for
from motiongpt3.tasks import TASKS
from motiongpt3.web.outputs import command_line
from motiongpt3.web.wording import clean

if TYPE_CHECKING:
    from torch import nn

    from motiongpt3.models.motiongpt import MotionGPT3

log = logging.getLogger(__name__)

Loader = Callable[[Callable[[str], None]], "MotionGPT3"]
"""Loads a model; is given a function to say what it is doing."""


class ServedModel:
    """A model of the server.

    Args:
        name: what requests call it.
        load: makes it.
        source: what a command line calls it.

    Attributes:
        stage: what is being done to load it.
        failure: why it could not be loaded, or None.
    """

    def __init__(self, name: str, load: Loader, source: str = DEFAULT_MODEL) -> None:
        self.name, self.source = name, source
        self._load = load
        self._model: MotionGPT3 | None = None
        self.stage = "waiting to be loaded"
        self.failure: str | None = None

    @property
    def ready(self) -> bool:
        """Whether it is loaded."""
        return self._model is not None

    @property
    def model(self) -> MotionGPT3:
        """The model itself.

        Raises:
            MissingDependencyError: if it is not loaded (yet); says why.
        """
        if self._model is None:
            raise MissingDependencyError(self.failure or f"the model is still loading ({self.stage})")
        return self._model

    def load(self, others: Sequence[ServedModel], check: Callable[[], None]) -> None:
        """Load it, or say in `failure` why that cannot be.

        Args:
            others: models that are loaded, whose weights are shared where they are the same.
            check: called before each pass through backbone and head, which it may end by raising.
        """
        try:
            model = self._load(self._say)
            for other in others:
                share_weights(model, other.model)
            for part in (model.mot, model.head):
                part.register_forward_pre_hook(lambda module, inputs: check())
            self._model = model
        except MotionGPT3Error as error:
            self.failure = str(error)
            log.error("the model %s cannot be loaded: %s", self.name, error)
        except Exception:
            self.failure = "the model cannot be loaded; the server's log says why"
            log.exception("the model %s cannot be loaded", self.name)

    def _say(self, stage: str) -> None:
        self.stage = stage
        log.info("%s", stage)

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks that it was trained for, and of talking, for which none is needed."""
        return ["t2m", "t2t"] if self.model.config.stage == "text-to-motion" else list(TASKS)

    @property
    def chooses_task(self) -> bool:
        """Whether it was trained to tell which task a request means."""
        sequence = isinstance(self.model.placeholders, SequencePlaceholders)
        return sequence and self.model.config.stage not in ("text-to-motion", "pretrain")

    # What requests may ask for

    def prompt(self, text: str) -> str:
        """A prompt as the model is given it.

        Raises:
            InputError: if nothing is left of it, or it is too long.
        """
        text = clean(text, self.model.tokenizer)
        self.model.validate_prompt(text)
        return text

    def command(self, verb: str, *words: str, **options: object) -> str:
        """The command line that does the same with it."""
        model = None if self.source == DEFAULT_MODEL else self.source
        return command_line(verb, *words, **options, model=model)

    def frames(self, seconds: float | None) -> int | None:
        """A length in frames."""
        return None if seconds is None else max(round(seconds * self.model.fps), 1)

    def check_frames(self, frames: int | None) -> None:
        """Refuse a length that the model does not make."""
        (shortest, longest), fps = self.model.frame_range, self.model.fps
        if frames is not None and not shortest <= frames <= longest:
            raise InputError(
                f"{frames / fps:g} s is outside of what the model makes: "
                f"{shortest / fps:g} to {longest / fps:g} s"
            )

    def given(self, motion: Motion) -> Motion:
        """A motion as the model may be given it: one of another frame rate is resampled."""
        return motion.resample(self.model.fps)

    def sampling(
        self,
        guidance: float | None = None,
        steps: int | None = None,
        scheduler: str | None = None,
        completing: bool = False,
    ) -> Sampling:
        """Settings with the model's own where none are given; a motion that is completed has no guidance.

        Raises:
            InputError: for a scheduler that the model does not have.
        """
        config = self.model.config
        scheduler = config.scheduler if scheduler is None else scheduler
        known = schedulers_for(self.model.objective)
        if scheduler not in known:
            raise InputError(f"no scheduler {scheduler!r}: choose from {', '.join(known)}")
        if steps is None and scheduler == config.scheduler:
            steps = config.steps
        if guidance is None:
            guidance = 1.0 if completing else config.guidance
        return Sampling(guidance, scheduler, steps)


def served_models(sources: Sequence[str], load: Callable[[str], Loader]) -> list[ServedModel]:
    """Models by the last part of what they are called, or all of it where two end alike.

    Args:
        sources: folders, names or hub ids; the first is the one for requests that name none.
        load: the loader of each.

    Raises:
        InputError: if one is named twice.
    """
    twice = next((source for source in sources if sources.count(source) > 1), None)
    if twice is not None:
        raise InputError(f"the model {twice} is named twice")
    short = [Path(source).name for source in sources]
    names = [source if short.count(name) > 1 else name for source, name in zip(sources, short)]
    return [ServedModel(name, load(source), source) for name, source in zip(names, sources)]


def model_loader(where: Path | str, device: str) -> Loader:
    """Loads a folder or hub id onto a device."""

    def load(say: Callable[[str], None]) -> MotionGPT3:
        from motiongpt3.models.motiongpt import MotionGPT3

        say(f"loading {where}")
        return MotionGPT3.from_pretrained(where, device, say)

    return load


def share_weights(model: nn.Module, other: nn.Module) -> None:
    """Let parameters of ``model`` that equal those of the same name in ``other`` take no memory of their own.

    Models over one text backbone have most of their weights in common. From then on neither may be trained.
    """
    held = dict(other.named_parameters())
    for name, parameter in model.named_parameters():
        twin = held.get(name)
        if (
            twin is not None
            and (twin.shape, twin.dtype, twin.device) == (parameter.shape, parameter.dtype, parameter.device)
            and torch.equal(twin, parameter)
        ):
            parameter.data = twin.data
