"""Backends that train at other learning rates than those that they are given, or clip gradients in another way."""

from __future__ import annotations

from collections.abc import Mapping

from tests.sabotage.saboteurs.saboteur import (
    AFTERWARDS,
    CURVE,
    FIRST_STEP,
    LOSS,
    MODELS,
    Saboteur,
    edited,
    trained,
)


def rates(name: str, description: str, caught: str, others: str, experiment: str = MODELS) -> Saboteur:
    """A saboteur that trains at other rates: an expression of those that it is given."""
    return trained(name, description, caught, f"return super().train(data, batches, {others})", experiment)


def clipping(name: str, description: str, changes: Mapping[str, str]) -> Saboteur:
    """A saboteur with a mistake in the reference's clipping."""
    return edited(name, description, FIRST_STEP, "optimizers.clipped", changes)


NORM = "math.sqrt(sum(float((g * g).sum()) for g in gradients.values()))"
SCALED = "{name: g * g.dtype.type(limit / norm) for name, g in gradients.items()}"
SMOOTH = "if smoothing:"
LOSS_OF = "losses.cross_entropy"

SABOTEURS = (
    rates("schedule_ignored", "always the rate of the optimizer", FIRST_STEP, "None"),
    rates("schedule_half", "rates in float16", FIRST_STEP, "rates.astype(np.float16)"),
    rates(
        "schedule_times_rate", "rates are taken for factors of the optimizer's", FIRST_STEP, "rates * np.float32(0.1)"
    ),
    trained(
        "schedule_warms_up_from_0",
        "the schedule begins with a rate of 0",
        FIRST_STEP,
        """
        before, self.last = getattr(self, "last", 0 * rates[0]), rates[-1]
        return super().train(data, batches, np.append(before, rates[:-1]))
        """,
    ),
    trained(
        "schedule_one_step_late",
        "each step has the rate of the step before",
        CURVE,
        """
        before, self.last = getattr(self, "last", rates[0]), rates[-1]
        return super().train(data, batches, np.append(before, rates[:-1]))
        """,
    ),
    rates(
        "schedule_once_a_call", "all steps of a call have the rate of the first", CURVE, "np.full_like(rates, rates[0])"
    ),
    trained(
        "schedule_compiled_in",
        "the rate of the very first step for all of them",
        CURVE,
        """
        self.first = getattr(self, "first", rates[0])
        return super().train(data, batches, np.full_like(rates, self.first))
        """,
    ),
    trained(
        "schedule_by_epoch",
        "the rate changes after an epoch only",
        CURVE,
        """
        self.done = getattr(self, "done", 0)
        if self.done % 11 == 0:
            self.rate = rates[0]
        self.done += len(batches)
        return super().train(data, batches, np.full_like(rates, self.rate))
        """,
    ),
    rates(
        "schedule_forgets_short_batches",
        "the short last batch is trained at the rate of the optimizer",
        CURVE,
        "rates if batches.shape[1] == 32 else None",
    ),
    trained(
        "schedule_ends",
        "after the last epoch the rate stays what it was at its end",
        AFTERWARDS,
        """
        self.done = getattr(self, "done", 0) + len(batches)
        if self.done <= 22:
            self.last = rates[-1]
            return super().train(data, batches, rates)
        return super().train(data, batches, np.full_like(rates, self.last))
        """,
    ),
    edited(
        "schedule_inside_velocity",
        "the rate is inside the velocity, as in Keras",
        CURVE,
        "optimizers._sgd",
        {
            "else sgd.momentum * old + g": "else sgd.momentum * old + sgd.learning_rate * g",
            "v = g if": "v = sgd.learning_rate * g if",
            "p - sgd.learning_rate * (": "p - (",
        },
    ),
    clipping("clip_ignored", "gradients are not clipped", {"norm <= limit": "True"}),
    clipping(
        "clip_each",
        "each gradient is clipped by itself",
        {SCALED: "{name: g * min(1, limit / math.sqrt(float((g * g).sum()))) for name, g in gradients.items()}"},
    ),
    clipping(
        "clip_values",
        "values are clipped, not the norm",
        {SCALED: "{name: g.clip(-limit, limit) for name, g in gradients.items()}"},
    ),
    edited(
        "clip_always",
        "smaller gradients are scaled up to the limit",
        CURVE,
        "optimizers.clipped",
        {"norm <= limit": "not limit"},
    ),
    clipping(
        "clip_weights_only", "the norm leaves out biases", {"gradients.values()": "gradients.values() if g.ndim > 1"}
    ),
    clipping(
        "clip_largest_norm",
        "the norm is that of the largest gradient",
        {NORM: "max(math.sqrt(float((g * g).sum())) for g in gradients.values())"},
    ),
    clipping(
        "clip_sum_of_norms",
        "the norm is the sum of norms",
        {NORM: "sum(math.sqrt(float((g * g).sum())) for g in gradients.values())"},
    ),
    edited(
        "clip_after_decay",
        "clipped after weight decay was added",
        FIRST_STEP,
        "optimizers.update",
        {
            "gradients = clipped(gradients": "from dataclasses import replace\n"
            "    decayed = {name: g + optimizer.weight_decay * parameters[name] for name, g in gradients.items()}\n"
            "    optimizer = replace(optimizer, weight_decay=0.0)\n"
            "    gradients = clipped(decayed",
        },
    ),
    edited("smoothing_ignored", "labels are not smoothed", LOSS, LOSS_OF, {SMOOTH: "smoothing = 0\n    if smoothing:"}),
    edited(
        "smoothing_over_others",
        "the share goes to the other classes alone",
        LOSS,
        LOSS_OF,
        {SMOOTH: "smoothing = smoothing * logits.shape[1] / (logits.shape[1] - 1)\n    if smoothing:"},
    ),
    edited(
        "smoothing_without_gradient",
        "the loss is that of smoothed labels, the gradient is not",
        FIRST_STEP,
        LOSS_OF,
        {"gradient -= s / logits.shape[1]": "pass", "1 - smoothing": "1"},
    ),
    edited(
        "smoothing_of_gradient_only",
        "the gradient is that of smoothed labels, the loss is not",
        LOSS,
        LOSS_OF,
        {"terms = (1 - s) * terms - s * log_softmax.mean(axis=1)": "pass"},
    ),
)
