"""GPUs of this machine, claimed one by one, so that two jobs never share a card.

A claim is a lock on a file in the system's temporary folder, named by the card; it ends with the process, however
that ends. A process that takes this one's place by exec keeps it.
"""

import fcntl
import logging
import os
import subprocess
import tempfile
import time
from pathlib import Path

from lape.errors import LapeError

logger = logging.getLogger(__name__)
_PATIENCE = 1.0  # seconds between two looks


def claim(number: int) -> list[str]:
    """Claim free cards of those that are visible, and let this process see no others. Waits while other jobs hold them.

    It comes before anything that starts CUDA in the process. Nothing is claimed where there is no NVIDIA driver.

    Args:
        number: cards that are wanted.

    Returns:
        UUIDs of the cards, none where nothing is claimed.

    Raises:
        LapeError: fewer cards are visible than are wanted.
    """
    visible = visible_cards() if number else []
    if not visible:
        return []
    if number > len(visible):
        raise LapeError(
            f"{number} GPUs are wanted and {len(visible)} visible; lower gpu in the model's `resources`, or widen "
            "CUDA_VISIBLE_DEVICES"
        )
    claimed = _claim(visible, number)
    if not claimed:
        logger.info("waiting for %d of %d GPUs, which other jobs hold", number, len(visible))
    while not claimed:
        time.sleep(_PATIENCE)
        claimed = _claim(visible, number)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(claimed)
    return claimed


def visible_cards() -> list[str]:
    """UUIDs of this machine's cards that CUDA_VISIBLE_DEVICES, where it is set, lets a process see, in its order."""
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return lines
    found = []
    for name in filter(None, map(str.strip, named.split(","))):
        if name.startswith("MIG-"):  # a part of a card, which nvidia-smi does not list: its own name tells it
            found.append(name)
        elif name.isdigit() and int(name) < len(lines):
            found.append(lines[int(name)])
        elif matches := [uuid for uuid in lines if uuid.startswith(name)]:
            found.append(matches[0])
        else:
            break  # as CUDA does: what comes behind an unknown one is not visible
    return found


def _claim(cards: list[str], number: int) -> list[str]:
    """Lock so many free cards, or none: two jobs that hold a part each would wait for ever."""
    locks: dict[str, int] = {}
    for card in cards:
        if len(locks) < number and (lock := _lock(card)) is not None:
            locks[card] = lock
    if len(locks) == number:
        return list(locks)  # the files stay open, and locked, as long as the process lives
    for lock in locks.values():
        os.close(lock)
    return []


def _lock(card: str) -> int | None:
    """The open lock file of a card; None where another process holds it."""
    path = Path(tempfile.gettempdir(), f"lape-{card}.lock")
    try:
        try:
            lock = os.open(path, os.O_RDONLY)  # another user's may not be opened for more
        except FileNotFoundError:
            lock = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
    except OSError as error:
        raise LapeError(f"{path}: a GPU cannot be claimed ({error.strerror}); mend the file, or TMPDIR") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    os.set_inheritable(lock, True)
    return lock
