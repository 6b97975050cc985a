"""Every chart shows what it says, in the same colours, and is left out where there is nothing to show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import pytest

from results import report
from results.report import pictures
from results.report.charts import CHARTS, KNOWN_BACKENDS, PALETTE, colours, drawn, specification
from results.report.rows import chart_tables, ratio_tables
from results.store import Store
from tests.results.made_up import CELLS, fill, make_run

BY_NAME = {chart.name: chart for chart in CHARTS}


def tables_of(store: Store) -> dict[str, pd.DataFrame]:
    results = report.read(store.folder)
    return chart_tables(results) | ratio_tables(results)


def sweep(folder: Path, labels: list[str]) -> Store:
    store = Store(folder)
    for number, label in enumerate(labels):
        for place, cell in enumerate((("jax", "jit"), ("pytorch", "eager"))):
            changes: dict[str, Any] = {"sweep_point": label, "experiment_hash": label}
            store.append(make_run(10 * number + place, "e", cell, 1, **changes))
    return store


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "scaling"])
def test_a_chart_is_drawn_from_the_tables_alone(name: str, tmp_path: Path) -> None:
    store = fill(tmp_path / "results", experiments=1)
    (path,) = pictures.draw(report.read(store.folder), tmp_path / "plots", "svg", [name])
    picture = path.read_text()
    assert BY_NAME[name].title in picture
    for backend, _ in CELLS:
        assert backend in picture


@pytest.mark.parametrize("name", BY_NAME)
def test_a_chart_is_valid_vega_lite(name: str) -> None:
    """``specification`` does not look, as that is half of what a page takes; this raises SchemaValidationError."""
    color = alt.Color("backend:N", scale=colours(["jax"]), title="backend")
    checked = BY_NAME[name].draw(color).to_dict()
    assert checked["$schema"] == specification(BY_NAME[name], ["jax"])["$schema"]


@pytest.mark.parametrize("name", BY_NAME)
def test_a_chart_without_data_is_left_out(name: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    nothing: dict[str, Any] = {
        "losses": make_run(1, "e", ("jax", "jit"), 1).losses[:0],
        "epoch_rows": [],
        "window_rows": [],
    }
    bare = make_run(1, "e", ("jax", "jit"), 1, status="failed", equal_work=None, confusion=None, **nothing)
    bare.train_samples_per_second = None
    for column in vars(bare):
        if column.endswith("_seconds"):
            setattr(bare, column, None)
    store.append(bare)
    assert BY_NAME[name] not in drawn(tables_of(store))


def test_a_backend_has_one_colour_whoever_is_beside_it() -> None:
    alone, together = colours(["pytorch"]).to_dict(), colours([*KNOWN_BACKENDS, "mine"]).to_dict()
    assert alone["range"] == [together["range"][together["domain"].index("pytorch")]]
    assert len(set(together["range"])) == 5
    assert set(together["range"]) <= set(PALETTE)


def test_scaling_has_every_framework_and_the_peak(tmp_path: Path) -> None:
    store = sweep(tmp_path / "results", ["batch_size=16", "batch_size=64", "batch_size=256"])
    paths = list(pictures.draw(report.read(store.folder), tmp_path / "plots", "svg", ["scaling"]))
    assert len(paths) == 3, "one for each comparison"
    for text in ("jax", "pytorch", "GFLOP/s, and the machine", ">batch_size</text>", "200"):
        assert text in paths[0].read_text()


def test_only_points_with_the_same_other_keys_are_one_curve(tmp_path: Path) -> None:
    store = sweep(tmp_path, [f"sgd.nesterov={flag}, threads={count}" for flag in ("True", "False") for count in (1, 2)])
    rows = tables_of(store)["sweep"]
    assert list(rows.groupby("panel").size()) == [2 * 2] * 4
    assert list(rows["x"].unique()) == [1, 2]


@pytest.mark.parametrize("labels", [[""], ["input=resident", "input=loader"], ["batch_size=16"]])
def test_without_a_sweep_over_numbers_there_is_no_scaling(labels: list[str], tmp_path: Path) -> None:
    assert BY_NAME["scaling"] not in drawn(tables_of(sweep(tmp_path, labels)))


def test_over_fitting_is_visible(tmp_path: Path) -> None:
    rows = tables_of(fill(tmp_path, experiments=1, rounds=2, epochs=5))["fitting"]
    one = rows[rows["cell"] == "pytorch eager"]
    training, validation = (one[one["set"] == name] for name in ("training", "validation"))
    assert list(training["loss"]) == [2.0 / (epoch + 1) for epoch in range(1, 6)], "epoch 0 did not train"
    assert list(validation["loss"]) == [2.0, 1.0, 2.0, 3.0, 4.0]
    assert list(validation.loc[validation["best"], "epoch"]) == [2]
    assert not training["best"].any()


def test_experiments_share_a_picture(tmp_path: Path) -> None:
    store = fill(tmp_path / "results", experiments=3)
    found = report.read_experiments(store.folder, ["experiment-2", "experiment-0"])
    (path,) = pictures.draw_together(found, tmp_path / "plots", "svg", ["training-loss"])
    assert path.name == "training-loss-experiment-0-and-experiment-2.svg"
    picture = path.read_text()
    for text in ("experiment-0", "experiment-2", *(backend for backend, _ in CELLS)):
        assert text in picture
    assert "experiment-1" not in picture


def test_of_each_experiment_the_newest_session_counts(tmp_path: Path) -> None:
    store = fill(tmp_path, experiments=2, rounds=1)
    store.append(make_run(1, "experiment-0", ("jax", "jit"), 1, run="t-00001", session="t"))
    found = report.read_experiments(tmp_path, ["experiment-0", "experiment-1"])
    assert found.runs.groupby("experiment")["session"].unique().map(list).to_dict() == {
        "experiment-0": ["t"],
        "experiment-1": ["s"],
    }


def test_a_long_curve_is_thinned(tmp_path: Path) -> None:
    run = make_run(1, "e", ("jax", "jit"), 1)
    run.losses = run.losses.repeat(1000)
    store = Store(tmp_path)
    store.append(run)
    rows = tables_of(store)["steps"]
    assert 150 <= len(rows) <= 250
    assert rows["step"].iloc[0] == 1


def test_a_picture_can_be_pixels(tmp_path: Path) -> None:
    store = fill(tmp_path / "results", experiments=1, rounds=1)
    (path,) = pictures.draw(report.read(store.folder), tmp_path / "plots", "png", ["cost"])
    assert path.read_bytes().startswith(b"\x89PNG")
