"""The rungs of timing: ``synchronize`` waits for the work, and nothing goes on after it."""

from __future__ import annotations

from tests.conformance.findings import Evidence, Finding
from tests.conformance.recording import LARGEST_IDLE_SHARE, LARGEST_WAIT, SMALLEST_RATIO, NotReached, Timing


def synchronize(timing: Timing | str, evidence: Evidence) -> Finding:
    """Twice the steps take about twice the time, and nothing is waited for afterwards."""
    if isinstance(timing, str):
        raise NotReached(timing)
    figure = (
        f"{timing.steps} steps {timing.window * 1e3:.0f} ms, twice as many {timing.ratio:.2f} times as long (at least "
        f"{SMALLEST_RATIO}); then parameters waits for {timing.wait_share:.1%} of a window (allowed {LARGEST_WAIT:.0%})"
    )
    advice = "synchronize returns only when losses and parameter updates are done; block on both"
    return Finding(timing.waits, figure, advice)


def idle(evidence: Evidence) -> Finding:
    """After ``synchronize`` the processor time of the process and its children stands still."""
    recordings = list(evidence.recordings.values())
    for recording in recordings:
        recording.need("full batches")
    share = max(recording.busy_share for recording in [*recordings, evidence.loader])
    figure = f"processor time after synchronize: {share:.1%} of a core (allowed {LARGEST_IDLE_SHARE:.0%})"
    advice = "something still runs: a thread of yours, work not waited for, or a pool that spins (look for its setting)"
    return Finding(share <= LARGEST_IDLE_SHARE, figure, advice)
