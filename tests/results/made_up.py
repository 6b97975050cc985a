"""Results that no machine has measured, for tests of what is made of results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from results.record import PHASES, Epoch, Run, Window
from results.store import Store

CELLS = {
    ("jax", "jit"): 300.0,
    ("jax", "scan"): 600.0,
    ("mindspore", "graph"): 210.0,
    ("pytorch", "eager"): 200.0,
    ("pytorch", "compile"): 200.0,
}
"""Thousands of samples per second."""

TURNS = 6
STEPS = 40
MACHINE = {"host": "here", "cpu": "A processor", "cores": 4, "gpus": []}


def make_run(number: int, experiment: str, cell: tuple[str, str], round_: int, epochs: int = 3, **changes: Any) -> Run:
    """A run that is ok; its speed, losses and accuracies follow from its cell and its round."""
    backend, mode = cell
    noise = np.random.default_rng(number)
    speed = 1000 * CELLS.get(cell, 100.0) * (1 + 0.01 * noise.normal())
    losses = (2.3 * np.exp(-np.arange(STEPS) / 15) + 1e-7 * noise.normal(size=STEPS)).astype(np.float32)
    reference = np.stack([2.3 * np.exp(-np.arange(STEPS) / 15), np.geomspace(1e-6, 1e-3, STEPS)], axis=1)
    run = Run(
        run=f"s-{number:05d}",
        session="s",
        experiment=experiment,
        backend=backend,
        mode=mode,
        device="cpu",
        seed=1,
        round=round_,
        status="ok",
        phase="bookkeeping",
        equal_work=True,
        experiment_hash=f"hash of {experiment}",
        backend_hash=f"hash of {backend}",
        data_hash="d",
        batches_hash="b",
        parameters=1000,
        epochs=epochs,
        train_samples=1280,
        test_samples=20,
        classes=["no", "yes"],
        best_epoch=2,
        test_accuracy=0.9,
        test_loss=0.3,
        train_samples_per_second=speed,
        first_step_seconds=0.2,
        peak_memory_bytes=300 * 2**20,
        share_of_peak=0.1,
        gflops=20.0,
        peak_gflops=200.0,
        threads_asked=3,
        threads=3,
        precision_asked="float32",
        precision="float32",
        framework=f"{backend} 1.0",
        settings={"threads": 3},
        machine=MACHINE,
        command=f"lockstep run {experiment}",
        experiment_json='{"batch_size": 32, "validation": null}',
        log=f"logs/s-{number:05d}.log",
        confusion=[[9, 1], [2, 8]],
        losses=losses,
        reference_losses=reference,
    )
    for place, phase in enumerate(PHASES):
        setattr(run, f"{phase}_seconds", 0.1 * (place + 1))
    run.epoch_rows = [
        Epoch(
            epoch,
            train_loss=2.0 / (epoch + 1),
            validation_loss=1.0 + abs(epoch - 2),
            validation_accuracy=0.8,
            test_loss=1.0 / (epoch + 1),
            test_accuracy=1 - 0.9 / (epoch + 1),
            train_seconds=0.5,
            elapsed_seconds=0.5 * epoch,
        )
        for epoch in range(epochs + 1)
    ]
    run.window_rows = [
        Window("timed", turn, turn + 0.01 * number, 50, 1600, 1600 / speed * (1 + 0.002 * noise.normal()), True)
        for turn in range(1, TURNS + 1)
    ]
    for name, value in changes.items():
        setattr(run, name, value)
    return run


def fill(folder: Path, experiments: int = 2, rounds: int = 3, epochs: int = 3) -> Store:
    """A store with runs of all cells."""
    store = Store(folder)
    number = 0
    for experiment in range(experiments):
        for round_ in range(1, rounds + 1):
            for cell in CELLS:
                number += 1
                store.append(make_run(number, f"experiment-{experiment}", cell, round_, epochs))
    return store
