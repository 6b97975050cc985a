"""The report's scripts are of the experiments whose runs it shows, one for each framework."""

from __future__ import annotations

import pandas as pd
import pytest

from backends.hosting import environments
from benchmarks.script.of_runs import MOST, of_runs
from benchmarks.spec import experiment as experiments

EXPERIMENT = experiments.load(experiments.find("digits-mlp")).canonical_json()


def row(backend: str, mode: str, experiment: str = "digits-mlp", **changes: object) -> dict[str, object]:
    return {
        **{
            "experiment": experiment,
            "sweep_point": "",
            "experiment_json": EXPERIMENT,
            "backend": backend,
            "mode": mode,
        },
        **{
            "train_samples": 1294,
            "validation_samples": 144,
            "test_samples": 359,
            "classes": list("0123456789"),
            "threads_asked": 1,
        },
        **changes,
    }


def test_each_framework_has_a_script_in_its_first_mode() -> None:
    (written,) = of_runs(pd.DataFrame([row("pytorch", "step"), row("pytorch", "eager"), row("jax", "jit")]))
    assert written["label"] == "digits-mlp"
    assert [program["title"] for program in written["programs"]] == ["jax jit", "pytorch step"]
    first = written["programs"][0]
    assert first["command"].startswith("lockstep script digits-mlp --backend jax --mode jit --output ")
    compile(first["program"], "script", "exec")


@pytest.mark.parametrize(
    "changes",
    [
        {"sweep_point": "batch_size=64"},
        {"experiment_json": "{}"},
        {"experiment_json": ""},
        {"train_samples": None},
        {"backend": "reference", "mode": "numpy"},
        {"backend": "theirs"},
        {"backend": str(environments.FOLDER / "jax.py")},
    ],
    ids=[
        "a point of a sweep",
        "another lockstep's",
        "none kept",
        "data was never read",
        "no template",
        "a user's own",
        "by a path",
    ],
)
def test_what_cannot_be_written_is_left_out(changes: dict[str, object]) -> None:
    assert of_runs(pd.DataFrame([{**row("jax", "jit"), **changes}])) == []


def test_a_page_of_many_experiments_has_the_first_ones() -> None:
    many = pd.DataFrame([row("jax", "jit", f"experiment-{number}") for number in range(MOST + 1)])
    assert [entry["label"] for entry in of_runs(many)] == [f"experiment-{number}" for number in range(MOST)]
