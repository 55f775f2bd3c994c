"""Messages of the functions behind the verbs, shown on the terminal.

Functions log what they do; a program that imports them decides what to show.  The verbs print progress as it comes
to stdout and warnings to stderr.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator

LOGGER = "lightning_kp"


class _TerminalHandler(logging.Handler):
    """Prints to the streams of the moment, which tests and notebooks replace."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            print(f"kp: warning: {record.getMessage()}", file=sys.stderr)
        else:
            print(record.getMessage(), flush=True)


@contextlib.contextmanager
def messages_on_terminal() -> Iterator[None]:
    """Print the package's log messages while the block runs: progress to stdout, warnings to stderr."""
    logger = logging.getLogger(LOGGER)
    handler = _TerminalHandler()
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # another program's root handler would print everything twice
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
