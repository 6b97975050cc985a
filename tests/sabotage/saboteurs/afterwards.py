"""Backends that are honest while they are judged, not while they are timed."""

from __future__ import annotations

import textwrap

from tests.sabotage.saboteurs.saboteur import AFTERWARDS, DIVERGED, FAILED, Saboteur


def later(name: str, description: str, cheat: str, *, caught: str = AFTERWARDS, honest_if: str = "False") -> Saboteur:
    """A saboteur that is honest for all steps of the experiment, and cheats in the timed windows that follow.

    ``cheat`` is the body of a method that gets ``data`` and ``batches`` and returns the losses.
    """
    body = f"""
    done = 0
    def train(self, data, batches):
        self.done += len(batches)
        if self.done <= 22 or {honest_if}:
            self.losses = super().train(data, batches)
            return self.losses
        return self.cheat(data, batches)
    def cheat(self, data, batches):
    """.rstrip(" ")
    cheat = textwrap.indent(textwrap.dedent(cheat).strip(), "    ")
    return Saboteur(name, description, caught, f"{textwrap.dedent(body)}{cheat}\n")


STALE_LOSSES = "return [self.losses[-1] * (1 + 1e-3 * i) for i in range(len(batches))]"

SABOTEURS = (
    later("idle_when_timed", "no work after the last epoch, plausible losses", STALE_LOSSES),
    later(
        "frozen_when_timed",
        "real losses but no updates after the last epoch",
        """
        before = dict(self.training.parameters), dict(self.training.state)
        losses = super().train(data, batches)
        self.training.parameters, self.training.state = before
        return losses
        """,
    ),
    later(
        "idle_in_long_calls",
        "after the last epoch, no work in calls of many steps",
        STALE_LOSSES,
        honest_if="len(batches) < 5",
    ),
    later(
        "half_in_long_calls",
        "after the last epoch, half of the steps in calls of many steps",
        "return np.resize(super().train(data, batches[:5]), len(batches)).tolist()",
        honest_if="len(batches) < 5",
    ),
    later(
        "half_batches_when_timed", "half batches after the last epoch", "return super().train(data, batches[:, ::2])"
    ),
    later(
        "bfloat16_when_timed",
        "weights in bfloat16 after the last epoch",
        """
        losses = super().train(data, batches)
        for name, value in self.training.parameters.items():
            bits = value.astype(np.float32).view(np.uint32) + 0x8000 & 0xFFFF0000
            self.training.parameters[name] = bits.view(np.float32).astype(float)
        return losses
        """,
    ),
    later(
        "first_step_only",
        "after the last epoch, the first step of every call only",
        "return super().train(data, batches[:1]) * len(batches)",
    ),
    later(
        "own_batches_when_timed",
        "after the last epoch, the same samples again",
        "return super().train(data, batches * 0)",
    ),
    later(
        "not_a_number",
        "losses that are not finite after the last epoch",
        "return [np.nan] * len(batches)",
        caught=DIVERGED,
    ),
    Saboteur(
        "remembers_batches",
        "batches that it has seen before cost nothing: their losses are remembered",
        AFTERWARDS,
        """
        def train(self, data, batches):
            self.seen = getattr(self, "seen", {})
            losses = []
            for batch in batches:
                if batch.tobytes() not in self.seen:
                    self.seen[batch.tobytes()] = super().train(data, [batch])
                losses += self.seen[batch.tobytes()]
            return losses
        """,
    ),
    Saboteur(
        "drops_queued_calls",
        "a call of train that comes before the last one was synchronized is dropped",
        AFTERWARDS,
        """
        pending = False
        def train(self, data, batches):
            if not self.pending:
                self.losses = super().train(data, batches)
            self.pending = True
            return self.losses[: len(batches)]
        def synchronize(self, handle):
            self.pending = False
            return super().synchronize(handle)
        """,
    ),
    Saboteur(
        "honest_when_looked_at",
        "after the last epoch, it works only if parameters have just been asked for",
        FAILED,
        """
        done, looked_at = 0, True
        def parameters(self):
            self.looked_at = True
            return super().parameters()
        def train(self, data, batches):
            self.done += len(batches)
            if self.done <= 22 or self.looked_at:
                self.losses = super().train(data, batches)
            else:
                time.sleep(2e-5 * len(batches))
                return [self.losses[-1]] * len(batches)
            return self.losses
        def synchronize(self, handle):
            self.looked_at = False
            return super().synchronize(handle)
        """,
        reason="under the audit",
    ),
)
