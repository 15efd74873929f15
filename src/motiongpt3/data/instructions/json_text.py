"""Reading a JSON file of sentences that anybody may have written."""

from __future__ import annotations

import json
from pathlib import Path

from motiongpt3.errors import InputError

MAX_BYTES = 5_000_000


def read_json(path: Path) -> object:
    """The content of a UTF-8 JSON file of at most `MAX_BYTES` bytes.

    Raises:
        InputError: if it is missing, too large, not UTF-8, not JSON, nested without end, or an object in it
            has a key twice.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{path} is larger than {MAX_BYTES / 1e6:g} MB, too much for a file of sentences")
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_unique_keys)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from error
    except RecursionError as error:
        raise InputError(f"{path} is nested too deeply") from error
    except _RepeatedKeyError as error:
        raise InputError(f"{path} has {error} twice in one object") from error


class _RepeatedKeyError(Exception):
    pass


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise _RepeatedKeyError(repr(key))
        result[key] = value
    return result


def require_strings(value: object, where: str, max_characters: int) -> tuple[str, ...]:
    """``value`` as a tuple of strings.

    Raises:
        InputError: if it is not a list of strings, has none, or one is longer than ``max_characters``.
    """
    if not isinstance(value, list) or not value:
        raise InputError(f"{where}: must be a list with at least one string")
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise InputError(f"{where} {index}: must be a string, not {type(item).__name__}")
        if len(item) > max_characters:
            raise InputError(f"{where} {index}: has {len(item)} characters, more than {max_characters}")
    return tuple(value)
