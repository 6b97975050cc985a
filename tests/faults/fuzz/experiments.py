"""Experiment files."""

from __future__ import annotations

from typing import Any

import tomli_w
from hypothesis import strategies as st

from benchmarks.spec import experiment
from tests.faults.fuzz.ground import Ground
from tests.faults.fuzz.values import VALUES

VALID_EXPERIMENTS = [(path.read_bytes(), path.stem) for path in sorted(experiment.FOLDER.glob("*.toml"))]


@st.composite
def changed_experiments(draw: st.DrawFn) -> bytes:
    """A file that comes with lockstep, with some values replaced, taken away or added, at any depth."""
    import tomllib

    values: Any = tomllib.loads(draw(st.sampled_from(VALID_EXPERIMENTS))[0].decode())
    for _ in range(draw(st.integers(1, 3))):
        place = values
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys)) if keys else "x"
            if keys and isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            break
        change = draw(st.sampled_from(["replace", "remove", "add"]))
        if change == "remove" and keys:
            del place[key]
        elif change == "add" and isinstance(place, dict):
            place[draw(st.text(max_size=10))] = _toml(draw(VALUES))
        elif keys:
            place[key] = _toml(draw(VALUES))
    try:
        return tomli_w.dumps(values).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, AttributeError):
        return repr(values).encode("utf-8", "surrogatepass")


def _toml(value: Any) -> Any:
    """TOML has no null."""
    if isinstance(value, dict):
        return {name: _toml(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_toml(item) for item in value]
    return "" if value is None else value


def try_experiment(ground: Ground, content: bytes) -> None:
    """Plan a bench of the file."""
    (ground.folder / "given" / "mine.toml").write_bytes(content)
    ground.run(
        "run",
        "given/mine.toml",
        "--backend",
        "reference",
        "--python",
        "reference=current",
        "--dry-run",
        "--results",
        "other",
    )
