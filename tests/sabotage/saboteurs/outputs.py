"""Backends that train, but predict with other weights."""

from __future__ import annotations

from tests.sabotage.saboteurs.saboteur import OUTPUTS, Saboteur

SABOTEURS = (
    Saboteur(
        "initial_predictions",
        "predictions from the initial weights",
        OUTPUTS,
        """
        def predict(self, data):
            trained = self.training.parameters
            self.initial = getattr(self, "initial", dict(trained))
            self.training.parameters = self.initial
            outputs = super().predict(data)
            self.training.parameters = trained
            return outputs
        """,
    ),
    Saboteur(
        "stale_predictions",
        "predictions from the weights before the last call of train",
        OUTPUTS,
        """
        def train(self, data, batches):
            self.stale = dict(self.training.parameters)
            return super().train(data, batches)
        def predict(self, data):
            trained = self.training.parameters
            self.training.parameters = getattr(self, "stale", trained)
            outputs = super().predict(data)
            self.training.parameters = trained
            return outputs
        """,
    ),
    Saboteur(
        "averaged_predictions",
        "predictions from an average of the weights",
        OUTPUTS,
        """
        def train(self, data, batches):
            losses = super().train(data, batches)
            now = dict(self.training.parameters)
            old = getattr(self, "average", now)
            self.average = {name: 0.5 * old[name] + 0.5 * now[name] for name in now}
            return losses
        def predict(self, data):
            trained = self.training.parameters
            self.training.parameters = getattr(self, "average", trained)
            outputs = super().predict(data)
            self.training.parameters = trained
            return outputs
        """,
    ),
)
