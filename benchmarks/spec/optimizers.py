"""The optimizers as a user writes them: the tables [sgd], [adam] and [adamw]."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from backends import contract
from benchmarks.spec.strict import Strict, added

Rate = Annotated[float, Field(gt=0, le=1e6)]
Share = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(ge=0, le=1e6)]
Norm = Annotated[float, Field(ge=0, le=1e6)]
CLIP_NORM = "Largest norm of all gradients together, to which they are scaled down; 0: they are not."


class SGDSpec(Strict):
    """Stochastic gradient descent, with the meaning that torch.optim.SGD gives to each option."""

    learning_rate: Rate = Field(description="Step size.")
    momentum: Share = Field(default=0.0, description="Share of the velocity kept.")
    nesterov: bool = Field(default=False, description="Look ahead along the velocity; needs momentum.")
    weight_decay: Decay = Field(default=0.0, description="L2 penalty added to the gradient of every parameter.")
    clip_norm: Norm = added(0.0, CLIP_NORM)

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> SGDSpec:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum greater than 0")
        return self

    def build(self) -> contract.Optimizer:
        """The optimizer as the backends get it."""
        return contract.SGD(self.learning_rate, self.momentum, self.nesterov, self.weight_decay, self.clip_norm)


class AdamSpec(Strict):
    """Adam, with the meaning that torch.optim.Adam gives to each option."""

    learning_rate: Rate = Field(description="Step size.")
    beta1: Share = Field(default=0.9, description="Share of the first moment kept.")
    beta2: Share = Field(default=0.999, description="Share of the second moment kept.")
    epsilon: Annotated[float, Field(ge=1e-12, le=1)] = Field(
        default=1e-8, description="Added to the root of the second moment, after both were corrected."
    )
    weight_decay: Decay = Field(default=0.0, description="L2 penalty added to the gradient of every parameter.")
    clip_norm: Norm = Field(default=0.0, description=CLIP_NORM)

    def build(self) -> contract.Optimizer:
        """The optimizer as the backends get it."""
        return contract.Adam(
            self.learning_rate,
            self.beta1,
            self.beta2,
            self.epsilon,
            self.weight_decay,
            isinstance(self, AdamWSpec),
            self.clip_norm,
        )


class AdamWSpec(AdamSpec):
    """Adam with decoupled weight decay, with the meaning that torch.optim.AdamW gives to each option."""

    weight_decay: Decay = Field(
        default=0.01, description="Share of every parameter, times the learning rate, that is taken away in a step."
    )
