"""Values and bytes of any kind."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, -1, 10**9, 10**12, 2**31, 2**63 - 1, 2**63]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["../../x", "/etc/passwd", "conv2d", "linear", "digits", "mnist", "a\0b", "\ud800"]),
    st.dates(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def mutated(contents: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Some bytes of one of the contents replaced, taken away or added; or bytes of any kind."""

    @st.composite
    def mutate(draw: st.DrawFn) -> bytes:
        content = bytearray(draw(st.sampled_from(list(contents))))
        for _ in range(draw(st.integers(1, 6))):
            begin = draw(st.integers(0, len(content)))
            end = min(len(content), begin + draw(st.sampled_from([0, 1, 2, 8, 100, 5000])))
            content[begin:end] = draw(st.binary(max_size=8))
        return bytes(content)

    return mutate() | st.binary(max_size=200)
