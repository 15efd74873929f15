"""``motiongpt3 chat``: a conversation in the terminal, in which motions come and go."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

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
  /seed N        of the next reply; by default each has another
  /forget        begin a new conversation
  /help          this page
  /quit          end (so does Ctrl-D); Ctrl-C stops a reply"""


def chat(
    model: str | None = None,
    out: Path = Path("out/chat"),
    format: str = "npy,bvh,mp4,png",
    seed: int = 0,
    device: str = "auto",
) -> int:
    """Talk with a model in the terminal; it answers in words or with motions, whose files are named.

    Works with a pipe as well: one message or command a line, one reply after another. Lines that cannot be
    answered are named on stderr.

    Args:
        model: folder, name in models/, or hub id (default: MOTIONGPT3_MODEL, else models/mini).
        out: folder that motions are written to.
        format: which files, separated by commas: npy, bvh, glb, gltf, npz, csv, fbx, mp4, gif, png.
        seed: of the first reply; reply i has seed + i.
        device: auto, cpu, cuda or mps.

    Returns:
        0, or 1 if a line of a pipe could not be answered.

    Raises:
        InputError: if the model or a format cannot be had.
    """
    from motiongpt3.cli.generate import choose_device, load_model, parse_formats
    from motiongpt3.generation.conversation import Conversation
    from motiongpt3.models.locate import find_model
    from motiongpt3.sampling import sample_seeds

    formats = parse_formats(format)
    (first_seed,) = sample_seeds(seed, 1)
    where = find_model(model)
    with Console(stderr=True).status(f"loading {where}") as status:
        loaded = load_model(where, choose_device(device), status.update)
    session = _Session(Conversation(loaded), out, formats, str(where), first_seed)
    interactive = sys.stdin.isatty()
    if interactive:
        with suppress(ImportError):
            # With it, input() has line editing and a history.
            import readline  # noqa: F401
        print(HELP)
    failed = 0
    while True:
        try:
            line = input("> " if interactive else "").strip()
        except EOFError:
            return int(failed > 0 and not interactive)
        except KeyboardInterrupt:
            print()
            continue
        if line == "/quit":
            return int(failed > 0 and not interactive)
        try:
            session.take(line)
        except MotionGPT3Error as error:
            failed += 1
            print(f"error: {error}", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            print("\n(stopped)", flush=True)


@dataclass
class _Next:
    """What commands have set for the next message."""

    motion: Motion | None = None
    task: str | None = None
    length: str | None = None
    seed: int | None = None


@dataclass
class _Session:
    """One conversation, and where its motions go."""

    conversation: Conversation
    out: Path
    formats: Sequence[str]
    where: str
    seed: int
    following: _Next = field(default_factory=_Next)

    def take(self, line: str) -> None:
        """A command is done; anything else is said to the model, whose reply is printed."""
        if not line:
            return
        if line.startswith("/"):
            print(self._do(line), flush=True)
        else:
            self._answer(line)
            self.following = _Next()

    def _do(self, line: str) -> str:
        """Do what a command says; what to print."""
        word, _, value = line.partition(" ")
        commands: dict[str, Callable[[str], str]] = {
            "/motion": self._take_motion,
            "/task": self._take_task,
            "/length": self._take_length,
            "/seed": self._take_seed,
            "/forget": self._forget,
            "/help": lambda _: HELP,
        }
        if word not in commands:
            raise InputError(f"no command {word}: /help lists them")
        return commands[word](value.strip())

    def _forget(self, value: str) -> str:
        self.conversation.forget()
        self.following = _Next()
        return "a new conversation"

    def _take_motion(self, value: str) -> str:
        from motiongpt3.cli.given import read_given

        motion = read_given(Path(value).expanduser(), self.conversation.model.fps)
        self.following.motion = motion
        return f"{value}: {len(motion)} frames; now say what to do with it"

    def _take_task(self, value: str) -> str:
        from motiongpt3.tasks import task_named

        task = task_named(value)
        self.following.task = task.name
        return f"the next message is {task.title}"

    def _take_length(self, value: str) -> str:
        model = self.conversation.model
        parse_length(value).to_frames(model.fps, model.frame_range)
        self.following.length = value
        return f"the next motion is {value} long"

    def _take_seed(self, value: str) -> str:
        from motiongpt3.sampling import sample_seeds

        if not value.isdecimal():
            raise InputError(f"seed {value!r} is not a whole number")
        (self.following.seed,) = sample_seeds(int(value), 1)
        return f"the next reply has seed {value}"

    def _answer(self, line: str) -> None:
        from motiongpt3.cli.samples import Request, mark_of, sample_name, write_sample
        from motiongpt3.sampling import SEED_COUNT

        model, following = self.conversation.model, self.following
        frames = None
        if following.length is not None:
            frames = parse_length(following.length).to_frames(model.fps, model.frame_range)
        seed = (self.seed + len(self.conversation.turns)) % SEED_COUNT
        seed = seed if following.seed is None else following.seed

        def show(piece: str) -> None:
            print(piece, end="", flush=True)

        reply = self.conversation.reply(line, following.motion, following.task, frames, seed, show)
        if reply.text:
            print(flush=True)
        if reply.motion is not None:
            source = self.conversation.turns[-1].given
            given = None if source is None else f"{reply.task} {mark_of(source)}"
            request = Request(line, seed, following.length, self.where, None, None, None, given=given)
            stem = sample_name(request, None)
            for path in write_sample(reply.motion, request, self.out, stem, self.formats):
                print(path, flush=True)
