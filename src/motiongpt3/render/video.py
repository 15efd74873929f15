"""Frames into a film: H.264 in mp4 through ffmpeg, or an animated gif or webp through Pillow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from motiongpt3.errors import InputError, MissingDependencyError
from motiongpt3.files import atomic_file

Frame = NDArray[np.uint8]


def encode_mp4(frames: Iterable[Frame], path: Path, fps: float, size: tuple[int, int]) -> None:
    """Write an mp4 (H.264, yuv420p) that browsers play; the same frames give the same bytes.

    Args:
        frames: uint8 (H, W, 3) each.
        path: where to write.
        fps: frames per second.
        size: width and height in pixels, both even.

    Raises:
        MissingDependencyError: no ffmpeg program can be found.
    """
    import imageio_ffmpeg

    try:
        imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise MissingDependencyError(
            "No ffmpeg for mp4 on this machine: pip install imageio-ffmpeg, or write gif or png instead"
        ) from error
    with atomic_file(path) as temporary:
        writer = imageio_ffmpeg.write_frames(
            str(temporary),
            size,
            fps=fps,
            codec="libx264",
            macro_block_size=2,
            quality=None,
            output_params=[
                *("-crf", "20", "-preset", "veryfast", "-tune", "animation", "-threads", "2"),
                *("-movflags", "+faststart", "-fflags", "+bitexact", "-flags:v", "+bitexact"),
            ],
            ffmpeg_log_level="error",
        )
        writer.send(None)
        try:
            for frame in frames:
                writer.send(np.ascontiguousarray(frame))
        finally:
            writer.close()


def encode_gif(frames: Iterable[Frame], path: Path, fps: float) -> None:
    """Write an endlessly looping gif with one palette for all frames.

    A gif counts time in hundredths of a second and viewers slow down below two of them, so above 50 frames
    per second frames are left out.

    Args:
        frames: uint8 (H, W, 3) each.
        path: where to write.
        fps: frames per second.
    """
    kept = list(_thin(frames, fps))
    ticks = np.round(np.array([0, *np.cumsum([span for _, span in kept])]) * 100).astype(int)
    # A palette from frames all along the film, so that no colour is missing later.
    samples = [kept[k][0] for k in np.unique(np.linspace(0, len(kept) - 1, 8).astype(int))]
    palette = Image.fromarray(np.concatenate(samples)).quantize(256, method=Image.Quantize.MEDIANCUT)
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame, _ in kept]
    with atomic_file(path) as temporary:
        images[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=images[1:],
            duration=[int(span) * 10 for span in np.diff(ticks)],
            loop=0,
        )


def encode_webp(frames: Iterable[Frame], path: Path, fps: float) -> None:
    """Write an endlessly looping webp, lossy: smaller than a gif, and with all colours.

    Frames last whole milliseconds; above 50 frames per second frames are left out, as in a gif.

    Args:
        frames: uint8 (H, W, 3) each.
        path: where to write.
        fps: frames per second.
    """
    kept = list(_thin(frames, fps))
    ticks = np.round(np.array([0, *np.cumsum([span for _, span in kept])]) * 1000).astype(int)
    images = [Image.fromarray(frame) for frame, _ in kept]
    with atomic_file(path) as temporary:
        images[0].save(
            temporary,
            format="WEBP",
            save_all=True,
            append_images=images[1:],
            duration=[int(span) for span in np.diff(ticks)],
            loop=0,
            quality=80,
            method=2,
        )


def _thin(frames: Iterable[Frame], fps: float) -> Iterator[tuple[Frame, float]]:
    """Frames with the seconds each stays, none shorter than 0.02."""
    step = max(1, int(np.ceil(fps / 50 - 1e-6)))
    for index, frame in enumerate(frames):
        if index % step == 0:
            yield frame, step / fps


def video_encoder(path: Path) -> Callable[[Iterable[Frame], Path, float, tuple[int, int]], None]:
    """The encoder for a file name ending in .mp4, .gif or .webp.

    Raises:
        InputError: another ending.
    """
    match path.suffix.lower():
        case ".mp4":
            return encode_mp4
        case ".gif":
            return lambda frames, path, fps, size: encode_gif(frames, path, fps)
        case ".webp":
            return lambda frames, path, fps, size: encode_webp(frames, path, fps)
        case other:
            ending = other or "a file without ending"
            raise InputError(f"Cannot write a film as {ending!r}: use .mp4, .gif or .webp")
