"""Which weights of a run are kept: those of its best epoch, by its validation set, and those of its last one."""

from __future__ import annotations

from pathlib import Path

from backends.contract import Parameters
from benchmarks.cell.kept_models import MODELS, KeptModel, model_file, save_model, sha256
from benchmarks.cell.plan import Cell
from results.record import Run


class Keeper:
    """Holds the weights of one run while it trains, and writes them at its end."""

    def __init__(self, results: Path, cell: Cell) -> None:
        """Keep models of this cell's run in a results folder."""
        self._folder = results / MODELS
        self._cell = cell
        self._kept: dict[str, tuple[int, Parameters]] = {}

    def after_epoch(self, record: Run, epoch: int, parameters: Parameters) -> None:
        """Hold the weights after an epoch if it is the best so far, or the last."""
        which = {"best": epoch == record.best_epoch, "last": epoch == record.epochs}
        self._kept |= {name: (epoch, parameters) for name, wanted in which.items() if wanted}

    def write(self, record: Run) -> None:
        """Write what was held, and note the files in the record, the best model first. Raises OSError."""
        materials = self._cell.materials
        for which, (epoch, parameters) in sorted(self._kept.items()):
            path = self._folder / model_file(record.run, which)
            save_model(
                KeptModel(
                    run=record.run,
                    name=materials.name,
                    epoch=epoch,
                    trained_by=f"{record.backend} {record.mode}",
                    experiment=materials.experiment,
                    classes=materials.data.classes,
                    parameters=parameters,
                ),
                path,
            )
            record.models[which] = {"file": f"{MODELS}/{path.name}", "epoch": epoch, "sha256": sha256(path)}
