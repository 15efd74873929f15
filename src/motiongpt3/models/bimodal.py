"""What all models of a text and a motion branch share: their folders, and what may be asked of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from motiongpt3.errors import InputError
from motiongpt3.models.bimodal_folder import BimodalConfig, read_bimodal, write_bimodal
from motiongpt3.models.cache import KeyValueCache
from motiongpt3.models.dialogue import text_ids
from motiongpt3.models.folders import config_to_json, write_config
from motiongpt3.models.interleaving import text_stream
from motiongpt3.models.mot import MixtureOfTransformers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class BimodalModel(nn.Module):
    """A text branch and a motion branch, a tokenizer, and a config that says how they are used.

    Attributes:
        model_name: what ``config.json`` calls such a model.
        kind: what people do.
        config_class: of ``config``.
        exact: beginnings of the names of tensors that keep their precision in every file.
    """

    model_name: ClassVar[str]
    kind: ClassVar[str]
    config_class: ClassVar[type[Any]]
    exact: ClassVar[tuple[str, ...]]

    config: BimodalConfig
    mot: MixtureOfTransformers
    tokenizer: PreTrainedTokenizerBase

    @classmethod
    def blank(cls, config: Any, tokenizer: PreTrainedTokenizerBase) -> Self:
        """A model with random weights."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        device: torch.device | str = "cpu",
        progress: Callable[[str], None] | None = None,
    ) -> Self:
        """Read a model folder, or a model of that id from the hub; evaluation mode.

        Args:
            path: a local folder, or a hub id such as ``organisation/name``.
            device: where the weights go.
            progress: told about slow steps, such as the one-time conversion of the text backbone.

        Raises:
            CheckpointError: if the folder is no such model, or its weights do not fit its config.
            MissingDependencyError: if the text backbone is not on this machine.
        """
        model = read_bimodal(path, cls.model_name, cls.kind, cls.config_class, cls.blank, progress)
        return model.eval().to(device)

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write ``config.json``, ``model.safetensors`` and, if the text branch is its own, the tokenizer.

        Args:
            folder: where to.
            dtype: of the language side's weights in the file, for instance ``torch.float16``; the motion side
                stays as it is: its statistics span too many magnitudes for half precision.
        """
        write_bimodal(self, Path(folder), self.config.text_backbone, dtype, self.exact)
        write_config(folder, {"model": self.model_name, **config_to_json(self.config)})

    @property
    def fps(self) -> float:
        """Frames per second of the motions."""
        return self.config.frames_per_second

    @property
    def frame_range(self) -> tuple[int, int]:
        """The shortest and the longest motion that may be asked for, in frames."""
        return self.config.shortest_frames, self.config.longest_frames

    def check_frames(self, frames: int) -> None:
        """Refuse a length that the model does not make.

        Raises:
            InputError: naming the lengths that it makes.
        """
        shortest, longest = self.frame_range
        if not shortest <= frames <= longest:
            raise InputError(
                f"a length of {frames} frames is outside of what the model makes: {shortest} to {longest}"
            )

    def validate_prompt(self, prompt: str) -> None:
        """Refuse what cannot be a prompt.

        Raises:
            InputError: if it is empty, too long, or contains special tokens of the tokenizer.
        """
        if not prompt.strip():
            raise InputError("the prompt is empty: say what the person does, as in 'a person walks forward'")
        # Not `all_special_tokens`, which names only those with a role.
        added = self.tokenizer.added_tokens_decoder.values()
        special = next((token.content for token in added if token.special and token.content in prompt), None)
        if special is not None:
            raise InputError(
                f"the prompt contains {special!r}, which has a meaning of its own here: leave it out"
            )
        tokens, longest = len(self.prompt_ids(prompt)), self.config.longest_prompt
        if tokens > longest:
            raise InputError(f"the prompt is too long: {tokens} tokens, at most {longest} fit")

    def prompt_ids(self, prompt: str) -> list[int]:
        """Token ids of a request without given motions, up to its answer in motion."""
        dialogue = self.config.dialogue
        text = f"{dialogue.request_prefix}{prompt}{dialogue.request_suffix}{dialogue.motion_prefix}"
        return text_ids(self.tokenizer, text)

    def read_text(self, prompts: Sequence[str]) -> tuple[KeyValueCache, Tensor]:
        """Let the text branch read prompts: the keys and values that motion attends to, and lengths (B,)."""
        stream, lengths = text_stream(self.mot, [self.prompt_ids(prompt) for prompt in prompts])
        return self.mot.encode_text(stream), lengths

    def _described(self, parts: Mapping[str, nn.Module], facts: Mapping[str, str]) -> dict[str, str]:
        """What the model is, as names and values for people: sizes of its parts, its text, and ``facts``."""
        sizes = {name: sum(weight.numel() for weight in part.parameters()) for name, part in parts.items()}
        shortest, longest = self.frame_range
        return {
            **{name: f"{size / 1e6:.1f} M parameters" for name, size in sizes.items()},
            "text backbone": self.config.text_backbone or "in the model's folder",
            "attached to text layers": ", ".join(map(str, self.config.motion.layers)),
            **facts,
            "lengths": f"{shortest} to {longest} frames at {self.fps:g} fps",
        }
