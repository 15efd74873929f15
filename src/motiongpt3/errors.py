"""The errors a caller can act on.

Each message is one line that says what was wrong, where, and what to do about it. The command line prints
it and exits with code 2; a traceback is shown only with ``--debug``.
"""


class MotionGPT3Error(Exception):
    """Anything that the person at the keyboard can put right."""


class InputError(MotionGPT3Error):
    """A file, prompt, length or option that cannot be used as it is."""


class ConfigError(MotionGPT3Error):
    """A configuration that contradicts itself, or that does not fit what it is applied to."""


class CheckpointError(MotionGPT3Error):
    """Weights that are missing, unexpected, misshapen, non-finite, or of a kind that cannot be read."""


class MissingDependencyError(MotionGPT3Error):
    """An optional package, model or data set that is not installed here; the message says how to get it."""
