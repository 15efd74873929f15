"""Frozen text, read once: the keys and values of every caption at the layers that motion attends to.

Text before motion does not depend on the motion branch (the mask is causal), so with a frozen text branch its
keys and values are the same in every epoch. They are computed without autograd, kept on disk as float16, and
mapped into memory; training never runs the language model.

Shapes: A attached layers, B captions, S tokens, G key/value heads, E width of a head.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.files import atomic_file
from motiongpt3.models.mot import KeyValueCache, MixtureOfTransformers, TokenStream
from motiongpt3.models.text_backbone import fingerprint

if TYPE_CHECKING:
    from motiongpt3.models.motion_tokens import MotionTokenGPT
    from motiongpt3.models.motiongpt import MotionGPT3


class CaptionMemory:
    """Keys and values of a fixed list of captions.

    Build with `CaptionMemory.of` or `read`; ``batch`` gives the cache that motion attends to.
    """

    def __init__(
        self, path: Path, offsets: np.ndarray, layers: tuple[int, ...], heads: int, head_dim: int
    ) -> None:
        self.layers = layers
        self._shape = (len(layers), 2, heads, head_dim)
        self._offsets = offsets
        tokens = int(offsets[-1])
        self._rows = np.memmap(path, dtype=np.float16, mode="r", shape=(tokens, *self._shape))

    @classmethod
    def of(
        cls,
        captions: Sequence[Sequence[int]],
        mot: MixtureOfTransformers,
        folder: Path,
        text_fingerprint: str,
        batch_size: int = 64,
        progress: Callable[[int, int], None] | None = None,
        layers: tuple[int, ...] | None = None,
    ) -> CaptionMemory:
        """Compute (or find in ``folder``) the keys and values of tokenised captions.

        Args:
            captions: token ids of each caption, as the model lays out a prompt.
            mot: the backbone; its text branch is read, its motion branch only says which layers.
            folder: where the file is kept; its name follows from all that it depends on.
            text_fingerprint: of the text branch's weights.
            batch_size: captions per forward pass; they are grouped by length, so nothing is padding.
            progress: called with (captions done, all captions).
            layers: text layers to keep; by default those that motion is attached to. Text that is to be
                continued by more text needs all of them.

        Raises:
            InputError: if the disk has no room for them.
        """
        config, layers = mot.text_config, mot.motion_config.layers if layers is None else layers
        lengths = np.array([len(ids) for ids in captions])
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        content = json.dumps([text_fingerprint, layers, [list(ids) for ids in captions]]).encode()
        path = folder / f"captions-{hashlib.sha256(content).hexdigest()[:16]}.f16"
        shape = (int(offsets[-1]), len(layers), 2, config.kv_heads, config.head_dim)
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _check_room(folder, math.prod(shape) * np.dtype(np.float16).itemsize)
            with atomic_file(path) as temporary:
                device = mot.text.token_embedding.weight.device
                rows = np.memmap(temporary, dtype=np.float16, mode="w+", shape=shape)
                done = 0
                for batch in _equal_lengths(lengths, batch_size):
                    ids = torch.tensor([list(captions[index]) for index in batch], device=device)
                    for index, values in zip(batch, _keys_values(mot, ids, layers)):
                        rows[offsets[index] : offsets[index + 1]] = values
                    done += len(batch)
                    if progress:
                        progress(done, len(captions))
                rows.flush()
        return cls(path, offsets, layers, config.kv_heads, config.head_dim)

    @classmethod
    def read(
        cls,
        texts: Sequence[Sequence[int]],
        model: MotionGPT3 | MotionTokenGPT,
        folder: Path,
        layers: tuple[int, ...] | None = None,
    ) -> CaptionMemory:
        """`of` for the text branch of a model, with a display of how far it is."""
        with Progress(transient=True) as progress:
            task = progress.add_task("reading texts", total=len(texts))
            return cls.of(
                texts,
                model.mot,
                folder,
                model.config.text_fingerprint or fingerprint(model.mot.text),
                progress=lambda done, total: progress.update(task, completed=done),
                layers=layers,
            )

    def batch(self, indices: Sequence[int]) -> tuple[KeyValueCache, Tensor]:
        """The cache of the captions ``indices``, padded on the right, and their lengths (B,) in tokens."""
        lengths = torch.tensor([int(self._offsets[i + 1] - self._offsets[i]) for i in indices])
        rows = torch.zeros(len(indices), int(lengths.max()), *self._shape)
        for row, index in enumerate(indices):
            start, end = self._offsets[index], self._offsets[index + 1]
            rows[row, : end - start] = torch.from_numpy(self._rows[start:end].astype(np.float32))
        keys, values = rows.permute(3, 2, 0, 4, 1, 5)
        positions = torch.arange(rows.shape[1]).expand(len(indices), -1)
        visible = positions < lengths[:, None]
        return KeyValueCache.from_text(keys, values, self.layers, positions, visible), lengths


def _check_room(folder: Path, size: int) -> None:
    """Before hours of reading, not after."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise InputError(
            f"{folder}: what the text branch reads takes {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are "
            "free: write elsewhere (--out), let each clip have fewer requests (wordings), or read them anew "
            "in every step (--remember_text false)"
        )


@torch.inference_mode()
def _keys_values(mot: MixtureOfTransformers, ids: Tensor, layers: tuple[int, ...]) -> np.ndarray:
    """(B, S, A, 2, G, E) float16 of token ids (B, S)."""
    cache = mot.encode_text(TokenStream.sequential(mot.embed_text(ids)), layers)
    keys, values = cache.text_tensors(layers)
    return torch.stack([keys, values]).permute(2, 4, 1, 0, 3, 5).to("cpu", torch.float16).numpy()


def _equal_lengths(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Indices grouped by length, at most ``batch_size`` together."""
    batches: list[np.ndarray] = []
    for length in np.unique(lengths):
        same = np.flatnonzero(lengths == length)
        batches.extend(same[start : start + batch_size] for start in range(0, len(same), batch_size))
    return batches
