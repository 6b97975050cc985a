"""Kept models."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from benchmarks.cell.kept_models import save_model
from tests.benchmarks.cell.test_kept_models import make_model
from tests.faults.fuzz.ground import Ground
from tests.faults.fuzz.values import VALUES


def model() -> bytes:
    """An intact one."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(make_model("linear-regression"), Path(folder) / "model.safetensors")
        return (Path(folder) / "model.safetensors").read_bytes()


@st.composite
def changed_models(draw: st.DrawFn) -> bytes:
    """A model whose description says something else: other metadata, other tensors."""
    content = model()
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    places = [header["__metadata__"], *(header[name] for name in header if name != "__metadata__"), header]
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(places))
        key = draw(st.sampled_from([*place, "extra"]))
        place[key] = draw(VALUES.map(str) | VALUES if place is places[0] else VALUES)
    text = json.dumps(header, default=str).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def try_model(ground: Ground, content: bytes) -> None:
    """Plan a bench that starts from it."""
    (ground.folder / "given" / "model.safetensors").write_bytes(content)
    by = ["--backend", "reference", "--python", "reference=current"]
    start = ["--from", "given/model.safetensors"]
    ground.run("run", "linear-regression", *by, *start, "--dry-run", "--results", "other")
