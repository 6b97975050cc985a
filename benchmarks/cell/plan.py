"""The plan: which cells there are, and which run when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from backends.contract import Precision, job_to_json
from backends.hosting.environments import BackendFile
from benchmarks.cell.materials import Materials


@dataclass(frozen=True)
class Cell:
    """One (experiment, backend, mode, device, threads, precision, stock) of the plan; the experiment has the seed."""

    materials: Materials
    backend: BackendFile
    mode: str
    device: str
    threads: int
    precision: Precision
    stock: bool = False
    """Whether it runs without the tuning that an ordinary user does not have."""

    @property
    def program(self) -> str:
        """What a compiler is given to do: the same for cells that differ in nothing that is compiled."""
        materials = self.materials
        job = job_to_json(materials.job(self.mode, self.precision, self.stock))
        sizes = (materials.experiment.batch_size, sorted(materials.data.sizes.items()))
        return json.dumps([self.backend.name, self.threads, self.device, job, sizes], sort_keys=True)

    @property
    def label(self) -> str:
        """Short name for progress lines."""
        return f"{self.materials.label} {self.backend.name} {self.mode}"


@dataclass(frozen=True)
class Comparison:
    """The cells whose workers are alive together and take turns: one experiment, one round."""

    round: int
    cells: tuple[Cell, ...]

    @property
    def materials(self) -> Materials:
        """What the cells have in common."""
        return self.cells[0].materials

    @property
    def precision(self) -> Precision:
        """The precision of products in every cell."""
        return self.cells[0].precision

    @property
    def threads(self) -> int:
        """The number of threads of every cell."""
        return self.cells[0].threads

    def again(self, round_: int) -> Comparison:
        """Return the same comparison for another round; the order of the cells is reversed every other round."""
        forward = self.cells if self.round % 2 else self.cells[::-1]
        return Comparison(round_, forward if round_ % 2 else forward[::-1])


def comparisons(cells: Sequence[Cell]) -> list[Comparison]:
    """Return the comparisons of the first round: cells are compared if they share materials and threads.

    Those with the least work come first, so that there is something to see soon.
    """
    groups: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.materials.label, cell.threads), []).append(cell)
    return sorted((Comparison(1, tuple(group)) for group in groups.values()), key=lambda one: one.materials.flops)
