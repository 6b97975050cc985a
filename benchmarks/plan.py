"""The plan: which cells there are, and which run when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backends.environments import BackendFile
from benchmarks.materials import Materials


@dataclass(frozen=True)
class Cell:
    """One (experiment, backend, mode, device) of the plan; the seed is the experiment's."""

    materials: Materials
    backend: BackendFile
    mode: str
    device: str

    @property
    def label(self) -> str:
        """Short name for progress lines."""
        return f"{self.materials.name} {self.backend.name} {self.mode}"


@dataclass(frozen=True)
class Comparison:
    """The cells whose workers are alive together and take turns: one experiment, one round."""

    round: int
    cells: tuple[Cell, ...]


def comparisons(cells: Sequence[Cell], repeats: int) -> list[Comparison]:
    """Return every experiment once per round, its cells in an order that is reversed every other round."""
    names = list(dict.fromkeys(cell.materials.name for cell in cells))
    plan = []
    for number in range(1, repeats + 1):
        for name in names:
            together = [cell for cell in cells if cell.materials.name == name]
            plan.append(Comparison(number, tuple(together if number % 2 else reversed(together))))
    return plan
