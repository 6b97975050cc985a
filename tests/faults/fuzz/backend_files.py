"""Backend files; they are read, and not run."""

from __future__ import annotations

from hypothesis import strategies as st

from backends.hosting import environments
from tests.faults.fuzz.ground import Ground
from tests.faults.fuzz.values import VALUES

BACKENDS = [path.read_bytes() for path in sorted(environments.FOLDER.glob("*.py"))]


@st.composite
def changed_backends(draw: st.DrawFn) -> bytes:
    """A file with a header, modes and devices that are nearly right."""
    header = draw(
        st.sampled_from(
            [
                "# dependencies = []",
                "# requires-python = 3",
                "# tool = 1",
                "#",
                "# [tool.lockstep]",
                "# tool.lockstep.gpu-dependencies = 7",
                "x",
            ]
        )
    )
    names = st.text(max_size=12) | st.sampled_from(["../../x", "a/b", "a\0b", "\n", "eager", "x" * 300])
    modes = draw(st.dictionaries(names, st.text(max_size=10), max_size=3) | VALUES)
    devices = draw(st.sampled_from(["('cpu',)", "('cpu', 'gpu')", "'cpu'", "(1,)", "[]", "('cpu', [])", "{}"]))
    text = f"# /// script\n{header}\n# ///\nclass A:\n    modes = {modes!r}\n    devices = {devices}\n"
    return text.encode("utf-8", "surrogatepass")


def try_backend(ground: Ground, content: bytes) -> None:
    """Plan a bench with the file; it is read, and not run."""
    (ground.folder / "given" / "mine.py").write_bytes(content)
    ground.run(
        "run",
        "linear-regression",
        "--backend",
        "given/mine.py",
        "--python",
        "mine=current",
        "--dry-run",
        "--results",
        "other",
    )
