"""The one key/value cache: what earlier tokens of both streams left behind for later ones to attend to.

Keys are stored as attention uses them, after rotary positions. The two streams are kept apart, so that a
layer to which no motion is attached holds text alone.

Shapes: A cached layers, B batch, N tokens, G key/value heads, E width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.models.attention import NO_BLOCK, Timeline


@dataclass
class StreamCache:
    """Keys and values (B, G, N, E) of one stream by text-layer index, and the timeline of its N tokens."""

    timeline: Timeline | None = None
    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)
    # By layer, larger tensors of which keys and values are the first columns; nobody else's to write into.
    _room: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False)

    @property
    def length(self) -> int:
        """How many tokens are held, padding included."""
        return 0 if self.timeline is None else self.timeline.length

    def extend(self, timeline: Timeline) -> None:
        """Announce new tokens; each layer then has to `append` theirs."""
        self.timeline = Timeline.joined([self.timeline, timeline] if self.timeline else [timeline])

    def reserve(self, tokens: int, dtype: torch.dtype) -> None:
        """Make room for ``tokens`` more, so that appending those, of ``dtype``, moves nothing that is held.

        For tokens that come one by one, and without gradients. What is held is copied once, here.
        """
        for layer in self.keys:
            rooms = []
            for held in (self.keys, self.values):
                old = held[layer]
                rows, heads, columns, width = old.shape
                room = torch.empty(rows, heads, columns + tokens, width, dtype=dtype, device=old.device)
                held[layer] = room[:, :, :columns]
                held[layer].copy_(old)
                rooms.append(room)
            self._room[layer] = (rooms[0], rooms[1])

    def append(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Keys and values of the announced tokens at one layer."""
        room = self._room.get(layer)
        if room is not None and self.length <= room[0].shape[2] and keys.dtype == room[0].dtype:
            for tensor, new, held in zip(room, (keys, values), (self.keys, self.values)):
                tensor[:, :, self.length - new.shape[2] : self.length] = new
                held[layer] = tensor[:, :, : self.length]
            return
        self._room.pop(layer, None)
        if layer in self.keys:
            keys = torch.cat((self.keys[layer].to(keys.dtype), keys), dim=2)
            values = torch.cat((self.values[layer].to(values.dtype), values), dim=2)
        self.keys[layer], self.values[layer] = keys, values

    def require(self, layer: int) -> None:
        """Refuse a layer at which earlier tokens are missing."""
        if layer not in self.keys or self.keys[layer].shape[2] != self.length:
            raise InputError(
                f"the cache has no keys of earlier tokens at layer {layer}, only at {sorted(self.keys)}: "
                "make it by encode_text(stream, layers) with all layers that are to follow"
            )

    def map(self, change: Callable[[Tensor], Tensor]) -> StreamCache:
        """A new cache with ``change`` applied to every tensor, and no room reserved."""
        timeline = None if self.timeline is None else Timeline(*(change(part) for part in self.timeline))
        keys = {layer: change(tensor) for layer, tensor in self.keys.items()}
        return StreamCache(timeline, keys, {layer: change(tensor) for layer, tensor in self.values.items()})


class KeyValueCache:
    """What a sequence has been through so far: empty at first, and extended by every forward pass.

    A forward pass never changes what was held before it: it replaces tensors, or writes behind them into room
    that `StreamCache.reserve` made and that no copy shares. So a `copy` taken before it stays as it was.
    """

    def __init__(self, text: StreamCache | None = None, motion: StreamCache | None = None) -> None:
        self.text = text or StreamCache()
        self.motion = motion or StreamCache()

    @classmethod
    def from_text(
        cls, keys: Tensor, values: Tensor, layers: tuple[int, ...], positions: Tensor, visible: Tensor
    ) -> KeyValueCache:
        """A cache from stored text: ``keys`` and ``values`` (A, B, G, N, E), of any floating dtype.

        ``layers`` names the text layer of each of the A entries; ``positions`` and ``visible`` are (B, N).
        Motion can follow such a cache if ``layers`` has the attached ones; more text needs all of them.
        """
        expected = (len(layers), positions.shape[0], positions.shape[1])
        if keys.shape != values.shape or (*keys.shape[:2], keys.shape[3]) != expected:
            raise InputError(
                f"stored text keys {tuple(keys.shape)} and values {tuple(values.shape)} must both be "
                f"(layers, batch, heads, tokens, width) with layers, batch, tokens = {expected}"
            )
        timeline = Timeline(positions, visible, torch.full_like(positions, NO_BLOCK))
        return cls(StreamCache(timeline, dict(zip(layers, keys)), dict(zip(layers, values))))

    def text_tensors(self, layers: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Keys and values (A, B, G, N, E) of the text at ``layers``: what `from_text` takes."""
        for layer in layers:
            self.text.require(layer)
        keys = torch.stack([self.text.keys[layer] for layer in layers])
        return keys, torch.stack([self.text.values[layer] for layer in layers])

    def timeline(self, with_motion: bool) -> Timeline:
        """The tokens held, in storage order: text first, then motion."""
        return Timeline.joined([s.timeline for s in self._streams(with_motion) if s.timeline is not None])

    def keys_values(self, layer: int, with_motion: bool, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """All keys and all values (B, G, N, E) of a layer, in the order of `timeline`."""
        streams = [stream for stream in self._streams(with_motion) if stream.timeline is not None]
        for stream in streams:
            stream.require(layer)
        keys = [stream.keys[layer].to(dtype) for stream in streams]
        values = [stream.values[layer].to(dtype) for stream in streams]
        if len(streams) == 1:
            return keys[0], values[0]
        return torch.cat(keys, dim=2), torch.cat(values, dim=2)

    def copy(self) -> KeyValueCache:
        """A cache that can be extended on its own; no tensor is copied."""
        return KeyValueCache(self.text.map(lambda tensor: tensor), self.motion.map(lambda tensor: tensor))

    def rows(self, indices: Tensor) -> KeyValueCache:
        """The rows ``indices`` (int64) of the batch: repeats, drops or reorders samples."""

        def select(tensor: Tensor) -> Tensor:
            return tensor.index_select(0, indices)

        return KeyValueCache(self.text.map(select), self.motion.map(select))

    def to(self, device: torch.device | str) -> KeyValueCache:
        """The same cache on another device."""
        return KeyValueCache(self.text.map(lambda t: t.to(device)), self.motion.map(lambda t: t.to(device)))

    def _streams(self, with_motion: bool) -> list[StreamCache]:
        return [self.text, self.motion] if with_motion else [self.text]
