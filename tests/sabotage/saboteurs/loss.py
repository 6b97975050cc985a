"""Backends whose losses are others, of other samples, or not there yet."""

from __future__ import annotations

from tests.sabotage.saboteurs.saboteur import CURVE, FIRST_STEP, LOSS, Saboteur

SABOTEURS = (
    Saboteur(
        "sum_loss",
        "sum instead of mean of the loss over the batch",
        LOSS,
        top="""
        def loss(logits, labels):
            value, gradient = cross_entropy(logits, labels)
            return value * len(labels), gradient * len(labels)
        LOSSES["cross-entropy"] = loss
        """,
    ),
    Saboteur(
        "sum_loss_hidden",
        "trains on the sum of the loss, reports the mean",
        FIRST_STEP,
        top="""
        def loss(logits, labels):
            value, gradient = cross_entropy(logits, labels)
            return value, gradient * len(labels)
        LOSSES["cross-entropy"] = loss
        """,
    ),
    Saboteur(
        "softmax_twice",
        "softmax applied twice",
        LOSS,
        top="""
        def loss(logits, labels):
            odds = np.exp(logits)
            odds = odds / odds.sum(axis=1, keepdims=True)
            value, g = cross_entropy(odds, labels)
            return value, odds * (g - (g * odds).sum(axis=1, keepdims=True))
        LOSSES["cross-entropy"] = loss
        """,
    ),
    Saboteur(
        "label_smoothing",
        "labels smoothed by 0.01",
        LOSS,
        top="""
        def loss(logits, labels):
            value, gradient = cross_entropy(logits, labels)
            shares = [cross_entropy(logits, np.full_like(labels, c)) for c in range(logits.shape[1])]
            return (
                0.99 * value + 0.01 * np.mean([share[0] for share in shares]),
                0.99 * gradient + 0.01 * np.mean([share[1] for share in shares], axis=0),
            )
        LOSSES["cross-entropy"] = loss
        """,
    ),
    Saboteur(
        "labels_off_by_one",
        "labels off by one",
        LOSS,
        """
        def put(self, features, labels):
            return super().put(features, (labels + 1) % 5)
        """,
    ),
    Saboteur(
        "loss_after_update",
        "the loss of a step is taken after its update",
        LOSS,
        """
        def train(self, data, batches):
            losses = []
            for batch in batches:
                super().train(data, [batch])
                logits = self.training.logits(data.features[batch])
                losses.append(cross_entropy(logits, data.labels[batch])[0])
            return losses
        """,
    ),
    Saboteur(
        "losses_shifted",
        "losses shifted by one step",
        CURVE,
        """
        last = None
        def train(self, data, batches):
            losses = super().train(data, batches)
            shifted = [losses[0] if self.last is None else self.last, *losses[:-1]]
            self.last = losses[-1]
            return shifted
        """,
    ),
    Saboteur(
        "losses_averaged",
        "every step of a call is given the mean loss of the call",
        CURVE,
        """
        def train(self, data, batches):
            losses = super().train(data, batches)
            return [np.mean(losses)] * len(losses)
        """,
    ),
    Saboteur(
        "no_synchronisation",
        "synchronize does not wait for a device that works in the background",
        LOSS,
        """
        done, worker = 0, None
        def train(self, data, batches):
            self.done += len(batches)
            if self.done > 22:
                return super().train(data, batches)
            losses = np.zeros(len(batches))
            def work(before):
                if before:
                    before.join()
                time.sleep(0.005)
                losses[:] = reference.Reference.train(self, data, batches)
            self.worker = threading.Thread(target=work, args=(self.worker,))
            self.worker.start()
            return losses
        def predict(self, data):
            if self.worker:
                self.worker.join()
            return super().predict(data)
        def parameters(self):
            if self.worker:
                self.worker.join()
            return super().parameters()
        """,
    ),
    Saboteur(
        "first_half_of_batch",
        "trains on half of every batch",
        LOSS,
        """
        def train(self, data, batches):
            return super().train(data, batches[:, : batches.shape[1] // 2])
        """,
    ),
    Saboteur(
        "own_shuffle",
        "batches of a shuffle of its own",
        LOSS,
        """
        def train(self, data, batches):
            generator = np.random.default_rng(1)
            return super().train(data, generator.integers(len(data.labels), size=batches.shape))
        """,
    ),
)
