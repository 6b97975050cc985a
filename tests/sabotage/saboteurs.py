"""Backends that cheat or err, each a few lines on top of the float64 reference, and the rung that has to catch each.

``body`` replaces methods of ``Reference``; ``top`` stands before the class and may replace what the reference is made
of. "update" and "step" below are thus ``backends.reference.update`` and ``Training.step``.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

WEIGHTS = "weights in = out"
LOGITS = "logits"
LOSS = "loss"
FIRST_STEP = "weights after one step"
CURVE = "loss curve"
OUTPUTS = "outputs after training"
AFTERWARDS = "training after the last epoch"
FAILED = "failed"
DIVERGED = "diverged"


@dataclass(frozen=True)
class Saboteur:
    """A backend that must not pass; ``caught`` is the rung, or the status of a run that does not get so far."""

    name: str
    description: str
    caught: str
    body: str = "pass"
    top: str = ""
    reason: str = ""
    """What the row's reason has to contain."""
    base: str = "reference.Reference"
    mode: str = "numpy"

    @property
    def needs_timing(self) -> bool:
        """Whether it is honest until the timed windows, so that these have to be run."""
        return self.caught in (AFTERWARDS, FAILED, DIVERGED)

    def write(self, folder: Path) -> Path:
        """Write the backend's file, named as the saboteur, and return its path."""
        path = folder / f"{self.name}.py"
        path.write_text(
            "# /// script\n# dependencies = ['numpy', 'safetensors']\n# ///\n"
            "import threading, time\nimport numpy as np\nfrom backends import reference\n"
            f"{textwrap.dedent(self.top)}\n"
            f"class Sabotaged({self.base}):\n"
            f"    modes = {{{self.mode!r}: {self.description!r}}}\n    devices = ('cpu',)\n"
            + textwrap.indent(textwrap.dedent(self.body), "    ")
        )
        return path


def update_rule(name: str, description: str, caught: str, lines: str) -> Saboteur:
    """A saboteur whose SGD step differs: ``lines`` go from parameter ``p`` and gradient ``g`` to ``p`` and ``v``."""
    top = (
        "def update(sgd, parameters, velocities, gradients):\n"
        "    for name, g in gradients.items():\n"
        "        p, old = parameters[name], velocities.get(name)\n"
        f"{textwrap.indent(textwrap.dedent(lines).strip(), ' ' * 8)}\n"
        "        parameters[name], velocities[name] = p, v\n"
        "reference.update = update\n"
    )
    return Saboteur(name, description, caught, top=top)


HONEST_DECAY = "g = g + sgd.weight_decay * p\n"
HONEST_VELOCITY = "v = g if old is None else sgd.momentum * old + g\n"
HONEST_STEP = "p = p - sgd.learning_rate * (g + sgd.momentum * v)\n"


def operation(name: str, description: str, layer: str, function: str) -> Saboteur:
    """A saboteur whose forward pass differs in one layer; ``function`` takes (layer, own, x)."""
    top = f"honest = dict(reference.OPERATIONS)\nreference.OPERATIONS[reference.{layer}] = {function}\n"
    return Saboteur(name, description, LOGITS, top=top)


def precision(name: str, description: str, narrow: str) -> Saboteur:
    """A saboteur whose products take narrower numbers; ``narrow`` is an expression of a float32 array ``x``."""
    top = f"""
    def narrow(x):
        return ({narrow}).astype(np.float32)
    def narrowed(honest):
        def operation(layer, own, x):
            own = {{name: narrow(value.astype(np.float32)) for name, value in own.items()}}
            return honest(layer, own, narrow(x.astype(np.float32)))
        return operation
    for layer, honest in list(reference.OPERATIONS.items()):
        reference.OPERATIONS[layer] = narrowed(honest)
    """
    return Saboteur(name, description, LOGITS, top=top)


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
    # --- weights ---
    Saboteur(
        "own_weights",
        "initial weights of its own",
        WEIGHTS,
        """
        def load(self, model, loss, sgd, parameters, device, mode, input, precision):
            generator = np.random.default_rng(0)
            drawn = {name: generator.uniform(-0.1, 0.1, value.shape) for name, value in parameters.items()}
            super().load(model, loss, sgd, drawn, device, mode, input, precision)
        """,
    ),
    Saboteur(
        "own_weights_hidden",
        "initial weights of its own, while it returns those that it was given until it has trained",
        LOGITS,
        """
        trained = False
        def load(self, model, loss, sgd, parameters, device, mode, input, precision):
            smaller = {name: value * 0.9 for name, value in parameters.items()}
            super().load(model, loss, sgd, smaller, device, mode, input, precision)
            self.given = parameters
        def train(self, data, batches):
            self.trained = True
            return super().train(data, batches)
        def parameters(self):
            return super().parameters() if self.trained else self.given
        """,
    ),
    Saboteur(
        "square_transposed",
        "the square weight is transposed, as returned too",
        WEIGHTS,
        """
        def load(self, model, loss, sgd, parameters, device, mode, input, precision):
            parameters["6.weight"] = parameters["6.weight"].T
            super().load(model, loss, sgd, parameters, device, mode, input, precision)
        """,
    ),
    Saboteur(
        "square_transposed_hidden",
        "the square weight is transposed inside, and transposed back when it is returned",
        LOGITS,
        """
        def load(self, model, loss, sgd, parameters, device, mode, input, precision):
            turned = {**parameters, "6.weight": parameters["6.weight"].T}
            super().load(model, loss, sgd, turned, device, mode, input, precision)
        def parameters(self):
            parameters = super().parameters()
            return {**parameters, "6.weight": parameters["6.weight"].T.copy()}
        """,
    ),
    Saboteur(
        "half_weights",
        "weights are stored in float16",
        WEIGHTS,
        """
        def parameters(self):
            return {name: value.astype(np.float16).astype(np.float32) for name, value in super().parameters().items()}
        """,
    ),
    Saboteur(
        "one_ulp",
        "a single weight is off by the last bit",
        WEIGHTS,
        """
        def load(self, model, loss, sgd, parameters, device, mode, input, precision):
            parameters["8.bias"][0] = np.nextafter(parameters["8.bias"][0], np.float32(9))
            super().load(model, loss, sgd, parameters, device, mode, input, precision)
        """,
    ),
    Saboteur(
        "bias_missing",
        "the last layer has no bias",
        WEIGHTS,
        """
        def parameters(self):
            return {name: value for name, value in super().parameters().items() if name != "8.bias"}
        """,
    ),
    # --- the forward pass ---
    Saboteur(
        "flatten_hwc",
        "flatten in the order height, width, channels",
        LOGITS,
        top="""
        def flatten(layer, own, x):
            n, c, h, w = x.shape
            back = reference.Back(lambda g: g.reshape(n, h, w, c).transpose(0, 3, 1, 2))
            return x.transpose(0, 2, 3, 1).reshape(n, -1), back
        reference.OPERATIONS[reference.Flatten] = flatten
        """,
    ),
    Saboteur(
        "pool_shifted",
        "max pool begins one row too low",
        LOGITS,
        top="""
        def pool(layer, own, x):
            y, back = reference.max_pool2d(layer, own, np.roll(x, -1, axis=2))
            return y, reference.Back(lambda g: np.roll(back.inputs(g), 1, axis=2))
        reference.OPERATIONS[reference.MaxPool2d] = pool
        """,
    ),
    operation("average_pool", "average instead of max pool", "MaxPool2d", "reference.avg_pool2d"),
    operation(
        "leaky_relu",
        "leaky instead of plain ReLU, slope 0.01",
        "ReLU",
        "lambda layer, own, x: (np.where(x > 0, x, 0.01 * x), reference.Back(lambda g: g * np.where(x > 0, 1, 0.01)))",
    ),
    operation(
        "hard_tanh",
        "hard tanh instead of tanh",
        "Tanh",
        "lambda layer, own, x: (np.clip(x, -1, 1), reference.Back(lambda g: g * (abs(x) < 1)))",
    ),
    operation(
        "flipped_kernels",
        "convolution instead of cross-correlation",
        "Conv2d",
        "lambda layer, own, x: honest[reference.Conv2d](layer, {**own, 'weight': own['weight'][:, :, ::-1, ::-1]}, x)",
    ),
    precision("bfloat16", "bfloat16 arithmetic", "(x.view(np.uint32) + 0x8000 & 0xFFFF0000).view(np.float32)"),
    precision("tf32", "TF32 arithmetic", "(x.view(np.uint32) + 0x1000 & 0xFFFFE000).view(np.float32)"),
    precision("float16", "float16 arithmetic", "x.astype(np.float16)"),
    Saboteur(
        "probabilities",
        "predict returns probabilities",
        LOGITS,
        """
        def predict(self, data):
            logits = np.exp(super().predict(data))
            return logits / logits.sum(axis=1, keepdims=True)
        """,
    ),
    Saboteur(
        "channels_swapped",
        "channels in reverse order",
        LOGITS,
        """
        def put(self, features, labels):
            return super().put(features[:, ::-1], labels)
        """,
    ),
    Saboteur(
        "own_normalisation",
        "features are normalised once more",
        LOGITS,
        """
        def put(self, features, labels):
            return super().put((features - features.mean()) / features.std(), labels)
        """,
    ),
    Saboteur(
        "sorted_predictions",
        "predictions in another order",
        LOGITS,
        """
        def predict(self, data):
            return super().predict(data)[::-1]
        """,
    ),
    # --- the loss ---
    Saboteur(
        "sum_loss",
        "sum instead of mean of the loss over the batch",
        LOSS,
        top="""
        def loss(logits, labels):
            value, gradient = reference.cross_entropy(logits, labels)
            return value * len(labels), gradient * len(labels)
        reference.LOSSES["cross-entropy"] = loss
        """,
    ),
    Saboteur(
        "sum_loss_hidden",
        "trains on the sum of the loss, reports the mean",
        FIRST_STEP,
        top="""
        def loss(logits, labels):
            value, gradient = reference.cross_entropy(logits, labels)
            return value, gradient * len(labels)
        reference.LOSSES["cross-entropy"] = loss
        """,
    ),
    Saboteur(
        "softmax_twice",
        "softmax applied twice",
        LOSS,
        top="""
        honest = reference.cross_entropy
        def loss(logits, labels):
            odds = np.exp(logits)
            odds = odds / odds.sum(axis=1, keepdims=True)
            value, g = honest(odds, labels)
            return value, odds * (g - (g * odds).sum(axis=1, keepdims=True))
        reference.LOSSES["cross-entropy"] = loss
        """,
    ),
    Saboteur(
        "label_smoothing",
        "labels smoothed by 0.01",
        LOSS,
        top="""
        def loss(logits, labels):
            value, gradient = reference.cross_entropy(logits, labels)
            shares = [reference.cross_entropy(logits, np.full_like(labels, c)) for c in range(logits.shape[1])]
            return (
                0.99 * value + 0.01 * np.mean([share[0] for share in shares]),
                0.99 * gradient + 0.01 * np.mean([share[1] for share in shares], axis=0),
            )
        reference.LOSSES["cross-entropy"] = loss
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
                losses.append(reference.cross_entropy(logits, data.labels[batch])[0])
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
    # --- the update ---
    update_rule(
        "learning_rate_1_percent",
        "learning rate off by 1 %",
        FIRST_STEP,
        HONEST_DECAY + HONEST_VELOCITY + "p = p - 1.01 * sgd.learning_rate * (g + sgd.momentum * v)",
    ),
    update_rule(
        "learning_rate_1_per_mille",
        "learning rate off by 0.1 %",
        FIRST_STEP,
        HONEST_DECAY + HONEST_VELOCITY + "p = p - 1.001 * sgd.learning_rate * (g + sgd.momentum * v)",
    ),
    update_rule(
        "no_nesterov",
        "nesterov ignored",
        FIRST_STEP,
        HONEST_DECAY + HONEST_VELOCITY + "p = p - sgd.learning_rate * v",
    ),
    update_rule("no_momentum", "momentum ignored", FIRST_STEP, HONEST_DECAY + "v = g\np = p - sgd.learning_rate * g"),
    update_rule(
        "dampened",
        "dampened momentum: v = 0.9 v + 0.1 g after the first step",
        CURVE,
        HONEST_DECAY + "v = g if old is None else sgd.momentum * old + (1 - sgd.momentum) * g\n" + HONEST_STEP,
    ),
    update_rule("no_weight_decay", "weight decay ignored", FIRST_STEP, HONEST_VELOCITY + HONEST_STEP),
    update_rule(
        "decoupled_decay",
        "decoupled weight decay",
        FIRST_STEP,
        HONEST_VELOCITY
        + "p = p * (1 - sgd.learning_rate * sgd.weight_decay) - sgd.learning_rate * (g + sgd.momentum * v)",
    ),
    update_rule(
        "decay_spares_biases",
        "weight decay leaves the biases alone",
        FIRST_STEP,
        "if p.ndim > 1:\n    g = g + sgd.weight_decay * p\n" + HONEST_VELOCITY + HONEST_STEP,
    ),
    update_rule(
        "bias_never_updated",
        "one bias is never updated",
        FIRST_STEP,
        HONEST_DECAY + HONEST_VELOCITY + "if name != '4.bias':\n    " + HONEST_STEP,
    ),
    update_rule(
        "gradient_clipping",
        "gradients are clipped at 0.01",
        FIRST_STEP,
        "g = np.clip(g, -0.01, 0.01)\n" + HONEST_DECAY + HONEST_VELOCITY + HONEST_STEP,
    ),
    update_rule(
        "sign_updates",
        "another optimizer: the sign of the velocity",
        FIRST_STEP,
        HONEST_DECAY + HONEST_VELOCITY + "p = p - 0.1 * sgd.learning_rate * np.sign(v)",
    ),
    update_rule(
        "half_gradients",
        "gradients in float16",
        FIRST_STEP,
        "g = g.astype(np.float16).astype(np.float64)\n" + HONEST_DECAY + HONEST_VELOCITY + HONEST_STEP,
    ),
    update_rule(
        "half_velocities",
        "velocities in float16",
        OUTPUTS,
        HONEST_DECAY
        + "v = g if old is None else (sgd.momentum * old + g).astype(np.float16).astype(np.float64)\n"
        + HONEST_STEP,
    ),
    Saboteur(
        "half_batch_gradient",
        "the gradient is that of half of the batch, the loss that of all of it",
        FIRST_STEP,
        """
        def train(self, data, batches):
            losses = []
            for batch in batches:
                logits = self.training.logits(data.features[batch])
                losses.append(reference.cross_entropy(logits, data.labels[batch])[0])
                super().train(data, [batch[::2]])
            return losses
        """,
    ),
    # --- the steps ---
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
            before = dict(self.training.parameters), dict(self.training.velocities)
            losses = super().train(data, batches)
            if batches.shape[1] < 32:
                self.training.parameters, self.training.velocities = before
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
                before = dict(self.training.parameters), dict(self.training.velocities)
                losses += super().train(data, [batch])
                self.step += 1
                if self.step % 2 == 0:
                    self.training.parameters, self.training.velocities = before
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
                before = dict(self.training.parameters), dict(self.training.velocities)
                losses += super().train(data, [batch])
                self.step += 1
                if self.step == 17:
                    self.training.parameters, self.training.velocities = before
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
            return [reference.cross_entropy(z, data.labels[b])[0] for z, b in zip(losses, batches)]
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
            self.training.velocities = {}
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
                sgd = self.training.sgd
                self.training.sgd = type(sgd)(sgd.learning_rate * 0.999, sgd.momentum, sgd.nesterov, sgd.weight_decay)
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
                x, y = data.features[batch].astype(float), data.labels[batch]
                loss, gradients = reference.loss_and_gradients(run.model, run.loss, run.parameters, x, y)
                losses.append(loss)
                if self.half is None or len(batches) == 1:
                    self.half = gradients
                if i % 2 or len(batches) == 1:
                    mean = {name: (g + self.half[name]) / 2 for name, g in gradients.items()}
                    reference.update(run.sgd, run.parameters, run.velocities, mean)
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
            if self.training.velocities:
                super().train(self.data, [np.arange(32)])
            return outputs
        """,
    ),
    # --- the outputs ---
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
    # --- honest while it is judged, not while it is timed ---
    later("idle_when_timed", "no work after the last epoch, plausible losses", STALE_LOSSES),
    later(
        "frozen_when_timed",
        "real losses but no updates after the last epoch",
        """
        before = dict(self.training.parameters), dict(self.training.velocities)
        losses = super().train(data, batches)
        self.training.parameters, self.training.velocities = before
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
    # --- time that does not fit ---
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
        def load(self, *arguments):
            super().load(*arguments)
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
        def load(self, *arguments):
            os.sched_setaffinity(0, range(os.cpu_count()))
            super().load(*arguments)
        """,
        top="import os",
        reason="processors",
    ),
)
"""Those that need nothing but NumPy."""

MINT = Saboteur(
    "mint_sgd",
    "mindspore.mint.optim.SGD under PyNative on the CPU, which trains nothing in MindSpore 2.10",
    FIRST_STEP,
    """
    def load(self, model, loss, sgd, parameters, device, mode, input, precision):
        super().load(model, loss, sgd, parameters, device, mode, input, precision)
        self.optimizer = mint.optim.SGD(
            self.network.trainable_params(), sgd.learning_rate, sgd.momentum, 0, sgd.weight_decay, sgd.nesterov
        )
        self.step = mindspore._gathering(
            mindspore._update(self.network, mindspore._loss(loss), self.optimizer)
        )
    """,
    top="from mindspore import mint\nfrom backends import mindspore",
    base="mindspore.MindSpore",
    mode="pynative",
    reason="layers[0]",
)
"""Nobody cheats here: a user of the wrong optimizer would see a loss that does not fall."""
