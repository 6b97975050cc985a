"""Backends that train from other weights than those that they are given."""

from __future__ import annotations

from tests.sabotage.saboteurs.saboteur import LOGITS, WEIGHTS, Saboteur

SABOTEURS = (
    Saboteur(
        "own_weights",
        "initial weights of its own",
        WEIGHTS,
        """
        def load(self, job):
            generator = np.random.default_rng(0)
            drawn = {name: generator.uniform(-0.1, 0.1, value.shape) for name, value in job.parameters.items()}
            super().load(replace(job, parameters=drawn))
        """,
    ),
    Saboteur(
        "own_weights_hidden",
        "initial weights of its own, while it returns those that it was given until it has trained",
        LOGITS,
        """
        trained = False
        def load(self, job):
            smaller = {name: value * 0.9 for name, value in job.parameters.items()}
            super().load(replace(job, parameters=smaller))
            self.given = job.parameters
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
        def load(self, job):
            job.parameters["6.weight"] = job.parameters["6.weight"].T
            super().load(job)
        """,
    ),
    Saboteur(
        "square_transposed_hidden",
        "the square weight is transposed inside, and transposed back when it is returned",
        LOGITS,
        """
        def load(self, job):
            turned = {**job.parameters, "6.weight": job.parameters["6.weight"].T}
            super().load(replace(job, parameters=turned))
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
        def load(self, job):
            bias = job.parameters["8.bias"]
            bias[0] = np.nextafter(bias[0], np.float32(9))
            super().load(job)
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
)
