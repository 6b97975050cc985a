"""A sweep over numbers is drawn, one picture for each choice of the other keys."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from results import scaling


def sweep(labels: list[str]) -> pd.DataFrame:
    rows = [
        {
            "session": "s",
            "experiment": "an experiment",
            "device": "cpu",
            "point": label,
            "backend": backend,
            "mode": "eager",
            "status": "ok",
            "comparable": True,
            "train_samples_per_second": 100.0 * number,
            "gflops": 10.0 * number,
            "peak_gflops": 200.0,
        }
        for number, label in enumerate(labels, start=1)
        for backend in ("jax", "pytorch")
        for _ in range(2)
    ]
    return pd.DataFrame(rows)


def test_the_picture_has_every_framework_and_the_peak(tmp_path: Path) -> None:
    (path,) = scaling.draw(sweep(["batch_size=16", "batch_size=64", "batch_size=256"]), tmp_path)
    picture = path.read_text()
    for text in ("jax eager", "pytorch eager", "peak of the machine", "batch_size", "GFLOP/s", "an experiment on cpu"):
        assert f"<!-- {text}" in picture or text in picture
    assert path.name == "scaling-s-an-experiment-cpu.svg"


def test_other_keys_get_pictures_of_their_own(tmp_path: Path) -> None:
    labels = [f"sgd.nesterov={flag}, threads={count}" for flag in ("True", "False") for count in (1, 2)]
    names = [path.name for path in scaling.draw(sweep(labels), tmp_path)]
    assert names == [f"scaling-s-an-experiment-cpu-sgd-nesterov-{flag}.svg" for flag in ("True", "False")]


def test_without_a_sweep_over_numbers_there_is_nothing_to_draw(tmp_path: Path) -> None:
    assert scaling.draw(sweep(["", ""]), tmp_path) == []
    assert scaling.draw(sweep(["input=resident", "input=loader"]), tmp_path) == []
    broken = sweep(["batch_size=16", "batch_size=64"]).assign(status="failed")
    assert scaling.draw(broken, tmp_path) == []
    assert list(tmp_path.iterdir()) == []
