"""What functions log is shown while a verb runs, and only then."""

import logging

import pytest

from lightning_kp.command.terminal import LOGGER, messages_on_terminal


def test_progress_goes_to_stdout_and_warnings_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("lightning_kp.api.tracking")
    with messages_on_terminal():
        logger.info("%s: already done", "b.2")
        logger.warning("b.2 is left out")
        logger.debug("nothing to see")
    written = capsys.readouterr()
    assert written.out == "b.2: already done\n"
    assert written.err == "kp: warning: b.2 is left out\n"


def test_afterwards_everything_is_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger(LOGGER)
    before = (logger.level, logger.propagate, list(logger.handlers))
    with pytest.raises(ZeroDivisionError), messages_on_terminal():
        raise ZeroDivisionError
    assert (logger.level, logger.propagate, list(logger.handlers)) == before
    logger.info("silent")
    assert capsys.readouterr().out == ""
