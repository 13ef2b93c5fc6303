"""A function that tells how far it is, as an iterator."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

_T = TypeVar("_T")


class _LeftError(Exception):
    """Nobody listens any more."""


def streamed(work: Callable[[Callable[[_T], None]], None]) -> Iterator[_T]:
    """What `work` tells, as it tells it, while it runs in a thread of its own.

    Args:
        work: takes what it calls to tell something. When the iterator is closed, its next call raises, so that the work
            ends and lets go of what it holds.

    Raises:
        Exception: what the work raised.
    """
    told: queue.SimpleQueue = queue.SimpleQueue()
    left = threading.Event()

    def tell(word: _T) -> None:
        if left.is_set():
            raise _LeftError
        told.put((word, None))

    def run() -> None:
        try:
            work(tell)
            told.put((None, StopIteration()))
        except BaseException as error:  # it belongs to who listens
            told.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        while True:
            word, end = told.get()
            if isinstance(end, StopIteration):
                return
            if end is not None:
                raise end
            yield word
    finally:
        left.set()
