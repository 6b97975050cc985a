"""Backends whose Adam is another one, or which lose what it keeps."""

from __future__ import annotations

from collections.abc import Mapping

from tests.sabotage.saboteurs.saboteur import ADAM, AFTERWARDS, CURVE, FIRST_STEP, Saboteur, edited, trained


def adam(name: str, description: str, caught: str, changes: Mapping[str, str]) -> Saboteur:
    """A saboteur with a mistake in the reference's Adam."""
    return edited(name, description, caught, "optimizers._adam", changes, ADAM)


FIRST_MOMENT = "adam.learning_rate / (1 - adam.beta1**steps)"
SECOND_MOMENT = "(v / (1 - adam.beta2**steps)) ** 0.5"
DECAY = "p = p * (1 - adam.learning_rate * adam.weight_decay)"


def frozen(name: str, description: str, parameters: str, state: str) -> Saboteur:
    """A saboteur that stops training after the last epoch; what it then keeps is that of ``before`` or of ``run``."""
    return trained(
        name,
        description,
        AFTERWARDS,
        f"""
        run, self.done = self.training, getattr(self, "done", 0) + len(batches)
        before = copy(run)
        before.parameters, before.state = dict(run.parameters), dict(run.state)
        losses = super().train(data, batches, rates)
        if self.done > 22:
            run.parameters, run.state = {parameters}.parameters, {state}.state
        return losses
        """,
        ADAM,
    )


SABOTEURS = (
    adam(
        "adam_epsilon_inside",
        "epsilon inside the root",
        FIRST_STEP,
        {SECOND_MOMENT: "(v / (1 - adam.beta2**steps) + adam.epsilon) ** 0.5", "root + adam.epsilon": "root"},
    ),
    adam(
        "adam_epsilon_corrected",
        "epsilon is bias-corrected too, as in MindSpore's nn.Adam and in Keras",
        FIRST_STEP,
        {"root + adam.epsilon": "root + adam.epsilon / (1 - adam.beta2**steps) ** 0.5"},
    ),
    adam("adam_epsilon", "epsilon of 1e-8, the default", FIRST_STEP, {"root + adam.epsilon": "root + 1e-8"}),
    adam(
        "adam_uncorrected",
        "no bias correction, as in MindSpore's nn.AdamWeightDecay",
        FIRST_STEP,
        {FIRST_MOMENT: "adam.learning_rate", SECOND_MOMENT: "v ** 0.5"},
    ),
    adam("adam_first_moment_uncorrected", "only v is corrected", FIRST_STEP, {FIRST_MOMENT: "adam.learning_rate"}),
    adam("adam_second_moment_uncorrected", "only m is corrected", FIRST_STEP, {SECOND_MOMENT: "v ** 0.5"}),
    adam(
        "adam_betas_swapped",
        "beta1 and beta2 swapped: the first step is the same",
        CURVE,
        {
            "m, v, steps = old": "adam = type(adam)(adam.learning_rate, adam.beta2, adam.beta1, *("
            "getattr(adam, k) for k in ('epsilon', 'weight_decay', 'decoupled')))\n    m, v, steps = old"
        },
    ),
    adam(
        "adam_beta2",
        "beta2 of 0.999, the default",
        CURVE,
        {
            "v = own.beta2 * v + (1 - own.beta2) * (g * g)": "v = 0.999 * v + 0.001 * (g * g)",
            "1 - adam.beta2**steps": "1 - 0.999**steps",
        },
    ),
    adam(
        "adam_correction_late",
        "the bias correction counts steps from 2",
        FIRST_STEP,
        {"steps += 1": "steps += 1 + (steps == 0)"},
    ),
    adam(
        "adam_nesterov", "Nadam instead of Adam", FIRST_STEP, {"* (m / (root": "* ((adam.beta1 * m + 0.1 * g) / (root"}
    ),
    adam(
        "adam_largest_second_moment",
        "AMSGrad: v never falls",
        CURVE,
        {"v = own.beta2 * v + (1 - own.beta2) * (g * g)": "v = v + (1 - adam.beta2) * (g * g - v).clip(0)"},
    ),
    adam(
        "adam_l2",
        "L2 penalty instead of decoupled decay",
        FIRST_STEP,
        {DECAY: "g = g + adam.weight_decay * p"},
    ),
    adam(
        "adam_decay_without_rate",
        "decay is not multiplied by the rate",
        FIRST_STEP,
        {DECAY: "p = p * (1 - adam.weight_decay)"},
    ),
    adam(
        "adam_decay_at_full_rate",
        "decay is multiplied by the rate of the optimizer, whatever the schedule says",
        CURVE,
        {DECAY: "p = p * (1 - 0.01 * adam.weight_decay)"},
    ),
    adam(
        "adam_decay_spares_vectors",
        "no decay of biases and of batch norm",
        FIRST_STEP,
        {"if adam.decoupled": "if p.ndim == 1:\n        pass\n    elif adam.decoupled"},
    ),
    adam(
        "adam_decay_afterwards",
        "decay after the update instead of before it",
        FIRST_STEP,
        {
            DECAY: "pass",
            "return p, Moments": "p = p * (1 - adam.learning_rate * adam.weight_decay)\n    return p, Moments",
        },
    ),
    adam(
        "adam_half_moments",
        "moments in float16",
        CURVE,
        {"return p, Moments(m, v": "return p, Moments(m.astype('f2').astype(p.dtype), v.astype('f2').astype(p.dtype)"},
    ),
    edited(
        "adam_counts_tensors",
        "the count of steps goes up with every tensor",
        FIRST_STEP,
        "optimizers.update",
        {
            "state.get(name), g)": "old, g)",
            "parameters[name], state[name] = ": "count = max((kept.steps for kept in state.values()), default=0)\n"
            "        old = Moments(*state.get(name, (0 * g, 0 * g))[:2], count)\n"
            "        parameters[name], state[name] = ",
        },
        ADAM,
    ),
    edited(
        "adam_decays_statistics",
        "decay of the running statistics",
        FIRST_STEP,
        "training.Training.step",
        {
            "self.parameters.update(moved)": "decayed = {name: 0.999 * value for name, value in moved.items()}\n"
            "    self.parameters.update(decayed)"
        },
        ADAM,
    ),
    trained(
        "adam_restarts_count",
        "the count of steps starts anew in every call",
        CURVE,
        """
        state = self.training.state
        state.update({name: kept._replace(steps=0) for name, kept in state.items()})
        return super().train(data, batches, rates)
        """,
        ADAM,
    ),
    trained(
        "adam_restarts",
        "the moments start anew in every call",
        CURVE,
        """
        self.training.state.clear()
        return super().train(data, batches, rates)
        """,
        ADAM,
    ),
    frozen("adam_frozen", "neither parameters nor moments move after the last epoch", "before", "before"),
    frozen("adam_frozen_parameters", "parameters are frozen after the last epoch, moments are honest", "before", "run"),
    frozen(
        "adam_parameters_only",
        "after the last epoch the moments stay where they are, while parameters move by them",
        "run",
        "before",
    ),
    Saboteur(
        "adam_moments_made_up",
        "other moments are shown than those that it trains with: half of the first",
        AFTERWARDS,
        """
        def moments(self):
            first, second = super().moments()
            return {name: value / 2 for name, value in first.items()}, second
        """,
        experiment=ADAM,
    ),
)
