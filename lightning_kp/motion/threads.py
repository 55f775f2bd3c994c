"""Work on a stream in threads, while the stream itself is read by the calling one."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_THREADS = 4
"""Ours: NumPy and SciPy free the interpreter for a part of the time only, so that more would wait for each other."""


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield ``function(item)`` of each item, in their order.

    Items are taken from the stream one after another, and only as many are held as there are threads, and one more:
    memory does not grow with the stream.  An error of the stream or of the function is raised where its result would
    have come.

    >>> list(in_threads(lambda number: 2 * number, range(4)))
    [0, 2, 4, 6]
    """
    threads = max(
        1, min(MOST_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    )
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
