"""Backends whose batch normalization is another one."""

from __future__ import annotations

from collections.abc import Mapping

from tests.sabotage.saboteurs.saboteur import (
    AFTERWARDS,
    FIRST_STEP,
    LOGITS,
    LOSS,
    MODELS,
    OUTPUTS,
    STATISTICS,
    Saboteur,
    edited,
    trained,
)


def norm(name: str, description: str, caught: str, changes: Mapping[str, str]) -> Saboteur:
    """A saboteur with a mistake in the reference's batch normalization."""
    return edited(name, description, caught, "normalization.batch_norm", changes)


MOVED = "(1 - share) * own[name] + share * new"
UNBIASED = " * x.dtype.type(count / max(count - 1, 1))"
EPSILON = "x.dtype.type(layer.epsilon)"
REST = "g - by_mean - z * by_var"
BATCH = "if training:\n        if rounding"
NORMALIZED = "z = (x - mean.reshape(shape)) * inverse.reshape(shape)\n"

SABOTEURS = (
    norm("norm_biased_running_var", "biased running variance, as in Keras and Flax", FIRST_STEP, {UNBIASED: ""}),
    norm(
        "norm_unbiased_var",
        "the variance in the normalization is unbiased",
        LOSS,
        {
            "    inverse = ": f"    if training:\n        var = var{UNBIASED}\n    inverse = ",
            f"var{UNBIASED}}}": "var}",
        },
    ),
    norm(
        "norm_momentum_reversed",
        "the momentum is the share of the old, as in Keras and Flax",
        FIRST_STEP,
        {MOVED: "share * own[name] + (1 - share) * new"},
    ),
    norm(
        "norm_momentum_of_all",
        "the momentum of all layers is 0.1, the default",
        FIRST_STEP,
        {"share = x.dtype.type(layer.momentum)": "share = x.dtype.type(0.1)"},
    ),
    norm(
        "norm_evaluates",
        "normalizes by the running statistics in training",
        LOSS,
        {BATCH: "if False:\n        if rounding"},
    ),
    norm("norm_predicts_by_batch", "predict normalizes by the batch", LOGITS, {BATCH: "if True:\n        if rounding"}),
    norm("norm_never_moved", "running statistics are never updated", FIRST_STEP, {MOVED: "own[name]"}),
    Saboteur(
        "norm_moved_by_predict",
        "predict updates the running statistics too",
        LOGITS,
        """
        def predict(self, data):
            outputs = super().predict(data)
            run = self.training
            run.parameters.update(run.gradients(data.features, data.labels)[2])
            return outputs
        """,
        experiment=MODELS,
    ),
    norm(
        "norm_epsilon_outside",
        "epsilon outside the root",
        FIRST_STEP,
        {f"np.sqrt(var + {EPSILON})": f"(np.sqrt(var) + {EPSILON})"},
    ),
    norm("norm_epsilon_of_keras", "epsilon of 1e-3 instead of 1e-5", LOGITS, {EPSILON: "x.dtype.type(1e-3)"}),
    norm("norm_epsilon_of_cudnn", "epsilon of 2e-5 instead of 1e-5", FIRST_STEP, {EPSILON: "x.dtype.type(2e-5)"}),
    norm("norm_constants", "the gradient takes mean and variance for constants", FIRST_STEP, {REST: "g"}),
    norm("norm_constant_var", "the gradient takes the variance for a constant", FIRST_STEP, {REST: "g - by_mean"}),
    norm("norm_constant_mean", "the gradient takes the mean for a constant", FIRST_STEP, {REST: "g - z * by_var"}),
    norm(
        "norm_of_pixels",
        "each pixel is normalized over the batch, rather than each channel",
        LOSS,
        {
            NORMALIZED: f"{NORMALIZED}    if training:\n"
            "        z = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + layer.epsilon)\n"
        },
    ),
    norm(
        "norm_of_samples",
        "each channel of each sample is normalized by itself",
        LOSS,
        {
            NORMALIZED: f"{NORMALIZED}    if training:\n"
            "        z = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + layer.epsilon)\n"
        },
    ),
    norm(
        "norm_of_halves",
        "the halves of a batch are normalized by themselves, as replicas do that do not synchronize",
        LOSS,
        {
            NORMALIZED: f"{NORMALIZED}    if training:\n"
            "        halves = [half - half.mean(axes, keepdims=True) for half in np.split(x, [len(x) // 2])]\n"
            "        spreads = [np.sqrt((half**2).mean(axes, keepdims=True) + layer.epsilon) for half in halves]\n"
            "        z = np.concatenate([half / spread for half, spread in zip(halves, spreads)])\n"
        },
    ),
    norm(
        "norm_not_learned",
        "weight and bias of batch norm are not learned",
        FIRST_STEP,
        {
            "def parameters(g": "def exact(g",
            "def inputs(g": "def parameters(g):\n        return {}\n\n    def inputs(g",
            "own_gradients = parameters(g)": "own_gradients = exact(g)",
        },
    ),
    norm(
        "norm_half_statistics",
        "running statistics in float16",
        FIRST_STEP,
        {MOVED: f"({MOVED}).astype(np.float16).astype(x.dtype)"},
    ),
    trained(
        "norm_moved_once_a_call",
        "running statistics are updated once in a call, by its last step",
        STATISTICS,
        """
        run = self.training
        before = {name: value for name, value in run.parameters.items() if "running" in name}
        losses = []
        for i in range(len(batches)):
            run.parameters.update(before)
            losses += super().train(data, batches[i : i + 1], rates[i : i + 1])
        return losses
        """,
    ),
    trained(
        "norm_short_batch_forgotten",
        "the short last batch leaves the running statistics as they are",
        STATISTICS,
        """
        run = self.training
        before = {name: value for name, value in run.parameters.items() if "running" in name}
        losses = super().train(data, batches, rates)
        if batches.shape[1] < 32:
            run.parameters.update(before)
        return losses
        """,
    ),
    trained(
        "norm_frozen_when_timed",
        "running statistics are not updated after the last epoch",
        AFTERWARDS,
        """
        run, self.done = self.training, getattr(self, "done", 0) + len(batches)
        before = {name: value for name, value in run.parameters.items() if "running" in name}
        losses = super().train(data, batches, rates)
        if self.done > 22:
            run.parameters.update(before)
        return losses
        """,
    ),
    Saboteur(
        "norm_stale_predictions",
        "predict uses the running statistics from before the last call of train",
        OUTPUTS,
        """
        stale = {}
        def train(self, data, batches, rates=None):
            self.stale = {name: value for name, value in self.training.parameters.items() if "running" in name}
            return super().train(data, batches, rates)
        def predict(self, data):
            now = dict(self.training.parameters)
            self.training.parameters.update(self.stale)
            outputs = super().predict(data)
            self.training.parameters.update(now)
            return outputs
        """,
        experiment=MODELS,
    ),
)
