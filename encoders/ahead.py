"""Work on the next items of an iterator in a thread while the caller is busy with the present one.

What the thread does has to let go of the interpreter to gain anything; tokenizers do.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(items: Iterable[T], work: Callable[[T], R], depth: int = 2) -> Iterator[tuple[T, R]]:
    """Yield every item with what `work` made of it, in order, at most `depth` items ahead of the caller.

    Items are drawn in the caller's thread. Where drawing one fails, those before it are yielded first. Closing the
    iterator waits for the one item that is being worked on and drops the others.

    Args:
        items: May be endless.
        work: Runs in one other thread, an item at a time; what it raises is raised here, at the item's turn.
        depth: Items that are worked on or wait while the caller has one.
    """
    failures: list[Exception] = []
    upcoming = _until_failure(items, failures)
    waiting: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="modernir-ahead") as executor:
        try:
            waiting.extend((item, executor.submit(work, item)) for item in islice(upcoming, depth))
            while waiting:
                present, future = waiting.popleft()
                waiting.extend((item, executor.submit(work, item)) for item in islice(upcoming, 1))
                yield present, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
    if failures:
        raise failures[0]


def _until_failure(items: Iterable[T], failures: list[Exception]) -> Iterator[T]:
    try:
        yield from items
    except Exception as error:
        failures.append(error)
