"""The rungs of timing: ``synchronize`` waits for the work, nothing goes on after it, and threads are what is told."""

from __future__ import annotations

from tests.conformance.findings import Evidence, Finding
from tests.conformance.measuring import LARGEST_IDLE_SHARE, LARGEST_WAIT, SMALLEST_RATIO


def threads(evidence: Evidence) -> Finding:
    """What ``describe`` says of threads fits the processor time of large products."""
    assert evidence.threads
    found = evidence.threads.result()
    told = "cannot tell its threads" if found.reported is None else f"tells {found.reported} threads"
    figure = (
        f"{told} on {found.given} processors: large products kept {found.busy:.1f} of them busy, in all "
        f"{found.spread:.1f} times as long as the busiest thread"
    )
    advice = "load has to make as many threads as there are processors, and describe to read back how many there are"
    return Finding(found.are_told, figure, advice)


def synchronize(evidence: Evidence) -> Finding:
    """Twice the steps take about twice the time, and nothing is waited for afterwards."""
    assert evidence.timing
    timing = evidence.timing()
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
        recording.need("idle")
    share = max(recording.busy_share for recording in [*recordings, evidence.loader])
    figure = f"processor time after synchronize: {share:.1%} of a core (allowed {LARGEST_IDLE_SHARE:.0%})"
    advice = "something still runs: a thread of yours, work not waited for, or a pool that spins (look for its setting)"
    return Finding(share <= LARGEST_IDLE_SHARE, figure, advice)
