"""The BVH file itself: text to a `BVH`, a `BVH` to text, and where its joints are. It knows no skeleton.

A BVH file is a tree of joints, each with an offset from its parent and a list of channels, followed by one
line of channel values per frame. As Blender and most exporters have it: rotation channels multiply in the
order they are listed, angles are in degrees, and position channels *replace* the offset of their joint.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.motion.rotations import axis_angle_to_matrix

MAX_JOINTS = 2_000
CHANNEL_NAMES = ("Xposition", "Yposition", "Zposition", "Xrotation", "Yrotation", "Zrotation")
END_SITE = "End"

_CHANNELS = {name.lower(): name for name in CHANNEL_NAMES}
_AXES = "XYZ"
_LINE_END = re.compile(r"\r\n|\r|\n")
_TOKEN = re.compile(r"[{}]|[^\s{}]+")
_FRAMES = re.compile(r"\s*Frames\s*:?\s*(\S+)\s*", re.IGNORECASE)
_FRAME_TIME = re.compile(r"\s*Frame\s+Time\s*:?\s*(\S+)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class BVHJoint:
    """One joint, or one end site (a point without channels that ends a chain).

    Attributes:
        name: as in the file; an end site is called ``parent/End``.
        parent: index of the parent in `BVH.joints`, -1 for a root.
        offset: position relative to the parent in the rest pose, file units.
        channels: names out of `CHANNEL_NAMES`, in file order.
        is_end_site: whether it is written as ``End Site``.
    """

    name: str
    parent: int
    offset: tuple[float, float, float]
    channels: tuple[str, ...] = ()
    is_end_site: bool = False


@dataclass(frozen=True, eq=False)
class BVH:
    """The contents of a BVH file.

    Attributes:
        joints: J joints and end sites in file order (depth first, so a parent comes before its children).
        values: (T, C) float64, all channels of all joints in file order; file units and degrees.
        frame_time: seconds per frame.
    """

    joints: tuple[BVHJoint, ...]
    values: Tensor
    frame_time: float


def parse_bvh(text: str, name: str = "BVH") -> BVH:
    """Read the text of a BVH file.

    Any order and number of channels, several roots, tabs, any line ends, any case of keywords, blank lines
    and names with spaces are understood.

    Args:
        text: contents of the file.
        name: what to call it in messages.

    Raises:
        InputError: naming the line, if the text is not a complete BVH file or holds a value that is not a
            finite number.
    """
    lines = _LINE_END.split(text.removeprefix("\ufeff"))
    tokens = _Tokens(lines, name)
    joints = _parse_hierarchy(tokens)
    width = sum(len(joint.channels) for joint in joints)
    if width == 0:
        raise InputError(f"{name}: no joint has channels, so nothing moves")
    values, frame_time = _parse_motion(lines, tokens.line, width, name)
    return BVH(joints, values, frame_time)


def serialise_bvh(bvh: BVH) -> str:
    """Write a `BVH` as text: six decimals for offsets, positions and degrees."""
    lines = ["HIERARCHY"]
    open_joints: list[int] = []

    def close() -> None:
        open_joints.pop()
        lines.append("\t" * len(open_joints) + "}")

    for index, joint in enumerate(bvh.joints):
        while open_joints and open_joints[-1] != joint.parent:
            close()
        if joint.parent >= 0 and not open_joints:
            raise ValueError(f"joint {joint.name!r} is not listed depth first")
        indent = "\t" * len(open_joints)
        keyword = "JOINT" if open_joints else "ROOT"
        lines.append(indent + ("End Site" if joint.is_end_site else f"{keyword} {joint.name}"))
        lines.append(indent + "{")
        lines.append(f"{indent}\tOFFSET {_numbers(joint.offset)}")
        if not joint.is_end_site:
            lines.append(f"{indent}\tCHANNELS {len(joint.channels)} {' '.join(joint.channels)}".rstrip())
        open_joints.append(index)
    while open_joints:
        close()
    lines += ["MOTION", f"Frames: {len(bvh.values)}", f"Frame Time: {bvh.frame_time:.9g}"]
    lines += [_numbers(row) for row in bvh.values.tolist()]
    return "\n".join(lines) + "\n"


def joint_positions(bvh: BVH) -> Tensor:
    """Positions of all joints and end sites in every frame: (T, J, 3) float64, file units."""
    frames = len(bvh.values)
    positions: list[Tensor] = []
    rotations: list[Tensor] = []
    column = 0
    for joint in bvh.joints:
        local = bvh.values.new_tensor(joint.offset).repeat(frames, 1)
        rotation = torch.eye(3, dtype=bvh.values.dtype).expand(frames, 3, 3)
        for channel in joint.channels:
            values = bvh.values[:, column]
            axis = _AXES.index(channel[0])
            if channel.endswith("position"):
                local[:, axis] = values
            else:
                turn = torch.zeros(frames, 3, dtype=values.dtype)
                turn[:, axis] = values.deg2rad()
                rotation = rotation @ axis_angle_to_matrix(turn)
            column += 1
        if joint.parent >= 0:
            above = rotations[joint.parent]
            local = positions[joint.parent] + (above @ local[..., None])[..., 0]
            rotation = above @ rotation
        positions.append(local)
        rotations.append(rotation)
    return torch.stack(positions, dim=1)


def rest_positions(bvh: BVH) -> Tensor:
    """Positions of all joints and end sites when nothing turns: (J, 3) float64, file units."""
    positions: list[Tensor] = []
    for joint in bvh.joints:
        offset = bvh.values.new_tensor(joint.offset)
        positions.append(offset + positions[joint.parent] if joint.parent >= 0 else offset)
    return torch.stack(positions)


@dataclass
class _OpenJoint:
    name: str
    parent: int
    line: int
    is_end_site: bool
    offset: tuple[float, float, float] | None = None
    channels: tuple[str, ...] | None = None


@dataclass
class _Tokens:
    """The words of the hierarchy, with the line of the last one for messages."""

    lines: list[str]
    name: str
    line: int = 0
    stream: Iterator[tuple[int, str]] = field(init=False)

    def __post_init__(self) -> None:
        self.stream = (
            (number, match.group())
            for number, line in enumerate(self.lines, 1)
            for match in _TOKEN.finditer(line)
        )

    def next(self, wanted: str) -> str:
        found = next(self.stream, None)
        if found is None:
            self.line = len(self.lines)
            self.fail(f"the file ends where {wanted} should be")
        self.line, word = found
        return word

    def number(self, wanted: str) -> float:
        word = self.next(wanted)
        value = _finite(word)
        if value is None:
            self.fail(f"expected {wanted}, found {_shorten(word)}")
        return value

    def name_and_brace(self, keyword: str) -> str:
        words: list[str] = []
        while (word := self.next(f"the name after {keyword} and '{{'")) != "{":
            if word == "}" or len(words) == 16:
                self.fail(f"expected a name and '{{' after {keyword}")
            words.append(word)
        return " ".join(words)

    def fail(self, message: str) -> NoReturn:
        raise InputError(f"{self.name}, line {self.line}: {message}")


def _parse_hierarchy(tokens: _Tokens) -> tuple[BVHJoint, ...]:
    if tokens.next("HIERARCHY").upper() != "HIERARCHY":
        tokens.fail("a BVH file begins with HIERARCHY")
    joints: list[_OpenJoint] = []
    # A stack of our own, so that a file nested a million deep is refused rather than overflowing Python's.
    open_joints: list[int] = []
    while True:
        word = tokens.next("the rest of the hierarchy and MOTION")
        keyword = word.upper()
        current = joints[open_joints[-1]] if open_joints else None
        if current is None and keyword == "MOTION" and joints:
            break
        if (keyword == "ROOT" and current is None) or (
            keyword in ("JOINT", "END") and current is not None and not current.is_end_site
        ):
            if len(joints) >= MAX_JOINTS:
                tokens.fail(f"more than {MAX_JOINTS} joints")
            line = tokens.line
            name = tokens.name_and_brace(word)
            parent = open_joints[-1] if open_joints else -1
            if keyword == "END":
                name = f"{joints[parent].name}/{END_SITE}"
            elif not name:
                tokens.fail(f"{word} without a name")
            open_joints.append(len(joints))
            joints.append(_OpenJoint(name, parent, line, keyword == "END"))
        elif current is not None and keyword == "}":
            open_joints.pop()
        elif current is not None and keyword == "OFFSET" and current.offset is None:
            x, y, z = (tokens.number(f"three numbers for the OFFSET of {current.name!r}") for _ in range(3))
            current.offset = (x, y, z)
        elif (
            keyword == "CHANNELS"
            and current is not None
            and current.channels is None
            and not current.is_end_site
        ):
            current.channels = _parse_channels(tokens, current.name)
        else:
            place = f"in {current.name!r}" if current is not None else "outside any joint"
            tokens.fail(f"unexpected {_shorten(word)} {place}")
    return tuple(_closed(joint, tokens.name) for joint in joints)


def _parse_channels(tokens: _Tokens, joint: str) -> tuple[str, ...]:
    count = tokens.number(f"the number of channels of {joint!r}")
    if count not in range(len(CHANNEL_NAMES) + 1):
        tokens.fail(f"{joint!r} cannot have {count:g} channels")
    channels: list[str] = []
    for _ in range(int(count)):
        word = tokens.next(f"a channel of {joint!r}")
        channel = _CHANNELS.get(word.lower())
        if channel is None or channel in channels:
            tokens.fail(
                f"expected a channel ({', '.join(CHANNEL_NAMES)}) of {joint!r}, found {_shorten(word)}"
            )
        channels.append(channel)
    return tuple(channels)


def _closed(joint: _OpenJoint, file: str) -> BVHJoint:
    if joint.offset is None:
        raise InputError(f"{file}, line {joint.line}: joint {joint.name!r} has no OFFSET")
    return BVHJoint(joint.name, joint.parent, joint.offset, joint.channels or (), joint.is_end_site)


def _parse_motion(lines: list[str], start: int, width: int, name: str) -> tuple[Tensor, float]:
    """Read what follows the line (counted from 1) on which MOTION stands."""
    head = lines[start - 1].upper().rpartition("MOTION")[2]
    rest = ((number, line) for number, line in enumerate([head, *lines[start:]], start) if line.strip())

    def header(pattern: re.Pattern[str], wanted: str) -> tuple[int, float]:
        number, line = next(rest, (len(lines), ""))
        match = pattern.fullmatch(line)
        value = _finite(match.group(1)) if match else None
        if value is None:
            raise InputError(f"{name}, line {number}: expected '{wanted}: <number>', found {_shorten(line)}")
        return number, value

    number, announced = header(_FRAMES, "Frames")
    if announced < 1 or not announced.is_integer():
        raise InputError(f"{name}, line {number}: {announced:g} is not a number of frames")
    number, frame_time = header(_FRAME_TIME, "Frame Time")
    if frame_time <= 0:
        raise InputError(f"{name}, line {number}: a frame time of {frame_time:g} s; write 1 / fps there")

    rows: list[np.ndarray] = []
    for number, line in rest:
        words = line.split()
        if len(rows) == announced:
            raise InputError(f"{name}, line {number}: more frames than the {announced:g} announced")
        if len(words) != width:
            raise InputError(f"{name}, line {number}: expected {width} values in a frame, not {len(words)}")
        try:
            row = np.array([float(word) for word in words])
        except ValueError:
            row = np.array([math.nan])
        if not np.isfinite(row).all():
            bad = next(word for word in words if _finite(word) is None)
            raise InputError(f"{name}, line {number}: {_shorten(bad)} is not a finite number")
        rows.append(row)
    if len(rows) != announced:
        counted = f"{announced:g} frames announced, {len(rows)} found"
        raise InputError(f"{name}, line {len(lines)}: {counted}; the file is cut short")
    return torch.from_numpy(np.stack(rows)), frame_time


def _finite(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _numbers(values: tuple[float, ...] | list[float]) -> str:
    # Adding zero turns -0.0 into 0.0.
    return " ".join(f"{round(value, 6) + 0.0:.6f}" for value in values)


def _shorten(word: str) -> str:
    word = word.strip()
    return repr(word if len(word) <= 40 else word[:37] + "...") if word else "nothing"
