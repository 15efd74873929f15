"""``motiongpt3 chat``: a conversation in the terminal, in which motions come and go."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from motiongpt3.cli.length import parse_length
from motiongpt3.errors import InputError, MotionGPT3Error

if TYPE_CHECKING:
    from motiongpt3.generation.conversation import Conversation
    from motiongpt3.motion.motion import Motion

HELP = """\
Say what you want: a motion ("a person waves"), or anything else. Commands:
  /motion FILE   give a motion with your next message: ask what it is, or to continue it
  /task NAME     t2m, m2t, pred, inbetween, t2t or random for the next message; by default the model decides
  /length 4s     of the next motion, in seconds or frames
  /seed N        of the next motion
  /forget        begin a new conversation
  /help          this page
  /quit          end (so does Ctrl-D); Ctrl-C stops a reply"""


@dataclass
class _Next:
    """What commands have set for the next message."""

    motion: Motion | None = None
    task: str | None = None
    length: str | None = None
    seed: int = 0


def chat(
    model: str | None = None,
    out: Path = Path("out/chat"),
    format: str = "npy,bvh,mp4,png",
    device: str = "auto",
) -> int:
    """Talk with a model in the terminal; it answers in words or with motions, whose files are named.

    Works with a pipe as well: one message a line, one reply after another.

    Args:
        model: folder, name in models/, or hub id (default: MOTIONGPT3_MODEL, else models/mini).
        out: folder that motions are written to.
        format: which files, separated by commas: npy, bvh, mp4, gif, png.
        device: auto, cpu, cuda or mps.

    Returns:
        0.

    Raises:
        InputError: if the model or a format cannot be had.
    """
    from motiongpt3.cli.generate import choose_device, load_model, parse_formats
    from motiongpt3.generation.conversation import Conversation
    from motiongpt3.models.locate import find_model

    formats = parse_formats(format)
    where = find_model(model)
    errors = Console(stderr=True)
    with errors.status(f"loading {where}") as status:
        loaded = load_model(where, choose_device(device), status.update)
    conversation, following = Conversation(loaded), _Next()
    interactive = sys.stdin.isatty()
    if interactive:
        print(HELP)
    while True:
        try:
            line = input("> " if interactive else "").strip()
        except EOFError:
            return 0
        except KeyboardInterrupt:
            print()
            continue
        if line in ("/quit", "/exit"):
            return 0
        if not line:
            continue
        try:
            if line.startswith("/"):
                print(_command(line, conversation, following), flush=True)
            else:
                _answer(line, conversation, following, out, formats, str(where))
                following.__init__()  # type: ignore[misc]
        except MotionGPT3Error as error:
            print(f"error: {error}", flush=True)
        except KeyboardInterrupt:
            print("\n(stopped)", flush=True)


def _command(line: str, conversation: Conversation, following: _Next) -> str:
    """Do what a command says; what to print."""
    word, _, value = line.partition(" ")
    value = value.strip()
    commands: dict[str, Callable[[], str]] = {
        "/motion": lambda: _take_motion(value, conversation, following),
        "/task": lambda: _take_task(value, following),
        "/length": lambda: _take_length(value, following),
        "/seed": lambda: _take_seed(value, following),
        "/forget": lambda: _forget(conversation),
        "/help": lambda: HELP,
    }
    if word not in commands:
        raise InputError(f"no command {word}: /help lists them")
    return commands[word]()


def _forget(conversation: Conversation) -> str:
    conversation.forget()
    return "a new conversation"


def _take_motion(value: str, conversation: Conversation, following: _Next) -> str:
    from motiongpt3.cli.given import read_given

    motion = read_given(Path(value).expanduser(), conversation.model.fps)
    following.motion = motion
    return f"{value}: {len(motion)} frames; now say what to do with it"


def _take_task(value: str, following: _Next) -> str:
    from motiongpt3.tasks import task_named

    following.task = task_named(value).name
    return f"the next message is {task_named(value).title}"


def _take_length(value: str, following: _Next) -> str:
    parse_length(value)
    following.length = value
    return f"the next motion is {value} long"


def _take_seed(value: str, following: _Next) -> str:
    from motiongpt3.sampling import sample_seeds

    if not value.isdecimal():
        raise InputError(f"seed {value!r} is not a whole number")
    following.seed = sample_seeds(int(value), 1)[0]
    return f"the next motion has seed {value}"


def _answer(
    line: str, conversation: Conversation, following: _Next, out: Path, formats: Any, where: str
) -> None:
    from motiongpt3.cli.samples import Request, sample_name, write_sample

    loaded = conversation.model
    frames = None
    if following.length is not None:
        frames = parse_length(following.length).to_frames(loaded.fps, loaded.frame_range)

    def show(piece: str) -> None:
        print(piece, end="", flush=True)

    reply = conversation.reply(line, following.motion, following.task, frames, following.seed, show)
    if reply.text:
        print(flush=True)
    if reply.motion is not None:
        request = Request(line, following.seed, following.length, where, None, None, None)
        for path in write_sample(reply.motion, request, out, sample_name(request, None), formats):
            print(path, flush=True)
