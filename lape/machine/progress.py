"""The progress bar of every long step: units, units per second and time left."""

import logging
import sys
from typing import TYPE_CHECKING

from lape.machine import ranks

if TYPE_CHECKING:
    from tqdm import tqdm

# True logs a line every ten seconds instead of redrawing one bar. It is set where several jobs share a terminal.
AS_LINES = False
logger = logging.getLogger(__name__)


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
