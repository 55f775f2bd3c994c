"""Errors that say what was needed, what was given and what to type."""

import errno

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of system errors that free space would mend."""


class KeypointError(Exception):
    """Base of every error that a user of the ``kp`` command can cause and mend.

    The command line prints such an error as one line, without a traceback.
    """

    def __init__(self, problem: str, *, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem} {remedy}".strip())


class ConfigurationError(KeypointError, ValueError):
    """Options that cannot work together, or a value out of its range."""


class DataError(KeypointError, ValueError):
    """Input files that cannot be used as they are."""


class VideoError(DataError):
    """A video without a usable frame, or one that cannot be opened."""


class CheckpointError(KeypointError, RuntimeError):
    """A checkpoint that is damaged, unsafe, or belongs to another model."""


class ExportError(KeypointError, RuntimeError):
    """A method that cannot be exported, or whose exported graph computes something else."""


class DivergenceError(KeypointError, RuntimeError):
    """A loss term became NaN or infinite."""
