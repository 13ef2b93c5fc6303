"""The progress bar of every long step: units, units per second and time left. The marks by which a log is read."""

import logging
import re
import sys
from typing import TYPE_CHECKING

from lape.machine import ranks

if TYPE_CHECKING:
    from tqdm import tqdm

# True logs a line every ten seconds instead of redrawing one bar. It is set where several jobs share a terminal.
AS_LINES = False
# By this environment variable the workflow's console, which reads the logs, asks jobs to write to their logs alone.
CONSOLE = "LAPE_CONSOLE"
# How a warning begins in a log.
WARNING = "warning: "
logger = logging.getLogger(__name__)


class LogFormatter(logging.Formatter):
    """The message of a record; a warning is marked as one."""

    def format(self, record: logging.LogRecord) -> str:
        return (WARNING if record.levelno == logging.WARNING else "") + super().format(record)


def is_progress(line: str) -> bool:
    """Whether a line of a log is the state of a bar."""
    return re.search(r"\[[\d:]+(<[\d:?]+)?, .*\]$", line) is not None


class _Log:
    """Turn every state of a bar into a line of the log."""

    def write(self, text: str) -> None:
        text = text.strip("\r\n ")
        if text:
            logger.info(text)

    def flush(self) -> None:
        pass


def progress(total: int | None, description: str, unit: str = "token") -> "tqdm":
    """A tqdm bar on a terminal, or lines of the log elsewhere.

    Args:
        total: number of units in the whole step; None where it is not known.
        description: name of the step, such as "statistics gemma3-270m fr".
        unit: name of one unit.
    """
    from tqdm import tqdm

    lines = AS_LINES or not sys.stderr.isatty()
    return tqdm(
        total=total,
        disable=ranks.rank() > 0,
        desc=description,
        unit=f" {unit}s",
        unit_scale=True,
        delay=2,  # seconds: a shorter step shows no bar
        mininterval=10 if lines else 0.5,
        miniters=1,
        file=_Log() if lines else sys.stderr,
        ncols=100 if lines else None,
        dynamic_ncols=not lines,
    )
