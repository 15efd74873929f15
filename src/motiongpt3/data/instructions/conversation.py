"""Requests in free form, without placeholders, and what each wants: text, a motion, or text then motion.

Training reads the part ``train``; the part ``held_out`` is for measuring whether the model decides rightly
about requests that it has not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from motiongpt3.data.instructions.json_text import read_json, require_strings
from motiongpt3.errors import InputError
from motiongpt3.tasks import ANSWERS

_PATH = Path(__file__).parent / "conversation.json"
_MAX_CHARACTERS = 2_000


@dataclass(frozen=True)
class Turn:
    """What the person says in one turn of a dialogue.

    Attributes:
        text: the words.
        wants: ``text``, ``motion`` or ``text then motion``.
        caption: what the motion should show, all turns before taken into account; empty for ``text``.
    """

    text: str
    wants: str
    caption: str = ""


@dataclass(frozen=True)
class Conversation:
    """Requests of one part.

    Attributes:
        text: requests that want words and no motion, some of them about movement.
        motion: requests that want a motion.
        dialogues: turns of one person that build on each other.
    """

    text: tuple[str, ...]
    motion: tuple[str, ...]
    dialogues: tuple[tuple[Turn, ...], ...]


def load_conversation(part: str = "train", path: str | Path | None = None) -> Conversation:
    """Read one part of a conversation file, ours by default.

    Args:
        part: ``train`` or ``held_out``.
        path: a file ``{part: {"text": [...], "motion": [...], "dialogues": [[turn, ...], ...]}}`` with turns
            ``{"user": ..., "wants": ..., "caption": ...}``.

    Raises:
        InputError: if the file cannot be read, has no such part, or is not what it should be.
    """
    path = _PATH if path is None else Path(path)
    parts = read_json(path)
    fields = parts.get(part) if isinstance(parts, dict) else None
    if not isinstance(fields, dict) or set(fields) != {"text", "motion", "dialogues"}:
        raise InputError(f"{path}, {part}: must be an object with 'text', 'motion' and 'dialogues'")
    dialogues = fields["dialogues"]
    if not isinstance(dialogues, list):
        raise InputError(f"{path}, {part}, dialogues: must be a list of dialogues")
    return Conversation(
        text=_require_requests(fields["text"], f"{path}, {part}, text"),
        motion=_require_requests(fields["motion"], f"{path}, {part}, motion"),
        dialogues=tuple(
            _parse_dialogue(dialogue, f"{path}, {part}, dialogue {index}")
            for index, dialogue in enumerate(dialogues)
        ),
    )


def _require_requests(value: object, where: str) -> tuple[str, ...]:
    requests = require_strings(value, where, _MAX_CHARACTERS)
    for index, request in enumerate(requests):
        if not request.strip():
            raise InputError(f"{where} {index}: is empty")
    return requests


def _parse_dialogue(turns: object, where: str) -> tuple[Turn, ...]:
    if not isinstance(turns, list) or not turns:
        raise InputError(f"{where}: must be a list with at least one turn")
    return tuple(_parse_turn(turn, f"{where}, turn {index}") for index, turn in enumerate(turns))


def _parse_turn(fields: object, where: str) -> Turn:
    if not isinstance(fields, dict) or not {"user", "wants"} <= set(fields) <= {"user", "wants", "caption"}:
        raise InputError(f"{where}: must be an object with 'user', 'wants' and, for a motion, 'caption'")
    text, wants, caption = fields["user"], fields["wants"], fields.get("caption", "")
    if wants not in ANSWERS:
        raise InputError(f"{where}: wants must be one of {', '.join(ANSWERS)}, not {wants!r}")
    for name, value in (("user", text), ("caption", caption)):
        if not isinstance(value, str) or len(value) > _MAX_CHARACTERS:
            raise InputError(f"{where}, {name}: must be a string of at most {_MAX_CHARACTERS} characters")
    if not text.strip():
        raise InputError(f"{where}, user: is empty")
    if bool(caption.strip()) != (wants != "text"):
        raise InputError(f"{where}: a caption is needed for a motion, and for nothing else")
    return Turn(text, wants, caption)
