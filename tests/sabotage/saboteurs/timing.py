"""Backends whose time does not fit their work, or that take more of the machine than they say."""

from __future__ import annotations

from tests.sabotage.saboteurs.saboteur import FAILED, Saboteur

SABOTEURS = (
    Saboteur(
        "constant_time",
        "whatever is asked for after the last epoch takes the same time",
        FAILED,
        """
        done = 0
        def train(self, data, batches):
            self.done += len(batches)
            self.begun = True
            if self.done <= 22:
                self.losses = super().train(data, batches)
                return self.losses
            return [self.losses[-1]] * len(batches)
        def synchronize(self, handle):
            if self.done > 22 and self.begun:
                time.sleep(0.15)
            self.begun = False
            return super().synchronize(handle)
        """,
        reason="twice the steps",
    ),
    Saboteur(
        "busy_afterwards",
        "goes on working after synchronize",
        FAILED,
        """
        def load(self, job):
            super().load(job)
            def work():
                while True:
                    sum(range(1000))
            threading.Thread(target=work, daemon=True).start()
        """,
        reason="still busy",
    ),
    Saboteur(
        "more_processors",
        "takes all processors of the machine where one was asked for",
        FAILED,
        """
        def load(self, job):
            os.sched_setaffinity(0, range(os.cpu_count()))
            super().load(job)
        """,
        top="import os",
        reason="processors",
    ),
)
