"""MotionGPT3: a language model and a motion branch joined by attention, with motion as continuous latents.

This module ties the parts together and knows the way from sentences to motions::

    prompt ─ tokenizer ─ text branch ─► keys/values ─ motion branch at the placeholders ─► hidden states
    hidden states ─ generative head, stepped by a scheduler ─► latents ─ motion VAE ─► features ─► joints

Shapes: B prompts, S text tokens, K latents, C channels per latent, D width of the motion branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

import torch
from torch import Tensor

from motiongpt3.errors import ConfigError
from motiongpt3.generation.captions import caption_motions
from motiongpt3.generation.motions import (
    MotionRequest,
    Progress,
    Sampling,
    SamplingSettings,
    counted,
    make_motions,
    paired,
)
from motiongpt3.models.bimodal import BimodalModel
from motiongpt3.models.bimodal_folder import BimodalConfig, assemble_bimodal
from motiongpt3.models.codec import MotionCodec, build_vae, vae_to_json
from motiongpt3.models.folders import build, build_kind
from motiongpt3.models.head import MLPHead, MLPHeadConfig
from motiongpt3.models.mot import MixtureOfTransformers
from motiongpt3.models.placeholders import (
    LatentPlaceholders,
    LatentPlaceholdersConfig,
    SequencePlaceholders,
    SequencePlaceholdersConfig,
)
from motiongpt3.models.sequence_head import SequenceHead, SequenceHeadConfig
from motiongpt3.models.text_decoding import TextDecoding
from motiongpt3.motion.completion import PREDICTION_RATIO
from motiongpt3.motion.motion import Motion
from motiongpt3.sampling import OBJECTIVES, Objective, schedulers_for
from motiongpt3.tasks import CAPTION, task_named

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLACEHOLDERS = {
    "sequence": (SequencePlaceholders, SequencePlaceholdersConfig),
    "latent": (LatentPlaceholders, LatentPlaceholdersConfig),
}
HEADS = {"sequence": (SequenceHead, SequenceHeadConfig), "mlp": (MLPHead, MLPHeadConfig)}
MODEL_NAME = "motiongpt3"
TASK_SETTINGS: dict[str, SamplingSettings] = {
    "pred": {"guidance": 1.0},
    # Between given ends the likeliest is best; a motion that is continued would come to a stop.
    "inbetween": {"guidance": 1.0, "noise": 0.5},
}
"""What tasks are sampled with that need other settings than the config's."""


@dataclass(frozen=True)
class MotionGPT3Config(BimodalConfig):
    """All of a model but its weights; see also `BimodalConfig`.

    Args:
        stage: the last stage of training that it has been through, see `training.stages`; empty if not known.
        default_frames: when no length is asked for and the model does not predict one.
        guidance: default scale of classifier-free guidance.
        scheduler: default scheduler.
        steps: default number of its steps.
        objective: what the head was trained to predict, with its ``kind``.
        placeholders: with their ``kind``, one of `PLACEHOLDERS`.
        head: with its ``kind``, one of `HEADS`.
        vae: with its ``kind``; see `codec`.
    """

    stage: str
    default_frames: int
    guidance: float
    scheduler: str
    steps: int
    objective: dict[str, Any]
    placeholders: dict[str, Any]
    head: dict[str, Any]
    vae: dict[str, Any]


class MotionGPT3(BimodalModel):
    """The bimodal model. Make one with `from_pretrained`, or with `assemble` to train it.

    Attributes:
        config: sizes and defaults.
        codec: features to latents and back.
        mot: text and motion branch.
        placeholders: where motion is asked for.
        head: from hidden states to latents.
        objective: what the head predicts.
        tokenizer: of the text branch.
    """

    model_name = MODEL_NAME
    kind = "a MotionGPT3 model"
    config_class = MotionGPT3Config
    exact = ("codec.",)

    config: MotionGPT3Config

    def __init__(
        self, config: MotionGPT3Config, codec: MotionCodec, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        super().__init__()
        self.config = config
        self.codec = codec
        self.mot = build(lambda: MixtureOfTransformers(config.text, config.motion), "text and motion")
        self.placeholders: SequencePlaceholders | LatentPlaceholders = build_kind(
            config.placeholders, PLACEHOLDERS, "placeholders"
        )
        self.head: SequenceHead | MLPHead = build_kind(config.head, HEADS, "head")
        objectives = {kind: (objective, objective) for kind, objective in OBJECTIVES.items()}
        self.objective: Objective = build_kind(config.objective, objectives, "objective")
        self.tokenizer = tokenizer
        self._check_parts()

    def _check_parts(self) -> None:
        """Refuse parts that do not fit one another, by name, before a tensor does so less clearly."""
        config, placeholders, head = self.config, self.placeholders.config, self.head.config
        kinds = tuple(part["kind"] for part in (config.placeholders, config.head))
        if kinds not in (("sequence", "sequence"), ("latent", "mlp")):
            raise ConfigError(
                f"head.kind: {kinds[1]!r} does not read the hidden states of {kinds[0]!r} placeholders"
            )
        for name, value, wanted in (
            ("placeholders.width", placeholders.width, config.motion.width),
            ("head.hidden_width", head.hidden_width, config.motion.width),
            ("head.latent_channels", head.latent_channels, self.codec.latent_channels),
            ("placeholders.latent_channels", placeholders.latent_channels, self.codec.latent_channels),
        ):
            if value != wanted:
                raise ConfigError(f"{name}: {value} does not fit the other parts, which need {wanted}")
        if config.scheduler not in schedulers_for(self.objective):
            raise ConfigError(f"scheduler: {config.scheduler!r} does not step for {config.objective['kind']}")
        if not 1 <= config.shortest_frames <= config.default_frames <= config.longest_frames:
            raise ConfigError("shortest_frames, default_frames and longest_frames are not in order")
        if not all(0 <= token < config.motion.vocabulary_size for token in placeholders.tokens):
            raise ConfigError(
                f"placeholders: tokens beyond motion.vocabulary_size {config.motion.vocabulary_size}"
            )

    @classmethod
    def assemble(cls, description: dict[str, Any], codec: MotionCodec) -> MotionGPT3:
        """A model to train: pretrained text branch, trained codec, random motion branch and head.

        Args:
            description: the fields of `MotionGPT3Config` that the text backbone and the codec do not settle:
                all but ``text``, ``text_fingerprint`` and ``vae``.
            codec: the trained motion VAE.
        """
        return assemble_bimodal(
            description,
            MotionGPT3Config,
            lambda config, tokenizer: cls(config, codec, tokenizer),
            vae=vae_to_json(codec.vae),
        )

    @classmethod
    def blank(cls, config: MotionGPT3Config, tokenizer: PreTrainedTokenizerBase) -> MotionGPT3:
        """A model with random weights and statistics of 0 and 1."""
        return cls(config, MotionCodec(build_vae(config.vae)), tokenizer)

    def describe(self) -> dict[str, str]:
        """What the model is, as names and values for people."""
        config, per_latent = self.config, self.codec.frames_per_latent
        spacing = f"one for every {per_latent} frames" if per_latent else "one for a clip"
        return self._described(
            {
                "text branch": self.mot.text,
                "motion branch": self.mot.motion,
                "generative head": self.head,
                "motion VAE": self.codec,
            },
            {
                "latents": f"{self.codec.latent_channels} channels, {spacing}",
                "objective": config.objective["kind"].replace("_", " "),
                "sampling": f"{config.scheduler}, {config.steps} steps, guidance {config.guidance:g}",
            },
        )

    def generate(
        self,
        prompts: Sequence[str],
        frames: Sequence[int] | int | None = None,
        seeds: Sequence[int] | None = None,
        progress: Progress | None = None,
        verbatim: bool = False,
        **settings: Unpack[SamplingSettings],
    ) -> list[Motion]:
        """One motion for each prompt.

        Args:
            prompts: what the person does; native models take any request for it as well.
            frames: length of each motion (or of all); None lets the model choose by the text, or takes the
                config's ``default_frames`` if it cannot.
            seeds: one per prompt, by default 0, 1, 2, …; a seed means the same motion in any batch.
            progress: called with (motions done, all motions).
            verbatim: say the prompts as they are, without the wording that official checkpoints know the task
                by.
            settings: see `SamplingSettings` and `sampling`.

        Raises:
            InputError: if a prompt, length or setting cannot be used.
            ConfigError: if there is no such scheduler, or it does not step for this model.
        """
        said = prompts if verbatim else [self.request_for("t2m", prompt) for prompt in prompts]
        rows = paired(prompts, prompts=said, lengths=frames, seeds=counted(seeds, prompts))
        requests = [MotionRequest(*row) for row in rows]
        return make_motions(self, requests, self.sampling("t2m", **settings), progress)

    def predict(
        self,
        heads: Sequence[Motion],
        frames: Sequence[int] | int | None = None,
        prompts: Sequence[str] | str | None = None,
        seeds: Sequence[int] | None = None,
        progress: Progress | None = None,
        **settings: Unpack[SamplingSettings],
    ) -> list[Motion]:
        """Continue motions; their own frames stay as they are.

        Args:
            heads: how the motions begin, at the model's frame rate.
            frames: of the whole motions; None makes the given part a fifth, as far as the model
                makes such lengths.
            prompts: requests, for each or for all; by default the one of the task.
            seeds: see `generate`.
            progress: see `generate`.
            settings: see `generate`.

        Raises:
            InputError: if a motion, length or setting cannot be used.
            ConfigError: see `generate`.
        """
        if frames is None:
            shortest, longest = self.frame_range
            frames = [min(max(round(len(head) / PREDICTION_RATIO), shortest), longest) for head in heads]
        wording = self.request_for("pred") if prompts is None else prompts
        rows = paired(heads, prompts=wording, lengths=frames, seeds=counted(seeds, heads), heads=heads)
        requests = [MotionRequest(*row) for row in rows]
        return make_motions(self, requests, self.sampling("pred", **settings), progress)

    def inbetween(
        self,
        heads: Sequence[Motion],
        tails: Sequence[Motion],
        frames: Sequence[int] | int,
        prompts: Sequence[str] | str | None = None,
        seeds: Sequence[int] | None = None,
        progress: Progress | None = None,
        **settings: Unpack[SamplingSettings],
    ) -> list[Motion]:
        """Fill motions between their first and their last frames, which stay as they are.

        Args:
            heads: how the motions begin.
            tails: how they end, each in the same world as its beginning.
            frames: of the whole motions.
            prompts: see `predict`.
            seeds: see `generate`.
            progress: see `generate`.
            settings: see `generate`.

        Raises:
            InputError: if a motion, length or setting cannot be used.
            ConfigError: see `generate`.
        """
        wording = self.request_for("inbetween") if prompts is None else prompts
        rows = paired(
            heads, prompts=wording, lengths=frames, seeds=counted(seeds, heads), heads=heads, tails=tails
        )
        requests = [MotionRequest(*row) for row in rows]
        return make_motions(self, requests, self.sampling("inbetween", **settings), progress)

    def caption(
        self,
        motions: Sequence[Motion],
        prompts: Sequence[str] | str | None = None,
        seeds: Sequence[int] | None = None,
        decoding: TextDecoding | None = None,
        batch_size: int = 32,
        progress: Progress | None = None,
    ) -> list[str]:
        """What each motion shows, in words.

        Args:
            motions: at the model's frame rate, see `motion.standard` for others.
            prompts: requests, for each or for all; by default the one of the task. A motion stands at
                ``<Motion_Placeholder>``, or at the end.
            seeds: one per motion, by default 0, 1, 2, …; without effect if the likeliest words are taken.
            decoding: how words are chosen; by default the config's.
            batch_size: motions read together.
            progress: called with (motions done, all motions).

        Raises:
            InputError: if a motion or request cannot be used.
        """
        wording = self.request_for("m2t") if prompts is None else prompts
        rows = paired(motions, prompts=wording, seeds=counted(seeds, motions))
        asked, numbers = [row[0] for row in rows], [row[1] for row in rows]
        for prompt in dict.fromkeys(asked):
            self.validate_prompt(prompt)
        chosen = self.config.decoding if decoding is None else decoding
        return caption_motions(self, motions, asked, chosen, numbers, batch_size, progress)

    def request_for(self, task: str, words: str = "") -> str:
        """What this model is told for a task, with the user's words where they belong.

        Official checkpoints know a task by its wording; native ones take words as they are.
        """
        known = task_named(task)
        wording = known.request if isinstance(self.placeholders, SequencePlaceholders) else known.official
        return wording.replace(CAPTION, words)

    @torch.inference_mode()
    def answer_wanted(self, requests: Sequence[str]) -> Tensor:
        """What kind of answer requests in free form want: probabilities (B, 3), in the order of `ANSWERS`.

        Raises:
            ConfigError: if the model has no start token to decide with.
        """
        if not isinstance(self.placeholders, SequencePlaceholders):
            raise ConfigError("this model cannot tell what a request wants: say which task is meant")
        cache, lengths = self.read_text(requests)
        return self.placeholders.answer_logits(self.placeholders.start(self.mot, cache, lengths)).softmax(-1)

    def sampling(self, task: str, **settings: Unpack[SamplingSettings]) -> Sampling:
        """How motions of a task are sampled: as ``settings`` say, and for the rest as the model does it."""
        values: dict[str, Any] = {"guidance": self.config.guidance, "scheduler": self.config.scheduler}
        values |= dict(TASK_SETTINGS.get(task, {}))
        values |= {name: value for name, value in settings.items() if value is not None}
        if values["scheduler"] == self.config.scheduler:
            values.setdefault("steps", self.config.steps)
        return Sampling(**values)
