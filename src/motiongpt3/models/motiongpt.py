"""MotionGPT3: a language model and a motion branch joined by attention, with motion as continuous latents.

This module ties the parts together and knows the way from sentences to motions::

    prompt ─ tokenizer ─ text branch ─► keys/values ─ motion branch at the placeholders ─► hidden states
    hidden states ─ generative head, stepped by a scheduler ─► latents ─ motion VAE ─► features ─► joints

Shapes: B prompts, S text tokens, K latents, C channels per latent, D width of the motion branch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from motiongpt3.errors import CheckpointError, ConfigError, InputError
from motiongpt3.models.backbones import load_text_weights, text_config_from
from motiongpt3.models.bimodal_folder import check_prompt, local_folder, read_bimodal, write_bimodal
from motiongpt3.models.codec import MotionCodec, build_vae, vae_to_json
from motiongpt3.models.folders import (
    build,
    build_kind,
    config_from_json,
    config_to_json,
    read_config,
    write_config,
)
from motiongpt3.models.head import MLPHead, MLPHeadConfig
from motiongpt3.models.mot import (
    KeyValueCache,
    MixtureOfTransformers,
    MotionBranchConfig,
    TextBranchConfig,
    TokenStream,
)
from motiongpt3.models.placeholders import (
    LatentPlaceholders,
    LatentPlaceholdersConfig,
    SequencePlaceholders,
    SequencePlaceholdersConfig,
)
from motiongpt3.models.sequence_head import SequenceHead, SequenceHeadConfig
from motiongpt3.models.text_backbone import load_text_backbone
from motiongpt3.motion.motion import Motion
from motiongpt3.sampling import (
    OBJECTIVES,
    LatentNoise,
    Objective,
    guided,
    sample_latents,
    sample_seeds,
    schedulers_for,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLACEHOLDERS = {
    "sequence": (SequencePlaceholders, SequencePlaceholdersConfig),
    "latent": (LatentPlaceholders, LatentPlaceholdersConfig),
}
HEADS = {"sequence": (SequenceHead, SequenceHeadConfig), "mlp": (MLPHead, MLPHeadConfig)}
MODEL_NAME = "motiongpt3"


@dataclass(frozen=True)
class MotionGPT3Config:
    """All of a model but its weights.

    Args:
        text_backbone: name of the language model that the text branch is loaded from (see `text_backbone`),
            or empty if the text branch and its tokenizer are in the model's own folder.
        text_fingerprint: of the exact weights of that language model; empty with an empty ``text_backbone``.
        prompt_prefix: text put before a prompt.
        prompt_suffix: text put behind it.
        longest_prompt: tokens of a prompt, with prefix and suffix.
        frames_per_second: of the motions.
        shortest_frames: that may be asked for.
        longest_frames: that may be asked for.
        default_frames: when no length is asked for and the model does not predict one.
        guidance: default scale of classifier-free guidance.
        scheduler: default scheduler.
        steps: default number of its steps.
        objective: what the head was trained to predict, with its ``kind``.
        text: the text branch.
        motion: the motion branch.
        placeholders: with their ``kind``, one of `PLACEHOLDERS`.
        head: with its ``kind``, one of `HEADS`.
        vae: with its ``kind``; see `codec`.
    """

    text_backbone: str
    text_fingerprint: str
    prompt_prefix: str
    prompt_suffix: str
    longest_prompt: int
    frames_per_second: float
    shortest_frames: int
    longest_frames: int
    default_frames: int
    guidance: float
    scheduler: str
    steps: int
    objective: dict[str, Any]
    text: TextBranchConfig
    motion: MotionBranchConfig
    placeholders: dict[str, Any]
    head: dict[str, Any]
    vae: dict[str, Any]


class MotionGPT3(nn.Module):
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

    # Making, loading, saving

    @classmethod
    def assemble(cls, description: dict[str, Any], codec: MotionCodec) -> MotionGPT3:
        """A model to train: pretrained text branch, trained codec, random motion branch and head.

        Args:
            description: the fields of `MotionGPT3Config` that the text backbone and the codec do not settle:
                all but ``text``, ``text_fingerprint`` and ``vae``.
            codec: the trained motion VAE.
        """
        backbone = load_text_backbone(description["text_backbone"])
        text = text_config_from(backbone.config)
        values = {
            **description,
            "text": config_to_json(text),
            "text_fingerprint": backbone.fingerprint,
            "vae": vae_to_json(codec.vae),
        }
        model = cls(config_from_json(MotionGPT3Config, values, "model"), codec, backbone.tokenizer)
        load_text_weights(model.mot, backbone.model.state_dict(), backbone.config.model_type)
        model.mot.freeze_text()
        return model

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        device: torch.device | str = "cpu",
        progress: Callable[[str], None] | None = None,
    ) -> MotionGPT3:
        """Read a model folder, or a model of that id from the hub; evaluation mode.

        Args:
            path: a local folder, or a hub id such as ``organisation/name``.
            device: where the weights go.
            progress: told about slow steps, such as the one-time conversion of the text backbone.

        Raises:
            CheckpointError: if the folder is no model, or its weights do not fit its config.
            MissingDependencyError: if the text backbone is not on this machine.
        """
        folder = local_folder(path)
        values = read_config(folder)
        if values.pop("model", None) != MODEL_NAME:
            raise CheckpointError(
                f'{folder}: not a MotionGPT3 model (no "model": "{MODEL_NAME}" in its config)'
            )
        config = config_from_json(MotionGPT3Config, values, str(folder))
        codec = MotionCodec(build_vae(config.vae))
        model = read_bimodal(
            folder,
            config.text_backbone,
            config.text_fingerprint,
            lambda tokenizer: cls(config, codec, tokenizer),
            progress,
        )
        return model.eval().to(device)

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write ``config.json``, ``model.safetensors`` and, if the text branch is its own, the tokenizer.

        Args:
            folder: where to.
            dtype: of the language side's weights in the file, for instance ``torch.float16``; the codec stays
                as it is, since its statistics span too many magnitudes for half precision.
        """
        folder = Path(folder)
        write_bimodal(self, folder, self.config.text_backbone, dtype, exact=("codec.",))
        write_config(folder, {"model": MODEL_NAME, **config_to_json(self.config)})

    # What a request may ask for

    @property
    def fps(self) -> float:
        """Frames per second of the motions."""
        return self.config.frames_per_second

    @property
    def frame_range(self) -> tuple[int, int]:
        """The shortest and the longest motion that may be asked for, in frames."""
        return self.config.shortest_frames, self.config.longest_frames

    def validate_prompt(self, prompt: str) -> None:
        """Raise `InputError` if a prompt is empty, too long, or contains special tokens of the tokenizer."""
        check_prompt(prompt, self.tokenizer, len(self.prompt_ids(prompt)), self.config.longest_prompt)

    def prompt_ids(self, prompt: str) -> list[int]:
        """Token ids of a prompt as the text branch reads it."""
        text = f"{self.config.prompt_prefix}{prompt}{self.config.prompt_suffix}"
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def describe(self) -> dict[str, str]:
        """What the model is, as names and values for people."""
        millions = {
            name: sum(parameter.numel() for parameter in module.parameters()) / 1e6
            for name, module in (
                ("text branch", self.mot.text),
                ("motion branch", self.mot.motion),
                ("generative head", self.head),
                ("motion VAE", self.codec),
            )
        }
        config = self.config
        per_latent = self.codec.frames_per_latent
        return {
            **{name: f"{count:.1f} M parameters" for name, count in millions.items()},
            "text backbone": config.text_backbone or "in the model's folder",
            "attached to text layers": ", ".join(map(str, config.motion.layers)),
            "latents": f"{self.codec.latent_channels} channels, "
            + (f"one for every {per_latent} frames" if per_latent else "one for a clip"),
            "objective": config.objective["kind"].replace("_", " "),
            "sampling": f"{config.scheduler}, {config.steps} steps, guidance {config.guidance:g}",
            "lengths": f"{config.shortest_frames} to {config.longest_frames} frames at {self.fps:g} fps",
        }

    # Generation

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[str],
        frames: Sequence[int] | int | None = None,
        seeds: Sequence[int] | None = None,
        guidance: float | None = None,
        steps: int | None = None,
        scheduler: str | None = None,
        temperature: float = 1.0,
        batch_size: int = 32,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Motion]:
        """One motion for each prompt.

        Args:
            prompts: what the person does.
            frames: length of each motion (or of all); None lets the model choose by the text, or takes the
                config's ``default_frames`` if it cannot.
            seeds: one per prompt, by default 0, 1, 2, …; a seed means the same motion in any batch.
            guidance: scale of classifier-free guidance, 1 for none; by default the config's.
            steps: of the scheduler; by default the config's, or what suits another scheduler.
            scheduler: by default the config's.
            temperature: of the noise that the scheduler adds (ddpm only).
            batch_size: motions made together.
            progress: called with (motions done, all motions).

        Raises:
            InputError: if a prompt, length or setting cannot be used.
            ConfigError: if there is no such scheduler, or it does not step for this model.
        """
        requests = self._requests(prompts, frames, seeds)
        if batch_size < 1:
            raise InputError(f"batch_size: {batch_size} motions cannot be made together")
        guidance = self.config.guidance if guidance is None else guidance
        scheduler = self.config.scheduler if scheduler is None else scheduler
        if steps is None and scheduler == self.config.scheduler:
            steps = self.config.steps
        motions: list[Motion] = []
        for first in range(0, len(requests), batch_size):
            part = requests[first : first + batch_size]
            latents, lengths = self._latents(part, guidance, scheduler, steps, temperature)
            features = self.codec.decode(latents, lengths).cpu()
            motions.extend(
                Motion.from_features(clip[:length], self.fps, name=request.prompt)
                for clip, length, request in zip(features, lengths.tolist(), part)
            )
            if progress:
                progress(len(motions), len(requests))
        return motions

    def read_text(self, prompts: Sequence[str]) -> tuple[KeyValueCache, Tensor]:
        """Let the text branch read prompts: the keys and values that motion attends to, and lengths (B,)."""
        device = self.codec.feature_mean.device
        rows = [torch.tensor(self.prompt_ids(prompt), device=device) for prompt in prompts]
        lengths = torch.tensor([len(row) for row in rows], device=device)
        ids_BS = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        visible_BS = torch.arange(ids_BS.shape[1], device=device) < lengths[:, None]
        return self.mot.encode_text(TokenStream.sequential(self.mot.embed_text(ids_BS), visible_BS)), lengths

    def _requests(
        self, prompts: Sequence[str], frames: Sequence[int] | int | None, seeds: Sequence[int] | None
    ) -> list[_Request]:
        lengths = [frames] * len(prompts) if frames is None or isinstance(frames, int) else list(frames)
        numbers = list(range(len(prompts))) if seeds is None else list(seeds)
        if not len(prompts) == len(lengths) == len(numbers):
            raise InputError(
                f"{len(prompts)} prompts, {len(lengths)} lengths and {len(numbers)} seeds do not pair up"
            )
        shortest, longest = self.frame_range
        for prompt in dict.fromkeys(prompts):
            self.validate_prompt(prompt)
        for length in lengths:
            if length is not None and not shortest <= length <= longest:
                raise InputError(
                    f"a length of {length} frames is outside of what the model makes: {shortest} to {longest}"
                )
        for number in numbers:
            sample_seeds(number, 1)
        return [_Request(*request) for request in zip(prompts, lengths, numbers)]

    def _latents(
        self, requests: list[_Request], guidance: float, scheduler: str, steps: int | None, temperature: float
    ) -> tuple[Tensor, Tensor]:
        """Latents (B, K, C) and lengths (B,) in frames."""
        distinct = list(dict.fromkeys(request.prompt for request in requests))
        cache, text_lengths = self.read_text(distinct)
        numbers = [distinct.index(request.prompt) for request in requests]
        rows = torch.tensor(numbers, device=text_lengths.device)
        cache, text_lengths = cache.rows(rows), text_lengths[rows]

        start_hidden = self.placeholders.start(self.mot, cache, text_lengths)
        lengths = self._lengths(requests, start_hidden).to(text_lengths.device)
        counts = self.codec.latent_counts(lengths)
        hidden = self.placeholders.fill(self.mot, cache, text_lengths, counts)
        condition = self.placeholders.condition(self.head, hidden, counts)
        null = None
        if guidance != 1.0 and self.placeholders.null_condition is not None:
            null = self.placeholders.condition(self.head, self.placeholders.null_hidden(counts), counts)
        seeds = [request.seed for request in requests]
        noise = LatentNoise(seeds, counts.tolist(), self.codec.latent_channels)
        latents = sample_latents(
            guided(self.head, condition, null, guidance),
            noise.draw().to(lengths.device),
            self.objective,
            scheduler,
            steps,
            temperature,
            noise,
        )
        return latents, lengths

    def _lengths(self, requests: list[_Request], start_hidden: Tensor | None) -> Tensor:
        wanted = [request.frames for request in requests]
        if None in wanted:
            predicted = [self.config.default_frames] * len(requests)
            per_latent = self.codec.frames_per_latent
            if start_hidden is not None and per_latent is not None:
                assert isinstance(self.placeholders, SequencePlaceholders)
                predicted = (self.placeholders.predicted_counts(start_hidden) * per_latent).tolist()
            shortest, longest = self.frame_range
            wanted = [min(max(p, shortest), longest) if w is None else w for w, p in zip(wanted, predicted)]
        return torch.tensor(wanted)


@dataclass(frozen=True)
class _Request:
    prompt: str
    frames: int | None
    seed: int
