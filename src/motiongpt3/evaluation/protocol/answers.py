"""Where answers come from: a model that is asked now, or files that were made before.

The only place of the evaluation that knows how a model's methods are called.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from motiongpt3.data.humanml3d import open_array
from motiongpt3.errors import ConfigError, InputError
from motiongpt3.evaluation.completion import Gap
from motiongpt3.evaluation.protocol.clips import EvaluatedClip
from motiongpt3.generation.conversation import cut
from motiongpt3.generation.requests import frame_features
from motiongpt3.models.codec import MODEL_NAME as CODEC_NAME
from motiongpt3.models.codec import MotionCodec
from motiongpt3.models.folders import CONFIG_FILE, WEIGHTS_FILE, read_config
from motiongpt3.motion.features import check_features
from motiongpt3.motion.motion import Motion

if TYPE_CHECKING:
    from motiongpt3.models.motiongpt import MotionGPT3


@dataclass(frozen=True)
class Decoding:
    """How answers are sampled; None leaves a setting to the model."""

    guidance: float | None = None
    steps: int | None = None
    scheduler: str | None = None
    batch_size: int = 32

    def settings(self) -> dict[str, Any]:
        """The settings as the model's methods call them."""
        return dict(vars(self))


class Answers(Protocol):
    """What evaluation asks for."""

    fixed: bool
    """Whether every replication gets the same answers."""

    def motions(
        self,
        clips: Sequence[EvaluatedClip],
        prompts: Sequence[str],
        frames: Sequence[int] | None,
        seeds: Sequence[int],
    ) -> list[Tensor]:
        """Raw features (T, 263) of a motion for each prompt."""
        ...

    def captions(self, clips: Sequence[EvaluatedClip], motions: Sequence[Motion]) -> list[str]:
        """What each motion shows, in the likeliest words."""
        ...

    def completions(
        self,
        clips: Sequence[EvaluatedClip],
        motions: Sequence[Motion],
        gaps: Sequence[Gap],
        seeds: Sequence[int],
    ) -> list[Motion]:
        """Whole motions of which all but the gap was given."""
        ...

    def reconstructions(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Raw features after the motion VAE: from the posterior's mean and back."""
        ...

    def describe(self) -> dict[str, Any]:
        """What answers, for the record."""
        ...


class ModelAnswers:
    """A model that is asked.

    Args:
        model: `MotionGPT3`, or a `MotionCodec`, which only reconstructs.
        folder: where it was read from.
        decoding: settings that replace the model's own.
    """

    fixed = False

    def __init__(self, model: MotionGPT3 | MotionCodec, folder: Path, decoding: Decoding) -> None:
        self._model = model
        self._folder = folder
        self._decoding = decoding

    @property
    def language_model(self) -> MotionGPT3:
        """The model.

        Raises:
            InputError: if it is a motion VAE alone.
        """
        if isinstance(self._model, MotionCodec):
            raise InputError(
                f"{self._folder} is a motion VAE: it can be evaluated with --task reconstruction"
            )
        return self._model

    def motions(
        self,
        clips: Sequence[EvaluatedClip],
        prompts: Sequence[str],
        frames: Sequence[int] | None,
        seeds: Sequence[int],
    ) -> list[Tensor]:
        """See `Answers`."""
        made = self.language_model.generate(prompts, frames, seeds, **self._decoding.settings())
        return [frame_features(motion) for motion in made]

    def captions(self, clips: Sequence[EvaluatedClip], motions: Sequence[Motion]) -> list[str]:
        """See `Answers`."""
        return self.language_model.caption(motions, batch_size=self._decoding.batch_size)

    def completions(
        self,
        clips: Sequence[EvaluatedClip],
        motions: Sequence[Motion],
        gaps: Sequence[Gap],
        seeds: Sequence[int],
    ) -> list[Motion]:
        """See `Answers`."""
        model, settings = self.language_model, self._decoding.settings()
        heads = [cut(motion, 0, gap.head) for motion, gap in zip(motions, gaps)]
        frames = [gap.frames for gap in gaps]
        if all(gap.tail for gap in gaps):
            tails = [cut(motion, gap.frames - gap.tail, gap.frames) for motion, gap in zip(motions, gaps)]
            return model.inbetween(heads, tails, frames, seeds=seeds, **settings)
        return model.predict(heads, frames, seeds=seeds, **settings)

    @torch.inference_mode()
    def reconstructions(self, features: Sequence[Tensor]) -> list[Tensor]:
        """See `Answers`."""
        codec = self._model if isinstance(self._model, MotionCodec) else self._model.codec
        device, size = codec.feature_mean.device, self._decoding.batch_size
        found: list[Tensor] = []
        for first in range(0, len(features), size):
            part = list(features[first : first + size])
            lengths = torch.tensor([len(one) for one in part], device=device)
            padded = torch.nn.utils.rnn.pad_sequence(part, batch_first=True).to(device)
            made = codec.decode(codec.encode(padded, lengths)[0], lengths).cpu()
            found += [clip[:length] for clip, length in zip(made, lengths.tolist())]
        return found

    def describe(self) -> dict[str, Any]:
        """See `Answers`."""
        described = {
            "model": str(self._folder),
            "sha256": file_hashes(self._folder),
            "decoding": self._decoding.settings(),
        }
        if not isinstance(self._model, MotionCodec):
            config = self._model.config
            defaults = {"guidance": config.guidance, "steps": config.steps, "scheduler": config.scheduler}
            described["decoding of the model"] = {**defaults, "captions": vars(config.decoding)}
            described["text backbone"] = f"{config.text_backbone} {config.text_fingerprint}".strip()
        return described


class FileAnswers:
    """Answers that were made before.

    Args:
        path: a folder with a motion NAME.npy, raw features (T, 263), for each clip; or a JSON file with an
            object of captions by the names of clips.

    Raises:
        InputError: if it is neither, or a file is broken.
    """

    fixed = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._captions: dict[str, str] = {}
        if path.is_file():
            try:
                read = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError) as error:
                raise InputError(f"{path}: not readable as JSON ({error})") from None
            if not isinstance(read, dict) or not all(isinstance(value, str) for value in read.values()):
                raise InputError(f"{path}: expected an object with a caption for each name of a clip")
            self._captions = read
            self.names = frozenset(read)
        else:
            self.names = frozenset(file.stem for file in path.glob("*.npy"))
        if not self.names:
            raise InputError(f"{path}: there is no answer in it")

    def check(self, clips: Sequence[EvaluatedClip]) -> None:
        """Refuse to evaluate if a clip has no answer.

        Raises:
            InputError: naming the first.
        """
        missing = [clip.name for clip in clips if clip.name not in self.names]
        if missing:
            raise InputError(
                f"{self.path}: no answer for {len(missing)} of {len(clips)} clips, first {missing[0]!r}"
            )

    def motions(
        self,
        clips: Sequence[EvaluatedClip],
        prompts: Sequence[str],
        frames: Sequence[int] | None,
        seeds: Sequence[int],
    ) -> list[Tensor]:
        """See `Answers`."""
        return [self._features(clip) for clip in clips]

    def captions(self, clips: Sequence[EvaluatedClip], motions: Sequence[Motion]) -> list[str]:
        """See `Answers`."""
        if not self._captions:
            raise InputError(f"{self.path}: captions are expected in a JSON file")
        return [self._captions[clip.name] for clip in clips]

    def completions(
        self,
        clips: Sequence[EvaluatedClip],
        motions: Sequence[Motion],
        gaps: Sequence[Gap],
        seeds: Sequence[int],
    ) -> list[Motion]:
        """See `Answers`."""
        return [self._whole(clip) for clip in clips]

    def reconstructions(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Not from files."""
        raise InputError("reconstruction is measured on a model, not on files")

    def describe(self) -> dict[str, Any]:
        """See `Answers`."""
        return {"answers": str(self.path), "count": len(self.names)}

    def _whole(self, clip: EvaluatedClip) -> Motion:
        made = self._features(clip)
        if len(made) != clip.frames:
            raise InputError(f"{self.path}: {clip.name!r} has {len(made)} frames, its clip {clip.frames}")
        return Motion.from_features(made, name=clip.name)

    def _features(self, clip: EvaluatedClip) -> Tensor:
        path = self.path / f"{clip.name}.npy"
        features = torch.from_numpy(open_array(path)[:].astype("float32"))
        check_features(features, str(path))
        return features


def load_answers(
    name: str, decoding: Decoding, device: str, progress: Any = None
) -> ModelAnswers | FileAnswers:
    """The model of a name or folder, or the answers in a folder of motions or a file of captions.

    Raises:
        InputError: if there is neither.
    """
    from motiongpt3.models.locate import find_model

    path = Path(name).expanduser()
    if path.suffix == ".json" and path.is_file():
        return FileAnswers(path)
    if path.is_dir() and not (path / CONFIG_FILE).exists() and any(path.glob("*.npy")):
        return FileAnswers(path)
    where = find_model(name)
    if isinstance(where, Path) and read_config(where).get("model") == CODEC_NAME:
        return ModelAnswers(MotionCodec.from_pretrained(where).to(device), where, decoding)
    from motiongpt3.cli.generate import load_model
    from motiongpt3.models.motiongpt import MODEL_NAME

    if isinstance(where, Path) and (kind := read_config(where).get("model")) != MODEL_NAME:
        raise ConfigError(f"{where} is a {kind}: it does not answer the tasks that are evaluated here")
    return ModelAnswers(load_model(where, device, progress), Path(where), decoding)


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of a model's config and weights, where they are on this machine."""
    paths = (folder / name for name in (CONFIG_FILE, WEIGHTS_FILE))
    return {path.name: _sha256(path) for path in paths if path.is_file()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
