"""The command ``motiongpt3``: finds the module of a verb, parses its options, turns errors into exit codes.

Only the module of the verb that is asked for is imported. What a verb takes is read from the signature and
docstring of its function: parameters without a default are positional, the others are options.

Exit codes: what the verb returns (0 where it returns nothing); 2 for anything the user can put right, with
one line ``error: ...`` on stderr; 1 for a bug; 130 when interrupted. ``--debug`` shows the traceback.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
import traceback
from argparse import ArgumentError
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from motiongpt3 import __version__
from motiongpt3.errors import InputError, MissingDependencyError, MotionGPT3Error

SUCCESS, BUG, USER_ERROR, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141

# Packages that come with an extra, by the name they are imported under.
EXTRAS = {
    **dict.fromkeys(("lightning", "tensorboard", "peft"), "train"),
    "torchmetrics": "evaluation",
    "gdown": "drive",
    "bpy": "blender",
    **dict.fromkeys(("fastapi", "uvicorn", "gradio", "prometheus_client"), "web"),
}

_LONGEST_MESSAGE = 400


@dataclass(frozen=True)
class Verb:
    """A word after ``motiongpt3``.

    Attributes:
        module: has a function named like the verb, or ``COMMANDS``: functions (or further such mappings) by
            the words that follow.
        summary: one line for ``--help``.
        words: parameters to take as positional words although they have a default or are a list, with how
            many (``?`` or ``*``).
        rest: parameter that takes all arguments after the first one unparsed.
    """

    module: str
    summary: str
    words: Mapping[str, str] = field(default_factory=dict)
    rest: str | None = None


VERBS: dict[str, Verb] = {
    "generate": Verb(
        "motiongpt3.cli.generate", "make motions from sentences: npy, bvh, video, picture", {"prompt": "*"}
    ),
    "convert": Verb("motiongpt3.cli.convert", "motion files of one format into another"),
    "caption": Verb("motiongpt3.cli.caption", "say what motion files show", {"files": "*"}),
    "predict": Verb("motiongpt3.cli.complete", "continue a motion; its own frames stay as they are"),
    "inbetween": Verb("motiongpt3.cli.complete", "fill the middle of a motion"),
    "chat": Verb("motiongpt3.cli.chat", "talk; replies are text or motions"),
    "serve": Verb("motiongpt3.cli.serve", "the web app: talk, and see it move"),
    "info": Verb("motiongpt3.cli.info", "say what a model is", {"model": "?"}),
    "data": Verb("motiongpt3.cli.data", "make a dataset, and check one"),
    "demo": Verb("motiongpt3.cli.demo", "answer a file of requests, for any task"),
    "evaluate": Verb("motiongpt3.cli.evaluate", "measure a model on a split, with intervals and a report"),
    "train": Verb("motiongpt3.cli.train", "train from a YAML file in configs/", rest="overrides"),
    "download": Verb("motiongpt3.cli.download", "fetch what others publish", {"what": "?"}),
    "render": Verb("motiongpt3.cli.render", "draw motions: films and pictures of bodies or skeletons"),
    "fit": Verb("motiongpt3.cli.fit", "put a body on motions: vertices, parameters"),
    "convert-smpl": Verb("motiongpt3.cli.convert_smpl", "read an original SMPL file without running it"),
    "motion-codes": Verb(
        "motiongpt3.cli.motion_codes", "write a dataset's clips as codes of a motion tokenizer"
    ),
    "import-official": Verb("motiongpt3.cli.import_official", "convert an official checkpoint"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the words after ``motiongpt3``; those of this process by default.

    Returns:
        The exit code, see above.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    # Its advice is for programmers; the command line says itself what its user needs to know.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        return _dispatch(arguments) or SUCCESS
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else SUCCESS if exit_.code is None else USER_ERROR
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough. Python would complain when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if debug:
            traceback.print_exc()
        message = _user_message(error)
        if message is None:
            _say(
                f"error: {type(error).__name__}: {_one_line(str(error))} (this is a bug in motiongpt3; "
                "please report it with the traceback that --debug shows)"
            )
            return BUG
        _say(f"error: {message}")
        return USER_ERROR


def _dispatch(arguments: list[str]) -> int | None:
    if not arguments:
        sys.stderr.write(_overview())
        return USER_ERROR
    word, *rest = arguments
    if word in ("-h", "--help"):
        sys.stdout.write(_overview())
        return SUCCESS
    if word == "--version":
        sys.stdout.write(f"motiongpt3 {__version__}\n")
        return SUCCESS
    if word not in VERBS:
        raise InputError(_unknown_word(word, VERBS, "motiongpt3"))
    verb = VERBS[word]
    module = importlib.import_module(verb.module)
    command = getattr(module, word.replace("-", "_"), None) or module.COMMANDS
    spoken = f"motiongpt3 {word}"
    while isinstance(command, Mapping):
        if not rest or rest[0] in ("-h", "--help"):
            (sys.stdout if rest else sys.stderr).write(_choices(spoken, command))
            return SUCCESS if rest else USER_ERROR
        word, *rest = rest
        if word not in command:
            raise InputError(_unknown_word(word, command, spoken))
        spoken, command = f"{spoken} {word}", command[word]
    return _call(command, spoken, rest, verb)


def _call(function: Callable[..., int | None], spoken: str, arguments: list[str], verb: Verb) -> int | None:
    """Parse the arguments of a function and call it."""
    unparsed = {}
    if verb.rest and arguments and not arguments[0].startswith("-"):
        arguments, unparsed[verb.rest] = arguments[:1], arguments[1:]
    parser, options = _parser(function, spoken, verb)
    try:
        given = parser.parse_args([_as_option(argument, options) for argument in arguments]).as_dict()
    except ArgumentError as error:
        raise InputError(f"{_one_line(str(error))} (see {spoken} --help)") from error
    taken = inspect.signature(function).parameters
    return function(**{name: value for name, value in given.items() if name in taken}, **unparsed)


def _parser(function: Callable[..., Any], spoken: str, verb: Verb) -> tuple[Any, set[str]]:
    """A jsonargparse parser for a function, and the names of its options."""
    from docstring_parser import parse
    from jsonargparse import ActionYesNo, ArgumentParser

    parameters = inspect.signature(function).parameters
    documentation = parse(function.__doc__ or "")
    helps = {entry.arg_name: " ".join((entry.description or "").split()) for entry in documentation.params}
    about = " ".join(
        part for part in (documentation.short_description, documentation.long_description) if part
    )
    parser = ArgumentParser(prog=spoken, description=" ".join(about.split()), exit_on_error=False)
    words = {name: nargs for name, nargs in verb.words.items() if name in parameters}
    flags = {name for name, parameter in parameters.items() if isinstance(parameter.default, bool)}
    skipped: set[str | int] = {*words, *flags, *([verb.rest] if verb.rest else [])}
    parser.add_function_arguments(function, as_group=False, as_positional=True, skip=skipped)
    for name, nargs in words.items():
        default = parameters[name].default
        default = ([] if nargs == "*" else None) if default is inspect.Parameter.empty else default
        parser.add_argument(name, type=str, nargs=nargs, default=default, help=helps.get(name))
    for name in sorted(flags):
        if parameters[name].default:
            parser.add_argument(
                f"--{name}", action=ActionYesNo(no_prefix="no_"), default=True, help=helps.get(name)
            )
        else:
            parser.add_argument(f"--{name}", action="store_true", help=helps.get(name))
    if "config" not in parameters:
        parser.add_argument("--config", action="config", help="YAML file with values for these options")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = {option for action in parser._actions for option in action.option_strings}
    return parser, options


def _as_option(argument: str, options: set[str]) -> str:
    """An argument as the parser has it.

    ``--licence-group=free`` is ``--licence_group=free``, where that is an option and the former is not; what
    takes a list may be given several times, and ``--model a`` then is ``--model+ a``.
    """
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    renamed = "--" + name[2:].replace("-", "_")
    if name not in options and renamed in options:
        name = renamed
    return f"{name}+{equals}{value}" if f"{name}+" in options else f"{name}{equals}{value}"


def _user_message(error: Exception) -> str | None:
    """One line for an error that the user can put right; ``None`` for a bug."""
    if isinstance(error, MotionGPT3Error):
        return _one_line(str(error))
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package in EXTRAS:
            missing = MissingDependencyError(
                f"this needs the package {package!r}: pip install 'motiongpt3[{EXTRAS[package]}]'"
            )
            return str(missing)
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{os.fspath(error.filename)}: {error.strerror}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory: ask for fewer or shorter motions at once, or use another --device"
    return None


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    # jsonargparse's way of naming an option.
    line = line.removeprefix("Validation failed: ")
    if line.startswith('Parser key "'):
        name, _, reason = line.removeprefix('Parser key "').partition('": ')
        line = f"--{name}: {reason[:1].lower()}{reason[1:]}"
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[: _LONGEST_MESSAGE - 1]}…"


def _unknown_word(word: str, known: Mapping[str, Any], spoken: str) -> str:
    if " " in word.strip():
        return f'unknown command {word!r}; to make a motion: motiongpt3 generate "{word}"'
    close = difflib.get_close_matches(word, known, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown command {word!r}{guess} ({spoken} --help lists the commands)"


def _overview() -> str:
    width = max(len(name) for name in VERBS)
    lines = [f"  {name:{width}}  {verb.summary}" for name, verb in VERBS.items()]
    return "\n".join(
        [
            "usage: motiongpt3 COMMAND ...",
            "",
            "Human motion as a second modality of a language model.",
            "",
            "commands:",
            *lines,
            "",
            "options:",
            "  --help     this page; motiongpt3 COMMAND --help for one command",
            "  --version  print the version",
            "  --debug    show the traceback of an error",
            "",
            'try: motiongpt3 generate "a person waves with the left hand"',
            "",
        ]
    )


def _choices(spoken: str, commands: Mapping[str, Any]) -> str:
    lines = [f"usage: {spoken} COMMAND ...", "", "commands:"]
    for name, command in commands.items():
        if isinstance(command, Mapping):
            lines.append(f"  {name}: {', '.join(command)}")
        else:
            lines.append(f"  {name}: {(inspect.getdoc(command) or '').partition(chr(10))[0]}")
    return "\n".join([*lines, ""])


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")
