"""Claim GPUs of this machine one by one, so that two jobs never share a card.

A claim is a lock on a file in the system's temporary folder, which is named by the card. The claim ends with the
process, however the process ends. A process that replaces this one by exec keeps the claim.
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
_PATIENCE = 1.0  # seconds between two attempts to claim


def claim(number: int) -> list[str]:
    """Claim free cards among the visible ones, and hide all other cards from this process.

    The call waits while other jobs hold the cards. It must come before anything that starts CUDA in the process.
    Nothing is claimed on a machine without an NVIDIA driver.

    Args:
        number: number of cards that are wanted.

    Returns:
        UUIDs of the claimed cards; an empty list where nothing is claimed.

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
    """UUIDs of this machine's cards that a process sees, in the order of CUDA_VISIBLE_DEVICES where that is set."""
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
        if name.startswith("MIG-"):  # names a part of a card, which nvidia-smi does not list
            found.append(name)
        elif name.isdigit() and int(name) < len(lines):
            found.append(lines[int(name)])
        elif matches := [uuid for uuid in lines if uuid.startswith(name)]:
            found.append(matches[0])
        else:
            break  # CUDA hides all cards behind an unknown one
    return found


def _claim(cards: list[str], number: int) -> list[str]:
    """Lock a number of free cards, or none. Two jobs that each held a part of their cards would wait for ever."""
    locks: dict[str, int] = {}
    for card in cards:
        if len(locks) < number and (lock := _lock(card)) is not None:
            locks[card] = lock
    if len(locks) == number:
        return list(locks)  # the files stay open and locked as long as the process lives
    for lock in locks.values():
        os.close(lock)
    return []


def _lock(card: str) -> int | None:
    """The open lock file of a card; None where another process holds it."""
    path = Path(tempfile.gettempdir(), f"lape-{card}.lock")
    try:
        try:
            lock = os.open(path, os.O_RDONLY)  # a file of another user may open for reading alone
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
