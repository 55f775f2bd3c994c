"""Starts the command of a trial so that it ends with its sweep, also where the sweep is killed (Linux).

Run as a script by :func:`tied_to_this_process`.  It imports nothing of the project, since it becomes the trial.
"""

import os
import signal
import sys

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>


def tied_to_this_process(command: list[str]) -> list[str]:
    """Return the command that runs ``command`` and gets SIGTERM when the calling process ends.

    Only Linux has this signal; elsewhere the command is returned as it is.
    """
    if sys.platform != "linux":
        return command
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main(arguments: list[str]) -> None:
    """Become the program ``arguments[1:]``, tied to the process ``arguments[0]``."""
    import ctypes

    parent, *command = arguments
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != int(parent):  # it has ended since
        sys.exit(128 + signal.SIGTERM)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
