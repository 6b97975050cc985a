"""The rung of odd values: what every layer makes of them is told, as frameworks differ and may."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.conformance.cases import ODD_VALUES
from tests.conformance.findings import Evidence, Finding, Odd


def odd_values(evidence: Evidence) -> Finding:
    """Not-a-number, infinities and subnormal numbers go through each layer; what does not come through is told."""
    assert evidence.odd
    outputs = evidence.odd.result()
    changed = {layer: _changed(odd) for layer, odd in outputs.items()}
    unseen = [layer for layer, kinds in changed.items() if kinds is None]
    texts, kept = [], []
    for kind in ODD_VALUES:
        layers = [layer for layer, kinds in changed.items() if kind in (kinds or ())]
        where = "every layer" if len(layers) == len(outputs) else ", ".join(layers)
        if layers:
            texts.append(f"{kind}: {'flushed to 0' if kind == 'subnormal numbers' else 'changed'} by {where}")
        else:
            kept.append(kind)
    texts += [f"{', '.join(kept)}: through every layer"] if kept else []
    texts += [f"not seen: {', '.join(unseen)}"] if unseen else []
    return Finding(not unseen, "; ".join(texts), "every layer alone has to load and predict")


def _changed(odd: Odd) -> set[str] | None:
    """The kinds of values that a layer changes into others; None if that was not seen."""
    if odd.found is None or odd.found.shape != odd.expected.shape:
        return None
    rows = zip(ODD_VALUES, odd.found, odd.expected, strict=True)
    return {kind for kind, found, right in rows if not np.array_equal(_sorts(found), _sorts(right.astype(np.float32)))}


def _sorts(values: NDArray[Any]) -> NDArray[np.int_]:
    """Of each value: not-a-number, plus or minus infinity, zero, or another number."""
    return np.select([np.isnan(values), np.isposinf(values), np.isneginf(values), values == 0], [1, 2, 3, 4], 0)
