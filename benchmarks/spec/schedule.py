"""The schedule of the learning rate: what the optimizer's rate is multiplied by in each step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from benchmarks.spec.strict import Strict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Epochs = Annotated[int, Field(ge=1, le=10_000)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Schedule(Strict):
    name: str
    warm_up: Annotated[float, Field(ge=0, le=10_000)] = Field(
        default=0.0, description="Epochs in which the rate rises to the optimizer's, by the same amount in each step."
    )

    def factors(self, steps: int, steps_per_epoch: int) -> NDArray[np.float64]:
        """Return what the rate is multiplied by in each of ``steps`` steps, float64 ``[steps]``.

        In a warm-up of W steps, step t (counted from 0) has (t + 1) / W.
        """
        import numpy as np

        warm_up = round(self.warm_up * steps_per_epoch)
        rising = np.minimum((np.arange(steps) + 1) / max(warm_up, 1), 1)
        return rising * self._factors(np.maximum(np.arange(steps) - warm_up, 0), steps - warm_up, steps_per_epoch)

    def _factors(self, t: NDArray[np.int64], steps: int, steps_per_epoch: int) -> NDArray[np.float64]:
        """The same after the warm-up, for steps counted from its end, of which there are ``steps``."""
        raise NotImplementedError


class CosineSchedule(_Schedule):
    """Half a cosine from the optimizer's rate to a final share of it: torch's CosineAnnealingLR, step by step.

    ``final + (1 - final) (1 + cos(pi t / T)) / 2`` in step t of T (Loshchilov & Hutter, 2017, arXiv:1608.03983).
    """

    name: Literal["cosine"]
    final: Share = Field(default=0.0, description="Share of the rate that it ends with.")

    def _factors(self, t: NDArray[np.int64], steps: int, steps_per_epoch: int) -> NDArray[np.float64]:
        import numpy as np

        return self.final + (1 - self.final) * (1 + np.cos(np.pi * t / steps)) / 2


class LinearSchedule(_Schedule):
    """A straight line from the optimizer's rate to a final share of it: ``1 - (1 - final) t / T`` in step t of T."""

    name: Literal["linear"]
    final: Share = Field(default=0.0, description="Share of the rate that it ends with.")

    def _factors(self, t: NDArray[np.int64], steps: int, steps_per_epoch: int) -> NDArray[np.float64]:
        return 1 - (1 - self.final) * t / steps


class StepSchedule(_Schedule):
    """The rate times ``factor`` after every so many epochs, or at given ones: torch's StepLR and MultiStepLR.

    Epochs are counted from the end of the warm-up.
    """

    name: Literal["step"]
    every: Epochs | None = Field(default=None, description="Epochs between two changes.")
    at: Annotated[tuple[Epochs, ...], Field(min_length=1, max_length=1000, strict=False)] | None = Field(
        default=None, description="Epochs after which the rate changes."
    )
    factor: Annotated[float, Field(gt=0, le=1)] = Field(default=0.1, description="Share of the rate that is kept.")

    @model_validator(mode="after")
    def _either(self) -> StepSchedule:
        if (self.every is None) == (self.at is None):
            raise ValueError('a schedule named "step" needs either every or at')
        return self

    def _factors(self, t: NDArray[np.int64], steps: int, steps_per_epoch: int) -> NDArray[np.float64]:
        import numpy as np

        ends = np.array(self.at or range(self.every or 1, steps // steps_per_epoch + 2, self.every or 1))
        return self.factor ** np.searchsorted(np.sort(ends) * steps_per_epoch, t, side="right").astype(float)


SCHEDULES = ("cosine", "linear", "step")
ScheduleSpec = Annotated[CosineSchedule | LinearSchedule | StepSchedule, Field(discriminator="name")]
