"""Work done ahead by threads, its results in the order in which it was asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from sfumato.errors import InputError

__all__ = ["in_order"]

AHEAD = 4  # items begun for each worker before their turn: evens out large and small ones, and bounds the memory

In = TypeVar("In")
Out = TypeVar("Out")


def in_order(work: Callable[[In], Out], items: Iterable[In], workers: int) -> Generator[Out, None, None]:
    """`work` on each item, by `workers` threads (0: by the caller's), the results in the order of the items.

    Threads serve because Pillow, zlib and torch work outside the interpreter lock. However many items there are, at
    most four for each worker are begun before their results are taken. Closing the iterator gives up those that wait.

    Raises:
        InputError: `workers` is negative; and what `work` raises, when its turn comes.
    """
    if workers < 0:
        raise InputError(f"workers cannot be negative; it is {workers}")
    if workers == 0:
        yield from map(work, items)
        return
    begun: deque[Future[Out]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                begun.append(pool.submit(work, item))
                if len(begun) >= AHEAD * workers:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
