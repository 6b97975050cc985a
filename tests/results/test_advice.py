"""Noise is told with what to do about it; a quiet session gets no advice."""

from __future__ import annotations

import pandas as pd
import pytest

from results.advice import advice


def session(**changes: list[object]) -> pd.DataFrame:
    quiet = {
        "experiment": ["e"] * 4,
        "sweep_point": [""] * 4,
        "backend": ["jax", "pytorch"] * 2,
        "mode": ["jit", "eager"] * 2,
        "device": ["cpu"] * 4,
        "round": [1, 1, 2, 2],
        "status": ["ok"] * 4,
        "train_samples_per_second": [100.0, 50.0, 101.0, 51.0],
        "others_per_wall": [0.05] * 4,
        "stolen_per_wall": [None, None, None, None],
        "throttled": [None, None, 0, 0],
        "threads_asked": [3] * 4,
        "node": [""] * 4,
        "product_threads": [2.8, 2.9, None, 2.1],
        "cpu_per_wall": [1.2, 2.9, 1.1, 2.9],
        "machine": [{"governors": ["performance"]}] * 4,
    }
    return pd.DataFrame({**quiet, **changes})


def test_a_quiet_session_gets_no_advice() -> None:
    assert advice(session()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"others_per_wall": [0.1, 0.1, 1.2, 1.2]}, "other programs kept up to 1.2 processors busy"),
        ({"stolen_per_wall": [0.9] * 4}, "the hypervisor took up to 0.9 processors"),
        ({"machine": [{"governors": ["powersave"]}] * 4}, "the frequency governor is powersave"),
        ({"product_threads": [1.2, 2.9, 1.2, 2.9]}, "jax kept at most 1.2 of 3 threads busy"),
        ({"throttled": [3, 3, 0, 0]}, "throttled 3 times"),
        (
            {"train_samples_per_second": [100.0, 50.0, 100.0, 70.0]},
            "in 1 of 2 configurations the throughputs of processes differ",
        ),
    ],
)
def test_each_kind_of_noise_is_told(changes: dict[str, list[object]], words: str) -> None:
    (sentence,) = advice(session(**changes))
    assert words in sentence


def test_drift_of_the_whole_machine_is_told_apart_from_a_single_cell() -> None:
    sentences = advice(session(train_samples_per_second=[100.0, 50.0, 150.0, 75.0]))
    assert any("round 2 was 50% faster than round 1 in all configurations" in sentence for sentence in sentences)
