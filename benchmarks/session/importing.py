"""Imports of frameworks: as many at once as there are cores, as each keeps one core busy."""

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
) -> None:
    """Begin every item in this thread, as a worker ends with the thread that started it, and finish it in another one.

    ``begin`` is also told which of the cores is free, from 0. If anything is raised, ``give_up`` has to end what was
    begun, or the pool would wait for imports that hang.
    """
    waiting, free = list(items), list(range(len(physical_cores())))
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
