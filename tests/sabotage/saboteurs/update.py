"""Backends whose SGD step is another one: "update" is ``backends.float64.optimizers.update``."""

from __future__ import annotations

import textwrap

from tests.sabotage.saboteurs.saboteur import AFTERWARDS, CURVE, EVERYTHING, FIRST_STEP, VANISHING, Saboteur


def update_rule(name: str, description: str, caught: str, lines: str, experiment: str = EVERYTHING) -> Saboteur:
    """A saboteur whose SGD step differs: ``lines`` go from parameter ``p`` and gradient ``g`` to ``p`` and ``v``."""
    top = (
        "def update(sgd, parameters, velocities, gradients):\n"
        "    for name, g in gradients.items():\n"
        "        p, old = parameters[name], velocities.get(name)\n"
        f"{textwrap.indent(textwrap.dedent(lines).strip(), ' ' * 8)}\n"
        "        parameters[name], velocities[name] = p, v\n"
        "training.update = update\n"
    )
    return Saboteur(name, description, caught, top=top, experiment=experiment)


HONEST_DECAY = "g = g + sgd.weight_decay * p\n"
HONEST_VELOCITY = "v = g if old is None else sgd.momentum * old + g\n"
HONEST_STEP = "p = p - sgd.learning_rate * (g + sgd.momentum * v)\n"

SABOTEURS = (
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
        "velocities in float16, cut off rather than rounded to the nearest",
        CURVE,
        HONEST_DECAY
        + "v = g\n"
        + "if old is not None:\n"
        + "    exact = sgd.momentum * old + g\n"
        + "    v = exact.astype(np.float16)\n"
        + "    v = np.where(abs(v) > abs(exact), np.nextafter(v, np.float16(0)), v).astype(np.float64)\n"
        + HONEST_STEP,
    ),
    update_rule(
        "spares_small_weights",
        "weights below 1e-36, where the tolerance has its floor, are left as they are",
        AFTERWARDS,
        HONEST_DECAY + "v = g\np = np.where(abs(p) < 1e-36, p, p - sgd.learning_rate * v)",
        VANISHING,
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
                losses.append(cross_entropy(logits, data.labels[batch])[0])
                super().train(data, [batch[::2]])
            return losses
        """,
    ),
)

MINT = Saboteur(
    "mint_sgd",
    "mindspore.mint.optim.SGD under PyNative on the CPU, which trains nothing in MindSpore 2.10",
    FIRST_STEP,
    """
    def load(self, job):
        super().load(job)
        sgd = job.optimizer
        self.optimizer = mint.optim.SGD(
            self.network.trainable_params(), sgd.learning_rate, sgd.momentum, 0, sgd.weight_decay, sgd.nesterov
        )
    """,
    top="from mindspore import mint\nfrom backends import mindspore",
    base="mindspore.MindSpore",
    mode="pynative",
    reason="layers[0]",
)
"""Nobody cheats here: a user of the wrong optimizer would see a loss that does not fall."""
