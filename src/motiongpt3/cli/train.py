"""``motiongpt3 train CONFIG``: run a training recipe from its YAML file."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from motiongpt3.cli.generate import choose_device
from motiongpt3.errors import ConfigError, InputError, MissingDependencyError

RECIPES = {
    "vae": ("motiongpt3.training.vae", "train_vae"),
    "language": ("motiongpt3.training.stages", "train_language"),
    "vq": ("motiongpt3.training.vq", "train_vq"),
    "motion-tokens": ("motiongpt3.training.motion_tokens", "train_motion_tokens"),
    "evaluator": ("motiongpt3.training.evaluator", "train_evaluator"),
}


def train(config: Path, overrides: list[str] | None = None) -> int:
    """Train what a YAML file describes; start it again with the same ``out`` to go on where it stopped.

    With ``--resume`` there must be something to go on from: a mistyped ``out`` does not begin anew.

    Args:
        config: a file like those in ``configs/``; its ``recipe`` says what is trained.
        overrides: settings that replace those of the file, as ``--data DIR --out DIR --optimizer.steps 100``.

    Returns:
        The exit code, 0.

    Raises:
        InputError: if there is no such file or device, or with ``--resume`` no run in ``out``.
        ConfigError: if a setting is unknown, missing or of the wrong type.
    """
    function = recipe_function(config)
    parser = ArgumentParser(prog=f"motiongpt3 train {config}", exit_on_error=False)
    parser.add_argument("--config", action="config", help="the YAML file")
    parser.add_argument("--recipe", type=str, help="what is trained")
    parser.add_argument("--resume", action="store_true", help="go on with the run in OUT, or refuse")
    parser.add_function_arguments(function)
    try:
        settings = parser.parse_args(["--config", str(config), *(overrides or [])])
        arguments = parser.instantiate(settings).as_dict()
    except Exception as error:
        # jsonargparse raises many kinds, each with a message that names the setting.
        raise ConfigError(f"{config}: {_one_line(error)}") from None
    for name in ("config", "recipe"):
        arguments.pop(name, None)
    choose_device(arguments["device"])
    last = Path(arguments["out"], "checkpoints", "last.ckpt")
    if arguments.pop("resume") and not last.exists():
        raise InputError(f"{last}: no checkpoint to go on from; leave --resume out to begin")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger(__name__).info("finished: %s", function(**arguments))
    return 0


def recipe_function(config: Path) -> Callable[..., Any]:
    """The training function that the ``recipe`` of a YAML file asks for."""
    try:
        values = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{config}: no such file; recipes are in configs/") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{config}: not readable as YAML ({_one_line(error)})") from None
    recipe = values.get("recipe") if isinstance(values, dict) else None
    if not isinstance(recipe, str) or recipe not in RECIPES:
        raise ConfigError(f"{config}: recipe {recipe!r} is not one of {', '.join(RECIPES)}")
    module, name = RECIPES[recipe]
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("motiongpt3"):
            raise
        raise MissingDependencyError(
            f"training needs the package {error.name!r}: pip install 'motiongpt3[train]'"
        ) from None


def _one_line(error: Exception) -> str:
    """The message of an error, its lines joined."""
    return " ".join(str(error).split()) or type(error).__name__
