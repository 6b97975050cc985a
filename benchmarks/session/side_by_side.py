"""Work of several workers at the same time: imports and compilations, which keep one core busy each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from benchmarks.machine.processors import physical_cores

Item = TypeVar("Item")


def side_by_side(
    items: Iterable[Item],
    begin: Callable[[Item, int], object],
    finish: Callable[[Item], object],
    give_up: Callable[[], object],
    at_once: int | None = None,
) -> None:
    """Begin every item in this thread, as a worker ends with the thread that started it, and finish it in another one.

    By default there are as many ``at_once`` as cores. ``begin`` is also told which of the places is free, from 0. If
    anything is raised, ``give_up`` has to end what was begun, or the pool would wait for imports that hang.
    """
    waiting, free = list(items), list(range(at_once or len(physical_cores())))
    under_way: dict[Future[object], int] = {}
    with ThreadPoolExecutor(len(free)) as pool:
        try:
            while waiting or under_way:
                while waiting and free:
                    item, core = waiting.pop(0), free.pop(0)
                    begin(item, core)
                    under_way[pool.submit(finish, item)] = core
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    free.append(under_way.pop(future))
                    future.result()
        except BaseException:
            give_up()
            raise
