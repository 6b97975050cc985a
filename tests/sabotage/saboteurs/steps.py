"""Backends that leave steps out, or take others."""

from __future__ import annotations

from tests.sabotage.saboteurs.saboteur import CURVE, Saboteur

SABOTEURS = (
    Saboteur(
        "order_shuffled",
        "the batches of a call in an order of its own",
        CURVE,
        """
        def train(self, data, batches):
            return super().train(data, np.random.default_rng(1).permutation(batches))
        """,
    ),
    Saboteur(
        "first_batch_reused",
        "the first batch again and again",
        CURVE,
        """
        first = None
        def train(self, data, batches):
            self.first = batches[0] if self.first is None else self.first
            return super().train(data, [self.first] * len(batches))
        """,
    ),
    Saboteur(
        "last_batch_dropped",
        "the short last batch is dropped: no update, though its loss is right",
        CURVE,
        """
        def train(self, data, batches):
            before = dict(self.training.parameters), dict(self.training.state)
            losses = super().train(data, batches)
            if batches.shape[1] < 32:
                self.training.parameters, self.training.state = before
            return losses
        """,
    ),
    Saboteur(
        "last_batch_filled",
        "the short last batch is filled up with its own samples",
        CURVE,
        """
        def train(self, data, batches):
            return super().train(data, np.array([np.resize(batch, 32) for batch in batches]))
        """,
    ),
    Saboteur(
        "every_second_update",
        "every second update is skipped",
        CURVE,
        """
        step = 0
        def train(self, data, batches):
            losses = []
            for batch in batches:
                before = dict(self.training.parameters), dict(self.training.state)
                losses += super().train(data, [batch])
                self.step += 1
                if self.step % 2 == 0:
                    self.training.parameters, self.training.state = before
            return losses
        """,
    ),
    Saboteur(
        "one_update_skipped",
        "one single update, the 17th, is skipped",
        CURVE,
        """
        step = 0
        def train(self, data, batches):
            losses = []
            for batch in batches:
                before = dict(self.training.parameters), dict(self.training.state)
                losses += super().train(data, [batch])
                self.step += 1
                if self.step == 17:
                    self.training.parameters, self.training.state = before
            return losses
        """,
    ),
    Saboteur(
        "less_in_long_windows",
        "trains less when it is asked for many steps",
        CURVE,
        """
        def train(self, data, batches):
            return np.resize(super().train(data, batches[:5]), len(batches)).tolist()
        """,
    ),
    Saboteur(
        "frozen_after_ten",
        "no updates after ten steps; the losses are real",
        CURVE,
        """
        step = 0
        def train(self, data, batches):
            losses = []
            for batch in batches:
                before = dict(self.training.parameters)
                losses += super().train(data, [batch])
                self.step += 1
                if self.step > 10:
                    self.training.parameters = before
            return losses
        """,
    ),
    Saboteur(
        "deferred",
        "work deferred until parameters or predictions are asked for; meanwhile losses without updates",
        CURVE,
        """
        todo = ()
        def train(self, data, batches):
            self.todo = [*self.todo, (data, batches)]
            losses = [self.training.logits(data.features[batch]) for batch in batches]
            return [cross_entropy(z, data.labels[b])[0] for z, b in zip(losses, batches)]
        def catch_up(self):
            for data, batches in self.todo:
                super().train(data, batches)
            self.todo = ()
        def predict(self, data):
            self.catch_up()
            return super().predict(data)
        def parameters(self):
            self.catch_up()
            return super().parameters()
        """,
    ),
    Saboteur(
        "momentum_reset",
        "the momentum starts anew with every call",
        CURVE,
        """
        def train(self, data, batches):
            self.training.state = {}
            return super().train(data, batches)
        """,
    ),
    Saboteur(
        "learning_rate_decays",
        "the learning rate decays by 0.1 % a step",
        CURVE,
        """
        def train(self, data, batches):
            losses = []
            for batch in batches:
                losses += super().train(data, [batch])
                sgd = self.training.optimizer
                self.training.optimizer = replace(sgd, learning_rate=sgd.learning_rate * 0.999)
            return losses
        """,
    ),
    Saboteur(
        "gradients_accumulated",
        "an update for every two batches, with their mean gradient",
        CURVE,
        """
        half = None
        def train(self, data, batches):
            losses, run = [], self.training
            for i, batch in enumerate(batches):
                loss, gradients, _ = run.gradients(data.features[batch], data.labels[batch])
                losses.append(loss)
                if self.half is None or len(batches) == 1:
                    self.half = gradients
                if i % 2 or len(batches) == 1:
                    mean = {name: (g + self.half[name]) / 2 for name, g in gradients.items()}
                    update(run.optimizer, run.parameters, run.state, mean)
                    self.half = None
            return losses
        """,
    ),
    Saboteur(
        "predict_trains",
        "predict trains a step in passing",
        CURVE,
        """
        def put(self, features, labels):
            data = super().put(features, labels)
            self.data = getattr(self, "data", data)
            return data
        def predict(self, data):
            outputs = super().predict(data)
            if self.training.state:
                super().train(self.data, [np.arange(32)])
            return outputs
        """,
    ),
)
